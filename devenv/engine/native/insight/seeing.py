"""What is seen of containers besides their rows: what they print, use, run and have touched; who watches over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from devenv.engine import LogLine
from devenv.errors import EngineError, NotFound
from devenv.lives import watched
from devenv.model.container import Container, Heard, Supervisor

from ..container import log, owning, snapshot
from ..records import observe
from ..running import supervision, sweep
from ..running.ground import Ground
from ..slot.ids import host_start

if TYPE_CHECKING:
    from devenv.model.seen import Stream, Task, Touched, Usage


def logs(ground: Ground, container: str, *, follow: bool, tail: int | None, since: float) -> Iterator[LogLine]:
    ground.container(container)  # raises for one that isn't there

    return log.read(
        ground.paths.container(container),
        tail=tail,
        since=since,
        going=partial(_going, ground, container) if follow else None,
    )


def _going(ground: Ground, container: str) -> bool:
    """Whether there is more to come: its monitor writes what it printed last when it has ended."""
    try:
        return ground.container(container).status == "running" or watched(ground.paths.bundle(container))
    except NotFound:
        return False


def follow(
    ground: Ground, environment: str, wanted: Callable[[Container], bool], *, tail: int | None, since: float
) -> Iterator[tuple[str, LogLine]]:
    def present() -> Mapping[str, str]:
        known = observe.containers(ground.state, ground.paths, ground.network(), environment)
        return {one.name: ground.paths.container(one.id) for one in known if wanted(one)}

    return log.follow(present, tail=tail, since=since)


def attach(ground: Ground, container: str) -> Iterator[tuple[Stream, bytes]]:
    found = ground.container(container)
    if found.pid is None:
        raise EngineError(f"attach to {found.name}: it is {found.status}", hint="`devenv logs` has what it printed")
    return log.attach(ground.paths.container(container), partial(_going, ground, container))


def usages(ground: Ground, containers: Sequence[Container]) -> Mapping[str, Usage]:
    from . import usage

    there = usage.mounted_here()
    found = {
        one.id: usage.usage(one.pid, one.id, there, ground.paths.traffic(one.id))
        for one in containers
        if one.pid is not None
    }
    return {identifier: used for identifier, used in found.items() if used is not None}


def tasks_of(ground: Ground, container: str) -> tuple[Task, ...]:
    from . import tasks

    found, (_, slot) = ground.container(container), ground.spec(container)
    return () if found.pid is None else tasks.tasks(sweep.members(container), found.pid, host_start(slot))


def heard(container: Container) -> tuple[Heard, ...]:
    from ..slot import listening

    if container.pid is None:
        return tuple("all" for _ in container.ports)
    return listening.heard(container.pid, [(port.container, port.protocol) for port in container.ports])


def touched_by(ground: Ground, container: str) -> tuple[Touched, ...]:
    from . import touching

    found, (_, slot) = ground.container(container), ground.spec(container)
    # It stands on the layers it was started on, though its image may have been mended since.
    layers = owning.owner(ground.paths.bundle(container)).layers or ground.image(found.image).layers
    names = [*map(str, layers), snapshot.INIT]
    folders = [f"{ground.paths.layers}/{name}" for name in names]
    return touching.touched(f"{ground.paths.container(container)}/upper", folders, host_start(slot))


def supervisor(ground: Ground, environment: str) -> Supervisor | None:
    found = observe.supervisor(ground.paths, environment)
    return found if found and (found.running or supervision.wanted(ground, environment)) else None
