"""The report's page in a real browser: it shows the verdict, asks nothing of anybody, and can be read in the light and in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from devenv.model.trial import Trial
from devenv.render import templates_folder
from devenv.trial.report import page
from tests import trials
from tests.browser.devtools import Browser, browser

Make = Callable[[], Trial]
Write = Callable[[Make], str]

pytestmark = pytest.mark.browser

KINDS = [trials.django, trials.unbuilt, trials.matrix, trials.bisect, trials.hostile]

# WCAG 2.2, § 1.4.3: 4.5, and 3 for what is large (24 px, or 18.66 px and bold). Backgrounds are of one colour each.
CONTRAST = """(() => {
  const channels = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length && found[3] !== 0) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  let count = 0;
  for (const one of document.body.querySelectorAll("*")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(one.tagName) || one.closest(".unseen") || !one.checkVisibility()) continue;
    const style = getComputedStyle(one), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const [a, b] = [light(channels(one.closest("svg") ? style.fill : style.color)), light(behind(one))].sort((x, y) => y - x);
    const found = (a + 0.05) / (b + 0.05);
    count += 1;
    if (found < (large ? 3 : 4.5)) poor.push([one.tagName, one.className.toString(), one.textContent.trim().slice(0, 40), found]);
  }
  return [count, poor];
})()"""

# Nothing is wider than the window, but what scrolls in its own box.
TOO_WIDE = """[...document.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, .unseen, pre") &&
  one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))"""

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
UNFOLDED = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes the page of a trial, once for all tests of this file."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = {f"{n}.log": "\n".join(trials.HOSTILE) for n in range(2)}
    logs = {trials.django: trials.logs(), trials.hostile: hostile}

    def write(make: Make) -> str:
        path = folder / f"{make.__name__}.html"
        if not path.exists():
            path.write_text(page(make(), logs.get(make, {}), templates_folder()), encoding="utf-8")
        return f"{path}"

    return write


@pytest.mark.parametrize("make", KINDS)
def test_report_says_no_error_and_asks_nothing_of_anybody(tab: Browser, written: Write, make: Make) -> None:
    path = written(make)
    tab.open(path)
    tab.ask(UNFOLDED)
    seen = tab.seen()
    assert seen.requests == (f"file://{path}",)
    assert seen.errors == ()
    assert tab.ask("document.querySelectorAll('script, link, img, iframe, object, embed, base').length") == 1


def test_report_shows_the_verdict_at_once(tab: Browser, written: Write) -> None:
    tab.open(written(trials.django))
    assert tab.ask("document.querySelector('h1').innerText.replace(/\\s+/g, ' ')") == "✗ Regression"
    assert tab.ask("document.querySelector('h1').getBoundingClientRect().bottom < innerHeight / 3")
    assert tab.ask("document.title") == "✗ Regression: django 5.2.8 → 6.0 · django-shop"


@pytest.mark.parametrize("scripts", [True, False])
def test_report_unfolds_a_log_and_a_failure(tab: Browser, written: Write, scripts: bool) -> None:
    tab.open(written(trials.django), scripts=scripts)
    shown = "document.querySelector('{0}').checkVisibility()"
    for folded, content in ((".why summary", ".why pre"), (".runs summary", ".runs pre")):
        assert not tab.ask(shown.format(content))
        tab.click(folded)
        assert tab.ask(shown.format(content))
    assert "test_total_has_taxes" in tab.ask("document.querySelector('.why pre').innerText")
    assert tab.ask("document.querySelector('.runs pre').innerText").startswith("collecting …\n")


def test_report_filters_its_table(tab: Browser, written: Write) -> None:
    tab.open(written(trials.django))
    tab.click(".filter input")
    tab("Input.insertText", text="flaky")
    rows = "[...document.querySelectorAll('.tests tbody')].filter((one) => one.checkVisibility()).map((one) => one.rows[0].innerText)"
    found = tab.ask(rows)
    assert len(found) == 2 and all("flaky" in one for one in found)
    assert tab.ask("document.querySelector('.filter output').innerText") == "2 of 11"


def test_report_without_scripts_shows_no_filter(tab: Browser, written: Write) -> None:
    tab.open(written(trials.django), scripts=False)
    assert not tab.ask("document.querySelector('.filter').checkVisibility()")
    assert tab.ask("document.querySelectorAll('button').length") == 0


def test_report_leads_from_a_cell_to_its_variant(tab: Browser, written: Write) -> None:
    tab.open(written(trials.matrix))
    tab.click(".grid td.bad a")
    top = "Math.abs(document.querySelector(location.hash).getBoundingClientRect().top) < 60"
    assert tab.ask("location.hash") == "#v4" and tab.ask(top)


@pytest.mark.parametrize("make", KINDS)
def test_report_can_be_read_in_the_light_and_in_the_dark(tab: Browser, written: Write, make: Make) -> None:
    tab.open(written(make))
    tab.ask(UNFOLDED)
    for scheme in ("light", "dark"):
        tab.like(scheme)
        count, poor = tab.ask(CONTRAST)
        assert count > 20 and poor == [], scheme


@pytest.mark.parametrize("make", KINDS)
def test_report_fits_any_window(tab: Browser, written: Write, make: Make) -> None:
    tab.open(written(make))
    tab.ask(UNFOLDED)
    for width in (1600, 800, 360):
        tab.resize(width)
        assert tab.ask(TOO_WIDE) == [], width


def test_report_is_drawn_in_light_and_dark(tab: Browser, written: Write) -> None:
    tab.open(written(trials.django))
    light, bright = tab.picture(), tab.ask(BACKGROUND)
    tab.like("dark")
    dark, dim = tab.picture(), tab.ask(BACKGROUND)
    assert light.startswith(b"\x89PNG") and dark.startswith(b"\x89PNG") and light != dark
    assert (bright, dim) == ("rgb(246, 247, 248)", "rgb(16, 19, 23)")


def test_report_is_printed_whole_on_white(tab: Browser, written: Write) -> None:
    tab.open(written(trials.django))
    tab.like("dark", medium="print")
    assert tab.ask(BACKGROUND) == "rgb(255, 255, 255)"
    assert tab.ask("document.querySelector('.why pre').getBoundingClientRect().height > 50")
    assert not tab.ask("document.querySelector('button').checkVisibility()")
    assert tab.ask(CONTRAST)[1] == []
