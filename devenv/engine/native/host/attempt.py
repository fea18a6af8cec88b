"""Something tried for real -> what went wrong, and what mends it. In a child, which takes its namespaces and mounts with it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from devenv.beneath import remove_tree
from devenv.errors import DevenvError
from devenv.paths import Paths

PRIVILEGES = "the privileges of the host's root: sudo; inside another container, start that one with --privileged"


class Trouble(NamedTuple):
    """What went wrong; the fix, as far as the failure itself says it."""

    cause: str
    fix: str = ""


def in_child(attempt: Callable[[], None]) -> Trouble | None:
    """Try it in a process of its own; None when nothing went wrong."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except BaseException as error:
            os.write(writing, "\0".join(_told(error)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    try:
        said = os.read(reading, 4096).decode(errors="replace")
        return Trouble(*said.split("\0", 1)) if said else None
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


def _told(error: BaseException) -> Trouble:
    reason = error.__cause__ if isinstance(error, DevenvError) else error
    lacking = isinstance(reason, OSError) and reason.errno in (errno.EPERM, errno.EACCES)
    fix = PRIVILEGES if lacking or "not permitted" in str(error) else ""
    if isinstance(error, DevenvError):
        return Trouble(error.message, error.hint or fix)
    return Trouble(error.strerror or str(error), fix) if isinstance(error, OSError) else Trouble(repr(error))


@contextmanager
def scratch(paths: Paths) -> Iterator[str]:
    """A folder in the store, locked like any draft, gone afterwards."""
    os.makedirs(paths.drafts, 0o700, exist_ok=True)
    folder = f"{paths.drafts}/doctor-{os.urandom(8).hex()}"
    os.mkdir(folder, 0o700)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        remove_tree(folder)
        os.close(lock)


def file_system(path: str) -> str:
    """The type of the file system that holds a path, as mountinfo has it."""
    device = os.stat(existing(path)).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in read("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return "this file system"


def existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def read(path: str) -> str:
    """A file's text, "" when it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
