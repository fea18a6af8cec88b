"""Slot number → the 65,536 host ids that its container's ids become. Pure.

The range lies between what systemd hands out to nspawn and what it keeps for foreign images (systemd, UIDS-GIDS.md):
neither host users, nor subordinate ids, nor other container tools use it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

START = 0x70000000
COUNT = 65536
LIMIT = (0x7FFD0000 - START) // COUNT
"""Slots there are: numbers 0 … LIMIT - 1."""

BLOCK = 64
"""Slots that a store takes for itself at a time: two stores share no host id as long as there are blocks."""


class Extent(NamedTuple):
    """A line of an id map (user_namespaces(7)): `length` ids from `inside` on are those from `outside` on outside."""

    inside: int
    outside: int
    length: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.length}"


def host_start(slot: int) -> int:
    """The host id that is root (0) in the slot. Raises ValueError for a number that is no slot."""
    if not 0 <= slot < LIMIT:
        raise ValueError(f"slot {slot} is not in 0 … {LIMIT - 1}")
    return START + slot * COUNT


def order(own: Collection[int], theirs: Collection[int], seed: int) -> Iterator[int]:
    """All slots, in the order a store should take them, by blocks: its own, then those that nobody has, then the rest.

    `theirs` are the blocks of other stores. Where a store begins is decided by `seed`: others may be there, unseen.
    """
    count = -(-LIMIT // BLOCK)
    blocks = [(seed + number) % count for number in range(count)]
    for block in sorted(blocks, key=lambda block: (block in theirs, block not in own)):
        yield from range(block * BLOCK, min(LIMIT, (block + 1) * BLOCK))


def extent(slot: int) -> Extent:
    """The whole map of a slot, the same for users and groups."""
    return Extent(0, host_start(slot), COUNT)
