"""Services, wanted and observed → their containers' actions, along what each depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv.model.container import Container
from devenv.model.manifest import Condition
from devenv.model.plan import Action, WantedService

from .draft import Draft, numbers
from .fate import Fate, fate

UNTIL: Mapping[Condition, str] = {
    "started": "until it is seen to run",
    "healthy": "until it is healthy",
    "completed": "until it has completed",
}


class Fated(NamedTuple):
    """A service and what becomes of each of its containers."""

    service: WantedService
    fates: tuple[Fate, ...]

    @property
    def idle(self) -> bool:
        """Whether nothing is done to it."""
        return all(one.verb == "keep" for one in self.fates)


def fated(
    services: Sequence[WantedService], containers: Mapping[str, Container], images: Mapping[str, str], *, anew: bool
) -> tuple[Fated, ...]:
    """What becomes of all of them, each after those it depends on. `images` are digests by name, `anew` makes all anew."""

    def one(service: WantedService) -> Fated:
        digest = images.get(service.image, "")
        found = (
            fate(spec, containers.get(spec.name), digest, awaited=service.awaited, anew=anew) for spec in service.specs
        )
        return Fated(service, tuple(found))

    return tuple(map(one, _ordered(services)))


def _ordered(services: Sequence[WantedService]) -> Iterator[WantedService]:
    known = {service.name: service for service in services}
    pending = dict(known)

    def above(name: str) -> Iterator[WantedService]:
        service = pending.pop(name, None)
        if service is not None:
            for dependency in service.depends_on:
                yield from above(dependency.service)
            yield service

    for name in known:
        yield from above(name)


class Services:
    """Their part of a plan. `images` are numbers of actions by the image's name, `removals` those to be done before."""

    def __init__(
        self, draft: Draft, found: Sequence[Fated], images: Mapping[str, int], removals: Sequence[int], *, wait: bool
    ) -> None:
        self.draft = draft
        self.images = images
        self.removals = removals
        self.ready: dict[tuple[str, Condition], tuple[int, ...]] = {}
        busy = (dependency for one in found if not one.idle for dependency in one.service.depends_on)
        needed = {dependency.service for dependency in busy if dependency.condition != "started"}
        self.waited = {one.service.name for one in found if wait or one.service.name in needed}

    def add(self, one: Fated) -> None:
        """The actions of a service; those of what it depends on are there already."""
        service = one.service
        needs = numbers(*(self.ready[dependency.service, dependency.condition] for dependency in service.depends_on))
        rolling = len(one.fates) > 1 and service.awaited != "completed"
        rolled = [each for each in one.fates if rolling and each.verb == "replace"]
        starts: list[int] = []
        waits: list[int] = []
        for each in one.fates:
            if each not in rolled:
                self._container(service, each, needs, starts, waits)
        for each in rolled:
            # Only once the one before serves: should it not, the rest of the old ones go on.
            self._container(service, each, numbers(needs, starts, waits), starts, waits, gate=True)
        self.ready[service.name, "started"] = numbers(starts)
        self.ready[service.name, "healthy"] = self.ready[service.name, "completed"] = numbers(starts, waits)

    def _container(
        self,
        service: WantedService,
        one: Fate,
        needs: tuple[int, ...],
        starts: list[int],
        waits: list[int],
        *,
        gate: bool = False,
    ) -> None:
        about = Action("start", one.spec.name, "it is new", spec=one.spec, service=service.name)
        before = [*self.removals, *needs]
        if one.made:
            # New ones are made at once, all together; those in whose place others come run until all is there these need.
            image = self.images[service.image]
            first = numbers([image], before if one.verb == "replace" else self.removals)
            made = self.draft.add(one.action(service.image, first, service.name))
            starts.append(self.draft.add(about._replace(after=numbers([made], needs))))
        else:
            number = self.draft.add(
                one.action(service.image, numbers(before if one.verb == "start" else ()), service.name)
            )
            starts += [number] if one.verb == "start" else []
        until = service.awaited
        if not gate and (until == "started" or service.name not in self.waited or _is_ready(one, until)):
            return
        identifier = "" if one.made or one.known is None else one.known.id
        reason = f"it is {one.known.health}" if one.runs and one.known and one.known.health else UNTIL[until]
        after = numbers([starts[-1]] if not one.runs else ())
        waits.append(
            self.draft.add(about._replace(verb="wait", reason=reason, container=identifier, until=until, after=after))
        )


def _is_ready(one: Fate, until: Condition) -> bool:
    """Whether nothing is to be waited for."""
    if one.verb != "keep" or one.known is None:
        return False
    return one.known.health == "healthy" if until == "healthy" else not one.runs
