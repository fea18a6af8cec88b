"""A side that is up → a Run: the command in its workspace, what it printed, used and reported."""

from __future__ import annotations

import fnmatch
import io
import os
import posixpath
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from shlex import quote
from threading import Timer
from typing import NamedTuple

from devenv.cli.session import Machine
from devenv.desired import SHELL
from devenv.errors import DevenvError, EngineError
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
_ALL = 256 << 20
_HEAD, _TAIL = 16 << 20, 4 << 20
"""Of what a command prints, characters at its beginning and at its end that are kept."""
_MOST = 2_000
"""Reports of a run that are read."""


class Task(NamedTuple):
    """What is run on a side: the command as a shell has it, how its tests are heard, the most seconds it may take."""

    command: str
    listener: Listener
    timeout: float | None = None


class Told(NamedTuple):
    """What a command did, its reports still inside. `started` in Unix seconds; `late`: it was ended, as it took too long.

    `trouble`: why it couldn't be run to its end.
    """

    code: int
    started: float
    seconds: float
    cpu: float | None
    printed: tuple[str, ...]
    cut: bool = False
    late: bool = False
    trouble: str = ""


class _Log:
    """What is printed, into the file as it comes; of very much, the beginning and the end."""

    def __init__(self, path: str, said: Callable[[str], None]) -> None:
        self.file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # closed by whoever has it
        self.said = said
        self.head: list[str] = []
        self.tail: deque[str] = deque()
        self.size = self.kept = self.left = 0

    def __call__(self, line: str) -> None:
        self.said(line)
        self.size += len(line) + 1
        if self.size <= _HEAD:
            self.head.append(line)
            self.file.write(f"{line}\n")
            return
        self.tail.append(line[:_TAIL])
        self.kept += len(self.tail[-1]) + 1
        while self.kept > _TAIL:
            self.kept -= len(self.tail.popleft()) + 1
            self.left += 1

    def close(self) -> tuple[str, ...]:
        """All that is kept."""
        between = [f"… {self.left} lines are left out …"] if self.left else []
        rest = [*between, *self.tail]
        self.file.writelines(f"{line}\n" for line in rest)
        self.file.close()
        return (*self.head, *rest)


def attend(one: Standing, task: Task, machine: Machine, log: str, said: Callable[[str], None]) -> Told:
    """Run the command to its end; it is printed into the file `log`. From any thread."""
    _spread(one, task.listener.files, machine)
    script = f"mkdir -p {REPORTS} && : > {REPORTS}/begun && sleep 0.01; {laid(task.listener.files)}{task.command}"
    process = Process((*SHELL, script), env=task.listener.environment)
    late: list[bool] = []
    timer = Timer(task.timeout, _stop, (one, machine, late)) if task.timeout else None
    code, trouble, printed = -1, "", _Log(log, said)
    before, started, begun = _cpu(one.workspace, machine), time.time(), time.monotonic()
    try:
        if timer:
            timer.start()
        code = machine.engine.execute(one.workspace.id, process, printed)
    except DevenvError as error:
        trouble = error.message
        printed(f"devenv: {trouble}")
    finally:
        if timer:
            timer.cancel()
        lines = printed.close()
    seconds, after = time.monotonic() - begun, _cpu(one.workspace, machine)
    used = None if before is None or after is None else after - before
    return Told(code, started, seconds, used, lines, printed.left > 0, bool(late), trouble)


def laid(files: Pairs) -> str:
    """The shell commands that write these, (path, text), but for those of all folders of a pattern."""
    return "".join(
        f"mkdir -p {quote(posixpath.dirname(path))} && printf %s {quote(text)} > {quote(path)}; "
        for path, text in files
        if "*" not in path
    )


def spread(files: Pairs) -> str:
    """The shell commands that write into each folder of a pattern of ours; where nothing may be written, it goes without."""
    return "".join(
        f'for one in {folder}; do [ -d "$one" ] && printf %s {quote(text)} > "$one/{name}"; done 2>/dev/null; '
        for (folder, name), text in ((posixpath.split(path), text) for path, text in files)
        if "*" in folder
    )


def _spread(one: Standing, files: Pairs, machine: Machine) -> None:
    """Into folders that are root's, whoever the command runs as."""
    if script := spread(files):
        with suppress(DevenvError):  # the trial goes on without them
            machine.engine.execute(one.workspace.id, Process((*SHELL, script), user="0:0"), list[str]().append)


def _stop(one: Standing, machine: Machine, late: list[bool]) -> None:
    late.append(True)
    with suppress(DevenvError):  # it ended just now
        machine.engine.stop(one.workspace.id)


def result(one: Standing, task: Task, told: Told, machine: Machine, log: str, *, alone: bool) -> Run:
    """What came of it, its reports read."""
    root = one.setup.manifest.workdir or ""
    found, trouble = _heard(one, task, told, machine, root)
    said = (*notices.read(told.printed), *(Notice("devenv", text) for text in (told.trouble, trouble) if text))
    return Run(
        None if told.late or told.trouble else told.code,
        told.started,
        told.seconds,
        told.cpu,
        found.cases,
        said,
        os.path.basename(log),
        alone,
        found.unnamed,
        found.cut or (told.cut and found.cases is not None),
    )


def _heard(one: Standing, task: Task, told: Told, machine: Machine, root: str) -> tuple[Heard, str]:
    """The tests, and what was wrong with a report."""
    output = "\n".join(told.printed)
    try:
        found = _found(one.workspace, task.listener.reports, root, machine)
        said = heard(_read(one.workspace, found[:_MOST], machine), output, root)
    except DevenvError as error:  # whoever wrote it: the trial goes on by exit code and output
        return Heard(), error.message
    if len(found) <= _MOST:
        return said, ""
    return said._replace(cut=True), f"It wrote {len(found)} reports of tests, of which the first {_MOST} are read."


def _found(container: Container, wanted: Sequence[Written], root: str, machine: Machine) -> list[tuple[str, Form]]:
    """The reports that this run wrote, (path, form), in the order in which they are wanted."""
    beyond = [one for one in wanted if not one.pattern.startswith(f"{REPORTS}/")]
    listed = _listed(container, (REPORTS, root or "/") if beyond else (REPORTS,), machine)
    found: dict[str, Form] = {}
    for report in wanted:
        pattern = posixpath.join(root or "/", report.pattern)
        for path in listed:
            if path not in found and _fits(path, pattern):
                found[path] = report.form
    return list(found.items())


def _read(
    container: Container, found: Sequence[tuple[str, Form]], machine: Machine
) -> Iterator[tuple[str, Form, bytes]]:
    """(path, form, content) of each."""
    left = _ALL
    for path, form in found:
        if (data := content(container, path, machine, min(left, _LARGEST))) is not None:
            left -= len(data)
            yield path, form, data


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


class _Bounded(io.BytesIO):
    """Takes no more than so many bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self.most:
            raise EngineError(f"read a report: it is larger than {self.most} bytes")
        return super().write(data)


def content(container: Container, path: str, machine: Machine, most: int = _LARGEST) -> bytes | None:
    """A regular file of a container, None where it is something else. Raises EngineError where it is larger than `most` bytes."""
    taken = _Bounded(most + (1 << 20))  # the tar's own
    machine.engine.fetch(container.id, path, taken)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member and member.isreg() else None
        return file.read() if file else None


def _cpu(container: Container, machine: Machine) -> float | None:
    found = machine.engine.usage([container]).get(container.id)
    return found.cpu if found else None
