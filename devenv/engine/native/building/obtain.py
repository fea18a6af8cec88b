"""What is wanted -> kept files, with what the host lends for that: proxies, certificates, and who may be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..host import lent
from ..packages.fetch import Fetched, Wanted, fetch
from ..packages.files import Files

if TYPE_CHECKING:
    from .workshop import Shop


def obtain(shop: Shop, wanted: Sequence[Wanted]) -> tuple[Fetched, ...]:
    """Have these in the store; what came of each. Ends when the workshop is told to. Raises EngineError."""
    found: list[Fetched] = []
    with shop.ending.stopped() as stopped:
        fetch(
            wanted,
            Files(shop.paths.packages),
            env=dict(shop.proxies()),
            bundle=lent.bundle(shop.lending.certificates),
            reaches=shop.reaches,
            stopped=stopped,
            told=found.append,
        )
    return tuple(found)
