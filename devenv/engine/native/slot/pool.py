"""Slots kept ready: a wired, pinned slot for whoever asks. What makes, heals and cleans them is a process of its own (refill.py)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from devenv.errors import EngineError
from devenv.paths import Paths

from ..process import environment, run
from ..state import Owner, State
from . import firewall, namespace
from .address import Network, bridge_name, parse_subnet

SPARE = 8
"""Spare slots kept when nothing else is said; refilled when half of them are taken."""

MODULE = "devenv.engine.native.slot.refill"
_PATIENCE = 60.0  # seconds that a claim waits while others take every slot it has made


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
            if not standing(network(paths, state)):
                heal(paths, mount_namespace=mount_namespace)
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
    """Whether bridge and firewall are there, whole, and of this version (5 ms)."""
    there = network(paths, state)
    current = state.setting("firewall") == f"{state.boot} {firewall.edition(there)}"
    return current and firewall.linked(there.bridge) and not firewall.missing(there)


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
    return [sys.executable, "-P", "-s", "-m", MODULE, "--home", paths.home, "--run", paths.run, *arguments]


def _where_we_are() -> dict[str, str]:
    root = os.path.abspath(__file__)
    for _ in MODULE.split("."):
        root = os.path.dirname(root)
    return {"PYTHONPATH": root}
