"""A container's cgroup -> a descriptor that becomes ready when a process in it may have been killed for want of memory."""

from __future__ import annotations

import os
from select import EPOLLIN, EPOLLPRI

from ..insight import usage


class Killings:
    """Waited for with epoll: `event` on `fd`. v1 counts in an eventfd (cgroup-v1/memory.rst, 10), v2 says so of a file (kernfs)."""

    def __init__(self, groups: dict[str, str]) -> None:
        self.first = "memory" in groups
        self.event = EPOLLIN if self.first else EPOLLPRI
        if self.first:
            self.fd = _counter(groups["memory"])
        else:
            self.fd = os.open(f"{groups['']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        self.known = 0 if self.first else self._killed()

    def heard(self) -> bool:
        """It was ready: whether there was one. v2 tells of every time that a limit was met, too."""
        if self.first:
            return os.eventfd_read(self.fd) > 0
        before, self.known = self.known, self._killed()
        return self.known > before

    def close(self) -> None:
        os.close(self.fd)

    def _killed(self) -> int:
        lines = os.pread(self.fd, 4096, 0).decode().splitlines()
        return sum(int(number) for name, _, number in (line.partition(" ") for line in lines) if name == "oom_kill")


def killings(pid: int, mounted: usage.Mounted) -> Killings | None:
    """Of the container with this init; None where the kernel doesn't tell."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return Killings(usage.groups(file.read(), mounted))
    except (OSError, KeyError):
        return None


def _counter(group: str) -> int:
    counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open(f"{group}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(f"{group}/cgroup.event_control", "w", encoding="ascii") as file:
                file.write(f"{counter} {control}")
        finally:
            os.close(control)
    except OSError:
        os.close(counter)
        raise
    return counter
