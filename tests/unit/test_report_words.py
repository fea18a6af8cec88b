"""What all forms of a report share: order, counts, figures, the places of a grid, of a line of versions, of a chart."""

from __future__ import annotations

import pytest

from devenv.model.plan import Change
from devenv.model.trial import Case, Difference, Moved, Run, Side, Trial, Verdict
from devenv.trial.gist import gist
from devenv.trial.report import charts, overview, words
from tests import trials


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0 ms"), (0.0032, "3.2 ms"), (0.0099, "9.9 ms"), (0.02, "20 ms"), (0.9999, "1.0 s"), (4.14, "4.1 s"),
     (9.96, "10 s"), (59.7, "1 min 00 s"), (125.0, "2 min 05 s")],
)  # fmt: skip
def test_words_durations_are_readable(value: float | None, text: str) -> None:
    assert words.duration(value) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(1.0, 1.84, "×1.84"), (2.0, 0.5, "×0.25"), (1.0, 30.0, "×30"), (None, 1.0, ""), (0.0, 1.0, ""), (1.0, None, "")],
)
def test_words_ratios(before: float | None, after: float | None, text: str) -> None:
    assert words.ratio(before, after) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("django", "5.2", "6.0"), "django 5.2 → 6.0"),
        (Change("jq", "", "1.7"), "jq 1.7"),
        (Change("jq", "1.7", ""), "jq 1.7 → none"),
        (Change("env.API_TOKEN", "a", "b"), "env.API_TOKEN (not shown)"),
    ],
)
def test_words_of_a_change_tell_no_secret(change: Change, text: str) -> None:
    assert words.changed(change) == text


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        (trials.TOTAL, "AssertionError: assert Decimal('7.00') == Decimal('8.33')"),
        ("Traceback:\n  File x\nshop.errors.NoSuchError: gone\nbye", "shop.errors.NoSuchError: gone"),
        ("\n  expected 3\n  got 4\n", "expected 3"),
        ("x" * 5000, "x" * 200),
        ("", ""),
    ],
)
def test_words_gist_is_the_line_that_says_the_most(detail: str, text: str) -> None:
    assert gist(detail) == text


def test_words_order_what_matters_most_first() -> None:
    found = [
        Difference("b", "slower", before=1.0, after=1.2),
        Difference("a", "still failing"),
        Difference("z", "newly failing"),
        Difference("c", "slower", before=1.0, after=3.0),
        Difference("d", "flaky"),
        Difference("y", "newly failing"),
        Difference("e", "only here", ("", ""), ("passed", "passed")),
        Difference("f", "only here", ("", ""), ("failed", "error")),
    ]
    assert [one.name for one in words.ordered(found)] == ["y", "z", "f", "d", "c", "b", "e", "a"]
    assert [one.name for one in found if words.breaks(one)] == ["z", "y", "f"]
    assert [words.style(one) for one in found[-2:]] == ["new", "bad"]


def test_words_count_in_one_sentence() -> None:
    verdict = trials.django().verdicts[0]
    assert words.sentence(verdict).startswith("3 newly failing, 1 gone, 2 flaky, 1 slower")
    assert words.sentence(verdict).endswith("; 32 passed on both sides, 5 skipped")
    assert words.sentence(Verdict("regression", ("It exits with 1.",))) == ""


@pytest.mark.parametrize(
    ("trial", "word", "title"),
    [
        (trials.django(), "Regression", "django 5.2.8 → 6.0"),
        (trials.fine(), "No regression", "django 5.2.8 → 6.0"),
        (trials.unbuilt(), "Not judged", "django 5.2.8 → 7.0"),
        (trials.matrix(), "Regression in 3 of 6 variants", "python × django"),
        (trials.bisect(), "First bad version: werkzeug=3.0.0", "24 versions of werkzeug"),
        (trials.bisect()._replace(guilty=()), "Nothing was found guilty", "24 versions of werkzeug"),
        (trials.smallest(), "Guilty together: django=6.0, psycopg=3.2", "3 combinations of 3 changes"),
    ],
)
def test_words_headline_says_what_came_of_it(trial: Trial, word: str, title: str) -> None:
    found = words.headline(trial)
    assert (found.word, found.title) == (word, title)


def test_words_headline_of_several_suspects() -> None:
    several = trials.bisect()._replace(guilty=("werkzeug=2.3.2", "werkzeug=2.3.3", "werkzeug=3.0.0"))
    assert words.headline(several).word == "First bad version: one of 3, from werkzeug=2.3.2 to 3.0.0"
    assert [step.name for step in overview.steps(several) if step.guilty == "suspect"] == ["2.3.2", "2.3.3", "3.0.0"]


def test_words_headline_of_a_matrix_without_regression() -> None:
    whole = trials.matrix()
    verdicts = (trials.fine().verdicts[0],) * 6
    assert words.headline(whole._replace(verdicts=verdicts)).word == "No regression in any of 6 variants"


def test_words_packages_asked_for_come_first() -> None:
    found = words.groups(
        (Moved("apt", "a", "1", "2"), Moved("python", "b", "1", "2"), Moved("python", "z", "1", "2", direct=True))
    )
    assert [(group, [one.name for one in packages]) for group, packages in found] == [
        ("python", ["z", "b"]),
        ("apt", ["a"]),
    ]


def test_words_compare_runs_that_were_alone_and_ended() -> None:
    def run(seconds: float, *, alone: bool = False, code: int | None = 0) -> Run:
        return Run(code, 0.0, seconds, cases=(Case("t", "passed", seconds),), alone=alone)

    mixed = Side("x", runs=(run(1.0), run(3.0, alone=True), run(2.0, alone=True), run(0.1, alone=True, code=None)))
    assert words.least(words.comparable(mixed)) == {"t": 2.0}
    assert words.least(words.comparable(Side("x", runs=(run(1.0), run(3.0))))) == {"t": 1.0}


def cells(grid: overview.Grid) -> list[list[str]]:
    return [[row.name, *(cell.word if cell else "" for cell in row.cells)] for row in grid.rows]


def test_overview_grid_has_the_baseline_first_and_gaps_where_nothing_was_tried() -> None:
    found = overview.grid(trials.matrix())
    assert (found.rows_about, found.columns_about, found.columns) == ("python", "django", ("5.2.8", "6.0", "6.1a1"))
    assert cells(found) == [
        ["3.11", "baseline", "not judged", ""],
        ["3.12", "no regression", "regression", ""],
        ["3.13", "no regression", "regression", "regression"],
    ]
    assert found.rows[0].cells[1] and found.rows[0].cells[1].anchor == "v3"


def variants(*changes: dict[str, str]) -> Trial:
    sides = tuple(
        Side(f"{n}", tuple(Change(name, "0", value) for name, value in one.items())) for n, one in enumerate(changes)
    )
    return trials.matrix()._replace(variants=sides, verdicts=(Verdict("no regression"),) * len(sides))


@pytest.mark.parametrize(
    "changes",
    [
        [{"a": "1"}, {"a": "2"}, {"a": "3"}],  # one axis
        [{"a": "1", "b": "1"}, {"a": "1", "b": "1"}],  # two of one place
        [{f"{n}": "1", "b": "1"} for n in range(9)],  # what has little in common
        [{"a": f"{n}", "b": f"{n}"} for n in range(8)],  # long and long
    ],
)
def test_overview_grid_of_what_makes_none_is_a_list(changes: list[dict[str, str]]) -> None:
    found = overview.grid(variants(*changes))
    assert found.columns == () and len(found.rows) == len(changes)


def test_overview_grid_of_three_axes_has_two_down() -> None:
    found = overview.grid(variants(*({"a": a, "b": b, "c": c} for a in "12" for b in "12" for c in "12")))
    assert (found.rows_about, found.columns_about) == ("a · b", "c")
    assert [row.name for row in found.rows] == ["1 · 1", "1 · 2", "2 · 1", "2 · 2"]


def test_overview_line_puts_versions_in_order_and_gathers_the_rest() -> None:
    found = overview.line(trials.bisect())
    told = [f"{step.unneeded}" if step.unneeded else f"{step.name} {step.answer}" for step in found]
    assert told == [
        "2.0.0 good",
        "10",
        "2.2.1 good",
        "5",
        "2.3.2 skip",
        "2.3.3 good",
        "2.3.4 good",
        "3.0.0 bad",
        "2",
        "3.1.0 bad",
    ]
    assert [step.name for step in found if step.guilty] == ["3.0.0"]
    assert [step.style for step in found if step.unneeded] == ["good", "good", "bad"]
    assert overview.line(trials.smallest()) == ()


def test_overview_culprit_is_the_guilty_versions_variant() -> None:
    found = overview.culprit(trials.bisect())
    assert found and found[0].name == "3.0.0"
    both = overview.culprit(trials.smallest())
    assert both and both[0].name == "django=6.0 psycopg=3.2"
    assert overview.culprit(trials.fine()._replace(kind="bisect")) is None


def test_overview_of_a_bisect_leads_to_each_variant_and_to_the_good_one() -> None:
    assert [step.anchor for step in overview.steps(trials.bisect())] == ["baseline", *(f"v{n}" for n in range(1, 7))]
    assert [step.anchor for step in overview.steps(trials.smallest())] == ["v1", "v2", "v3"]
    assert [step.guilty for step in overview.steps(trials.smallest())] == ["", "", "guilty"]


def test_words_of_a_run_count_tests_without_a_name_and_say_what_is_cut() -> None:
    cases = (Case("a", "failed"), Case("b", "passed"))
    assert words.tally(Run(1, 0.0, 1.0, cases=cases, unnamed=40)) == "1 failed, 41 passed"
    assert words.tally(Run(1, 0.0, 1.0, cases=cases, partial=True)) == "1 failed, 1 passed, its report isn't whole"
    assert words.tally(Run(0, 0.0, 1.0)) == ""


def test_charts_have_judged_tests_first_and_everything_within() -> None:
    whole = trials.django()
    found = charts.tests(whole.baseline, whole.variants[0], whole.verdicts[0].differences)
    assert found
    names = [row.name for row in found.rows]
    assert names[:2] == ["tests/test_search.py::test_index_is_built", "tests/test_report.py::test_ten_thousand_rows"]
    assert len(names) == charts.TESTS and found.left > 0
    assert all(0 <= at <= 100 for row in found.rows if isinstance(row, charts.Pair) for at in (row.before, row.after))
    assert [tick.text for tick in found.ticks] == ["0", "500 ms", "1.0 s", "1.5 s", "2.0 s"]


def test_charts_of_commands_have_each_side_that_was_measured() -> None:
    found = charts.commands(trials.matrix())
    assert found
    assert [row.name for row in found.rows][:2] == ["baseline", "python 3.11 → 3.12"]
    assert len(found.rows) == 6  # one has no run
    assert charts.commands(trials.unbuilt()._replace(baseline=Side("baseline"))) is None


@pytest.mark.parametrize("most", [0.0, 0.0004, 0.9, 1.0, 2.2, 10.0, 99.9, 3600.0])
def test_charts_scale_has_a_few_round_marks(most: float) -> None:
    side = Side("x", runs=(Run(0, 0.0, 1.0, cpu=most, alone=True),))
    found = charts.commands(trials.fine()._replace(baseline=side, variants=(side,)))
    assert found and 1 <= len(found.ticks) <= 6 and all(0 <= tick.at <= 94.1 for tick in found.ticks)
