"""Slots kept ready: a wired, pinned slot for whoever asks. What makes, heals and cleans them is a process of its own (refill.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from devenv.errors import EngineError
from devenv.paths import Paths

from ..process import environment, ourselves, run
from ..records.state import Owner, State
from . import firewall, namespace, ruleset
from .address import Network, bridge_name, parse_subnet

SPARE = 8
"""Spare slots kept when nothing else is said; refilled when half of them are taken."""

MOST = 4
"""Times the spares that there should be: as many may be there when a lot of slots were given back."""

SURPLUS = 600.0
"""Seconds that there may be even more."""

MODULE = "devenv.engine.native.slot.refill"
_PATIENCE = 60.0  # seconds that a claim waits while others take every slot it has made


def network(paths: Paths, state: State) -> Network:
    """The store's network; known once a slot was claimed."""
    subnet = state.setting("subnet")
    if subnet is None:
        raise EngineError("find the network: no slot was ever wired")
    return Network(bridge_name(paths.run), parse_subnet(subnet))


def claim(paths: Paths, state: State, owner: Owner, *, mount_namespace: int | None = None, spare: int = SPARE) -> int:
    """A wired slot, held by `owner`. When none is ready, waits for a refill (0.2 s).

    Call namespace.prepare(paths.slots) before entering a mount namespace of one's own.
    """
    return claim_many(paths, state, owner, 1, mount_namespace=mount_namespace, spare=spare)[0]


def claim_many(
    paths: Paths, state: State, owner: Owner, count: int, *, mount_namespace: int | None = None, spare: int = SPARE
) -> list[int]:
    """As many wired slots, all or none; those that aren't ready are made by one refill (3 ms each)."""
    deadline = time.monotonic() + _PATIENCE
    held: list[int] = []
    refilled = False
    try:
        while len(held) < count:
            taken = _take(state, owner, count - len(held))
            held += taken
            if lost := [slot for slot in taken if not namespace.is_pinned(paths.slot(slot))]:
                # Somebody unmounted them: the next refill removes the rest.
                state.drop_slots(lost)
                held = [slot for slot in held if slot not in lost]
                if refilled:
                    raise EngineError(f"claim slot {lost[0]}: {paths.slot(lost[0])} isn't seen in this mount namespace")
            elif not taken:
                if time.monotonic() > deadline:
                    raise EngineError("claim a slot: others take them faster than they are made")
                wanted = max(spare, count - len(held))
                _foreground(paths, "--spare", str(wanted), mount_namespace=mount_namespace)
                refilled = True
        if not standing(network(paths, state)):
            heal(paths, mount_namespace=mount_namespace)
    except BaseException:
        for slot in held:
            state.release_slot(slot)
        raise
    return held


def _take(state: State, owner: Owner, count: int) -> list[int]:
    with state.transaction():
        return [slot for slot in state.spare_slots()[:count] if state.take_slot(slot, owner)]


def rewire(paths: Paths, slots: Sequence[int], *, mount_namespace: int | None = None) -> None:
    """Make those of containers' slots anew that aren't wired in this boot: one process for all of them."""
    words = (word for slot in slots for word in ("--slot", str(slot)))
    _foreground(paths, *words, mount_namespace=mount_namespace)


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
    """Whether bridge and firewall are there, whole, and of this version (5 ms)."""
    there = network(paths, state)
    current = state.setting("firewall") == f"{state.boot} {ruleset.edition(there)}"
    return current and firewall.linked(there.bridge) and not firewall.missing(there)


def tend(
    paths: Paths, state: State, *, mount_namespace: int | None = None, spare: int = SPARE, patience: float = SURPLUS
) -> int | None:
    """Start a refill if there are too few spares, or too many for some time: the last thing a command does. Its pid, if any.

    What was just given back may be wanted again soon: `scale` up and down.
    """
    ready = len(state.spare_slots())
    many = ready > MOST * spare
    lasting = _surplus(state, many) >= patience
    if ready <= spare // 2 or (many and lasting):
        return spawn_refill(paths, mount_namespace=mount_namespace, spare=spare)
    return None


def _surplus(state: State, many: bool) -> float:
    """For how many seconds there have been too many spares."""
    boot, _, begun = (state.setting("surplus") or "").partition(" ")
    if not many:
        if boot:
            state.set("surplus", "")
        return 0.0
    if boot != state.boot:
        state.set("surplus", f"{state.boot} {time.monotonic()}")
        return 0.0
    return time.monotonic() - float(begun)


def spawn_refill(paths: Paths, *, mount_namespace: int | None = None, spare: int = SPARE) -> int:
    """Start a detached refill and return its pid at once (1 ms). It is init's child when its starter has ended."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [*null]
    arguments = ["--background", "--spare", str(spare)]
    if mount_namespace is not None:
        actions.append((os.POSIX_SPAWN_DUP2, mount_namespace, 3))  # dup2 drops close-on-exec
        arguments += ["--mount-namespace", "3"]
    argv, found = _program(paths, *arguments)
    return os.posix_spawn(argv[0], argv, environment(found), file_actions=actions, setsid=True)


def _foreground(paths: Paths, *arguments: str, mount_namespace: int | None) -> None:
    more = [] if mount_namespace is None else ["--mount-namespace", str(mount_namespace)]
    pass_fds = [] if mount_namespace is None else [mount_namespace]
    argv, found = _program(paths, *arguments, *more)
    done = run(argv, env=found, pass_fds=pass_fds, check=False)
    if done.code != 0:
        raise EngineError(done.stderr.decode(errors="replace").strip() or f"refill the pool: exit code {done.code}")


def _program(paths: Paths, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return ourselves(MODULE, "--home", paths.home, "--run", paths.run, *arguments)
