"""The sessions of commands that were sent into a container: found, and ended with all that is in them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable


def of(pid_file: str, seconds: float = 0.5) -> int:
    """The session of the process whose pid is being written to a file; 0 when there is none, or it is over already."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with open(pid_file, encoding="ascii") as file:
                return os.getsid(int(file.read()))
        except ProcessLookupError:
            return 0
        except (FileNotFoundError, ValueError):  # not yet, or not whole yet
            time.sleep(0.002)
    return 0


def end(leader: int, init: int, listed: Callable[[], Iterable[str]] = lambda: os.listdir("/proc")) -> None:
    """Kill all processes of a session, also when its leader is gone; only those in the PID namespace of `init`.

    `listed` says which there may be, if somebody knows: there can be thousands on a host.
    """
    for _ in range(50):  # they may fork meanwhile
        found = [pid for pid in listed() if pid.isdecimal() and _is_of(pid, leader, init)]
        for pid in found:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not found:
            return


def marked(pids: Iterable[str], mark: str) -> set[int]:
    """The sessions of those of these processes that were given this variable (`NAME=VALUE`), or inherited it."""
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.add(os.getsid(int(pid)))
        except OSError:
            continue  # gone meanwhile
    return found


def _is_of(pid: str, leader: int, init: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
        if int(session) != leader or state in (b"Z", b"X"):
            return False
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{init}/ns/pid")
    except OSError:
        return False
