"""The runs of both sides → each test that isn't the same on both, or fails on both. Pure.

Nothing is said of a test by one run of it: it fails on a side when it does in every run there, and it is flaky when some of
them say otherwise. A test whose file can't be loaded in a run fails there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from devenv.model.trial import Case, Difference, Kind, Outcome, Run

from .timing import TEST, changed
from .unloaded import BAD as BAD
from .unloaded import completed

State = Literal["fails", "wavers", "passes", "skipped", "absent", "unknown"]
Outcomes = tuple[Outcome | Literal[""], ...]
Cases = tuple[Mapping[str, Case], ...]

_KINDS: dict[tuple[State, State], Kind] = {
    ("passes", "fails"): "newly failing",
    ("skipped", "fails"): "only here",
    ("absent", "fails"): "only here",
    ("fails", "passes"): "fixed",
    ("fails", "fails"): "still failing",
    ("skipped", "passes"): "only here",
    ("absent", "passes"): "only here",
    ("passes", "skipped"): "gone",
    ("passes", "absent"): "gone",
    ("fails", "skipped"): "gone",
    ("fails", "absent"): "gone",
}
_ORDER: tuple[Kind, ...] = ("newly failing", "only here", "flaky", "fixed", "still failing", "gone", "slower", "faster")


class Compared(NamedTuple):
    """`differences`, the weightiest first. `passed`: tests that pass on both sides; `skipped`: skipped on one, and failing on none."""

    differences: tuple[Difference, ...]
    passed: int
    skipped: int


def compared(baseline: Sequence[Run], variant: Sequence[Run]) -> Compared:
    """Whatever whole runs of both sides say of single tests; runs that say nothing of any are left out."""
    before, after = (tuple(run for run in runs if run.cases is not None) for runs in (baseline, variant))
    whole, within = completed((*_told(before), *_told(after)))
    told, now = whole[: len(before)], whole[len(before) :]
    ran = _number(before), _number(after)
    names = sorted({name for cases in (*told, *now) for name in cases})
    differences: list[Difference] = []
    passed = skipped = 0
    for name in names:
        old, new = _outcomes(name, before, told, ran[0] >= ran[1]), _outcomes(name, after, now, ran[1] >= ran[0])
        states = state(old), state(new)
        passed += states == ("passes", "passes")
        idle = name in within and "skipped" in states  # it never did anything else
        skipped += idle or ("skipped" in states and not {"fails", "wavers"} & set(states))
        if idle:
            continue
        if kind := _kind(states, old, new):
            detail, inside = _detail(name, (*now, *told)), within.get(name, "")
            differences.append(Difference(name, kind, old, new, detail=detail, within=inside))
        elif states == ("passes", "passes"):
            times = tuple(_seconds(name, before, told)), tuple(_seconds(name, after, now))
            differences += _timed(Difference(name, "slower", old, new), *times)
    passed += min(_unnamed(names, before, told), _unnamed(names, after, now))
    return Compared(tuple(sorted(differences, key=_weight)), passed, skipped)


def state(outcomes: Outcomes) -> State:
    """What all runs of a side say together."""
    bad = [outcome in BAD for outcome in outcomes]
    if not bad:
        return "unknown"
    if any(bad):
        return "fails" if all(bad) else "wavers"
    return "passes" if "passed" in outcomes else "skipped" if "skipped" in outcomes else "absent"


def fails(difference: Difference) -> bool:
    """Whether it fails in every run of the variant."""
    return state(difference.variant) == "fails"


def _kind(states: tuple[State, State], old: Outcomes, new: Outcomes) -> Kind | None:
    if "wavers" in states:
        return "flaky"
    kind = _KINDS.get(states)
    # A name that comes and goes from run to run (it holds a random value) is no test that the other side lacks.
    if "absent" in states and "passes" in states and "" in (old if states[1] == "absent" else new):
        return None
    return kind


def _told(runs: Sequence[Run]) -> Cases:
    return tuple({case.name: case for case in run.cases or ()} for run in runs)


def _number(runs: Sequence[Run]) -> int:
    """How many tests ran, those without a name too; the parts of one (`test_sum (i=1)`) are one."""
    return max(
        (run.unnamed + len({case.name.partition(" ")[0] for case in run.cases or ()}) for run in runs), default=0
    )


def _outcomes(name: str, runs: Sequence[Run], told: Cases, all_ran: bool) -> Outcomes:
    """In each run. Where tests pass without being named this one did so too, if no fewer ran than on the other side (`all_ran`);
    of a partial run nothing is known.
    """
    found: list[Outcome | Literal[""]] = []
    for run, cases in zip(runs, told, strict=True):
        if name in cases:
            found.append(cases[name].outcome)
        elif not run.partial:
            found.append("passed" if run.unnamed and all_ran else "")
    return tuple(found)


def _unnamed(names: Sequence[str], runs: Sequence[Run], told: Cases) -> int:
    """How many tests pass on a side that neither side ever named."""
    sides = zip(runs, told, strict=True)
    return min((max(0, run.unnamed - sum(name not in cases for name in names)) for run, cases in sides), default=0)


def _detail(name: str, told: Cases) -> str:
    """Why it fails: what the first run says that has something to say."""
    return next((_why(cases[name]) for cases in told if name in cases and _why(cases[name])), "")


def _why(case: Case) -> str:
    return case.detail if case.outcome in BAD else ""


def _seconds(name: str, runs: Sequence[Run], told: Cases) -> Iterator[float]:
    """How long it took in runs that can be compared."""
    for run, cases in zip(runs, told, strict=True):
        if run.alone and name in cases and cases[name].outcome == "passed":
            yield cases[name].seconds


def _timed(difference: Difference, before: Sequence[float], after: Sequence[float]) -> Iterator[Difference]:
    """The difference, where its times are one."""
    if kind := changed(before, after, TEST):
        yield difference._replace(kind=kind, before=min(before), after=min(after))


def _weight(difference: Difference) -> tuple[int, bool, str]:
    kind = difference.kind
    light = kind == "only here" and not fails(difference)
    return (_ORDER.index("gone") if light else _ORDER.index(kind), light, difference.name)
