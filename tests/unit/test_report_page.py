"""The HTML page of a trial: whole, well formed, everything in it, and nothing of what tests print is more than text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from devenv.errors import DevenvError
from devenv.model.trial import Trial
from devenv.render import page as rendered
from devenv.render import templates_folder
from devenv.trial.report import page
from devenv.trial.report.logs import bounded
from tests import trials
from tests.elements import Elements

KINDS = [trials.django, trials.fine, trials.unbuilt, trials.matrix, trials.bisect, trials.smallest, trials.hostile]
OWN = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "main",
    "footer",
    "script",
    "div",
    "p",
    "span",
    "h1",
    "h2",
    "h3",
}
OWN |= {
    "ul",
    "ol",
    "li",
    "b",
    "code",
    "pre",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "section",
}
OWN |= {"article", "svg", "line", "circle", "text", "a", "label", "input", "output", "bdi"}
ATTRIBUTES = {
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "class",
    "id",
    "href",
    "title",
    "open",
    "hidden",
    "scope",
}
ATTRIBUTES |= {
    "colspan",
    "data-of",
    "aria-hidden",
    "aria-label",
    "role",
    "type",
    "placeholder",
    "autocomplete",
    "spellcheck",
}
ATTRIBUTES |= {"width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "text-anchor"}


class Page(Elements):
    """What is in a page: its elements, the texts within each kind of them, and all that is to be read."""

    def __init__(self, text: str) -> None:
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.text = ""
        super().__init__(text)

    def found(self, tag: str, attributes: dict[str, str]) -> None:
        self.elements.append((tag, attributes))

    def said(self, text: str) -> None:
        within = self.open[-1] if self.open else ""
        self.texts[within] = self.texts.get(within, "") + text
        if within not in ("style", "script"):
            self.text += text

    def all(self, attribute: str) -> list[str]:
        return [found[attribute] for _, found in self.elements if attribute in found]


def logs() -> dict[str, str]:
    return {**trials.logs(), **{f"{n}.log": "\n".join(trials.HOSTILE) for n in range(2)}}


def made(trial: Trial) -> str:
    return page(trial, logs(), templates_folder())


@pytest.mark.parametrize("make", KINDS)
def test_page_is_well_formed_and_loads_nothing(make: Callable[[], Trial]) -> None:
    found = Page(made(make()))
    assert {tag for tag, _ in found.elements} <= OWN
    assert {name for _, attributes in found.elements for name in attributes} <= ATTRIBUTES
    assert len(set(found.all("id"))) == len(found.all("id"))
    assert set(found.all("href")) <= {f"#{one}" for one in found.all("id")}
    assert not re.search(r"url\(|@import|@font-face", found.texts["style"])
    assert not re.search(r"fetch|XMLHttp|import\(|innerHTML|eval", found.texts["script"])


@pytest.mark.parametrize("make", KINDS)
def test_page_allows_its_own_style_and_script_only(make: Callable[[], Trial]) -> None:
    found = Page(made(make()))
    (policy,) = [one["content"] for _, one in found.elements if one.get("http-equiv") == "Content-Security-Policy"]
    digests = {
        kind: base64.b64encode(hashlib.sha256(found.texts[kind].encode()).digest()).decode()
        for kind in ("style", "script")
    }
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digests['style']}'",
        f"script-src 'sha256-{digests['script']}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [tag for tag, _ in found.elements].count("script") == 1
    assert [tag for tag, _ in found.elements].count("style") == 1


def test_page_shows_what_is_hostile_as_text() -> None:
    text = made(trials.hostile())
    found = Page(text)
    assert "</script><script>alert(1)</script>" in found.text
    assert "{{ 7 * 7 }} {% raw %} ${7*7} &amp; &lt;b&gt;" in found.text
    assert not {"\x1b", "\x9b", "\x07", "\x00", "\u202e"} & set(text)
    assert "[31m" not in text and "red link" in found.text


def test_page_has_the_verdict_first_in_words_and_sign() -> None:
    found = Page(made(trials.django())).text
    assert (
        found.index("✗")
        < found.index("Regression")
        < found.index("3 tests that passed in each of 3 runs")
        < found.index("Result")
    )
    assert "newly failing" in found and "32 ✓ passed on both sides" in " ".join(found.split())


@pytest.mark.parametrize(
    "told",
    [
        "AssertionError: assert Decimal('7.00') == Decimal('8.33')",  # the gist
        'order.add("tea", 2, price=Decimal("3.50"))',  # the whole of it
        "asked for",
        "RemovedInDjango61Warning",
        "RemovedInDjango60Warning",
        "1.3 s → 2.4 s ×1.86",
        "5.6 s ×1.33",
        "tests/test_cart.py::test_79 PASSED",
        "lines left out",
        "3 failed, 32 passed in 5.61s",
        "PYTHONHASHSEED",
        "devenv try django=6.0 -- pytest -q",
        "22 more",  # of the packages that came with it
        "32 that passed on both sides",
    ],
)
def test_page_tells_all_there_is(told: str) -> None:
    assert told in Page(made(trials.django())).text


def test_page_has_columns_for_times_where_there_are_any() -> None:
    whole = trials.django()
    untimed = tuple(one for one in whole.verdicts[0].differences if one.before is None)
    assert ("th", {"scope": "col", "class": "number"}) in Page(made(whole)).elements
    text = made(whole._replace(verdicts=(whole.verdicts[0]._replace(differences=untimed),)))
    assert "Before" not in text.partition("that passed on both sides")[0].partition("<table")[2]


def test_page_of_what_was_not_built_says_why() -> None:
    found = Page(made(trials.unbuilt())).text
    assert "Not judged" in found and "could not be resolved" in found and "django 7.0: no such version" in found


def test_page_of_a_matrix_leads_from_each_cell_to_its_section() -> None:
    found = Page(made(trials.matrix()))
    cells = [one["href"] for tag, one in found.elements if tag == "a"]
    assert {f"#v{n}" for n in range(1, 7)} <= set(cells)
    assert "not tried" in found.text and "baseline" in found.text
    assert found.text.index("6.1a1") < found.text.index("CPU time of the whole command")


def test_page_of_a_bisect_has_the_line_of_versions_and_the_guilty_one() -> None:
    found = Page(made(trials.bisect()))
    assert "First bad version: werkzeug=3.0.0" in found.text
    assert re.search(r"2\.0\.0\s*good\s*10 not needed\s*✓\s*2\.2\.1", " ".join(found.text.split()))
    assert re.search(r"3\.0\.0\s*first bad", found.text)
    assert "7 questions" in found.text


def test_page_bounds_what_a_test_may_print() -> None:
    whole = trials.django()
    endless = [
        one._replace(name=one.name + "x" * 100_000, detail="y" * 10_000_000) for one in whole.verdicts[0].differences
    ]
    verdict = whole.verdicts[0]._replace(differences=tuple(endless), reasons=())
    text = page(whole._replace(verdicts=(verdict,)), {}, templates_folder())
    assert len(text) < 1_000_000


def test_logs_keep_beginning_and_end_and_say_what_is_left_out() -> None:
    lines = [f"line {n}" for n in range(1000)]
    found = bounded("\n".join(lines) + "\n", 600)
    head, tail = found.head.split("\n"), found.tail.split("\n")
    assert head == lines[: len(head)] and tail == lines[-len(tail) :]
    assert found.left == 1000 - len(head) - len(tail) and len(tail) > len(head) > 5


@pytest.mark.parametrize(
    ("text", "head", "left"),
    [
        ("", "", 0),
        ("one", "one", 0),
        ("one\ntwo\n", "one\ntwo", 0),
        ("10%\r100%\nend", "100%\nend", 0),
        ("x" * 900, "x" * 100, 1),
    ],
)
def test_logs_that_are_short_or_have_no_lines(text: str, head: str, left: int) -> None:
    found = bounded(text, 300)
    assert (found.head, found.left) == (head, left)


def test_page_says_which_template_is_at_fault(tmp_path: Path) -> None:
    for name in os.listdir(templates_folder()):
        if name.startswith("report"):
            (tmp_path / name).write_bytes(Path(templates_folder(), name).read_bytes())
    (tmp_path / "report.html.j2").write_text("<p>\n{{ nothing }}")
    with pytest.raises(DevenvError, match=r"render .*'nothing' is undefined"):
        rendered(f"{tmp_path}", "report.html.j2", {})
    (tmp_path / "report.css").unlink()
    with pytest.raises(DevenvError, match=r"read template report\.css: it isn't there"):
        rendered(f"{tmp_path}", "report.html.j2", {})
