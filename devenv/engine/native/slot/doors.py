"""A slot's doors: ports of the host that lead to it, services of the host that it is lent, the group whose members it may talk to.

They are kept in the state by slot, so that the doors of a command that was killed are found and closed, and all are put back
after a flush. What is kept is changed first, and then the firewall; `firewall` in the state, its edition, is "" meanwhile, so
that a change which nobody finished is seen.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from devenv.errors import EngineError
from devenv.model.manifest import Port
from devenv.paths import Paths

from ..records.state import State
from . import firewall, pool, ruleset
from . import ports as host_ports
from .address import Network
from .ruleset import ANYWHERE, Lent, Open, Published

Services = Sequence[tuple[str, int]]
"""On the host's loopback: (address, TCP port)."""


class Member(NamedTuple):
    """A container among others of its environment. Its `ports` (`host` is set) are its own from now on, whether it is `eligible` or not.

    A port that replicas of one `service` have leads to those that are eligible, in turn; to nobody, if none is.
    `loans` None: what it is lent stays as it is.
    """

    slot: int
    service: str = ""
    ports: tuple[Port, ...] = ()
    eligible: bool = True
    loans: Services | None = None


class Kept(NamedTuple):
    """By slot: the ports published, the services lent, (group, eligible)."""

    published: Mapping[int, Sequence[Port]]
    loans: Mapping[int, Services]
    members: Mapping[int, tuple[int, bool]]


def open_doors(
    paths: Paths,
    state: State,
    slot: int,
    ports: Sequence[Port],
    services: Services = (),
    *,
    mount_namespace: int | None = None,
) -> None:
    """Let these ports of the host lead to the slot and lend it these services; the ports of a member are `connect`'s.

    EngineError when another container has a port.
    """
    if not ports and not services:
        return

    def edit(kept: Kept) -> Kept:
        kept = _without(kept, state.dead_owners())
        _refuse_taken(state, kept, ports, {slot})
        published = kept.published if slot in kept.members else {**kept.published, slot: tuple(ports)}
        return kept._replace(published=published, loans={**kept.loans, slot: _one_a_port(services)})

    _change(paths, state, edit, mount_namespace)


def connect(
    paths: Paths,
    state: State,
    group: int,
    look: Callable[[], Sequence[Member]],
    *,
    mount_namespace: int | None = None,
) -> None:
    """The containers of an environment reach each other, and its ports lead to them, as `look` finds them once it is our turn.

    `group` is the environment's number, from 1 to 2^20 - 1. Who was a member and isn't any more loses all its doors. Of two
    services with the same port the later member's has it. A run of nft or three (ruleset.difference), none when
    nothing is to be changed. EngineError when a port is somebody else's; nothing is changed then.
    """
    if not 0 < group < 1 << 20:
        raise ValueError(f"{group} can't be a group")

    def edit(kept: Kept) -> Kept:
        kept = _without(kept, state.dead_owners())
        members = look()
        ours = {slot for slot, (theirs, _) in kept.members.items() if theirs == group}
        ours |= {member.slot for member in members}
        ports = _shared_out(members)
        _refuse_taken(state, kept, [port for some in ports.values() for port in some], ours)
        loans = {member.slot: member.loans for member in members if member.loans is not None}
        lent = {member.slot: kept.loans.get(member.slot, ()) for member in members}
        others = _without(kept, ours)
        return Kept(
            {**others.published, **ports},
            {**others.loans, **lent, **{slot: _one_a_port(some) for slot, some in loans.items()}},
            {**others.members, **{member.slot: (group, member.eligible) for member in members}},
        )

    _change(paths, state, edit, mount_namespace)


def close(paths: Paths, state: State, *gone: int, mount_namespace: int | None = None) -> None:
    """No port of the host leads to these slots any more, nothing is lent to them, nobody reaches them. Cheap when they had no door.

    Before a slot is given back. A member that only stops is told to `connect`, and keeps its ports.
    """
    if not slots(state).isdisjoint(gone):
        _change(paths, state, lambda kept: _without(kept, gone), mount_namespace, closing=True)


def give_back(
    paths: Paths, state: State, slot: int, ended: Callable[[], bool], *, mount_namespace: int | None = None
) -> None:
    """Nothing of the host is lent to a slot any more whose container has `ended`, as is asked once it is our turn; it keeps its ports."""
    if slot not in _read(state, "loans"):
        return

    def edit(kept: Kept) -> Kept:
        return kept._replace(loans={**kept.loans, slot: ()}) if ended() else kept

    _change(paths, state, edit, mount_namespace, closing=True)


def drop(paths: Paths, state: State, gone: Collection[int]) -> None:
    """`close`, for the pool's own process: when the firewall isn't as it was said to be, the next refill puts it right."""
    if not slots(state).isdisjoint(gone):
        _edit(paths, state, lambda kept: _without(kept, gone))


def slots(state: State) -> set[int]:
    """The slots with doors, of this boot."""
    return {slot for kind in Kept._fields for slot in _read(state, kind)}


def standing(state: State, there: Network) -> Open:
    """All that there should be."""
    return _opened(_kept(state), there)


# Choosing ports ----------------------------------------------------------------------------------


def publisher(state: State, port: Port) -> str:
    """The container that publishes this port of the host, "" for none. What a killed command had is nobody's: it is taken back."""
    return _publisher(state, _takers(_without(_kept(state), state.dead_owners())), port)


def choose(state: State, port: Port, *own: str) -> Port:
    """The port with a host port: the one asked for, if nobody has it but the containers `own`, or any free one."""
    if port.host is None:
        chosen = port
        while chosen is port or publisher(state, chosen):  # published ones aren't bound: they look free
            chosen = port._replace(host=host_ports.free(port.address, port.protocol))
        return chosen
    owner = host_ports.owner(port.address, port.host, port.protocol) or publisher(state, port)
    if owner and owner not in own:
        raise EngineError(
            f"publish port {port.address}:{port.host}: {_called(state, owner)} has it",
            hint=f'end it, or let one be chosen: `ports: ["{port.container}"]`',
        )
    return port


_Door = tuple[int | None, Literal["tcp", "udp"]]


def _takers(kept: Kept) -> dict[_Door, list[tuple[str, int]]]:
    """Which slots publish a port, and at which address."""
    found: dict[_Door, list[tuple[str, int]]] = {}
    for slot, ports in kept.published.items():
        for port in ports:
            found.setdefault((port.host, port.protocol), []).append((port.address, slot))
    return found


def _publisher(state: State, takers: Mapping[_Door, list[tuple[str, int]]], port: Port) -> str:
    taken = takers.get((port.host, port.protocol), ())
    slot = next(
        (slot for address, slot in taken if address == port.address or ANYWHERE in (address, port.address)), None
    )
    if slot is None:
        return ""
    row = state.db.execute("SELECT container FROM slot WHERE number = ?", (slot,)).fetchone()
    return row[0] if row and row[0] else "a running command"


def _refuse_taken(state: State, kept: Kept, ports: Sequence[Port], ours: Collection[int]) -> None:
    others = kept._replace(published={slot: some for slot, some in kept.published.items() if slot not in ours})
    takers = _takers(others)
    for port in dict.fromkeys(ports):
        if owner := _publisher(state, takers, port):
            raise EngineError(f"publish port {port.address}:{port.host}: {_called(state, owner)} has it")


def _called(state: State, owner: str) -> str:
    """A container of ours as people know it: by its environment and folder."""
    row = state.db.execute(
        "SELECT environment.name, folder FROM container JOIN environment ON environment.id = environment"
        " WHERE container.id = ?",
        (owner,),
    ).fetchone()
    return f"{row[0]} ({row[1]})" if row else owner


def _shared_out(members: Sequence[Member]) -> dict[int, tuple[Port, ...]]:
    """The ports that each member gets: a port is one service's."""
    owner = {
        (port.address, port.host, port.protocol): member.service or member.slot
        for member in members
        for port in member.ports
    }
    return {
        member.slot: tuple(
            port
            for port in member.ports
            if owner[port.address, port.host, port.protocol] == (member.service or member.slot)
        )
        for member in members
    }


def _one_a_port(services: Services) -> Services:
    """The gateway has each port once: the first service on it is the one that is lent."""
    chosen: dict[int, str] = {}
    for address, port in services:
        chosen.setdefault(port, address)
    return tuple((address, port) for port, address in chosen.items())


# What is kept, and the firewall --------------------------------------------------------------------


def _change(
    paths: Paths, state: State, edit: Callable[[Kept], Kept], mount_namespace: int | None, *, closing: bool = False
) -> None:
    sound, changed = _edit(paths, state, edit)
    if sound or (closing and not firewall.standing(pool.network(paths, state).table)):
        return  # or everything is closed: whoever opens something next puts the table back
    try:
        pool.heal(paths, mount_namespace=mount_namespace)
    except EngineError:
        if not closing:  # what was asked for may be what can't be had
            _edit(paths, state, lambda kept: _without(kept, changed))
        raise


def _edit(paths: Paths, state: State, edit: Callable[[Kept], Kept]) -> tuple[bool, set[int]]:
    """Change what is kept and, in the same way, the firewall. Whether that is as it should be, and the slots that were changed."""
    with alone(paths):
        before = _kept(state)
        after = _without(edit(before), ())
        changed = _differing(before, after)
        if not changed and state.setting("subnet") is None:
            return True, changed
        there = pool.network(paths, state)
        edition = f"{state.boot} {ruleset.edition(there)}"
        sound = state.setting("firewall") == edition and pool.standing(there)
        old, new = _opened(before, there), _opened(after, there)
        if changed:
            _keep(state, after, "" if old != new or not sound else edition)
        if old != new and sound:
            try:
                firewall.change(there, old, new)
            except EngineError:
                sound = False
            else:
                state.set("firewall", edition)
    _forget(old, new)
    return sound, changed


@contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """Nobody else changes what is open meanwhile: what is kept and the firewall change together."""
    import fcntl

    os.makedirs(paths.locks, mode=0o700, exist_ok=True)
    fd = os.open(f"{paths.locks}/doors", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _forget(old: Open, new: Open) -> None:
    """Datagrams of those who go on sending don't go where their port doesn't lead any more."""
    for address in sorted({address for _, address in _datagrams(old) - _datagrams(new)}):
        from . import flows  # it brings socket, 3 ms: not for every container

        flows.forget(address)


def _datagrams(opened: Open) -> set[tuple[int, str]]:
    """Which UDP ports lead to which addresses."""
    return {(port.port, address) for port in opened.published if port.protocol == "udp" for address, _ in port.targets}


def _opened(kept: Kept, there: Network) -> Open:
    targets: dict[tuple[str, Any, int], list[tuple[str, int]]] = {}
    for slot, ports in sorted(kept.published.items()):
        _, eligible = kept.members.get(slot, (0, True))
        for port in ports:
            assert port.host is not None
            found = targets.setdefault((port.address, port.protocol, port.host), [])
            if eligible:
                found.append((there.address(slot), port.container))
    lent = (
        Lent("tcp", port, loopback, there.address(slot))
        for slot, loans in sorted(kept.loans.items())
        for loopback, port in loans
    )
    size = Counter(group for group, _ in kept.members.values())
    groups = ((there.address(slot), group) for slot, (group, _) in sorted(kept.members.items()) if size[group] > 1)
    published = (Published(*door, tuple(found)) for door, found in targets.items())
    return Open(tuple(published), tuple(lent), tuple(groups))


def _without(kept: Kept, gone: Collection[int]) -> Kept:
    published, loans, members = kept
    return Kept(
        {slot: ports for slot, ports in published.items() if ports and slot not in gone},
        {slot: some for slot, some in loans.items() if some and slot not in gone},
        {slot: member for slot, member in members.items() if slot not in gone},
    )


def _differing(one: Kept, other: Kept) -> set[int]:
    pairs: tuple[tuple[Mapping[int, object], Mapping[int, object]], ...] = tuple(zip(one, other, strict=True))
    return {slot for mine, theirs in pairs for slot in {*mine, *theirs} if mine.get(slot) != theirs.get(slot)}


def _kept(state: State) -> Kept:
    published, loans, members = (_read(state, kind) for kind in Kept._fields)
    return Kept(
        {slot: tuple(Port(*port) for port in ports) for slot, ports in published.items()},
        {slot: tuple((address, port) for address, port in some) for slot, some in loans.items()},
        {slot: (group, eligible) for slot, (group, eligible) in members.items()},
    )


def _read(state: State, kind: str) -> dict[int, list[Any]]:
    found = json.loads(state.setting(kind) or "{}")
    return {int(slot): entries for slot, entries in found["slots"].items()} if found.get("boot") == state.boot else {}


def _keep(state: State, kept: Kept, edition: str) -> None:
    with state.transaction():
        for kind, entries in zip(Kept._fields, kept, strict=True):
            state.set(
                kind, json.dumps({"boot": state.boot, "slots": {str(slot): entries[slot] for slot in sorted(entries)}})
            )
        state.set("firewall", edition)
