"""A prepared build → the layers that caches are asked for, and those they get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from devenv.engine.workshop import Workshop
from devenv.errors import NotFound
from devenv.model.build import Configure, Copy, Keyed, Run, Shared, Stage
from devenv.model.events import Sink
from devenv.model.image import Offer

from .caption import title
from .prepare import Base, Prepared


def bring(
    prepared: Prepared, workshop: Workshop, places: Sequence[str], sink: Sink, absent: Callable[[NotFound], None]
) -> int:
    """Have in the store what a build would do anew and these caches have; how many layers that were.

    `absent` is told of a cache that isn't there. Of two that have a layer the first is asked. Raises StoreError, EngineError.
    """
    offers: dict[str, Offer] = {}
    for place in places:
        try:
            offers = {**workshop.offered(place), **offers}
        except NotFound as error:
            absent(error)
    stored = {one.key for one in every(prepared) if workshop.layer(one.key) is not None} if offers else set()
    wanted = needed(prepared, lambda key: key in stored or key in offers)
    taken = [(one, offers[one.key]) for one in wanted if one.key not in stored]
    if taken:
        workshop.take(taken, sink)
    return len(taken)


def every(prepared: Prepared) -> tuple[Shared, ...]:
    """The layers of all steps and bases, needed or not."""
    found = {one.key: one for one in _every(prepared)}
    return tuple(found.values())


def _every(prepared: Prepared) -> Iterator[Shared]:
    for base in prepared.bases.values():
        yield from _every(base.prepared) if base.prepared else _base(base)
    for keyed in prepared.steps:
        yield from _step(keyed)


def needed(prepared: Prepared, has: Callable[[str], bool]) -> tuple[Shared, ...]:
    """Of these, those that a build would take if all that `has` says were in its store.

    It is as the executor does it: what a step reads is looked for only when the step itself must be done.
    """
    found: dict[str, Shared] = {}
    _Walk(prepared, has, found).stage(prepared.graph.stages[-1])
    return tuple(found.values())


class _Walk:
    """From the target down to where everything is there."""

    def __init__(self, prepared: Prepared, has: Callable[[str], bool], found: dict[str, Shared]) -> None:
        self.prepared = prepared
        self.has = has
        self.found = found
        self.stages = {stage.name: stage for stage in prepared.graph.stages}
        self.seen: set[str] = set()

    def stage(self, stage: Stage) -> None:
        self.named(stage.base)
        for keyed in self.prepared.steps:
            if keyed.stage == stage.index and not self._take(_step(keyed)):
                for name in reads(keyed):
                    self.named(name)

    def named(self, name: str) -> None:
        """A stage or a base; contexts that are folders, and scratch, have no layers."""
        if name in self.seen:
            return
        self.seen.add(name)
        if name in self.stages:
            self.stage(self.stages[name])
        elif name in self.prepared.bases:
            base = self.prepared.bases[name]
            if base.prepared is None:
                self._take(_base(base))
            else:
                _Walk(base.prepared, self.has, self.found).stage(base.prepared.graph.stages[-1])

    def _take(self, layers: Iterator[Shared]) -> bool:
        known = [one for one in layers if self.has(one.key)]
        self.found |= {one.key: one for one in known}
        return bool(known)


def _step(keyed: Keyed) -> Iterator[Shared]:
    if not isinstance(keyed.step.operation, Configure):
        parent = keyed.parent if isinstance(keyed.step.operation, Run) else ""
        yield Shared(keyed.key, title(keyed.step), parent)


def _base(base: Base) -> Iterator[Shared]:
    """A layout's layers come from that layout: it must be there anyway."""
    if base.reference.startswith("bootstrap:"):
        yield Shared(base.rootfs.key, base.reference)


def reads(keyed: Keyed) -> tuple[str, ...]:
    """Names of the stages and contexts a step reads."""
    operation = keyed.step.operation
    if isinstance(operation, Copy):
        return (operation.source_from,)
    if isinstance(operation, Run):
        return tuple(mount.source_from for mount in operation.mounts if mount.kind == "bind")
    return ()
