"""ContainerSpecs with ports as the manifest asks for them -> with the ports of the host that they will have; who has one already."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress

from devenv.errors import EngineError
from devenv.model.container import ContainerSpec
from devenv.model.manifest import Port

from ..records.state import State
from ..slot import doors


def check(state: State, spec: ContainerSpec) -> None:
    """Raise EngineError when somebody else has a port that the spec names. Containers of its environment make room for it."""
    own = _family(state, spec)
    for port in spec.ports:
        if port.host is not None:
            doors.choose(state, _of_range(port, spec), *own)


def chosen(state: State, specs: Sequence[ContainerSpec]) -> list[ContainerSpec]:
    """With the host's ports: those asked for, if nobody has them; or any free one, the same for all replicas of a service, and
    the same again once they are made anew.
    """
    shared: dict[tuple[str, str, Port], Port] = {}
    made = []
    for spec in specs:
        ports = []
        for port in spec.ports:
            if port.host is not None:
                found = doors.choose(state, _of_range(port, spec), *_family(state, spec))
            else:
                service = (spec.environment, spec.service or spec.name, port)
                found = shared[service] = shared.get(service) or _same(state, spec, port, shared.values())
                _remember(state, spec, found)
            ports.append(found)
        made.append(spec._replace(ports=tuple(ports)))
    return made


def _same(state: State, spec: ContainerSpec, port: Port, besides: Collection[Port]) -> Port:
    """The port that other replicas have, or the one that the service had, or any that is free."""
    known = _known(state, spec, port) or _before(state, spec, port, besides)
    return known or _any(state, port, besides)


def _of_range(port: Port, spec: ContainerSpec) -> Port:
    """The replica's own port of a range, in order."""
    assert port.host is not None
    return port if port.last is None else port._replace(host=port.host + max(spec.index, 1) - 1, last=None)


def _known(state: State, spec: ContainerSpec, port: Port) -> Port | None:
    """The port that other replicas of the service have already."""
    if not spec.service:
        return None
    rows = state.db.execute("SELECT spec FROM container WHERE environment = ? ORDER BY name", (spec.environment,))
    for (text,) in rows.fetchall():
        other = json.loads(text)
        if other.get("service") != spec.service or other["name"] == spec.name:
            continue
        for theirs in (Port(**found) for found in other["ports"]):
            if theirs._replace(host=None) == port:
                return theirs
    return None


_KEY = "environment = ? AND service = ? AND address = ? AND container = ? AND protocol = ?"


def _before(state: State, spec: ContainerSpec, port: Port, besides: Collection[Port]) -> Port | None:
    """The port that was chosen for the service the last time, if it is still to be had."""
    row = state.db.execute(f"SELECT host FROM published WHERE {_KEY}", _key(spec, port)).fetchone()
    if row is None or (port.protocol, row[0]) in _counted(state, besides):
        return None
    with suppress(EngineError):  # somebody has it
        return doors.choose(state, port._replace(host=row[0]))
    return None


def _remember(state: State, spec: ContainerSpec, port: Port) -> None:
    if spec.service:
        state.db.execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?, ?)", (*_key(spec, port), port.host))


def _key(spec: ContainerSpec, port: Port) -> tuple[str, str, str, int, str]:
    return spec.environment, spec.service, port.address, port.container, port.protocol


def _any(state: State, port: Port, besides: Collection[Port]) -> Port:
    """A port that nobody has, and no container counts on."""
    counted = _counted(state, besides)
    while True:
        free = doors.choose(state, port)
        if (free.protocol, free.host) not in counted:
            return free


def _counted(state: State, besides: Collection[Port]) -> set[tuple[str, int | None]]:
    """What containers count on: one that doesn't run will be started with the ports it had."""
    rows = state.db.execute("SELECT spec FROM container").fetchall()
    counted = {(found["protocol"], found["host"]) for (text,) in rows for found in json.loads(text)["ports"]}
    return counted | {(other.protocol, other.host) for other in besides}


def _family(state: State, spec: ContainerSpec) -> Sequence[str]:
    """Ids of its environment's containers."""
    if not spec.environment:
        return ()
    rows = state.db.execute("SELECT id FROM container WHERE environment = ?", (spec.environment,))
    return [identifier for (identifier,) in rows]
