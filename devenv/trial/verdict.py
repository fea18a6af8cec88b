"""The runs of a baseline and of a variant → whether the variant is a regression, and why that is said. Pure.

It is a regression when something fails in every run of the variant that doesn't in any run of the baseline, each side having
run once and as many times again as asked for: one run alone proves nothing, as tests that waver are everywhere (Q. Luo et al.,
"An Empirical Analysis of Flaky Tests", FSE 2014). Slower tests and new warnings are told, and make none.

A variant that can't be resolved, built or started where the baseline can is a regression too: "does this upgrade work" has the
answer no, and nobody is helped by "can't be judged". That is said only where its changes are to blame: a mirror that doesn't
answer says nothing of them (`Side.outside`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from devenv.changes import shortened
from devenv.model.trial import Difference, Kind, Notice, Run, Side, Verdict

from .compared import BAD, Compared, compared, fails
from .gist import gist
from .timing import COMMAND, RUNS, changed
from .unloaded import Gathered, gathered

RERUNS = 2
"""How many times both sides run again before anything is called a regression."""

_NTH = r"(?: \(\d{1,9}\))?$"  # of several calls
_PYTHON = re.compile(rf"\.py(?:::|{_NTH})")
_FILE = re.compile(rf"\.(?:py|[cm]?[jt]sx?|vue|svelte|php|rb){_NTH}")

_STAGES = {"": "tried", "lock": "resolved", "build": "built", "start": "started"}


class _Both(NamedTuple):
    """Both sides' whole runs, and what came of their tests. `needed`: runs of each that a regression rests on."""

    baseline: tuple[Run, ...]
    variant: tuple[Run, ...]
    tests: Compared
    needed: int

    @property
    def enough(self) -> bool:
        return min(len(self.baseline), len(self.variant)) >= self.needed

    def of(self, *kinds: Kind) -> tuple[Difference, ...]:
        return tuple(one for one in self.tests.differences if one.kind in kinds)


class _Findings(NamedTuple):
    """Sentences: what makes it a regression, what keeps it from being judged, and what else is worth saying."""

    regressions: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def undecided(baseline: Side, variant: Side, reruns: int = RERUNS) -> bool:
    """Whether both must run once more before anything is said: they differ, and haven't run `reruns` times again yet."""
    if baseline.failed or variant.failed or min(len(baseline.runs), len(variant.runs)) > reruns:
        return False
    both = _both(baseline, variant, reruns=0)  # as if one run were enough
    return bool(_findings(baseline, variant, both).regressions or both.of("fixed"))


def judge(baseline: Side, variant: Side, reruns: int = RERUNS, disturbed: str = "") -> Verdict:
    """The verdict. `disturbed`: a sentence that says why the runs can't be compared, such as that the source changed meanwhile."""
    both = _both(baseline, variant, reruns)
    findings = _findings(baseline, variant, both)
    before, after = (_cpu(runs) for runs in (both.baseline, both.variant))
    new, gone = _notices(both)
    remarks = (*findings.remarks, *_timed(both, before, after), *_noticed(new, gone))
    outcome: Literal["no regression", "regression", "not judged"]
    if disturbed:
        outcome, reasons = "not judged", (disturbed, *findings.regressions, *findings.doubts)
    elif findings.regressions:
        outcome, reasons = "regression", (*findings.regressions, *findings.doubts)
    else:
        outcome, reasons = ("not judged" if findings.doubts else "no regression"), findings.doubts
    return Verdict(
        outcome,
        (*reasons, *remarks),
        both.tests.differences,
        both.tests.passed,
        both.tests.skipped,
        new,
        gone,
        min(before, default=None),
        min(after, default=None),
    )


def _both(baseline: Side, variant: Side, reruns: int) -> _Both:
    """Runs that were cut off say nothing that could be relied on."""
    before, after = (tuple(run for run in side.runs if run.code is not None) for side in (baseline, variant))
    return _Both(before, after, compared(before, after), reruns + 1)


def _findings(baseline: Side, variant: Side, both: _Both) -> _Findings:
    """By whichever can be compared: that they can be tried at all, their tests, their exit codes."""
    if baseline.failed:
        return _without_baseline(baseline, variant, both)
    if variant.failed:
        told = f"The variant can't be {_STAGES[variant.stage]}: {_sentence(variant.failed)}"
        return _Findings(doubts=(told,)) if variant.outside else _Findings((told,))
    for name, side, whole in (("baseline", baseline, both.baseline), ("variant", variant, both.variant)):
        if not whole:
            why = "All its runs were cut off." if side.runs else "It has no run."
            return _Findings(doubts=(f"The {name} can't be judged. {why}",))
    found = _by_tests(both) if all(map(_tells, (both.baseline, both.variant))) else _by_exit(both)
    cut = len(baseline.runs) + len(variant.runs) - len(both.baseline) - len(both.variant)
    left = (f"{_counted(cut, 'run')} cut off before the end, and left out.",) if cut else ()
    return found._replace(remarks=(*found.remarks, *left))


def _without_baseline(baseline: Side, variant: Side, both: _Both) -> _Findings:
    told = f"The baseline can't be {_STAGES[baseline.stage]}: {_sentence(baseline.failed)}"
    if variant.failed or not both.variant:
        return _Findings(
            doubts=(told, "The variant can't be tried either." if variant.failed else "The variant has no run.")
        )
    if _ends_well(both.variant):
        return _Findings(remarks=("This is fixed: the variant can be tried, and its command succeeds.", told))
    return _Findings(
        doubts=(told, f"The variant's command ends with {_codes(both.variant)}: there is nothing to compare that with.")
    )


def _by_tests(both: _Both) -> _Findings:
    """Test by test, and by the exit code where no test tells why it isn't the same."""
    empty = [
        name for name, runs in (("baseline", both.baseline), ("variant", both.variant)) if not any(map(_ran, runs))
    ]
    if "baseline" in empty:
        return _Findings(doubts=(f"No test ran in the {' or in the '.join(empty)}.",))
    remarks, passed = tuple(_remarks(both)), tuple(_passed(both))
    if found := tuple(_failing(both)) or tuple(_unexplained(both)):
        return _weighed(found, both, (*remarks, *passed))
    doubts = [f"No test ran in the {name}." for name in empty]
    for name, runs in (("baseline", both.baseline), ("variant", both.variant)):
        doubts += [f"The report of the tests isn't whole in any run of the {name}."] if _broken(runs) else []
    return _Findings(doubts=tuple(doubts), remarks=(*passed, *remarks))


def _by_exit(both: _Both) -> _Findings:
    """By the exit codes of the whole command."""
    before, after = _ends_well(both.baseline), _ends_well(both.variant)
    told, tells = _tells(both.baseline), _tells(both.variant)
    codes = f"The command ends with {_codes(both.variant)} in the variant, with {_codes(both.baseline)} in the baseline"
    if before is None or after is None:
        return _Findings(doubts=(f"{codes}: it isn't the same in every run, and no tests are told apart.",))
    if told and not tells:
        if after:
            return _Findings(doubts=("The command tells of tests in the baseline only.",))
        return _weighed((f"{codes}, where it tells of no test any more.",), both)
    if before and not after:
        return _weighed((f"{codes}.",), both)
    if after:
        fixed = "" if before else " This is fixed."
        return _Findings(remarks=(f"{codes}.{fixed} No tests are told apart.",))
    return _Findings(doubts=(f"{codes}: it fails in both, and no tests are told apart.",))


def _weighed(found: tuple[str, ...], both: _Both, remarks: tuple[str, ...] = ()) -> _Findings:
    """Regressions, if the runs are enough to say so."""
    if both.enough or not found:
        return _Findings(found, remarks=remarks)
    runs = min(len(both.baseline), len(both.variant))
    few = f"That rests on {_counted(runs, 'run')} of a side; {both.needed} are needed before it is called a regression."
    return _Findings(doubts=(*found, few), remarks=remarks)


def _failing(both: _Both) -> Iterator[str]:
    """What makes it a regression, by tests."""
    newly = gathered(both.of("newly failing"))
    if lost := [one for one in newly if one.inside]:
        told = _loading(lost, "can't be {} any more", why=True)
        yield f"{told}: {_inside(lost)} with {_them(lost)}."
    if single := [one for one in newly if not one.inside]:
        yield f"{_verb(single, 'fails', 'fail')} in every run of the variant and in none of the baseline: {_names(single)}."
    if here := gathered(one for one in both.of("only here") if fails(one)):
        yield f"{_verb(here, 'fails', 'fail')} in the variant and didn't run in the baseline: {_names(here)}."


def _remarks(both: _Both) -> Iterator[str]:
    """What else came of the tests."""
    told: tuple[tuple[Kind, str, str], ...] = (
        ("flaky", "wavers: it fails in some runs, not in all", "waver: they fail in some runs, not in all"),
        ("fixed", "is fixed", "are fixed"),
        ("still failing", "fails on both sides", "fail on both sides"),
        ("gone", "of the baseline doesn't run in the variant", "of the baseline don't run in the variant"),
        ("slower", "is slower", "are slower"),
        ("faster", "is faster", "are faster"),
    )
    for kind, one, several in told:
        found = gathered(both.of(kind))
        if kind == "fixed" and (back := [one for one in found if one.inside]):
            yield f"{_loading(back, 'can be {} now')}: {_inside(back, 'is fixed', 'are fixed')} with {_them(back)}."
            found = [one for one in found if not one.inside]
        if found:
            yield f"{_verb(found, one, several)}: {_names(found)}."
    if fresh := gathered(one for one in both.of("only here") if not fails(one)):
        yield f"{_verb(fresh, 'runs', 'run')} in the variant only: {_names(fresh)}."
    for name, runs in (("baseline", both.baseline), ("variant", both.variant)):
        if mute := sum(run.cases is None for run in runs):
            yield f"{_counted(mute, 'run')} of the {name} told of no test."


def _passed(both: _Both) -> Iterator[str]:
    if passed := both.tests.passed:
        yield f"{_counted(passed, 'test')} {'passes' if passed == 1 else 'pass'} on both sides."


def _unexplained(both: _Both) -> Iterator[str]:
    """What makes it a regression though no test tells of it. A run that ends badly with a test that wavers is explained by that."""
    if _broken(both.variant) and not any(run.partial for run in both.baseline):
        yield f"The command ends with {_codes(both.variant)} in the variant, in the middle of its report of the tests."
    elif _ends_well(both.baseline) and _ends_well(both.variant) is False and not all(map(_fails, both.variant)):
        why = "though no test tells why" if any(map(_ran, both.variant)) else "and no test ran"
        yield f"The command ends with {_codes(both.variant)} in the variant, with 0 in the baseline, {why}."


def _broken(runs: Sequence[Run]) -> bool:
    return all(run.partial for run in runs)


def _fails(run: Run) -> bool:
    return any(case.outcome in BAD for case in run.cases or ())


def _tells(runs: Sequence[Run]) -> bool:
    return any(run.cases is not None for run in runs)


def _ran(run: Run) -> bool:
    return bool(run.cases or run.unnamed)


def _ends_well(runs: Sequence[Run]) -> bool | None:
    """Whether every run ends with 0; None where only some do."""
    well = {run.code == 0 for run in runs}
    return well.pop() if len(well) == 1 else None


def _codes(runs: Sequence[Run]) -> str:
    """`1`, or `0, 1, 0` where it isn't the same each time."""
    codes = [str(run.code) for run in runs]
    return ", ".join(codes) if len(set(codes)) > 1 else codes[0]


def _cpu(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(run.cpu for run in runs if run.cpu is not None)


def _timed(both: _Both, before: Sequence[float], after: Sequence[float]) -> Iterator[str]:
    kind = changed(before, after, COMMAND)
    asked = any(run.alone for run in (*both.baseline, *both.variant))
    if min(len(before), len(after)) < RUNS:
        if asked:
            yield f"Times are compared where there are {RUNS} runs of each side or more: `--timed {RUNS}`."
    elif kind or asked:
        how = f"is {kind}" if kind else "takes about as long"
        yield f"The command {how}: {min(after):.1f} s of CPU time, {min(before):.1f} s in the baseline."


def _notices(both: _Both) -> tuple[tuple[Notice, ...], tuple[Notice, ...]]:
    """Warnings that every run of one side gives and no run of the other: (new, gone)."""
    old, new = ([frozenset(run.notices) for run in runs] for runs in (both.baseline, both.variant))
    if not old or not new:
        return (), ()
    return _only(new, old), _only(old, new)


def _only(these: Sequence[frozenset[Notice]], others: Sequence[frozenset[Notice]]) -> tuple[Notice, ...]:
    return tuple(sorted(frozenset.intersection(*these).difference(*others)))


def _noticed(new: Sequence[Notice], gone: Sequence[Notice]) -> Iterator[str]:
    if new:
        yield f"{_counted(len(new), 'warning')} of the variant {'is' if len(new) == 1 else 'are'} new."
    if gone:
        yield f"{_counted(len(gone), 'warning')} of the baseline {'is' if len(gone) == 1 else 'are'} gone."


def _verb(found: Sequence[Gathered], one: str, several: str) -> str:
    number = sum(each.inside or 1 for each in found)
    return f"{_counted(number, 'test')} {one if number == 1 else several}"


def _names(found: Sequence[Gathered]) -> str:
    return shortened([f"all of {one.test.name}" if one.inside else one.test.name for one in found])


def _loading(found: Sequence[Gathered], can: str, *, why: bool = False) -> str:
    """`a.py can't be imported any more (ImportError: …)`, `3 files can't be imported any more: a.py (ImportError: …), …`."""
    python = all(_PYTHON.search(one.test.name) for one in found)
    can = can.format("imported" if python else "loaded")
    reasons = [f" ({cause})" if why and (cause := gist(one.test.detail)) else "" for one in found]
    if len(found) == 1:
        return f"{found[0].test.name} {can}{reasons[0]}"
    told = shortened([f"{one.test.name}{reason}" for one, reason in zip(found, reasons, strict=True)])
    what = "files" if all(_FILE.search(one.test.name) for one in found) else "suites"
    return f"{len(found)} {what} {can}: {told}"


def _inside(found: Sequence[Gathered], one: str = "fails", several: str = "fail") -> str:
    number = sum(each.inside for each in found)
    if number == 1:  # there may be others in it that always failed, or were skipped
        return f"one test {one}"
    return f"{'its' if len(found) == 1 else 'their'} {number} tests {several}"


def _them(found: Sequence[Gathered]) -> str:
    return "it" if len(found) == 1 else "them"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _sentence(text: str) -> str:
    text = text.strip().partition("\n")[0]
    return text if text.endswith((".", "!", "?")) else f"{text}."
