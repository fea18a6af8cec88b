"""The containers of an environment as they are -> their names, the ways between them, and where published ports lead."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from devenv.lives import alive, watched
from devenv.model.container import ContainerSpec

from ..records.record import spec_value
from ..slot import doors, names
from ..slot.address import Network
from .ground import Ground


class _Found(NamedTuple):
    """A container of the environment. `stopped`: somebody wants it so; `runs`: and nobody does."""

    spec: ContainerSpec
    slot: int
    runs: bool
    stopped: bool
    health: str


def connect(ground: Ground, environment: str) -> None:
    """All of it as it should be now. From any thread: many at once are as cheap as two."""
    ground.together(f"connect {environment}").do(partial(_connect, ground, environment))


def _connect(ground: Ground, environment: str) -> None:
    group, network = ground.state.group(environment), ground.network()
    if not group or network is None:
        return  # nothing was ever made in it
    members, named = partial(_members, ground, environment), partial(_named, ground, network, environment)
    doors.connect(ground.paths, ground.state, group, members, mount_namespace=ground.host_namespace)
    if os.path.exists(ground.paths.hosts(environment)) or _look(ground, environment):  # or it would outlive `forget`
        names.write(ground.paths, environment, named)


def _members(ground: Ground, environment: str) -> list[doors.Member]:
    found = _look(ground, environment)
    led_to = _led_to(found, ("", "healthy"))
    return [
        # What is lent to one that is being started was opened by its starter; one that ended needs nothing.
        doors.Member(
            *(one.slot, one.spec.service, one.spec.ports), one.slot in led_to, loans=() if one.stopped else None
        )
        for one in found
    ]


def _named(ground: Ground, network: Network, environment: str) -> list[names.Named]:
    """Each has its own names for as long as it exists; its service's leads to those that may answer."""
    found = _look(ground, environment)
    led_to = _led_to(found, ("", "healthy", "starting"))
    return [
        names.Named(
            network.address(one.slot),
            (one.spec.name, one.spec.hostname, *([one.spec.service] if one.slot in led_to else [])),
        )
        for one in found
    ]


def _look(ground: Ground, environment: str) -> list[_Found]:
    rows = ground.state.db.execute(
        "SELECT id, slot, spec, pid, pid_start, boot, stopped, health FROM container"
        " WHERE environment = ? AND stopped < 2 ORDER BY created",
        (environment,),
    ).fetchall()
    found = []
    for identifier, slot, text, pid, start, boot, stopped, health in rows:
        spec = spec_value(text)
        if not spec.service or spec.network == "none":
            continue
        runs = alive(pid, start, boot, ground.state.boot) and watched(ground.paths.bundle(identifier))
        found.append(_Found(spec, slot, runs and not stopped, bool(stopped), health))
    return found


def _led_to(found: Sequence[_Found], fit: Collection[str]) -> set[int]:
    """Slots of those that run and whose health is fit; or, of a service that has none, of all that run."""
    running = [one for one in found if one.runs]
    served = {one.spec.service for one in running if one.health in fit}
    return {one.slot for one in running if one.health in fit or one.spec.service not in served}
