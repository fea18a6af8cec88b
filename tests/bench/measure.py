"""Commands in; seconds and bytes out."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Argv = tuple[str, ...]


class Failed(Exception):
    """A measured command failed: what it was, its exit code and the end of what it said."""


class Summary(NamedTuple):
    """Of one contender in one row, in the row's unit."""

    median: float
    least: float
    most: float
    runs: int


@dataclass(slots=True)
class Row:
    """One line of a table: a title, a unit (`ms`, `s`, `MB`), and each contender's samples in that unit."""

    title: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contender: str, value: float) -> None:
        self.samples.setdefault(contender, []).append(value)

    def summary(self, contender: str) -> Summary | None:
        values = self.samples.get(contender)
        return Summary(statistics.median(values), min(values), max(values), len(values)) if values else None

    def ratio(self, contender: str, other: str) -> float | None:
        """How many times the other's median this contender's is."""
        mine, theirs = self.summary(contender), self.summary(other)
        return mine.median / theirs.median if mine and theirs and theirs.median else None


def seconds(argv: Argv, folder: str, env: Mapping[str, str], limit: float = 240) -> float:
    """Run a command in a folder to its end; the seconds that took. Raises Failed."""
    # Files, not pipes: a process left in the background may hold a pipe open, and it isn't what the user waits for.
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, close_fds=False
        )
        # Not wait(timeout): it polls, every 50 ms in the end.
        watchdog = threading.Timer(limit, process.kill)
        watchdog.start()
        code = process.wait()
        spent = time.perf_counter() - start
        watchdog.cancel()
        if code:
            said.seek(0)
            raise Failed(f"{' '.join(argv)}: exit {code}\n{said.read().decode(errors='replace')[-2000:]}")
    return spent


def output(argv: Argv, env: Mapping[str, str], folder: str | None = None) -> str | None:
    """A command's stdout, stripped, or None when it is missing or fails."""
    try:
        done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def outside_memory(ignore: frozenset[str]) -> float:
    """MB (10^6) of proportional set size of all processes here that no container's PID namespace holds.

    The benchmark has a PID namespace of its own: all that is seen here, but itself and its init, a contender started.
    """
    here, mine = os.readlink("/proc/self/ns/pid"), {1, os.getpid()}
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in mine:
            continue
        try:
            if os.readlink(f"/proc/{entry}/ns/pid") == here and _name(entry) not in ignore:
                total += _pss(entry)
        except OSError:  # it ended meanwhile
            continue
    return total / 1e6


def _name(pid: str) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def _pss(pid: str) -> int:
    """Bytes (proc(5), smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
