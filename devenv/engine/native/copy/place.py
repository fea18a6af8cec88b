"""A path that somebody typed -> the very place on the host, through no link that a container could have put there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

from devenv.errors import NotTrusted

_LINKS = 40


class Spot(NamedTuple):
    """A name in an open folder (O_PATH): the caller closes it. The name may be "." or not exist yet."""

    folder: int
    name: bytes


def find(path: str, shared: Collection[str], *, follow: bool) -> Spot:
    """`path` is absolute; with `follow` a link at its end leads on. `shared` are folders that containers write to.

    Raises OSError for what isn't there, but for the last name; NotTrusted for a link in a shared folder.
    """
    pending = os.fsencode(path).split(b"/")
    folder, here, links = _root(), b"/", 0
    try:
        while pending:
            name = pending.pop(0)
            if name in (b"", b"."):
                continue
            last = not any(one not in (b"", b".") for one in pending)
            if name != b".." and last and not follow:
                return Spot(os.dup(folder), name)
            try:
                found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                if last:
                    return Spot(os.dup(folder), name)
                raise
            mode = os.fstat(found).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                _trusted(here, name, shared, links)
                target = os.readlink(b"", dir_fd=found)
                os.close(found)
                pending = target.split(b"/") + pending
                if target.startswith(b"/"):
                    os.close(folder)
                    folder, here = _root(), b"/"
                continue
            if last and not stat.S_ISDIR(mode):
                os.close(found)
                return Spot(os.dup(folder), name)
            os.close(folder)
            folder, here = found, os.path.normpath(os.path.join(here, name))
        return Spot(os.dup(folder), b".")
    finally:
        os.close(folder)


def identities(paths: Iterable[str]) -> frozenset[tuple[int, int]]:
    """Devices and inodes of those that are there."""
    found = set()
    for path in paths:
        with suppress(OSError):
            info = os.stat(path)
            found.add((info.st_dev, info.st_ino))
    return frozenset(found)


def is_beneath(folder: int, unread: Collection[tuple[int, int]]) -> bool:
    """Whether an open folder of the host, or one above it, is one of these, by whatever name."""
    here, before = os.dup(folder), (-1, -1)
    try:
        while True:
            info = os.fstat(here)
            now = (info.st_dev, info.st_ino)
            if now in unread or now == before:
                return now in unread
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here, before = above, now
    finally:
        os.close(here)


def _trusted(here: bytes, name: bytes, shared: Collection[str], links: int) -> None:
    if links > _LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    if any(f"{os.fsdecode(here)}/".startswith(f"{one.rstrip('/')}/") for one in shared):
        shown = os.fsdecode(os.path.join(here, name))
        raise NotTrusted(
            f"copy through {shown}: it is a link, in a folder that a container writes to",
            hint=f"name the place itself, if that is right: {os.path.realpath(shown)}",
        )


def _root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
