"""The rows of an environment -> those of its containers that somebody may have to be awake for."""

from __future__ import annotations

from collections import Counter

from devenv.model.container import ContainerSpec, Health
from devenv.model.manifest import Port

from ..records.record import spec_value
from ..records.state import State
from .policy import Seen, asks

_ROW = "id, spec, pid, pid_start, started, exit_code, health, tries, boot, stopped, again"


def look(state: State, environment: str) -> tuple[Seen, ...]:
    """Those that were started in this boot and that nobody wants stopped, by name."""
    rows = state.db.execute(
        f"SELECT {_ROW} FROM container WHERE environment = ? ORDER BY name", (environment,)
    ).fetchall()
    specs = [spec_value(row[1]) for row in rows]
    doors = Counter(door for spec in specs for door in map(_door, spec.ports))
    found = []
    for spec, row in zip(specs, rows, strict=True):
        identifier, _, pid, start, started, code, health, tries, boot, stopped, again = row
        if started is None or stopped or boot != state.boot:
            continue
        shared = bool(spec.service) and any(doors[_door(port)] > 1 for port in spec.ports)
        about = (again, spec.healthcheck, spec.restart, shared)
        found.append(Seen(identifier, spec.name, pid, start or 0, started, code, _health(spec, health), tries, *about))
    return tuple(found)


def _door(port: Port) -> tuple[str, int | None, str]:
    return port.address, port.host, port.protocol


def _health(spec: ContainerSpec, said: Health) -> Health:
    return said if spec.healthcheck else ""


def wanted(state: State, environment: str) -> bool:
    """Whether somebody has to be awake for any of them."""
    return any(map(asks, look(state, environment)))
