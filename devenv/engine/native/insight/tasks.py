"""Pids of a container's processes -> the processes, as they are seen from inside (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from devenv.beneath import text_beneath
from devenv.model.accounts import accounts
from devenv.model.seen import Task

_IDS = 65536


def tasks(pids: Iterable[str], init: int, start: int) -> tuple[Task, ...]:
    """By their pids inside. `init` is the container's, `start` the host's id that is root in it."""
    names = {one.uid: one.name for one in reversed(accounts(text_beneath(f"/proc/{init}/root", "etc/passwd")))}
    found = []
    for pid in pids:
        with suppress(OSError, ValueError, KeyError, IndexError):  # it ended meanwhile
            found.append(_task(int(pid), start, names))
    return tuple(sorted(found))


def _task(pid: int, start: int, names: dict[int, str]) -> Task:
    said = status(_text(f"/proc/{pid}/status"))
    user = int(said["Uid"].split()[1]) - start
    return Task(
        pid=int(said["NSpid"].split()[-1]),
        outside=pid,
        user=names.get(user, str(user)) if 0 <= user < _IDS else "nobody",
        cpu=ticks(_text(f"/proc/{pid}/stat")) / os.sysconf("SC_CLK_TCK"),
        memory=int(said.get("VmRSS", "0 kB").split()[0]) * 1024,  # what has ended, but isn't reaped, has none
        command=command(_text(f"/proc/{pid}/cmdline"), said["Name"]),
    )


def status(said: str) -> dict[str, str]:
    """/proc/PID/status, by name."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}


def ticks(said: str) -> int:
    """/proc/PID/stat -> clock ticks of CPU that it took, as itself and in the kernel (fields 14 and 15)."""
    fields = said.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def command(said: str, name: str) -> str:
    """/proc/PID/cmdline on one line; a process without words by its name, as ps(1) has it."""
    return " ".join(said.rstrip("\0").split("\0")).strip() or f"[{name}]"


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
