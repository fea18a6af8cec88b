"""(Address, names) of an environment's containers → the /etc/hosts that all of them have bound, so always the same file.

It is read while it is written. So a name comes and goes with one byte: a row is written as a comment first, and then its `#`
is replaced; a row that isn't wanted becomes a comment, and is used again. New rows come before old ones go. All rows have the
same length, so none is ever moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from devenv.errors import EngineError
from devenv.paths import Paths

LOOPBACK = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

_ROW = 128  # a name has 63 characters, an address 15; 32 rows are a page
_COMMENT = b"#"
_HEAD = LOOPBACK + _COMMENT + b"\n".rjust(_ROW - len(LOOPBACK) - 1)


class Named(NamedTuple):
    """Names that lead to an address, the first of them its own. Others may have the same names."""

    address: str
    names: tuple[str, ...]


def ensure(paths: Paths, environment: str) -> str:
    """The file is there, to be bound; its path."""
    with _file(paths, environment):
        return paths.hosts(environment)


def write(paths: Paths, environment: str, look: Callable[[], Sequence[Named]]) -> None:
    """Let the file say what `look` finds, once it is our turn. What is there already isn't touched."""
    with _file(paths, environment) as fd:
        wanted = dict.fromkeys(row for named in look() for row in _rows(named))
        there = os.pread(fd, os.fstat(fd).st_size, 0)
        if there[:_ROW] != _HEAD or len(there) % _ROW:
            there = _restore(fd, there)
        free, old = [], {}
        for place in range(_ROW, len(there), _ROW):
            row = there[place : place + _ROW]
            if row[:1] == _COMMENT or row in old or not row.endswith(b"\n"):
                free.append(place)
            else:
                old[row] = place
        new = [row for row in wanted if row not in old]
        places = [*free, *range(len(there), len(there) + _ROW * len(new), _ROW)]
        for row, place in zip(new, places, strict=False):
            os.pwrite(fd, _COMMENT + row[1:], place)
        for row, place in zip(new, places, strict=False):
            os.pwrite(fd, row[:1], place)
        for row, place in old.items():
            if row not in wanted:
                os.pwrite(fd, _COMMENT, place)


def remove(paths: Paths, environment: str) -> None:
    """No container has it bound any more."""
    try:
        os.unlink(paths.hosts(environment))
    except FileNotFoundError:
        pass


def _rows(named: Named) -> Iterator[bytes]:
    """As many rows as the names take; what can't be a name of a host is left out."""
    row = named.address.encode()
    for name in dict.fromkeys(named.names):
        if not 0 < len(name) < 64 or not set(name) <= _LETTERS:
            continue
        if len(row) + len(name) + 2 > _ROW:
            yield row.ljust(_ROW - 1) + b"\n"
            row = named.address.encode()
        row += f" {name}".encode()
    if b" " in row:
        yield row.ljust(_ROW - 1) + b"\n"


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


@contextmanager
def _file(paths: Paths, environment: str) -> Iterator[int]:
    """The file, open, and nobody else writes to it. One that is new has the names of loopback before anybody sees it."""
    import fcntl

    path = paths.hosts(environment)
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o711, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(path):
                _make(path)
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            os.close(lock)
    except OSError as error:
        raise EngineError(f"write {path}: {error.strerror}") from error


def _make(path: str) -> None:
    fd = os.open(f"{path}.new", os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whatever the umask is
        os.write(fd, _HEAD)
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)


def _restore(fd: int, there: bytes) -> bytes:
    """Somebody else wrote to it: its rows are ours again, and none of them says anything."""
    size = max(len(_HEAD), len(there) + -len(there) % _ROW)
    blank = _HEAD + (_COMMENT + b"\n".rjust(_ROW - 1)) * (size // _ROW - 1)
    os.pwrite(fd, blank, 0)
    return blank
