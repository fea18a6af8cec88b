"""A side that is up → a Run: the command in its workspace, what it printed, used and reported."""

from __future__ import annotations

import fnmatch
import io
import os
import posixpath
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from devenv.cli.session import Machine
from devenv.desired import SHELL
from devenv.errors import DevenvError
from devenv.model.container import Container, Process
from devenv.model.manifest import Pairs
from devenv.model.trial import Notice, Run
from devenv.trial import notices
from devenv.trial.heard import Heard, heard
from devenv.trial.recognise import Form, Listener, Written

from .sides import Standing

REPORTS = "/tmp/devenv-trial"
"""Where tools are told to write their reports, inside."""

_LARGEST = 64 << 20
_PRINTED = 16 << 20
_MOST = 500


class Task(NamedTuple):
    """What is run on each side: the command as a shell has it, and how its tests are heard."""

    command: str
    listener: Listener
    environment: Pairs = ()


class Told(NamedTuple):
    """What a command did, its reports still inside. `started` in Unix seconds."""

    code: int
    started: float
    seconds: float
    cpu: float | None
    printed: tuple[str, ...]


class _Log:
    """Everything that is printed goes into the file, as it comes; what is read of it later is its beginning and its end."""

    def __init__(self, path: str, said: Callable[[str], None]) -> None:
        self.file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # closed by whoever has it
        self.said, self.lines, self.size = said, [], 0  # type: ignore[var-annotated]

    def __call__(self, line: str) -> None:
        self.file.write(f"{line}\n")
        self.said(line)
        self.size += len(line)
        if self.size < _PRINTED:
            self.lines.append(line)


def attend(one: Standing, task: Task, machine: Machine, log: str, said: Callable[[str], None]) -> Told:
    """Run the command to its end; it is printed into the file `log`. From any thread."""
    script = f"mkdir -p {REPORTS} && : > {REPORTS}/begun && sleep 0.01; {task.command}"
    process = Process((*SHELL, script), env=(*task.environment, *task.listener.environment))
    before, started, begun = _cpu(one.workspace, machine), time.time(), time.monotonic()
    printed = _Log(log, said)
    try:
        code = machine.engine.execute(one.workspace.id, process, printed)
    finally:
        printed.file.close()
    seconds, after = time.monotonic() - begun, _cpu(one.workspace, machine)
    used = None if before is None or after is None else after - before
    return Told(code, started, seconds, used, tuple(printed.lines))


def result(one: Standing, task: Task, told: Told, machine: Machine, log: str, *, alone: bool, ended: bool) -> Run:
    """What came of it, its reports read. `ended`: it was ended by us."""
    root = one.setup.manifest.workdir or ""
    found, trouble = _heard(one, task, told, machine, root)
    said = tuple(notices.read(told.printed))
    if trouble:
        said = (*said, Notice("devenv", trouble))
    return Run(
        None if ended else told.code,
        told.started,
        told.seconds,
        told.cpu,
        found.cases,
        said,
        os.path.basename(log),
        alone,
        found.unnamed,
        found.cut,
    )


def _heard(one: Standing, task: Task, told: Told, machine: Machine, root: str) -> tuple[Heard, str]:
    """The tests, and what was wrong with a report."""
    output = "\n".join(told.printed)
    try:
        return heard(_reports(one.workspace, task.listener.reports, root, machine), output, root), ""
    except DevenvError as error:  # whoever wrote it: the trial goes on by exit code and output
        return Heard(), error.message


def _reports(
    container: Container, wanted: Sequence[Written], root: str, machine: Machine
) -> Iterator[tuple[str, Form, bytes]]:
    """The reports that this run wrote: (path, form, content)."""
    beyond = [one for one in wanted if not one.pattern.startswith(f"{REPORTS}/")]
    listed = _listed(container, (REPORTS, root or "/") if beyond else (REPORTS,), machine)
    seen: set[str] = set()
    for report in wanted:
        pattern = posixpath.join(root or "/", report.pattern)
        for path in listed:
            if path not in seen and _fits(path, pattern) and len(seen) < _MOST:
                seen.add(path)
                if (data := content(container, path, machine)) is not None:
                    yield path, report.form, data


def _fits(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern.replace("/**/", "/*/")) or fnmatch.fnmatchcase(
        path, pattern.replace("/**/", "/")
    )


def _listed(container: Container, folders: Sequence[str], machine: Machine) -> list[str]:
    """What may be reports beneath these folders, and is newer than the run's beginning, by absolute path."""
    found: list[str] = []
    kinds = r"\( -name '*.xml' -o -name '*.json' \)"
    find = f"find {' '.join(map(quote, folders))} -xdev -type f -size -{_LARGEST >> 10}k -newer {REPORTS}/begun {kinds} 2>/dev/null; true"
    machine.engine.execute(container.id, Process((*SHELL, find)), found.append)
    return sorted(path for path in found if path.startswith("/"))


def content(container: Container, path: str, machine: Machine) -> bytes | None:
    """A regular file of a container, None where it is something else, or too large."""
    taken = io.BytesIO()
    machine.engine.fetch(container.id, path, taken)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member and member.isreg() and member.size <= _LARGEST else None
        return file.read() if file else None


def _cpu(container: Container, machine: Machine) -> float | None:
    found = machine.engine.usage([container]).get(container.id)
    return found.cpu if found else None
