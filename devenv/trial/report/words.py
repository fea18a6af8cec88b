"""A trial → the words that all its forms share: what was changed, what came of it, which tests are told first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from devenv import changes
from devenv.clean import clean_lines
from devenv.model.plan import Change
from devenv.model.trial import Case, Difference, Kind, Moved, Outcome, Run, Side, Trial, Verdict
from devenv.trial.compared import fails
from devenv.trial.unloaded import Gathered, gathered

SIGNS: dict[Kind, str] = {
    "newly failing": "✗",
    "gone": "−",
    "flaky": "≈",
    "slower": "▲",
    "only here": "+",
    "fixed": "✓",
    "faster": "▼",
    "still failing": "=",
}
"""Each kind of difference with its sign, those that matter most first."""

STYLES: dict[Kind, str] = {
    "newly failing": "bad",
    "gone": "odd",
    "flaky": "odd",
    "slower": "odd",
    "only here": "new",
    "fixed": "good",
    "faster": "good",
    "still failing": "dim",
}

OUTCOMES: dict[str, tuple[str, str]] = {
    "no regression": ("✓", "good"),
    "regression": ("✗", "bad"),
    "not judged": ("?", "odd"),
}
"""What a verdict says → its sign and style."""

ENDINGS: dict[str, tuple[str, str]] = {
    "passed": ("✓", "good"),
    "failed": ("✗", "bad"),
    "error": ("!", "bad"),
    "skipped": ("–", "dim"),
    "": ("·", "dim"),
}
"""What became of a test in one run → its sign and style."""

ANSWERS: dict[str, tuple[str, str]] = {"good": ("✓", "good"), "bad": ("✗", "bad"), "skip": ("–", "dim")}
"""What a bisect was told of a version → its sign and style."""

STAGES = {"lock": "could not be resolved", "build": "could not be built", "start": "did not start"}
"""Where a side failed → the words for it."""

_ORDER = list(SIGNS)
T = TypeVar("T")


class Headline(NamedTuple):
    """The whole trial in a word and a title: `Regression`, `django 5.2 → 6.0`. `outcome` is one of OUTCOMES."""

    outcome: str
    word: str
    title: str

    @property
    def sign(self) -> str:
        return OUTCOMES[self.outcome][0]

    @property
    def style(self) -> str:
        return OUTCOMES[self.outcome][1]

    @property
    def between(self) -> str:
        """What stands between word and title on one line."""
        return " · " if ":" in self.word else ": "


def cleaned(value: T) -> T:
    """A trial, or any part of it, every text of which is safe to be shown."""
    return _cleaned(value)  # type: ignore[no-any-return]


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_lines(value)
    if isinstance(value, tuple):
        parts = map(_cleaned, value)
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    return value


def headline(trial: Trial) -> Headline:
    """What is told first."""
    outcome = ("no regression", "regression", "not judged")[trial.code]
    match trial.kind:
        case "bisect":
            return _found(trial)
        case "matrix":
            count = sum(verdict.outcome == outcome for verdict in trial.verdicts)
            of = f"{outcome.capitalize()} in {count} of {len(trial.variants)} variants"
            whole = count == len(trial.variants) and outcome == "no regression"
            return Headline(outcome, f"No regression in any of {count} variants" if whole else of, axes_told(trial))
        case _:
            return Headline(outcome, outcome.capitalize(), ", ".join(map(title, trial.variants)))


def _found(trial: Trial) -> Headline:
    name = subject(trial)
    title = f"{plural(len(trial.candidates), 'version')} of {name}" if name else _combinations(trial)
    if not trial.guilty:
        return Headline("not judged", "Nothing was found guilty", title)
    return Headline("regression", _first_bad(trial.guilty) if name else _together(trial.guilty), title)


def _first_bad(suspects: tuple[str, ...]) -> str:
    first, last = suspects[0], suspects[-1].partition("=")[2]
    if len(suspects) == 1:
        return f"First bad version: {first}"
    return f"First bad version: one of {len(suspects)}, from {first} to {last}"


def _together(guilty: tuple[str, ...]) -> str:
    return f"Guilty{' together' if len(guilty) > 1 else ''}: {', '.join(guilty)}"


def _combinations(trial: Trial) -> str:
    return f"{plural(len(trial.tried), 'combination')} of {plural(len(trial.candidates), 'change')}"


def by_version(trial: Trial) -> bool:
    """Whether a bisect was over versions. One among changes asks for several of them at once."""
    return bool(trial.candidates) and all(what in trial.candidates for what, _ in trial.tried)


def subject(trial: Trial) -> str:
    """What a bisect over versions is about, "" for one among changes."""
    if not by_version(trial):
        return ""
    if trial.guilty:
        return trial.guilty[0].partition("=")[0]
    return axes_told(trial) or "what was changed"


def axes_told(trial: Trial) -> str:
    """`django × python`: what differs among the variants of a matrix."""
    return " × ".join(dict.fromkeys(change.name for side in trial.variants for change in side.changes))


def title(side: Side) -> str:
    """What was changed: `django 5.2 → 6.0`."""
    return ", ".join(map(changed, side.changes)) or side.name


def changed(change: Change) -> str:
    """One change in words; a secret isn't told."""
    before, after = (changes.shown(change.name, value) for value in (change.before, change.after))
    if before == after:
        return f"{change.name} {after}"
    return f"{change.name} {before} → {after or 'none'}" if before else f"{change.name} {after}"


def breaks(one: Difference) -> bool:
    """Whether this is what makes a regression: it fails in every run of the variant, and the baseline never saw it fail."""
    return one.kind == "newly failing" or (one.kind == "only here" and fails(one))


def style(one: Difference) -> str:
    return STYLES["newly failing"] if breaks(one) else STYLES[one.kind]


def ordered(found: Iterable[Difference]) -> list[Difference]:
    """Those that matter most first; slower and faster ones by how much, all others by name."""

    def key(one: Difference) -> tuple[bool, int, float, str]:
        timed = one.kind in ("slower", "faster")
        weight = -abs((one.after or 0) - (one.before or 0)) if timed else 0.0
        return not breaks(one), _ORDER.index(one.kind), weight, one.name

    return sorted(found, key=key)


def named(one: Gathered) -> str:
    """`tests/test_cart.py (12 tests)` where a file stands for its tests."""
    return f"{one.test.name} ({plural(one.inside, 'test')})" if one.inside else one.test.name


def counts(verdict: Verdict) -> list[tuple[Kind, int]]:
    """How many tests of each kind there are, those that matter most first; no kind that none is of. A file that holds some is none."""
    found: Counter[Kind] = Counter()
    for one in gathered(verdict.differences):
        found[one.test.kind] += one.inside or 1
    return [(kind, found[kind]) for kind in SIGNS if found[kind]]


def sentence(verdict: Verdict) -> str:
    """`3 newly failing, 2 flaky; 412 passed on both sides, 5 skipped`. "" where nothing is known of single tests."""
    rest = [f"{verdict.passed} passed on both sides"] if verdict.passed else []
    rest += [f"{verdict.skipped} skipped"] if verdict.skipped else []
    parts = (", ".join(f"{count} {kind}" for kind, count in counts(verdict)), ", ".join(rest))
    return "; ".join(filter(None, parts))


def groups(moved: Iterable[Moved]) -> list[tuple[str, list[Moved]]]:
    """Packages by what they belong to; in each, those asked for by name first. Groups with such come first, too."""
    found: dict[str, list[Moved]] = {}
    for one in sorted(moved, key=lambda one: (not one.direct, one.name, one.before)):
        found.setdefault(one.group, []).append(one)
    return sorted(found.items(), key=lambda item: (not item[1][0].direct, item[0]))


def moved_told(moved: Iterable[Moved]) -> str:
    """`1 package asked for, 3 that came with it`."""
    found = list(moved)
    direct = sum(one.direct for one in found)
    parts = [f"{direct} asked for"] if direct else []
    parts += [f"{len(found) - direct} more"] if direct and len(found) > direct else []
    return f"{plural(len(found), 'package')}" + (f" ({', '.join(parts)})" if parts else "")


def ended(side: Side) -> list[Run]:
    """The runs that nobody cut off."""
    return [run for run in side.runs if run.code is not None]


def comparable(side: Side) -> list[Run]:
    """The runs whose wall times say the most: those that nothing of the trial ran beside, else all that ended."""
    found = ended(side)
    return [run for run in found if run.alone] or found


def least(runs: Iterable[Run], of: Callable[[Case], bool] = lambda _: True) -> dict[str, float]:
    """Test → the least seconds it took in these runs."""
    found: dict[str, float] = {}
    for run in runs:
        for case in filter(of, run.cases or ()):
            found[case.name] = min(case.seconds, found.get(case.name, case.seconds))
    return found


def ending(run: Run) -> str:
    """How a run ended."""
    return "was ended" if run.code is None else f"exit code {run.code}"


def tally(run: Run) -> str:
    """`412 passed, 3 failed` of one run, "" where it said nothing of single tests."""
    found: Counter[Outcome] = Counter(case.outcome for case in run.cases or ())
    found["passed"] += run.unnamed
    words: tuple[tuple[Outcome, str], ...] = (
        ("failed", "failed"),
        ("error", "with errors"),
        ("passed", "passed"),
        ("skipped", "skipped"),
    )
    parts = [f"{found[outcome]} {word}" for outcome, word in words if found[outcome]]
    return ", ".join([*parts, *(["its report isn't whole"] if run.partial else [])])


def duration(value: float | None) -> str:
    """`3.2 ms`, `840 ms`, `4.1 s`, `2 min 05 s`; "" for None."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value * 1000:.1f} ms" if 0 < value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{round(value) // 60} min {round(value) % 60:02d} s"


def ratio(before: float | None, after: float | None) -> str:
    """`×1.84`: what a time has become; "" where one isn't known."""
    if not before or after is None:
        return ""
    value = after / before
    return f"×{value:.0f}" if value >= 10 else f"×{value:.2f}"


def moment(value: float) -> str:
    """`30 Nov 2026, 11:15 UTC`."""
    return datetime.fromtimestamp(value, UTC).strftime("%-d %b %Y, %H:%M UTC")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
