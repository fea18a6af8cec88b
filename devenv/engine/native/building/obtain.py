"""What is wanted -> kept files, with what the host lends for that: proxies, certificates, and who may be reached."""

from __future__ import annotations

from collections.abc import Sequence

from ..host import lent
from ..packages.fetch import Fetched, Wanted, fetch
from ..packages.files import Files
from .site import Site


def obtain(site: Site, wanted: Sequence[Wanted]) -> tuple[Fetched, ...]:
    """Have these in the store; what came of each. Ends when the workshop is told to. Raises EngineError."""
    found: list[Fetched] = []
    with site.ending.stopped() as stopped:
        fetch(
            wanted,
            Files(site.paths.packages),
            env=dict(site.proxies()),
            bundle=lent.bundle(site.lending.certificates),
            reaches=site.reaches,
            stopped=stopped,
            told=found.append,
        )
    return tuple(found)
