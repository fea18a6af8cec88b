"""A prepared build that was done -> which of its steps give another result when they are done again, and what differs."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace

from devenv.engine import Workshop
from devenv.model.build import Keyed
from devenv.model.events import Sink
from devenv.model.image import Rootfs, Unlike

from .caption import title
from .execute import Build
from .prepare import Base, Prepared


def again(
    prepared: Prepared, workshop: Workshop, sink: Sink, *, jobs: int, secrets: Mapping[str, bytes]
) -> tuple[Unlike, ...]:
    """Do every step once more, bases too, each upon what the first build left, and hold the results against each other.

    Equal roots and equal results make equal images: so each step is judged by itself, and one that differs doesn't make those
    after it differ. Of what is made nothing stays. Raises StepFailed, EngineError.
    """
    found: list[Unlike] = []
    _Again(prepared, workshop, sink, threading.Semaphore(max(1, jobs)), secrets, found).everything()
    return tuple(sorted(found))


class _Again(Build):
    """A build whose steps are all done a second time."""

    def __init__(
        self,
        prepared: Prepared,
        workshop: Workshop,
        sink: Sink,
        places: threading.Semaphore,
        secrets: Mapping[str, bytes],
        found: list[Unlike],
    ) -> None:
        super().__init__(prepared, workshop, sink, places, secrets, "", False, packing=False)
        self.found = found

    def nested(self, prepared: Prepared) -> Build:
        return _Again(prepared, self.workshop, self.sink, self.places, self.secrets, self.found)

    def brought(self, base: Base) -> Rootfs:
        rootfs = super().brought(base)
        if base.prepared is None and base.reference.startswith("bootstrap:"):
            self._held(base.reference, rootfs.layers[0], self.workshop.base_again(base.reference, self.sink))
        return rootfs

    def made(self, keyed: Keyed, rootfs: Rootfs, layer: int) -> None:
        other = replace(keyed, key=os.urandom(32).hex())
        self._held(title(keyed.step), layer, self.timed(other, rootfs))

    def _held(self, name: str, first: int, second: int) -> None:
        try:
            differences = self.workshop.compare(first, second)
        finally:
            self.workshop.discard(second)
        if differences:
            with self.lock:
                self.found.append(Unlike(name, differences))
