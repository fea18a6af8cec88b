"""Times of several runs on both sides → slower, faster, or neither. Pure.

What disturbs a run only ever makes it longer, so the least time is the best estimate of a side's own (J. Chen, J. Revels, "Robust
benchmarking in noisy environments", 2016, arXiv:1608.04295; Python's `timeit` says the same). Whether two sides differ is
asked of all their runs: every run of one must be beyond every run of the other (Tukey's quick test at its strictest: J. W.
Tukey, Technometrics 1(1), 1959). By chance that happens once in ten times with three runs each, once in 126 with five; as many
tests are compared at once, a difference must be large besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

RUNS = 3
"""Fewest runs of a side."""


class Threshold(NamedTuple):
    """How much a time must change to be told, of the smaller one and in seconds: both."""

    share: float
    seconds: float


TEST = Threshold(0.25, 0.1)
"""One test, by wall time."""
COMMAND = Threshold(0.10, 0.5)
"""The whole command, by CPU time."""


def changed(before: Sequence[float], after: Sequence[float], by: Threshold) -> Literal["slower", "faster"] | None:
    """How times of the variant's runs (`after`) are beside the baseline's; None too where there are fewer than `RUNS` of a side."""
    if min(len(before), len(after)) < RUNS:
        return None
    apart = abs(min(after) - min(before))
    if apart < by.seconds or apart < by.share * min(*before, *after):
        return None
    if min(after) > max(before):
        return "slower"
    return "faster" if max(after) < min(before) else None
