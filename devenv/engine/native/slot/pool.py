"""Slots kept ready: wired, pinned slots to claim; refilled, healed and cleaned by a process of its own.

`python -m devenv.engine.native.slot.pool --home H --run R --spare N` is that process: it alone imports pyroute2, works in
the host's mount namespace, and holds the pool's lock. If it dies half way, the next one removes what it left.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from devenv.errors import DevenvError, EngineError
from devenv.paths import Paths

from ..mount import CLONE_NEWNS, setns
from ..process import environment, run
from ..state import Owner, State, this_process
from . import firewall, namespace
from .address import Network, bridge_name, candidates, choose, nameservers, parse_subnet
from .firewall import Lent, Published
from .ids import LIMIT, extent

if TYPE_CHECKING:
    from devenv.model.manifest import Port

SPARE = 8
"""Spare slots kept when nothing else is said; refilled when half of them are taken."""

_MODULE = "devenv.engine.native.slot.pool"
_PATIENCE = 60.0  # seconds that a claim waits while others take every slot it has made


# For commands: nothing here imports pyroute2 ---------------------------------------------------


def network(paths: Paths, state: State) -> Network:
    """The store's network; known once a slot was claimed."""
    subnet = state.setting("subnet")
    if subnet is None:
        raise EngineError("find the network: no slot was ever wired")
    return Network(bridge_name(paths.run), parse_subnet(subnet))


def claim(paths: Paths, state: State, owner: Owner, *, mount_namespace: int | None = None, spare: int = SPARE) -> int:
    """A wired slot, held by `owner`. When none is ready, waits for a refill (0.3 s).

    Call namespace.prepare(paths.slots) before entering a mount namespace of one's own.
    """
    deadline = time.monotonic() + _PATIENCE
    refilled = False
    while True:
        slot = state.claim_slot(owner)
        if slot is not None and namespace.is_pinned(paths.slot(slot)):
            return slot
        if slot is not None:  # somebody unmounted it: the next refill removes the rest
            state.drop_slots([slot])
            if refilled:
                raise EngineError(f"claim slot {slot}: {paths.slot(slot)} isn't seen in this mount namespace")
        elif time.monotonic() > deadline:
            raise EngineError("claim a slot: others take them faster than they are made")
        else:
            _foreground(paths, "--spare", str(spare), mount_namespace=mount_namespace)
            refilled = True


def rewire(paths: Paths, slot: int, *, mount_namespace: int | None = None) -> None:
    """Make a container's slot anew when it isn't wired in this boot; nothing when it is."""
    _foreground(paths, "--slot", str(slot), mount_namespace=mount_namespace)


def heal(paths: Paths, *, mount_namespace: int | None = None) -> None:
    """Put bridge, firewall, published ports and veth pairs back, whichever somebody deleted."""
    _foreground(paths, "--spare", "0", mount_namespace=mount_namespace)


def standing(there: Network) -> bool:
    """Whether bridge and table are there (0.1 ms); `healthy` looks at the rules too."""
    return firewall.linked(there.bridge) and firewall.standing(there.table)


def remove_spares(paths: Paths) -> None:
    """Take the spare slots down, and the network if nobody has a slot."""
    _foreground(paths, "--teardown", mount_namespace=None)


def healthy(paths: Paths, state: State) -> bool:
    """Whether bridge and firewall are there and whole (5 ms)."""
    import socket

    there = network(paths, state)
    try:
        socket.if_nametoindex(there.bridge)
    except OSError:
        return False
    return not firewall.missing(there)


def publish(
    paths: Paths, state: State, slot: int, ports: Sequence[Port], *, mount_namespace: int | None = None
) -> None:
    """Let these ports of the host lead to the slot, also after a flush. Raises EngineError when one is taken."""
    if not ports:
        return
    with state.transaction():
        entries = _published(state)
        theirs = [port for other, taken in entries.items() if other != slot for port in taken]
        if clash := next((mine for mine in ports for port in theirs if _same_door(mine, port)), None):
            raise EngineError(f"publish {clash.address}:{clash.host}: another container has it")
        entries[slot] = list(ports)
        _set_published(state, entries)
    there = network(paths, state)
    try:
        firewall.publish(there, [Published(port, there.address(slot)) for port in ports])
    except EngineError:
        if healthy(paths, state):
            unpublish(paths, state, slot)
            raise
        heal(paths, mount_namespace=mount_namespace)


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


def unpublish(paths: Paths, state: State, slot: int) -> None:
    """No port of the host leads to the slot any more. Cheap when none did."""
    if slot not in _published(state):
        return
    with state.transaction():
        entries = _published(state)
        if entries.pop(slot, None) is None:
            return
        _set_published(state, entries)
    there = network(paths, state)
    firewall.unpublish(there, there.address(slot))


def lend(paths: Paths, state: State, loan: Lent, *, mount_namespace: int | None = None) -> None:
    """Let containers reach a service on the host's loopback (a proxy, a mirror) at the gateway's address."""
    with state.transaction():
        loans = {*_lent(state), loan}
        if loans == set(_lent(state)):
            return
        state.set("lent", json.dumps(sorted(loans)))
        state.set("firewall", "outdated")
    heal(paths, mount_namespace=mount_namespace)


def tend(paths: Paths, state: State, *, mount_namespace: int | None = None, spare: int = SPARE) -> int | None:
    """Start a refill if there are too few or too many spares: the last thing a command does. Its pid, if any."""
    ready = len(state.spare_slots())
    if spare // 2 < ready <= 4 * spare:
        return None
    return spawn_refill(paths, mount_namespace=mount_namespace, spare=spare)


def spawn_refill(paths: Paths, *, mount_namespace: int | None = None, spare: int = SPARE) -> int:
    """Start a detached refill and return its pid at once (1 ms). It is init's child when its starter has ended."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [*null]
    arguments = ["--background", "--spare", str(spare)]
    if mount_namespace is not None:
        actions.append((os.POSIX_SPAWN_DUP2, mount_namespace, 3))  # dup2 drops close-on-exec
        arguments += ["--mount-namespace", "3"]
    argv = _argv(paths, arguments)
    return os.posix_spawn(argv[0], argv, environment(_where_we_are()), file_actions=actions, setsid=True)


def _foreground(paths: Paths, *arguments: str, mount_namespace: int | None) -> None:
    more = [] if mount_namespace is None else ["--mount-namespace", str(mount_namespace)]
    pass_fds = [] if mount_namespace is None else [mount_namespace]
    done = run(_argv(paths, [*arguments, *more]), env=_where_we_are(), pass_fds=pass_fds, check=False)
    if done.code != 0:
        raise EngineError(done.stderr.decode(errors="replace").strip() or f"refill the pool: exit code {done.code}")


def _argv(paths: Paths, arguments: Sequence[str]) -> list[str]:
    # -P: the current folder is a project of unknown people, and must not be where Python looks for modules.
    return [sys.executable, "-P", "-s", "-m", _MODULE, "--home", paths.home, "--run", paths.run, *arguments]


def _where_we_are() -> dict[str, str]:
    root = os.path.abspath(__file__)
    for _ in _MODULE.split("."):
        root = os.path.dirname(root)
    return {"PYTHONPATH": root}


# What is published, kept in state so that a flushed firewall can be put back --------------------------


def _published(state: State) -> dict[int, list[Port]]:
    """Slot → its published ports, of this boot."""
    from devenv.model.manifest import Port

    kept = json.loads(state.setting("published") or "{}")
    if kept.get("boot") != state.boot:
        return {}
    return {int(slot): [Port(*port) for port in ports] for slot, ports in kept["slots"].items()}


def _set_published(state: State, entries: dict[int, list[Port]]) -> None:
    slots = {
        str(slot): [(port.container, port.host, port.address, port.protocol) for port in ports]
        for slot, ports in sorted(entries.items())
    }
    state.set("published", json.dumps({"boot": state.boot, "slots": slots}))


def _same_door(one: Port, other: Port) -> bool:
    same = (one.host, one.protocol) == (other.host, other.protocol)
    return same and (one.address == other.address or firewall.ANYWHERE in (one.address, other.address))


def _lent(state: State) -> list[Lent]:
    return [Lent(*loan) for loan in json.loads(state.setting("lent") or "[]")]


# In the pool's own process ---------------------------------------------------------------------


def refill(paths: Paths, state: State, spare: int) -> None:
    """Heal the network, remove what dead owners left, then make or destroy spares until there are about `spare`.

    In the host's mount namespace, with the lock held.
    """
    there = _ensure(paths, state)
    _collect(paths, state, there)
    ready = state.spare_slots()
    if len(ready) < spare:
        _make(paths, state, there, spare - len(ready))
    elif spare and len(ready) > 4 * spare:
        _destroy(paths, state, there, ready[2 * spare :])


def teardown(paths: Paths, state: State) -> list[str]:
    """Remove all spares, and, if no container has a slot, bridge, firewall and everything else; what fails is told."""
    if state.setting("subnet") is None:
        return []
    there = network(paths, state)
    _collect(paths, state, there)
    _destroy(paths, state, there, state.spare_slots())
    if any(wired for _, wired, _ in state.known_slots()):
        return []
    from . import network as links

    faults = [*firewall.teardown(there), *links.teardown(there)]
    namespace.unprepare(paths.slots)
    return faults


def _ensure(paths: Paths, state: State) -> Network:
    """Bridge and firewall, as they should be."""
    from . import network as links

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
    edition = f"{state.boot} {firewall.edition(there)}"
    if state.setting("firewall") != edition or firewall.missing(there):
        entries = _published(state).items()
        published = [Published(port, there.address(slot)) for slot, ports in entries for port in ports]
        firewall.ensure(there, published, _loans(state, there))
        state.set("firewall", edition)
    links.setup(there)
    return there


def _loans(state: State, there: Network) -> list[Lent]:
    with suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        resolver = nameservers(file.read(), "", there.gateway)[1]
        if resolver:
            return [Lent("tcp", 53, resolver), Lent("udp", 53, resolver), *_lent(state)]
    return _lent(state)


def _collect(paths: Paths, state: State, there: Network) -> None:
    """Remove what belongs to no slot that counts, and give back the veth pairs that somebody deleted."""
    from . import network as links

    with state.transaction():
        state.free_dead_owners()
    known = state.known_slots()
    counts = {number for number, wired, _ in known if wired}
    forgotten = {number for number, wired, _ in known if not wired}
    for slot in set(_published(state)) - counts:  # of commands that were killed
        unpublish(paths, state, slot)
    cabled = links.wired(there)
    rubbish = (cabled | set(_folders(paths)) | forgotten) - counts
    _dismantle(paths, there, sorted(rubbish))
    state.drop_slots(sorted(forgotten))
    pinned = {number for number in counts if namespace.is_pinned(paths.slot(number))}
    _destroy(paths, state, there, [number for number in state.spare_slots() if number not in pinned])
    if bare := sorted(pinned - cabled):
        links.wire(there, [links.Wire(number, f"{paths.slot(number)}/net") for number in bare])


def _make(paths: Paths, state: State, there: Network, count: int) -> None:
    numbers = state.new_slots(count, this_process(), LIMIT)
    if not numbers:
        raise EngineError(f"make a slot: all {LIMIT} are in use", hint="`devenv down` what you don't use")
    _wire(paths, state, there, numbers)


def _remake(paths: Paths, state: State, slot: int) -> None:
    """A container's slot, after a reboot."""
    there = _ensure(paths, state)
    _collect(paths, state, there)
    if state.slot_wired(slot) and namespace.is_pinned(paths.slot(slot)):
        return
    if not state.hold_slot(slot, this_process()):
        raise EngineError(f"wire slot {slot}: another command is using it")
    _dismantle(paths, there, [slot])
    _wire(paths, state, there, [slot])


def _wire(paths: Paths, state: State, there: Network, numbers: Sequence[int]) -> None:
    """Pin and wire slots that we hold; on any failure nothing of them is left."""
    from . import network as links

    try:
        for number in numbers:
            namespace.pin(paths.slot(number), extent(number))
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
    from . import network as links

    if not numbers:
        return
    for number in numbers:
        namespace.evict(paths.slot(number))
    links.unwire(there, numbers)
    for number in numbers:
        namespace.unpin(paths.slot(number))


def _folders(paths: Paths) -> Iterator[int]:
    with suppress(FileNotFoundError):
        yield from (int(name) for name in os.listdir(paths.slots) if name.isascii() and name.isdigit())


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

    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}")
    parser.add_argument("--home", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--spare", type=int, default=0, help="spare slots there should be; 0: only heal and clean")
    parser.add_argument("--slot", type=int, help="wire this container's slot")
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
                _work(paths, State(paths.state), options.spare, options.slot, options.teardown)
    except DevenvError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _work(paths: Paths, state: State, spare: int, slot: int | None, away: bool) -> None:
    if away:
        if faults := teardown(paths, state):
            raise EngineError("; ".join(faults))
    elif slot is not None:
        _remake(paths, state, slot)
    else:
        refill(paths, state, spare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
