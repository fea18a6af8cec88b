"""Two sides and their runs → the verdict: every way in which they can be beside each other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from devenv.model.trial import Case, Notice, Outcome, Run, Side, Verdict
from devenv.trial.timing import COMMAND, TEST, changed
from devenv.trial.verdict import judge, undecided

OUTCOMES: dict[str, Outcome] = {"+": "passed", "-": "failed", "!": "error", "0": "skipped"}


def run(tests: str | None = None, code: int | None = None, **more: object) -> Run:
    """A run. `tests`: an outcome for each of a, b, c, … (`.`: it isn't there); its exit code, where none is given, is pytest's."""
    cases = None
    if tests is not None:
        names = zip("abcdefghij", tests, strict=False)
        cases = tuple(Case(name, OUTCOMES[sign], detail=f"{name} {sign}") for name, sign in names if sign != ".")
    ends = code if code is not None or tests is None else int("-" in tests or "!" in tests)
    return Run(ends, 0.0, 1.0, cases=cases, **more)  # type: ignore[arg-type]


def side(*runs: Run | str) -> Side:
    return Side("side", runs=tuple(run(one) if isinstance(one, str) else one for one in runs))


def judged(baseline: Sequence[Run | str], variant: Sequence[Run | str], reruns: int = 2) -> Verdict:
    return judge(side(*baseline), side(*variant), reruns)


def kinds(verdict: Verdict) -> dict[str, str]:
    return {difference.name: difference.kind for difference in verdict.differences}


def test_verdict_nothing_differs() -> None:
    verdict = judged(["++0-"], ["++0-"])
    assert (verdict.outcome, verdict.code) == ("no regression", 0)
    assert verdict.reasons == ("2 tests pass on both sides.", "1 test fails on both sides: d.")
    assert (kinds(verdict), verdict.passed, verdict.skipped) == ({"d": "still failing"}, 2, 1)


def test_verdict_newly_failing_in_every_run_is_a_regression() -> None:
    verdict = judged(["+++"] * 3, ["-+!"] * 3)
    assert (verdict.outcome, verdict.code) == ("regression", 1)
    assert verdict.reasons[0] == "2 tests fail in every run of the variant and in none of the baseline: a, c."
    assert kinds(verdict) == {"a": "newly failing", "c": "newly failing"}
    assert verdict.differences[0].baseline == ("passed",) * 3
    assert verdict.differences[0].variant == ("failed",) * 3
    assert verdict.differences[0].detail == "a -"


def test_verdict_of_too_few_runs_waits() -> None:
    baseline, variant = side("++"), side("-+")
    assert undecided(baseline, variant)
    verdict = judge(baseline, variant)
    assert verdict.outcome == "not judged"
    assert verdict.reasons[1] == "That rests on 1 run of a side; 3 are needed before it is called a regression."
    assert not undecided(baseline, variant, reruns=0)
    assert judge(baseline, variant, reruns=0).outcome == "regression"
    assert undecided(side(*["++"] * 3), side("-+", "-+"))
    assert not undecided(side(*["++"] * 3), side(*["-+"] * 3))


@pytest.mark.parametrize(
    ("baseline", "variant"),
    [
        (["+", "+", "+"], ["-", "+", "-"]),  # on one side only
        (["-", "+", "+"], ["-", "-", "-"]),
        (["+", "-", "+"], ["+", "+", "+"]),
        (["+", "!", "0"], ["-", "-", "+"]),
        (["+", "+", "+"], ["-", ".", "-"]),  # it is not even there each time
    ],
)
def test_verdict_whatever_wavers_is_flaky_and_no_regression(baseline: list[str], variant: list[str]) -> None:
    verdict = judged([f"{one}+" for one in baseline], [f"{one}+" for one in variant])
    assert verdict.outcome == "no regression"
    assert kinds(verdict) == {"a": "flaky"}
    assert verdict.reasons[1] == "1 test wavers: it fails in some runs, not in all: a."
    assert [outcome[:1] for outcome in verdict.differences[0].variant] == [
        {"+": "p", "-": "f", "!": "e", "0": "s", ".": ""}[one] for one in variant
    ]


def test_verdict_more_runs_are_asked_for_only_where_they_can_say_more() -> None:
    assert not undecided(side("+-"), side("+-"))
    assert not undecided(side("+", "+"), side("-", "+"))  # it is flaky already
    assert undecided(side("-"), side("+"))  # is it fixed?
    assert undecided(side("+."), side("+!"))
    assert not undecided(side("."), side("!"))  # no test ran: that is judged by nothing
    assert undecided(side(run(code=0)), side(run(code=1)))
    assert undecided(side(run("+-", 1)), side(run(code=139)))  # it tells of no test any more
    assert undecided(side(run("+-", 1)), side(run("+.", 139, partial=True)))
    assert not undecided(side(run(code=1)), side(run(code=2)))
    assert not undecided(side(run(code=0), run(code=0)), side(run(code=1), run(code=0)))
    assert not undecided(side(run()), side("-"))  # a run that was cut off
    assert not undecided(Side("side", failed="no"), side("-"))


def test_verdict_fixed() -> None:
    verdict = judged(["-+"] * 3, ["++"] * 3)
    assert (verdict.outcome, kinds(verdict)) == ("no regression", {"a": "fixed"})
    assert verdict.reasons[1] == "1 test is fixed: a."
    assert verdict.differences[0].detail == "a -"


def test_verdict_a_file_that_cant_be_imported_any_more_is_a_regression() -> None:
    verdict = judged(["+++."] * 3, ["..+!"] * 3)
    assert verdict.outcome == "regression"
    assert verdict.reasons[:2] == (
        "1 test fails in the variant and didn't run in the baseline: d.",
        "2 tests of the baseline don't run in the variant: a, b.",
    )
    assert kinds(verdict) == {"d": "only here", "a": "gone", "b": "gone"}


def test_verdict_only_on_one_side_is_no_regression_while_nothing_fails() -> None:
    verdict = judged(["+0+.+"], ["++.+0"])
    assert verdict.outcome == "no regression"
    assert kinds(verdict) == {"b": "only here", "d": "only here", "c": "gone", "e": "gone"}
    assert verdict.reasons[1:3] == (
        "2 tests of the baseline don't run in the variant: c, e.",
        "2 tests run in the variant only: b, d.",
    )


def test_verdict_a_name_that_comes_and_goes_is_not_told() -> None:
    assert kinds(judged(["++.", "+.+"], ["+..", "+.."])) == {}


def test_verdict_exit_code_that_no_test_explains() -> None:
    codes = [run("++", 0)] * 3, [run("++", 2)] * 3
    verdict = judged(*codes)
    assert (verdict.outcome, verdict.reasons[0]) == (
        "regression",
        "The command ends with 2 in the variant, with 0 in the baseline, though no test tells why.",
    )
    assert judged(codes[0][:1], codes[1][:1]).outcome == "not judged"
    # each run that ends badly has a test that wavers
    assert judged(["++"] * 3, ["-+", "+-", "-+"]).outcome == "no regression"
    assert judged([run("+", 0)] * 3, [run("+", 1), run("+", 0), run("+", 1)]).outcome == "no regression"
    assert judged([run("-", 1)] * 3, [run("-", 2)] * 3).outcome == "no regression"


def test_verdict_empty_sets_of_tests() -> None:
    assert judged([run("", 0)], [run("", 0)]).reasons == ("No test ran in the baseline or in the variant.",)
    assert judged([run("", 0)], ["-"]).outcome == "not judged"
    verdict = judged([run("+", 0)], [run("", 0)])
    assert (verdict.outcome, verdict.reasons[0]) == ("not judged", "No test ran in the variant.")
    verdict = judged([run("+", 0)] * 3, [run("", 5)] * 3)
    assert verdict.reasons[0] == "The command ends with 5 in the variant, with 0 in the baseline, and no test ran."
    assert verdict.outcome == "regression"


def test_verdict_by_exit_codes() -> None:
    for before, after, outcome, reason in (
        ((0, 0, 0), (3, 1, 3), "regression", "The command ends with 3, 1, 3 in the variant, with 0 in the baseline."),
        ((0,), (1,), "not judged", "The command ends with 1 in the variant, with 0 in the baseline."),
        (
            (0,),
            (0,),
            "no regression",
            "The command ends with 0 in the variant, with 0 in the baseline. No tests are told apart.",
        ),
        (
            (1, 1, 1),
            (0, 0, 0),
            "no regression",
            "The command ends with 0 in the variant, with 1 in the baseline. This is fixed. No tests are told apart.",
        ),
        (
            (1,),
            (1,),
            "not judged",
            "The command ends with 1 in the variant, with 1 in the baseline: it fails in both, and no tests are told apart.",
        ),
        (
            (0, 0, 0),
            (1, 0, 1),
            "not judged",
            "The command ends with 1, 0, 1 in the variant, with 0 in the baseline: it isn't the same in every run, and no tests are "
            "told apart.",
        ),
    ):
        verdict = judged([run(code=code) for code in before], [run(code=code) for code in after])
        assert (verdict.outcome, verdict.reasons[0]) == (outcome, reason)


def test_verdict_a_command_that_tells_of_no_test_any_more() -> None:
    verdict = judged([run("+-", 1)] * 3, [run(code=139)] * 3)
    assert verdict.reasons[0] == (
        "The command ends with 139 in the variant, with 1 in the baseline, where it tells of no test any more."
    )
    assert verdict.outcome == "regression"
    assert judged([run("+", 0)], [run(code=0)]).outcome == "not judged"
    assert judged([run(code=1)] * 3, ["+"] * 3).outcome == "no regression"
    verdict = judged(["++"] * 3, ["++", run(code=139), "++"])
    assert (verdict.outcome, verdict.reasons[1]) == ("no regression", "1 run of the variant told of no test.")


def test_verdict_of_reports_that_end_in_the_middle() -> None:
    whole, cut = run("+++", 0), run("+..", 139, partial=True)
    verdict = judged([whole] * 3, [cut] * 3)
    assert (verdict.outcome, verdict.reasons[0]) == (
        "regression",
        "The command ends with 139 in the variant, in the middle of its report of the tests.",
    )
    assert kinds(verdict) == {}  # b and c aren't gone: nothing is known of them
    assert (
        judged([cut] * 3, [whole] * 3).reasons[0] == "The report of the tests isn't whole in any run of the baseline."
    )
    assert judged([cut] * 3, [cut] * 3).outcome == "not judged"
    assert judged([whole] * 3, [whole, cut, whole]).outcome == "no regression"


def test_verdict_leaves_out_runs_that_were_cut_off() -> None:
    cut = run("-", None)._replace(code=None)
    verdict = judged(["+", "+", "+", cut], ["+", cut])
    assert (verdict.outcome, verdict.reasons[-1]) == ("no regression", "2 runs cut off before the end, and left out.")
    assert judged(["+"], [cut]).reasons == ("The variant can't be judged. All its runs were cut off.",)
    assert judged([], ["+"]).reasons == ("The baseline can't be judged. It has no run.",)
    assert judged(["+"] * 3, ["-", "-", cut]).outcome == "not judged"


def test_verdict_of_a_source_that_changed_meanwhile() -> None:
    verdict = judge(side(*["+"] * 3), side(*["-"] * 3), disturbed="The source changed while the trial ran: app.py.")
    assert (verdict.outcome, verdict.code) == ("not judged", 2)
    assert verdict.reasons[0] == "The source changed while the trial ran: app.py."


def test_verdict_of_what_cant_be_tried() -> None:
    works, fails = side("+"), side("-")
    clash = Side("side", failed="flask 3 needs werkzeug 3", stage="lock")
    verdict = judge(works, clash)
    assert (verdict.outcome, verdict.reasons) == (
        "regression",
        ("The variant can't be resolved: flask 3 needs werkzeug 3.",),
    )
    assert judge(Side("baseline"), clash).outcome == "regression"  # nobody ran it, but it could be
    assert judge(works, clash._replace(stage="build")).reasons[0].startswith("The variant can't be built: ")
    assert judge(works, clash._replace(stage="start")).reasons[0].startswith("The variant can't be started: ")
    assert judge(works, clash._replace(outside=True)).outcome == "not judged"
    assert judge(clash, clash).reasons[1] == "The variant can't be tried either."
    assert judge(clash, clash).outcome == "not judged"
    verdict = judge(clash, works)
    assert (verdict.outcome, verdict.reasons[0]) == (
        "no regression",
        "This is fixed: the variant can be tried, and its command succeeds.",
    )
    assert judge(clash, fails).outcome == judge(clash, side()).outcome == "not judged"


def test_verdict_of_tests_that_pass_without_a_name() -> None:
    """As unittest tells them: those that fail by name, the others as a number."""
    baseline = side(*[run("", 0, unnamed=12)] * 3)
    verdict = judge(baseline, side(*[run("-", unnamed=11)] * 3))
    assert (verdict.outcome, kinds(verdict), verdict.passed) == ("regression", {"a": "newly failing"}, 11)
    assert judge(baseline, baseline).passed == 12
    verdict = judge(side(run(".-", unnamed=11)), side(run("-.", unnamed=11)), reruns=0)
    assert (kinds(verdict), verdict.passed) == ({"a": "newly failing", "b": "fixed"}, 10)


def test_verdict_of_a_test_without_a_name_that_may_not_have_run() -> None:
    """A module that can't be imported any more takes its tests with it: the one that failed isn't fixed by that."""
    baseline = side(*[run("-", unnamed=11)] * 3)
    verdict = judge(baseline, side(*[run(".!", unnamed=5)] * 3))
    assert (verdict.outcome, kinds(verdict)) == ("regression", {"a": "gone", "b": "newly failing"})
    assert kinds(judge(baseline, side(*[run("", 0, unnamed=12)] * 3))) == {"a": "fixed"}
    parts = Run(1, 0.0, 1.0, cases=(Case("a (i=1)", "failed"), Case("a (i=2)", "failed")), unnamed=11)
    assert set(kinds(judge(side(run("", 0, unnamed=12)), side(parts))).values()) == {"newly failing"}


def test_verdict_new_warnings_are_those_of_every_run() -> None:
    old, new, odd = (Notice("DeprecationWarning", text) for text in ("old", "new", "odd"))
    baseline = [run("+", notices=(old,)), run("+", notices=(old, odd))]
    verdict = judged(baseline, [run("+", notices=(new, odd)), run("+", notices=(new,))])
    assert (verdict.new, verdict.gone) == ((new,), (old,))
    assert verdict.reasons[-2:] == ("1 warning of the variant is new.", "1 warning of the baseline is gone.")


def timed(seconds: float, cpu: float | None = None, alone: bool = True, outcome: Outcome = "passed") -> Run:
    return Run(0, 0.0, seconds, cpu, (Case("a", outcome, seconds),), alone=alone)


def test_verdict_slower_and_faster_tests_of_runs_that_can_be_compared() -> None:
    quick, slow = [timed(1.0), timed(1.2), timed(1.1)], [timed(1.6), timed(2.0), timed(1.5)]
    verdict = judged(quick, slow)
    assert (verdict.outcome, kinds(verdict)) == ("no regression", {"a": "slower"})
    assert (verdict.differences[0].before, verdict.differences[0].after) == (1.0, 1.5)
    assert kinds(judged(slow, quick)) == {"a": "faster"}
    assert kinds(judged(quick, slow[:2])) == {}
    beside = [run._replace(alone=False) for run in slow]
    assert kinds(judged(quick, beside)) == {}
    assert kinds(judged(quick, [*beside, *slow])) == {"a": "slower"}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ((1.0, 1.1, 1.2), (1.3, 1.4, 1.5), "slower"),
        ((1.0, 1.1, 1.4), (1.3, 1.4, 1.5), None),  # they overlap
        ((1.0, 1.0, 1.0), (1.2, 1.2, 1.2), None),  # a fifth only
        ((0.01, 0.01, 0.01), (0.09, 0.09, 0.09), None),  # nothing anybody waits for
        ((1.3, 1.4, 1.5), (1.0, 1.1, 1.2), "faster"),
        ((0.0, 0.0, 0.0), (0.2, 0.2, 0.2), "slower"),
        ((1.0, 1.0), (9.0, 9.0, 9.0), None),
        ((), (), None),
    ],
)
def test_verdict_times_differ_only_beyond_their_noise(
    before: tuple[float, ...], after: tuple[float, ...], kind: str | None
) -> None:
    assert changed(before, after, TEST) == kind


def test_verdict_noise_alone_is_never_told() -> None:
    chance = random.Random(5)
    told = 0
    for _ in range(2_000):
        before, after = ([1 + chance.expovariate(10) for _ in range(5)] for _ in range(2))
        told += changed(before, after, TEST) is not None
    assert told == 0


def test_verdict_of_the_whole_command_is_by_cpu_time() -> None:
    quick, slow = (
        [timed(1, cpu) for cpu in (10.0, 10.4, 10.2)],
        [timed(1, cpu, alone=False) for cpu in (12.0, 11.5, 13.0)],
    )
    verdict = judged(quick, slow)
    assert (verdict.before, verdict.after) == (10.0, 11.5)
    assert "The command is slower: 11.5 s of CPU time, 10.0 s in the baseline." in verdict.reasons
    assert judged(["+"], ["+"]).before is None
    assert (
        "The command takes about as long: 10.0 s of CPU time, 10.0 s in the baseline." in judged(quick, quick).reasons
    )
    few = judged(quick[:2], slow[:2]).reasons
    assert "Times are compared where there are 3 runs of each side or more: `--timed 3`." in few
    assert not [one for one in judged(slow, slow).reasons if "time" in one.lower()]  # nobody asked
    assert changed((10, 10, 10), (10.4, 10.4, 10.4), COMMAND) is None


def test_verdict_order_of_runs_and_tests_changes_nothing() -> None:
    chance = random.Random(3)
    baseline, variant = ["++-+.", "+--+.", "++-+."], ["-+-0!", "-+-0!", "-+-0!"]
    expected = judged(baseline, variant)
    for _ in range(10):
        shuffled = []
        for runs in (baseline, variant):
            made = [run(tests) for tests in chance.sample(runs, 3)]
            shuffled.append(
                [one._replace(cases=tuple(chance.sample(one.cases or (), len(one.cases or ())))) for one in made]
            )
        verdict = judged(shuffled[0], shuffled[1])
        assert verdict.reasons == expected.reasons
        assert kinds(verdict) == kinds(expected)


def test_verdict_sentences_stay_short() -> None:
    names = tuple(Case(f"test_{number:03}", "failed") for number in range(500))
    good = tuple(case._replace(outcome="passed") for case in names)
    verdict = judged([Run(0, 0.0, 1.0, cases=good)] * 3, [Run(1, 0.0, 1.0, cases=names)] * 3)
    assert verdict.reasons == (
        "500 tests fail in every run of the variant and in none of the baseline: test_000, test_001, test_002 and 497 more.",
    )
