"""Slots made, healed, cleaned, taken away: the pool's own process.

`python -m devenv.engine.native.slot.refill --home H --run R --spare N`: it works in the host's mount namespace, and holds the
pool's lock. If it dies half way, the next one removes what it left.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from devenv.errors import DevenvError, EngineError
from devenv.paths import Paths

from ..mount import CLONE_NEWNS, setns
from ..records.state import State, this_process
from . import doors, firewall, namespace, pool, ruleset
from . import network as links
from .address import Network, bridge_name, candidates, choose, nameservers, parse_subnet
from .ids import BLOCK, LIMIT, extent, order
from .ruleset import Lent


def refill(paths: Paths, state: State, spare: int) -> None:
    """Heal the network, remove what dead owners left, then make or destroy spares until there are about `spare`.

    In the host's mount namespace, with the lock held.
    """
    with _choosing():
        there = _ensure(paths, state)
    _collect(paths, state, there)
    _recable(paths, state, there)
    ready = state.spare_slots()
    if len(ready) < spare:
        with _choosing():
            _make(paths, state, there, spare - len(ready))
    elif spare and len(ready) > pool.MOST * spare:
        _destroy(paths, state, there, ready[2 * spare :])


def teardown(paths: Paths, state: State) -> list[str]:
    """Remove all spares, and, if no container has a slot, bridge, firewall and everything else; what fails is told."""
    if state.setting("subnet") is None:  # no slot was ever made, yet a command may have got ready for one
        namespace.unprepare(paths.slots)
        return []
    there = pool.network(paths, state)
    _collect(paths, state, there)
    _destroy(paths, state, there, state.spare_slots())
    if any(wired for _, wired, _ in state.known_slots()):
        return []
    faults = [*firewall.teardown(there), *links.teardown(there)]
    namespace.unprepare(paths.slots)
    return faults


def _ensure(paths: Paths, state: State) -> Network:
    """Bridge and firewall, as they should be."""
    bridge = bridge_name(paths.run)
    subnet = state.setting("subnet")
    if not any(wired for _, wired, _ in state.known_slots()):
        # Nothing has an address yet in this boot, so a subnet that meanwhile became somebody else's can be changed.
        taken = links.taken(bridge)
        kept = [] if subnet is None else [parse_subnet(subnet)]
        chosen = choose([*kept, *candidates(int(bridge[2:], 16))], taken)
        if chosen is None:
            raise EngineError("choose a subnet: every candidate is in use on this host", hint="see `ip route`")
        subnet = str(chosen)
        state.set("subnet", subnet)
    assert subnet is not None
    there = Network(bridge, parse_subnet(subnet))
    namespace.prepare(paths.slots)
    # The firewall first: the bridge is never up without it.
    edition = f"{state.boot} {ruleset.edition(there)}"
    with doors.alone(paths):
        if state.setting("firewall") != edition or firewall.missing(there):
            opened = doors.standing(state, there)
            opened = opened._replace(lent=(*_resolver(there), *opened.lent))
            firewall.ensure(there, opened, links.wired(there))
            state.set("firewall", edition)
    links.setup(there)
    return there


def _resolver(there: Network) -> list[Lent]:
    """The host's own name server, when it is on loopback: everybody's resolv.conf names it at the gateway."""
    with suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        found = nameservers(file.read(), "", there.gateway)[1]
        return [Lent("tcp", 53, found), Lent("udp", 53, found)] if found else []
    return []


def _collect(paths: Paths, state: State, there: Network) -> None:
    """Remove what belongs to no slot that counts."""
    with state.transaction():
        state.free_dead_owners()
    known = state.known_slots()
    counts = {number for number, wired, _ in known if wired}
    forgotten = {number for number, wired, _ in known if not wired}
    doors.drop(paths, state, doors.slots(state) - counts)  # of commands that were killed
    rubbish = (links.wired(there) | set(_folders(paths)) | forgotten) - counts
    _dismantle(paths, there, sorted(rubbish))
    state.drop_slots(sorted(forgotten))
    pinned = {number for number in counts if namespace.is_pinned(paths.slot(number))}
    _destroy(paths, state, there, [number for number in state.spare_slots() if number not in pinned])


def _recable(paths: Paths, state: State, there: Network) -> None:
    """Give back the veth pairs that somebody deleted."""
    counts = {number for number, wired, _ in state.known_slots() if wired}
    pinned = {number for number in counts if namespace.is_pinned(paths.slot(number))}
    if bare := sorted(pinned - links.wired(there)):
        firewall.admit(there, bare)
        links.wire(there, [links.Wire(number, f"{paths.slot(number)}/net") for number in bare])


def _make(paths: Paths, state: State, there: Network, count: int) -> None:
    # Slots are host ids: none of those that another store on this host has, as long as there are others.
    own = set(json.loads(state.setting("blocks") or "[]")) or {number // BLOCK for number, _, _ in state.known_slots()}
    theirs = {number // BLOCK for number in links.foreign(there)}
    numbers = state.new_slots(count, this_process(), order(own, theirs, int(there.bridge[2:], 16)))
    if not numbers:
        raise EngineError(f"make a slot: all {LIMIT} are in use", hint="`devenv down` what you don't use")
    state.set("blocks", json.dumps(sorted(own | {number // BLOCK for number in numbers})))
    _wire(paths, state, there, numbers)


def _remake(paths: Paths, state: State, slots: Sequence[int]) -> None:
    """Containers' slots, after a reboot."""
    with _choosing():
        there = _ensure(paths, state)
    _collect(paths, state, there)
    bare = [slot for slot in slots if not (state.slot_wired(slot) and namespace.is_pinned(paths.slot(slot)))]
    for slot in bare:
        if not state.hold_slot(slot, this_process()):
            raise EngineError(f"wire slot {slot}: another command is using it")
    if bare:
        _dismantle(paths, there, bare)
        _wire(paths, state, there, bare)


def _wire(paths: Paths, state: State, there: Network, numbers: Sequence[int]) -> None:
    """Pin and wire slots that we hold; on any failure nothing of them is left."""
    try:
        namespace.pin_all([(paths.slot(number), extent(number)) for number in numbers])
        firewall.admit(there, numbers)
        links.wire(there, [links.Wire(number, f"{paths.slot(number)}/net") for number in numbers])
        state.slots_wired(numbers)
    except BaseException:
        _dismantle(paths, there, numbers)
        state.drop_slots(numbers)
        raise


def _destroy(paths: Paths, state: State, there: Network, spares: Iterable[int]) -> None:
    """Spares that we can still take for ourselves are no more."""
    ours = [number for number in spares if state.take_slot(number, this_process())]
    _dismantle(paths, there, ours)
    state.drop_slots(ours)


def _dismantle(paths: Paths, there: Network, numbers: Sequence[int]) -> None:
    """Unwire and unpin slots nobody holds. Processes left in them end: their ids will be given to others."""
    if not numbers:
        return
    namespace.evict(*map(paths.slot, numbers))
    links.unwire(there, numbers)
    for number in numbers:
        namespace.unpin(paths.slot(number))


def _folders(paths: Paths) -> Iterator[int]:
    with suppress(FileNotFoundError):
        yield from (int(name) for name in os.listdir(paths.slots) if name.isascii() and name.isdigit())


@contextmanager
def _choosing() -> Iterator[None]:
    """One store of this machine at a time: what it takes is what the others have no route to and no link of.

    The lock is on the network namespace itself: whoever shares that shares the links. It ends with its holder.
    """
    import fcntl

    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _lock(paths: Paths, *, wait: bool) -> Iterator[bool]:
    """One refill at a time; False when another is at work and we don't wait. It ends with its holder."""
    import fcntl

    os.makedirs(paths.locks, mode=0o700, exist_ok=True)
    fd = os.open(f"{paths.locks}/pool", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def main(arguments: Sequence[str]) -> int:
    """The process's whole work. Exit code 0, or 1 with the error on stderr."""
    import argparse

    parser = argparse.ArgumentParser(prog=f"python -m {pool.MODULE}")
    parser.add_argument("--home", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--spare", type=int, default=0, help="spare slots there should be; 0: only heal and clean")
    parser.add_argument("--slot", type=int, action="append", help="wire this container's slot; several: all of them")
    parser.add_argument("--teardown", action="store_true", help="remove all spares, and the network if nobody uses it")
    parser.add_argument("--background", action="store_true", help="give way to another refill, and to everybody's work")
    parser.add_argument("--mount-namespace", type=int, metavar="FD", help="the host's mount namespace")
    options = parser.parse_args(arguments)
    try:
        if options.mount_namespace is not None:
            setns(options.mount_namespace, CLONE_NEWNS)  # needs a process with one thread: before anything else
        os.chdir("/")
        if options.background:
            os.nice(10)
        paths = Paths(options.home, options.run)
        with _lock(paths, wait=not options.background) as ours:
            if ours:
                _work(paths, State(paths.state), options.spare, options.slot or (), options.teardown)
    except DevenvError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _work(paths: Paths, state: State, spare: int, slots: Sequence[int], away: bool) -> None:
    if away:
        if faults := teardown(paths, state):
            raise EngineError("; ".join(faults))
    elif slots:
        _remake(paths, state, slots)
    else:
        refill(paths, state, spare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
