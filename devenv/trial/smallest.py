"""Several changes that are bad together → the smallest set of them that still is. Pure.

The algorithm is ddmin: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on
Software Engineering 28(2), 2002, figure 3.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from .bisect import Answer

Subset = tuple[str, ...]


class Guilty(NamedTuple):
    """`changes`: all of them are needed, without any one it is no longer bad. Empty when they aren't bad even together.

    `unsure`: those of which that isn't known, as it can't be told how things are without it. `trouble`: why there is nothing.
    """

    changes: Subset = ()
    unsure: Subset = ()
    trouble: str = ""


def search(changes: Sequence[str]) -> Generator[Subset, Answer, Guilty]:
    """Yields the next set of changes to try, in the order of `changes`, and is sent what came of it; no set is asked for twice.

    That none of them is good is taken for granted: it is the baseline. First all together are asked for. n changes
    take at most n² + 3n questions, and about 2 log2 n where one is guilty. The set found needs each of its own; another one,
    that is smaller, may exist.
    """
    known: dict[Subset, Answer] = {(): "good"}
    guilty = tuple(dict.fromkeys(changes))
    if (answer := (yield from _ask(guilty, known))) != "bad":
        why = "can't be tried together" if answer == "skip" else "aren't bad together: there is nothing to look for"
        return Guilty(trouble=f"These changes {why}.")
    parts = 2
    while len(guilty) > 1:
        smaller = yield from _smaller(guilty, parts, known)
        if smaller is not None:
            subset = len(smaller) <= -(-len(guilty) // parts)  # a part, not what is left without one
            parts = 2 if subset else max(parts - 1, 2)
            guilty = smaller
        elif parts < len(guilty):
            parts = min(2 * parts, len(guilty))
        else:
            break
    unsure = tuple(one for one in guilty if known.get(_without(guilty, (one,))) == "skip")
    return Guilty(guilty, unsure)


def _smaller(guilty: Subset, parts: int, known: dict[Subset, Answer]) -> Generator[Subset, Answer, Subset | None]:
    """A part of it that is bad, else what is bad without one of its parts, else None."""
    divided = tuple(_divided(guilty, parts))
    for subset in (*divided, *(_without(guilty, part) for part in divided)):
        if (yield from _ask(subset, known)) == "bad":
            return subset
    return None


def _ask(subset: Subset, known: dict[Subset, Answer]) -> Generator[Subset, Answer, Answer]:
    if subset not in known:
        known[subset] = yield subset
    return known[subset]


def _divided(changes: Subset, parts: int) -> Iterator[Subset]:
    """Into so many parts, as equal as can be."""
    start = 0
    for part in range(parts):
        end = start + (len(changes) - start) // (parts - part)
        yield changes[start:end]
        start = end


def _without(changes: Subset, part: Subset) -> Subset:
    return tuple(one for one in changes if one not in part)
