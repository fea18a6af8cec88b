"""What happens to the containers of an environment -> a bounded file of JSON lines, and those lines as they come."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from devenv.engine import Happening
from devenv.paths import Paths

MOST = 1 << 20
"""Bytes after which the log is begun anew; the one before it stays as `events.1`."""

_POLL = 0.05


def tell(paths: Paths, environment: str, *told: Happening) -> None:
    """Write down what happened. Where that can't be done, what happened counts all the same."""
    if not environment or not told:
        return
    path = paths.events(environment)
    text = "".join(f"{json.dumps(one._asdict())}\n" for one in told)
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode())  # at once: lines of several writers don't mix
            if os.fstat(fd).st_size > MOST:
                _rotate(path, fd)
        finally:
            os.close(fd)


def read(paths: Paths, environment: str, *, follow: bool = False, since: float = 0.0) -> Iterator[Happening]:
    """What happened since a moment, in order; `follow` waits for more until the environment is forgotten."""
    path = paths.events(environment)
    current = _open(path)  # first: if it is begun anew in between, we have it
    before = _open(f"{path}.1")
    try:
        if before is not None and (current is None or _inode(before) != _inode(current)):
            yield from _whole(before, since)
        if current is not None:
            yield from _whole(current, since)
        while follow and os.path.isdir(os.path.dirname(path)):
            time.sleep(_POLL)
            following = _open(path)
            if current is not None:
                yield from _whole(current, since)  # also what came before it was begun anew
            if following is not None and (current is None or _inode(following) != _inode(current)):
                current, following = following, current
                yield from _whole(current, since)
            if following is not None:
                following.close()
    finally:
        for file in (before, current):
            if file is not None:
                file.close()


def _whole(file: BinaryIO, since: float) -> Iterator[Happening]:
    """What the lines say from where we are, but for one that isn't whole yet."""
    while (line := file.readline()).endswith(b"\n"):
        with suppress(ValueError, TypeError):  # another version's
            told = Happening(**json.loads(line))
            if told.time >= since:
                yield told
    file.seek(-len(line), os.SEEK_CUR)


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


def _rotate(path: str, fd: int) -> None:
    """Begin it anew, unless somebody else does."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.stat(path).st_ino == os.fstat(fd).st_ino:
        os.rename(path, f"{path}.1")
