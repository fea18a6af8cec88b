"""A container that no new connection is led to -> those that were are all with one of its servers, which may be told to end.

A server that ends closes its socket, and the kernel resets whoever still stands in its queue (listen(2), `backlog`): nobody
but we can wait for that, as most servers stop accepting as soon as they are told.
"""

from __future__ import annotations

import time

from ..container import monitor
from .ground import Ground

_PAUSE = 0.01
"""Seconds between two looks."""

_LONGEST = 1.0
"""Seconds after which a server that accepts nobody isn't waited for."""

_HALF_OPEN, _LISTENS = b"03", b"0A"
"""States of sockets (linux/tcp_states.h)."""


def drain(ground: Ground, pid: int, seconds: float) -> None:
    """Return when two looks in a row found its queues empty, as somebody may have been on the way; or it ended; or it is too late."""
    deadline = time.monotonic() + min(seconds, _LONGEST)
    empty = 0
    while time.monotonic() < deadline and not ground.cancellation.asked:
        empty = 0 if _queued(pid) else empty + 1
        if empty == 2 or monitor.wait_exit(pid, _PAUSE, ground.cancellation.descriptor):
            return


def _queued(pid: int) -> bool:
    """Whether a connection isn't with a server yet, in the network namespace of a process (proc_net_tcp.rst of the kernel)."""
    for family in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{family}", "rb") as file:
                sockets = file.readlines()[1:]
        except OSError:
            return False  # it ended, or has no IPv6
        for _, _, _, state, queues, *_ in map(bytes.split, sockets):
            # The second of a listening socket's queues counts those who wait to be accepted.
            if state == _HALF_OPEN or (state == _LISTENS and not queues.endswith(b":00000000")):
                return True
    return False
