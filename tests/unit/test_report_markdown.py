"""A trial as Markdown: short, whole where it is put, and nothing in a test's name means anything there."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from devenv.model.trial import Trial
from devenv.trial.report import markdown
from devenv.trial.report.markdown import MOST
from tests import trials
from tests.elements import Elements

KINDS = [trials.django, trials.fine, trials.unbuilt, trials.matrix, trials.bisect, trials.smallest, trials.hostile]
QUIET = {"code", "pre"}
"""Within these, GitHub and GitLab look for no mentions, references or links."""


class Html(Elements):
    """What Markdown became: elements, the text outside of code, and how many cells each row has."""

    def __init__(self, text: str) -> None:
        self.tags: list[str] = []
        self.prose = ""
        self.code: list[str] = []
        self.rows: list[int] = []
        super().__init__(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def found(self, tag: str, attributes: dict[str, str]) -> None:
        assert set(attributes) <= {"class"}, attributes
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1
        if tag in QUIET:
            self.code.append("")

    def said(self, text: str) -> None:
        if QUIET & set(self.open):
            self.code[-1] += text
        else:
            self.prose += text


@pytest.mark.parametrize("make", KINDS)
def test_markdown_becomes_our_own_elements_only(make: Callable[[], Trial]) -> None:
    found = Html(markdown(make()))
    allowed = {
        "h3",
        "h4",
        "p",
        "ul",
        "li",
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
        "sub",
    }
    assert set(found.tags) <= allowed
    assert found.tags.count("h3") == 1
    assert set(found.rows) <= {3, 4, 5, 2}


@pytest.mark.parametrize("make", KINDS)
def test_markdown_mentions_and_links_nobody(make: Callable[[], Trial]) -> None:
    prose = Html(markdown(make())).prose
    assert not re.search(r"[@#!~%$&]\w|://|\bwww\.|\bGH-\d", prose)


def test_markdown_keeps_hostile_names_readable() -> None:
    found = Html(markdown(trials.hostile()))
    assert "</script><script>alert(1)</script>" in found.code
    assert any("a | b `c` @octocat #12" in one for one in found.code)
    assert not {"\x1b", "\x9b", "\u202e"} & set("".join(found.code) + found.prose)


def test_markdown_has_verdict_failing_tests_and_packages_unfolded() -> None:
    text = markdown(trials.django())
    assert text.startswith("### ✗ Regression: <code>django 5.2.8 → 6.0</code>\n")
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert unfolded.count("✗ newly failing") == 3 and "≈ flaky" not in unfolded
    assert "| python | <code>django</code> | <code>5.2.8</code> | <code>6.0</code> |" in unfolded
    assert "sqlparse" not in unfolded and "sqlparse" in text
    assert "≈ flaky | <code>tests/test&#95;mail.py::test&#95;retry</code> | ✓ ✗ ✓ | ✗ ✓ ✓ |" in text
    assert len(unfolded.splitlines()) < 40


def test_markdown_of_a_matrix_has_a_row_for_each_variant() -> None:
    text = markdown(trials.matrix())
    assert text.startswith("### ✗ Regression in 3 of 6 variants: <code>python × django</code>\n")
    assert text.count("| ✓ no regression |") == 2 and text.count("| ✗ regression |") == 3
    assert "| ? not judged | <code>django 5.2.8 → 6.0</code> | could not be resolved |" in text
    assert text.count("#### ") == 4


def test_markdown_of_a_bisect_names_the_guilty_version() -> None:
    text = markdown(trials.bisect())
    assert text.startswith("### ✗ First bad version: werkzeug=3.0.0 · <code>24 versions of werkzeug</code>\n")
    assert "| 4 | <code>2.3.2</code> | – skip |" in text
    assert text.count("#### ") == 1 and "#### ✗ <code>werkzeug 2.0.0 → 3.0.0</code>" in text


def test_markdown_fits_a_comment_and_says_what_is_left_out() -> None:
    whole = trials.matrix()
    verdict = whole.verdicts[-1]
    endless = tuple(one._replace(name="n" * 5000, detail="`" * 3 + "d" * 5000) for one in verdict.differences)
    many = whole._replace(variants=whole.variants * 20, verdicts=(verdict._replace(differences=endless),) * 120)
    text = markdown(many)
    assert len(text) <= MOST + 100
    assert text.endswith("The rest has no room here: `devenv report` shows it.*\n")
    Html(text)
