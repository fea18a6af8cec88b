"""A trial of many variants → what is seen first: a matrix's grid, a bisect's line of versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from devenv.model.trial import Side, Trial, Verdict

from .words import ANSWERS, OUTCOMES, STAGES, by_version, counts, title

_COLUMNS = 6
_SPARSE = 3
"""A grid has at most this many times as many cells as there are variants."""
_DEEP = 3
"""Axes that may go down: what differs in more is no grid but a list of variants."""
_ABSENT = "–"


class Cell(NamedTuple):
    """A variant; `anchor` is where its section begins."""

    anchor: str
    sign: str
    style: str
    word: str
    told: str


class Row(NamedTuple):
    name: str
    cells: tuple[Cell | None, ...]


class Grid(NamedTuple):
    """`rows_about`, `columns_about`: what of the manifest the values are of. Without columns: a list of variants."""

    rows_about: str
    columns_about: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


class Step(NamedTuple):
    """What a bisect looked at, as the `number`th; or versions in a row that it didn't need to: `unneeded` of them.

    `guilty` says so: `first bad`, `suspect` (nobody could tell it from the first bad one), `guilty`; "" otherwise.
    """

    name: str
    number: int
    answer: str
    sign: str
    style: str
    anchor: str
    guilty: str = ""
    unneeded: int = 0


def grid(trial: Trial) -> Grid:
    """Two axes and more: the last short one across, all others down. What makes no grid is a list."""
    cells = [_cell(n, *pair) for n, pair in enumerate(zip(trial.variants, trial.verdicts, strict=False), 1)]
    names = list(dict.fromkeys(change.name for side in trial.variants for change in side.changes))
    untouched = {change.name: change.before or _ABSENT for side in reversed(trial.variants) for change in side.changes}
    values = [untouched | {change.name: change.after for change in side.changes} for side in trial.variants]
    across = next((name for name in reversed(names) if len({one[name] for one in values}) <= _COLUMNS), "")
    down = [name for name in names if name != across]
    if across and 0 < len(down) <= _DEEP:
        found = _crossed(cells, values, untouched, across, down)
        if found and len(found.rows) * len(found.columns) <= _SPARSE * len(cells):
            return _with_baseline(found, untouched, across, down)
    rows = tuple(Row(title(side), (cell,)) for side, cell in zip(trial.variants, cells, strict=False))
    return Grid("", "", (), rows)


def _crossed(
    cells: list[Cell], values: list[dict[str, str]], untouched: Mapping[str, str], across: str, down: list[str]
) -> Grid | None:
    """The grid, what the baseline has first. None where two variants have one place."""
    columns = tuple(dict.fromkeys(one[across] for one in (untouched, *values)))
    columns = tuple(column for column in columns if any(one[across] == column for one in values))
    rows: dict[str, dict[str, Cell]] = {_row(untouched, down): {}}
    for cell, one in zip(cells, values, strict=False):
        row = rows.setdefault(_row(one, down), {})
        if one[across] in row:
            return None
        row[one[across]] = cell
    made = tuple(Row(name, tuple(row.get(column) for column in columns)) for name, row in rows.items() if row)
    return Grid(" · ".join(down), across, columns, made)


def _with_baseline(found: Grid, untouched: Mapping[str, str], across: str, down: list[str]) -> Grid:
    """The baseline in its own place, where the grid has that."""
    name, column = _row(untouched, down), untouched[across]
    own = Cell("baseline", "", "dim", "baseline", "")

    def filled(row: Row) -> Row:
        cells = zip(found.columns, row.cells, strict=True)
        return Row(row.name, tuple(own if cell is None and at == column else cell for at, cell in cells))

    return found._replace(rows=tuple(filled(row) if row.name == name else row for row in found.rows))


def _row(values: Mapping[str, str], down: list[str]) -> str:
    return " · ".join(values[name] for name in down)


def _cell(number: int, side: Side, verdict: Verdict) -> Cell:
    sign, style = OUTCOMES[verdict.outcome]
    told = ", ".join(f"{count} {kind}" for kind, count in counts(verdict)[:2])
    told = STAGES.get(side.stage, "has no run") if side.failed else told
    return Cell(f"v{number}", sign, style, verdict.outcome, told)


def steps(trial: Trial) -> tuple[Step, ...]:
    """What a bisect tried, in that order. Over versions, the first is the good one: the baseline."""
    before = len(trial.tried) - len(trial.variants)
    return tuple(
        Step(
            what,
            number,
            answer,
            *ANSWERS.get(answer, ("·", "dim")),
            "baseline" if number <= before else f"v{number - before}",
            _guilty(trial, what),
        )
        for number, (what, answer) in enumerate(trial.tried, 1)
    )


def _guilty(trial: Trial, what: str) -> str:
    if not by_version(trial):
        return "guilty" if what == " ".join(trial.guilty) else ""
    suspects = [one.partition("=")[2] for one in trial.guilty]
    if what not in suspects:
        return ""
    return "first bad" if len(suspects) == 1 else "suspect"


def culprit(trial: Trial) -> tuple[Side, Verdict] | None:
    """The variant that shows what a bisect found: the guilty one, of several suspects the last, else the last that regressed."""
    pairs = list(zip(trial.variants, trial.verdicts, strict=False))
    anchors = {f"v{number}": pair for number, pair in enumerate(pairs, 1)}
    found = [anchors[step.anchor] for step in steps(trial) if step.guilty and step.anchor in anchors]
    found = [pair for pair in found or pairs if pair[1].outcome == "regression"]
    return found[-1] if found else None


def line(trial: Trial) -> tuple[Step, ...]:
    """The versions from good to bad; those in a row that nobody had to look at are one. Empty where there is no such order."""
    if not by_version(trial):
        return ()
    return tuple(_line(trial.candidates, {step.name: step for step in steps(trial)}))


def _line(candidates: tuple[str, ...], tried: Mapping[str, Step]) -> Iterator[Step]:
    answers = [tried[version].answer if version in tried else "" for version in candidates]
    bad = answers.index("bad") if "bad" in answers else len(answers)
    good = len(answers) - 1 - answers[::-1].index("good") if "good" in answers else -1
    for unneeded, found in groupby(range(len(candidates)), key=lambda at: not answers[at]):
        places = list(found)
        if unneeded:
            style = "good" if places[-1] < good else "bad" if places[0] > bad else "dim"
            first, last = candidates[places[0]], candidates[places[-1]]
            yield Step(f"{first} … {last}", 0, "", "", style, "", unneeded=len(places))
        else:
            yield from (tried[candidates[at]] for at in places)
