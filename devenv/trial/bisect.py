"""Ordered versions → the first bad one, by asking for as few as possible. Pure.

As `git bisect` does it: https://git-scm.com/docs/git-bisect-lk2009, "Skip algorithm".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal, NamedTuple

Answer = Literal["good", "bad", "skip"]
"""`skip`: it can't be told, as the version can't be installed, or its run can't be judged."""


class Found(NamedTuple):
    """`suspects`: the first bad version is among them: one, or several where those before the last could only be skipped.

    Empty when there is none to be found: `trouble` says why, in a sentence. `good` is the last one known to be good.
    """

    suspects: tuple[str, ...] = ()
    good: str = ""
    trouble: str = ""


def search(versions: Sequence[str]) -> Generator[str, Answer, Found]:
    """Yields the next version to try and is sent what came of it. `versions` are in order, the first is said to be good, the last bad.

    Both are tried before it is believed. With n versions after the good one, at most ⌈log2 n⌉ + 2 are asked for where none
    is skipped, none twice in any case. It takes for granted that what is bad once stays so, as every bisection does.
    """
    if len(versions) < 2:
        return Found(trouble="There are no two versions to look between.")
    first, last = versions[0], versions[-1]
    if (answer := (yield first)) != "good":
        return Found(trouble=_unfit(first, answer, "good"))
    if (answer := (yield last)) != "bad":
        return Found(trouble=_unfit(last, answer, "bad"), good=first)
    good, bad = 0, len(versions) - 1
    skipped: set[int] = set()
    streak = 0
    while candidates := [at for at in range(good + 1, bad) if at not in skipped]:
        at = _next(candidates, (good + bad) // 2, streak)
        answer = yield versions[at]
        streak = streak + 1 if answer == "skip" else 0
        if answer == "good":
            good = at
        elif answer == "bad":
            bad = at
        else:
            skipped.add(at)
    return Found(tuple(versions[good + 1 : bad + 1]), versions[good])


def _next(candidates: Sequence[int], middle: int, streak: int) -> int:
    """The candidate nearest to the middle; after skips, further and further away from it.

    What can't be installed stands together, mostly: next to one there is another.
    """
    nearest = sorted(candidates, key=lambda at: (abs(at - middle), at))
    return nearest[min((1 << streak) - 1, len(nearest) - 1)]


def _unfit(version: str, answer: Answer, wanted: Literal["good", "bad"]) -> str:
    if answer == "skip":
        return f"{version}, which is said to be {wanted}, can't be tried: name the nearest one that can be installed."
    return f"{version} is {answer}, not {wanted}: there is nothing to look for."
