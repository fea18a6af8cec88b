"""A container's writable layer and the layers of its image -> what of the image it has another way (overlayfs.rst)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from devenv.archive import marks
from devenv.beneath import NO_SYMLINKS, open_beneath
from devenv.model.seen import Touched

_CHUNK = 1 << 17
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def touched(upper: str, layers: Sequence[str], start: int) -> tuple[Touched, ...]:
    """By path; times don't count, nor what is new. `layers` are folders, the lowest first; `start` is root's id in `upper`.

    The container may be at work in `upper`, and put a link where a folder was.
    """
    with ExitStack() as stack:
        try:
            own = os.open(upper, _FOLDER)
        except FileNotFoundError:
            return ()  # it was never started
        stack.callback(os.close, own)
        below = []
        for layer in reversed(layers):
            below.append(os.open(layer, _FOLDER))
            stack.callback(os.close, below[-1])
        return tuple(sorted(_within(own, b"", below, start)))


def _within(own: int, path: bytes, below: Sequence[int], start: int) -> Iterator[Touched]:
    """What is in a folder. `below` are the same folders of layers, the topmost first."""
    for name in map(os.fsencode, os.listdir(own)):
        found = _found(name, below)
        if found is None:
            continue
        try:
            mine = open_beneath(own, name, os.O_PATH | os.O_NOFOLLOW, resolve=NO_SYMLINKS)
        except FileNotFoundError:
            continue
        try:
            yield from _one(mine, name, b"/".join((path, name)), below, found, start)
        finally:
            os.close(mine)


def _one(
    mine: int, name: bytes, path: bytes, below: Sequence[int], found: tuple[int, os.stat_result], start: int
) -> Iterator[Touched]:
    info, (layer, theirs) = os.fstat(mine), found
    shown = path.decode(errors="replace")
    if marks.is_whiteout(info):
        yield Touched(shown, "removed")
    elif stat.S_IFMT(info.st_mode) != stat.S_IFMT(theirs.st_mode):
        yield Touched(shown, f"{_kind(theirs)} → {_kind(info)}")
    else:
        if how := ", ".join(_differing(mine, info, layer, name, theirs, start)):
            yield Touched(shown, how)
        if stat.S_ISDIR(info.st_mode):
            yield from _beneath(mine, name, path, below, start)


def _beneath(mine: int, name: bytes, path: bytes, below: Sequence[int], start: int) -> Iterator[Touched]:
    if _opaque(mine):
        yield Touched(path.decode(errors="replace"), "removed and made anew")
        return
    with _inner(name, below) as inner:
        folder = open_beneath(mine, b".", _FOLDER)
        try:
            yield from _within(folder, path, inner, start)
        finally:
            os.close(folder)


def _found(name: bytes, below: Sequence[int]) -> tuple[int, os.stat_result] | None:
    """The layer's folder that has this name, and what it is there; None when the image has no such thing."""
    for layer in below:
        with suppress(FileNotFoundError):
            info = os.stat(name, dir_fd=layer, follow_symlinks=False)
            return None if marks.is_whiteout(info) else (layer, info)
    return None


@contextmanager
def _inner(name: bytes, below: Sequence[int]) -> Iterator[list[int]]:
    """The folders of this name that are seen merged."""
    with ExitStack() as stack:
        inner = []
        for layer in below:
            try:
                inner.append(os.open(name, _FOLDER, dir_fd=layer))
            except FileNotFoundError:
                continue
            except OSError:
                break  # no folder, or that it was removed: what is beneath isn't seen
            stack.callback(os.close, inner[-1])
            if _opaque(inner[-1]):
                break
        yield inner


def _differing(
    mine: int, info: os.stat_result, layer: int, name: bytes, theirs: os.stat_result, start: int
) -> Iterator[str]:
    modes = [f"{stat.S_IMODE(one.st_mode):04o}" for one in (theirs, info)]
    if modes[0] != modes[1] and not stat.S_ISLNK(info.st_mode):
        yield f"mode {modes[0]} → {modes[1]}"
    owners = f"{theirs.st_uid}:{theirs.st_gid}", f"{info.st_uid - start}:{info.st_gid - start}"
    if owners[0] != owners[1]:
        yield f"owner {owners[0]} → {owners[1]}"
    if stat.S_ISLNK(info.st_mode):
        if os.readlink(b"", dir_fd=mine) != os.readlink(name, dir_fd=layer):
            yield "where it leads"
    elif stat.S_ISREG(info.st_mode) and not _equal(mine, info, layer, name, theirs):
        yield "content"


def _equal(mine: int, info: os.stat_result, layer: int, name: bytes, theirs: os.stat_result) -> bool:
    if info.st_size != theirs.st_size:
        return False
    first = os.open(f"/proc/self/fd/{mine}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    second = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=layer)
    with open(first, "rb", buffering=0) as one, open(second, "rb", buffering=0) as other:
        while (block := one.read(_CHUNK)) == other.read(_CHUNK):
            if not block:
                return True
        return False


def _kind(info: os.stat_result) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(info.st_mode), "something else")


def _opaque(folder: int) -> bool:
    try:
        return os.getxattr(f"/proc/self/fd/{folder}", marks.OPAQUE) == b"y"
    except OSError:
        return False
