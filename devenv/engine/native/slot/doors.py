"""A slot's doors: ports of the host that lead to it, services of the host that it is lent. Opened, closed, put back after a flush.

They are kept in the state by slot, so that the doors of a command that was killed are found and closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devenv.errors import EngineError
from devenv.model.manifest import Port
from devenv.paths import Paths

from ..state import State
from . import firewall, pool
from . import ports as host_ports
from .address import Network
from .firewall import Lent, Published

_KINDS = ("published", "loans")


def open_doors(
    paths: Paths,
    state: State,
    slot: int,
    ports: Sequence[Port],
    services: Sequence[tuple[str, int]] = (),
    *,
    mount_namespace: int | None = None,
) -> None:
    """Let these ports of the host lead to the slot and lend it these services, (address on the host's loopback, TCP port).

    EngineError when another container has a port.
    """
    if not ports and not services:
        return
    with state.transaction():
        published, loans = _published(state), _loans(state)
        theirs = [port for other, taken in published.items() if other != slot for port in taken]
        if clash := next((mine for mine in ports for port in theirs if _same_door(mine, port)), None):
            raise EngineError(f"publish {clash.address}:{clash.host}: another container has it")
        published[slot], loans[slot] = list(ports), _one_a_port(services)
        _keep(state, "published", published)
        _keep(state, "loans", loans)
    there = pool.network(paths, state)
    try:
        firewall.open_doors(there, *_of(there, slot, ports, loans[slot]))
    except EngineError:
        if pool.healthy(paths, state):
            close(paths, state, slot)
            raise
        pool.heal(paths, mount_namespace=mount_namespace)


def close(paths: Paths, state: State, slot: int) -> None:
    """No port of the host leads to the slot any more, nothing is lent to it. Cheap when it had no door."""
    if slot not in slots(state):
        return
    with state.transaction():
        ports = _published(state).get(slot, ())
        for kind in _KINDS:
            entries = _kept(state, kind)
            entries.pop(slot, None)
            _keep(state, kind, entries)
    address = pool.network(paths, state).address(slot)
    firewall.close_doors(pool.network(paths, state), address)
    if any(port.protocol == "udp" for port in ports):
        from . import flows  # it brings socket, 3 ms: not for every container

        flows.forget(address)


def slots(state: State) -> set[int]:
    """The slots with doors, of this boot."""
    return {slot for kind in _KINDS for slot in _kept(state, kind)}


def standing(state: State, there: Network) -> tuple[list[Published], list[Lent]]:
    """All doors there should be."""
    published, loans = _published(state), _loans(state)
    found = [_of(there, slot, published.get(slot, ()), loans.get(slot, ())) for slot in {*published, *loans}]
    return [entry for ports, _ in found for entry in ports], [loan for _, lent in found for loan in lent]


def publisher(state: State, port: Port) -> str:
    """The container that publishes this port of the host, "" for none."""
    holders = {number: container for number, _, container in state.known_slots()}
    return next(
        (
            holders.get(slot) or "a running command"
            for slot, ports in sorted(_published(state).items())
            if any(_same_door(port, theirs) for theirs in ports)
        ),
        "",
    )


def choose(state: State, port: Port, own: str = "") -> Port:
    """The port with a host port: the one asked for, if nobody has it but the container `own`, or any free one."""
    if port.host is None:
        chosen = port
        while chosen is port or publisher(state, chosen):  # published ones aren't bound: they look free
            chosen = port._replace(host=host_ports.free(port.address, port.protocol))
        return chosen
    owner = host_ports.owner(port.address, port.host, port.protocol) or publisher(state, port)
    if owner and owner != own:
        raise EngineError(
            f"publish port {port.address}:{port.host}: {_called(state, owner)} has it",
            hint=f'end it, or let one be chosen: `ports: ["{port.container}"]`',
        )
    return port


def _called(state: State, owner: str) -> str:
    """A container of ours as people know it: by its environment and folder."""
    row = state.db.execute(
        "SELECT environment.name, folder FROM container JOIN environment ON environment.id = environment"
        " WHERE container.id = ?",
        (owner,),
    ).fetchone()
    return f"{row[0]} ({row[1]})" if row else owner


def _of(
    there: Network, slot: int, ports: Iterable[Port], services: Iterable[tuple[str, int]]
) -> tuple[list[Published], list[Lent]]:
    address = there.address(slot)
    published = [Published(port, address) for port in ports]
    return published, [Lent("tcp", port, loopback, address) for loopback, port in services]


def _published(state: State) -> dict[int, list[Port]]:
    return {slot: [Port(*port) for port in ports] for slot, ports in _kept(state, "published").items()}


def _loans(state: State) -> dict[int, list[tuple[str, int]]]:
    return {slot: [(address, port) for address, port in loans] for slot, loans in _kept(state, "loans").items()}


def _kept(state: State, kind: str) -> dict[int, list[Any]]:
    found = json.loads(state.setting(kind) or "{}")
    return {int(slot): entries for slot, entries in found["slots"].items()} if found.get("boot") == state.boot else {}


def _keep(state: State, kind: str, entries: Mapping[int, Sequence[Any]]) -> None:
    kept = {str(slot): entries[slot] for slot in sorted(entries) if entries[slot]}
    state.set(kind, json.dumps({"boot": state.boot, "slots": kept}))


def _one_a_port(services: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The gateway has each port once: the first service on it is the one that is lent."""
    chosen: dict[int, str] = {}
    for address, port in services:
        chosen.setdefault(port, address)
    return [(address, port) for port, address in chosen.items()]


def _same_door(one: Port, other: Port) -> bool:
    same = (one.host, one.protocol) == (other.host, other.protocol)
    return same and (one.address == other.address or firewall.ANYWHERE in (one.address, other.address))
