"""A prepared build that was done -> which of its steps give another result when they are done again, and what differs."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace

from devenv.engine.workshop import Workshop
from devenv.model.build import Keyed
from devenv.model.events import Sink
from devenv.model.image import Rootfs, Unlike

from .execute import Build
from .prepare import Base, Prepared


def again(
    prepared: Mapping[str, Prepared], workshop: Workshop, sink: Sink, *, jobs: int, secrets: Mapping[str, bytes]
) -> tuple[Unlike, ...]:
    """Do every step of these images once more, bases too, each upon what the first build left, and hold the results against
    each other. What two images share is done once. By image, "" where there is nothing to tell them apart.

    Equal roots and equal results make equal images: so each step is judged by itself, and one that differs doesn't make those
    after it differ. Of what is made nothing stays. Raises StepFailed, EngineError.
    """
    found: list[Unlike] = []
    done: set[str] = set()
    for image, one in prepared.items():
        _Again(one, workshop, sink, threading.Semaphore(max(1, jobs)), secrets, found, done, image).everything()
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
        done: set[str],
        image: str,
    ) -> None:
        super().__init__(prepared, workshop, sink, places, secrets, "", False, packing=False, image=image)
        self.found = found
        self.done = done

    def nested(self, prepared: Prepared) -> Build:
        shared = (self.workshop, self.sink, self.places, self.secrets, self.found, self.done, self.own)
        return _Again(prepared, *shared)

    def brought(self, base: Base) -> Rootfs:
        rootfs = super().brought(base)
        if base.prepared is None and base.reference.startswith("bootstrap:") and self._first(rootfs.key):
            self._held(base.reference, rootfs.layers[0], self.workshop.base_again(base.reference, self.sink))
        return rootfs

    def made(self, keyed: Keyed, rootfs: Rootfs, layer: int) -> None:
        if self._first(keyed.key):
            other = replace(keyed, key=os.urandom(32).hex())
            self._held(self.title(keyed), layer, self.timed(other, rootfs))

    def _first(self, key: str) -> bool:
        """Whether nobody came to it before."""
        with self.lock:
            first = key not in self.done
            self.done.add(key)
            return first

    def _held(self, name: str, first: int, second: int) -> None:
        try:
            differences = self.workshop.compare(first, second)
        finally:
            self.workshop.discard(second)
        if differences:
            with self.lock:
                self.found.append(Unlike(name, differences))
