"""Trials → lines for people on stdout: the verdict first, then only what matters."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from devenv.console import clean, colours, paint, table
from devenv.model.trial import Difference, Side, Trial, Verdict
from devenv.trial.gist import gist
from devenv.trial.report import overview, words
from devenv.trial.unloaded import gathered

_STYLES = {"good": "green", "bad": "red", "odd": "yellow", "new": "cyan", "dim": "dim"}
_ROWS = 20
_REASONS = 5
_FAILING = 5
_PACKAGES = 8
_NOTICES = 10


def trial(one: Trial, env: Mapping[str, str]) -> None:
    """All of it. Failures in full, packages and logs are the page's, which `devenv report` makes."""
    one = words.cleaned(one)
    colour = colours(sys.stdout, env)
    found = words.headline(one)
    head = clean(f"{found.sign} {found.word}")
    print(paint(head, _STYLES[found.style], colour) + (found.between + clean(found.title) if found.title else ""))
    match one.kind:
        case "matrix":
            _matrix(one, colour)
        case "bisect":
            _bisect(one, colour)
        case _:
            for side, verdict in zip(one.variants, one.verdicts, strict=False):
                _side(side, verdict, one.id, colour)


def subject(one: Trial) -> str:
    """What was tried, for a list of trials."""
    return words.headline(one).title


def outcome(one: Trial) -> str:
    """What came of it, for a list of trials."""
    found = words.headline(one)
    return f"{found.sign} {found.word}"


def _side(side: Side, verdict: Verdict, trial: str, colour: bool) -> None:
    if told := words.sentence(verdict):
        print(f"  {told}")
    for reason in verdict.reasons[:_REASONS]:
        print(f"  {paint('·', 'dim', colour)} {clean(reason)}")
    if side.failed:
        print(f"\n{clean(words.title(side))} {words.STAGES.get(side.stage, 'has no run')}:")
        print("\n".join(f"  {line}" for line in side.failed.split("\n")))
    _tests(words.ordered(verdict.differences), trial, colour)
    _packages(side, colour)
    _notices(verdict, colour)


def _tests(found: Sequence[Difference], trial: str, colour: bool) -> None:
    """Those that differ; those that failed before and do still are only counted."""
    shown = [(one.test, words.named(one)) for one in gathered(found) if one.test.kind != "still failing"]
    if not shown:
        return
    rows = [
        (f"{words.SIGNS[one.kind]} {one.kind}", name, _outcomes(one.baseline), _outcomes(one.variant), _why(one))
        for one, name in shown[:_ROWS]
    ]
    print()
    table(("", "TEST", "BEFORE", "AFTER", ""), rows, sys.stdout, colour=colour, shrink=(4, 1))
    _more(len(shown) - _ROWS, trial)


def _outcomes(found: Iterable[str]) -> str:
    return "".join(words.ENDINGS[one][0] for one in found)


def _why(one: Difference) -> str:
    if one.kind in ("slower", "faster"):
        return f"{words.duration(one.before)} → {words.duration(one.after)} {words.ratio(one.before, one.after)}"
    return gist(one.detail)


def _packages(side: Side, colour: bool) -> None:
    """Those asked for, and of those that came with them the first."""
    found = [one for _, group in words.groups(side.moved) for one in group]
    if not found:
        return
    rows = [
        (one.group, one.name, one.before or "–", "→", one.after or "–", "asked for" if one.direct else "")
        for one in found[:_PACKAGES]
    ]
    print()
    table(("", "PACKAGE", "BEFORE", "", "AFTER", ""), rows, sys.stdout, colour=colour, shrink=(1,))
    _more(len(found) - _PACKAGES)


def _notices(verdict: Verdict, colour: bool) -> None:
    if verdict.new:
        print()
        rows = [(one.category, one.text) for one in verdict.new[:_NOTICES]]
        table(("NEW WARNING", ""), rows, sys.stdout, colour=colour, shrink=(1,))
        _more(len(verdict.new) - _NOTICES)


def _more(count: int, trial: str = "") -> None:
    """How many there would be besides; of tests, where they are."""
    if count > 0:
        where = f", see devenv report {clean(trial)} --html FILE" if trial else ""
        print(f"… and {count} more{where}")


def _matrix(one: Trial, colour: bool) -> None:
    found = overview.grid(one)
    corner = f"{clean(found.rows_about)} ↓ {clean(found.columns_about)} →" if found.columns else "VARIANT"
    header = (corner, *(map(clean, found.columns) if found.columns else ("VERDICT",)))
    rows = [(row.name, *(_cell(cell) for cell in row.cells)) for row in found.rows]
    print()
    table(header, rows, sys.stdout, colour=colour, shrink=(0,))
    for side, verdict in zip(one.variants, one.verdicts, strict=False):
        if verdict.outcome != "no regression":
            _brief(side, verdict, one.id, colour)


def _brief(side: Side, verdict: Verdict, trial: str, colour: bool) -> None:
    """One variant among many: why it is no good, in a few lines."""
    sign, style = words.OUTCOMES[verdict.outcome]
    print(f"\n{paint(f'{sign} {clean(words.title(side))}', _STYLES[style], colour)}")
    failing = gathered(one for one in words.ordered(verdict.differences) if words.breaks(one))
    if failing:
        rows = [(f"  {words.named(one)}", gist(one.test.detail)) for one in failing[:_FAILING]]
        table((), rows, sys.stdout, shrink=(1, 0))
        _more(len(failing) - _FAILING, trial)
    for line in side.failed.split("\n") if side.failed else verdict.reasons[: 0 if failing else _REASONS]:
        print(f"  {clean(line)}")


def _cell(cell: overview.Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.sign} {cell.told or cell.word}".strip()


def _bisect(one: Trial, colour: bool) -> None:
    print()
    rows = [(f"{step.number}", step.name, f"{step.sign} {step.answer}", step.guilty) for step in overview.steps(one)]
    table(("", "TRIED", "", ""), rows, sys.stdout, colour=colour, shrink=(1,))
    if found := overview.culprit(one):
        print(f"\n{paint(clean(words.title(found[0])), 'bold', colour)}")
        _side(*found, one.id, colour)
