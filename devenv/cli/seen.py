"""What is seen of containers → tables for people, plain values for `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TextIO

from devenv.cli.voices import moment
from devenv.console import clean, colours, paint, size, table
from devenv.engine import Happening
from devenv.model import plain
from devenv.model.container import Container, Environment
from devenv.model.seen import Task, Usage

Document = dict[str, object]

_STYLES = {"die": "red", "oom": "red", "start": "green", "restart": "yellow", "create": "cyan", "health": "cyan"}


class Measured(NamedTuple):
    """A container and what it used between two looks, the later one last."""

    home: Environment
    container: Container
    before: Usage
    after: Usage

    @property
    def cpu(self) -> float | None:
        """Percent of one core."""
        if self.before.cpu is None or self.after.cpu is None or self.after.time <= self.before.time:
            return None
        return max(0.0, 100 * (self.after.cpu - self.before.cpu) / (self.after.time - self.before.time))


def usage(found: Sequence[Measured], out: TextIO, *, colour: bool = False) -> None:
    """A line for each container."""
    rows = []
    for one in found:
        now = one.after
        limit = "" if now.memory_limit is None else f" of {size(now.memory_limit)}"
        rows.append(
            (
                one.container.name,
                "-" if one.cpu is None else f"{one.cpu:.1f} %",
                _size(now.memory) + limit,
                f"{_size(now.received)} / {_size(now.sent)}",
                f"{_size(now.read)} / {_size(now.written)}",
                "-" if now.pids is None else str(now.pids),
            )
        )
    header = ("CONTAINER", "CPU", "MEMORY", "NETWORK IN / OUT", "DISK READ / WRITTEN", "PIDS")
    table(header, rows, out, colour=colour, shrink=(0,))


def measured(one: Measured) -> Document:
    """What `stats --json` says of a container."""
    used = plain(one.after)
    used.pop("time")
    used["cpu_seconds"] = used.pop("cpu")
    cpu = None if one.cpu is None else round(one.cpu, 2)
    return {**_whose(one.home, one.container), "cpu_percent": cpu, **used}


def tasks(found: Sequence[tuple[Container, Task]], env: Mapping[str, str]) -> None:
    """A line for each process."""
    rows = [
        (one.name, str(task.pid), str(task.outside), task.user, seconds(task.cpu), size(task.memory), task.command)
        for one, task in found
    ]
    header = ("CONTAINER", "PID", "OUTSIDE", "USER", "CPU", "MEMORY", "COMMAND")
    table(header, rows, sys.stdout, colour=colours(sys.stdout, env), shrink=(6,))


def task(home: Environment, container: Container, one: Task) -> Document:
    """What `top --json` says of a process."""
    return {**_whose(home, container), **plain(one)}


def tell(one: Happening, env: Mapping[str, str], *, width: int = 0, as_json: bool = False) -> None:
    """Something that happened, on a line; names take `width` columns."""
    if as_json:
        print(json.dumps(happening(one)), flush=True)
        return
    colour = colours(sys.stdout, env)
    style = "red" if one.detail == "unhealthy" else "green" if one.detail == "healthy" else _STYLES.get(one.kind, "dim")
    kind = paint(one.kind.ljust(7), style, colour)
    print(f"{moment(one.time)}  {clean(one.object).ljust(width)}  {kind}  {clean(one.detail)}".rstrip(), flush=True)


def happening(one: Happening) -> Document:
    document: Document = plain(one)
    return document


def seconds(value: float) -> str:
    """CPU time as ps(1) has it: `0:07`, `12:34`, `3:05:00`."""
    hours, rest = divmod(int(value), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def _size(value: int | None) -> str:
    return "-" if value is None else size(value)


def _whose(home: Environment, one: Container) -> Document:
    return {"environment": home.id, "id": one.id, "name": one.name, "service": one.service or None}
