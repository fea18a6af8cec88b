"""Seconds → where they stand on a chart, in percent of its width. Pure: the template draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devenv.model.trial import Difference, Side, Trial
from devenv.trial.timing import TEST

from .words import comparable, duration, ended, least, ratio, title

TESTS = 20
"""Tests that a chart has."""

_TICKS = 5
_ROOM = 94.0
"""Percent of the width that the largest value takes: its mark has a width of its own."""


class Tick(NamedTuple):
    at: float
    text: str


class Pair(NamedTuple):
    """One test before and after; `style` says whether it was judged slower (`bad`) or faster (`good`)."""

    name: str
    before: float
    after: float
    told: str
    style: str


class Dots(NamedTuple):
    """One side's runs; `least` is the one that counts."""

    name: str
    runs: tuple[float, ...]
    least: float
    told: str
    anchor: str


class Chart(NamedTuple):
    """`rows` are Pair or Dots; `left` is how many more there would be."""

    ticks: tuple[Tick, ...]
    rows: tuple[Pair | Dots, ...]
    left: int = 0


def tests(baseline: Side, variant: Side, judged: Sequence[Difference]) -> Chart | None:
    """The tests that a verdict calls slower or faster, then those that changed the most. None where nobody measured any."""
    kinds = {one.name: one for one in judged if one.kind in ("slower", "faster")}
    old, new = (least(comparable(side), lambda case: case.outcome == "passed") for side in (baseline, variant))
    both = {name: (old[name], new[name]) for name in old if name in new}
    both |= {
        name: (one.before, one.after) for name, one in kinds.items() if one.before is not None and one.after is not None
    }
    told = sorted(both, key=lambda name: (name not in kinds, -abs(both[name][1] - both[name][0]), name))
    told = [name for name in told if name in kinds or max(both[name]) >= TEST.seconds]  # shorter ones are all noise
    if not told:
        return None
    shown = told[:TESTS]
    scale, ticks = _scale(max(both[name]) for name in shown)
    rows = tuple(_pair(name, *both[name], scale, kinds.get(name)) for name in shown)
    return Chart(ticks, rows, len(told) - len(shown))


def _pair(name: str, before: float, after: float, scale: float, judged: Difference | None) -> Pair:
    style = {"slower": "bad", "faster": "good"}.get(judged.kind if judged else "", "")
    change = f" {ratio(before, after)}" if style else ""
    return Pair(name, before * scale, after * scale, f"{duration(before)} → {duration(after)}{change}", style)


def commands(trial: Trial) -> Chart | None:
    """What each run of the whole command took: the baseline's, then each variant's. None where nobody counted."""
    sides = [
        (trial.baseline, "baseline", ""),
        *((side, title(side), f"v{n}") for n, side in enumerate(trial.variants, 1)),
    ]
    measured = [(name, anchor, [run.cpu for run in ended(side) if run.cpu is not None]) for side, name, anchor in sides]
    found = [(name, anchor, values) for name, anchor, values in measured if values]
    if not found:
        return None
    scale, ticks = _scale(value for _, _, values in found for value in values)
    first = min(found[0][2])
    rows = tuple(
        Dots(
            name,
            tuple(value * scale for value in values),
            min(values) * scale,
            f"{duration(min(values))} {ratio(first, min(values)) if anchor and found[0][1] == '' else ''}".strip(),
            anchor,
        )
        for name, anchor, values in found
    )
    return Chart(ticks, rows)


def _scale(values: Iterable[float]) -> tuple[float, tuple[Tick, ...]]:
    """Percent for a second, and where the axis has its marks: round numbers, from 0."""
    most = max(values) or 1.0
    step = 10 ** math.floor(math.log10(most))
    step = next(each for each in (step / 5, step / 2, step, step * 2) if most / each < _TICKS)
    scale = _ROOM / most
    count = math.floor(most / step + 1e-9)
    return scale, tuple(
        Tick(number * step * scale, duration(number * step) if number else "0") for number in range(count + 1)
    )
