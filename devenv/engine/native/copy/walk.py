"""A file or folder of unknown making, opened -> all that is in it, to be copied; nothing else, whatever becomes of it meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from devenv.archive import tar
from devenv.beneath import NO_SYMLINKS, open_beneath
from devenv.errors import Fault, InputError

_CHUNK = 1 << 20
_DEPTH = 256
"""Folders in folders; a descriptor each."""

_KINDS = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}

Pieces = Iterator[tuple[int, bytes]]
"""What a file holds: (offset, bytes); what isn't said is zeros."""


class Freight(NamedTuple):
    """Something that is copied: its path from what is copied (b"" for that itself), and what is in it, to be read before the next."""

    entry: tar.Entry
    pieces: Pieces = iter(())


Made = set[tuple[int, int]]
"""Devices and inodes of the folders that a copy makes: a folder isn't copied into itself for ever."""


STORE = "devenv's own store"


class Origin(NamedTuple):
    """Where things come from: root's id there, devices of file systems that are the kernel's, who is told what is left out,
    devices and inodes of what is never read."""

    start: int
    kernel: Collection[int]
    left: Callable[[bytes, str], None]
    made: Made
    unread: Collection[tuple[int, int]] = ()


def walk(found: int, origin: Origin) -> Iterator[Freight]:
    """All of what is open at `found` (O_PATH, a link itself), folders before what is in them, by name."""
    return _all(found, b"", origin, {}, 0)


def kind(info: os.stat_result) -> str:
    """Why something can't be copied; "" when it can."""
    return _KINDS.get(stat.S_IFMT(info.st_mode), "")


def _all(
    found: int, path: bytes, origin: Origin, firsts: dict[tuple[int, int], bytes], depth: int
) -> Iterator[Freight]:
    info = os.fstat(found)
    why = kind(info) or _barred(info, origin, depth)
    if why:
        origin.left(path, why)
    elif stat.S_ISDIR(info.st_mode):
        yield Freight(_entry(path, tar.FOLDER, info, origin.start))
        yield from _inside(found, path, origin, firsts, depth)
    elif stat.S_ISLNK(info.st_mode):
        yield Freight(_entry(path, tar.SYMLINK, info, origin.start)._replace(link=os.readlink(b"", dir_fd=found)))
    else:
        first = firsts.setdefault((info.st_dev, info.st_ino), path) if info.st_nlink > 1 else path
        if first != path:
            yield Freight(_entry(path, tar.LINK, info, origin.start)._replace(link=first))
        else:
            yield from _file(found, path, info, origin)


def of_store(path: str) -> InputError:
    """The error that something is of the store."""
    hint = "a container's files are had by its name: devenv cp CONTAINER:PATH"
    return InputError(Fault(f"cp {path}", 0, 0, f"it is {STORE}, or in it", hint))


def _barred(info: os.stat_result, origin: Origin, depth: int) -> str:
    if info.st_dev in origin.kernel:
        return "the kernel's"
    if (info.st_dev, info.st_ino) in origin.made:
        return "it is where the copy goes"
    if (info.st_dev, info.st_ino) in origin.unread:
        return f"it is {STORE}"
    return f"more than {_DEPTH} folders deep" if depth > _DEPTH else ""


def _inside(
    found: int, path: bytes, origin: Origin, firsts: dict[tuple[int, int], bytes], depth: int
) -> Iterator[Freight]:
    folder = open_beneath(found, b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in sorted(map(os.fsencode, os.listdir(folder))):
            inner = b"/".join((path, name)) if path else name
            try:
                child = open_beneath(folder, name, os.O_PATH | os.O_NOFOLLOW, resolve=NO_SYMLINKS)
            except FileNotFoundError:
                continue  # it went meanwhile
            try:
                yield from _all(child, inner, origin, firsts, depth + 1)
            finally:
                os.close(child)
    finally:
        os.close(folder)


def _file(found: int, path: bytes, info: os.stat_result, origin: Origin) -> Iterator[Freight]:
    # It is known by now what it is: to open a device, or a fifo, would do something.
    file = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        entry = _entry(path, tar.FILE, info, origin.start)._replace(size=info.st_size)
        yield Freight(entry, _pieces(file, info.st_size))
        if os.fstat(file).st_size < info.st_size:
            origin.left(path, "cut off while it was copied: its end is zeros")
    finally:
        os.close(file)


def _pieces(file: int, size: int) -> Pieces:
    """What it holds, as long as it was when we came: who writes on has no part in it. Holes are passed over."""
    at = 0
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
            end = min(size, os.lseek(file, at, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole
                return
            raise
        while at < end and (data := os.pread(file, min(end - at, _CHUNK), at)):
            yield at, data
            at += len(data)
        if at < end:
            return  # it was cut off


def _entry(path: bytes, kind: bytes, info: os.stat_result, start: int) -> tar.Entry:
    """Without setuid and the like: they would mean something else there. An id that isn't the container's is nobody's."""
    uid, gid = (one - start if 0 <= one - start < 65536 else 65534 for one in (info.st_uid, info.st_gid))
    return tar.Entry(path, kind, info.st_mode & 0o777, uid, gid, mtime=info.st_mtime_ns)
