"""Two layer folders -> what isn't the same in them, path by path, in words."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from devenv.archive import marks, tar
from devenv.errors import EngineError
from devenv.model.image import Difference

from .differing import explain

_CHUNK = 1 << 17


class _Item(NamedTuple):
    """Something in a layer: its name in there (b"" the root), where it is, what lstat says, the first name of its inode."""

    name: bytes
    path: bytes
    info: os.stat_result
    first: bytes


def compare(left: str, right: str) -> tuple[Difference, ...]:
    """All differences of two layers that change their digests, sorted by path. Nobody writes in them. EngineError."""
    path = b""
    found: list[Difference] = []
    try:
        for one, other in _pairs(_walk(os.fsencode(left)), _walk(os.fsencode(right))):
            present = one or other
            assert present is not None
            path = present.path
            found += _both(one, other) if one and other else _only(one, other)
    except OSError as error:
        raise EngineError(f"compare {tar.show(path)}: {error.strerror}") from error
    return tuple(found)


def _walk(folder: bytes) -> Iterator[_Item]:
    """All that is in it, sorted so that two walks can be held against each other: by the parts of the names."""
    firsts: dict[int, bytes] = {}
    pending = [_Item(b"", folder, os.lstat(folder), b"")]
    while pending:
        item = pending.pop()
        if item.info.st_nlink > 1 and not stat.S_ISDIR(item.info.st_mode) and not marks.is_whiteout(item.info):
            item = item._replace(first=firsts.setdefault(item.info.st_ino, item.name))
        yield item
        if stat.S_ISDIR(item.info.st_mode):
            prefix = item.name + b"/" if item.name else b""
            with os.scandir(item.path) as entries:
                inside = [(prefix + entry.name, entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
            pending += [_Item(*one, b"") for one in sorted(inside, reverse=True)]


def _pairs(left: Iterator[_Item], right: Iterator[_Item]) -> Iterator[tuple[_Item | None, _Item | None]]:
    """Things of the same name together; None where one has nothing."""
    one, other = next(left, None), next(right, None)
    while one or other:
        if other is None or (one is not None and _order(one) < _order(other)):
            yield one, None
            one = next(left, None)
        elif one is None or _order(other) < _order(one):
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)


def _order(item: _Item) -> list[bytes]:
    return item.name.split(b"/")


def _only(one: _Item | None, other: _Item | None) -> Iterator[Difference]:
    item = one or other
    if item is None or stat.S_ISSOCK(item.info.st_mode):  # no part of a layer
        return
    words = _kind(item)
    if one:
        yield Difference(_shown(item), "only in the first", before=words)
    else:
        yield Difference(_shown(item), "only in the second", after=words)


def _both(one: _Item, other: _Item) -> Iterator[Difference]:
    path = _shown(one)
    if _kind(one) != _kind(other):
        yield Difference(path, "mode", _kind(one), _kind(other))
    if marks.is_whiteout(one.info) or marks.is_whiteout(other.info):
        return
    owners = [f"{item.info.st_uid}:{item.info.st_gid}" for item in (one, other)]
    if owners[0] != owners[1]:
        yield Difference(path, "owner", owners[0], owners[1])
    times = [_when(item.info.st_mtime_ns // 1_000_000_000) for item in (one, other)]
    if times[0] != times[1] and one.name:  # a layer says nothing of its root's time
        yield Difference(path, "time", times[0], times[1])
    before, after = _attributes(one), _attributes(other)
    if before != after:
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        yield Difference(path, "attributes", _told(before, names), _told(after, names))
    if stat.S_IFMT(one.info.st_mode) == stat.S_IFMT(other.info.st_mode):
        yield from _inside(one, other, path)


def _inside(one: _Item, other: _Item, path: str) -> Iterator[Difference]:
    """What is in two things of the same kind."""
    kind = stat.S_IFMT(one.info.st_mode)
    links = [_linked(item) for item in (one, other)]
    if links[0] != links[1]:
        yield Difference(path, "link", links[0], links[1])
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and one.info.st_rdev != other.info.st_rdev:
        devices = [f"device {os.major(item.info.st_rdev)}:{os.minor(item.info.st_rdev)}" for item in (one, other)]
        yield Difference(path, "content", devices[0], devices[1])
    if kind != stat.S_IFREG or one.info.st_ino == other.info.st_ino or not (_is_first(one) and _is_first(other)):
        return
    at = _first_difference(one.path, other.path)
    if at is None:
        return
    before, after, lines = explain(one.path, other.path, at)
    sizes = one.info.st_size, other.info.st_size
    if sizes[0] != sizes[1]:
        yield Difference(path, "size", f"{sizes[0]} bytes", f"{sizes[1]} bytes", lines)
    else:
        yield Difference(path, "content", before, after, lines)


def _first_difference(left: bytes, right: bytes) -> int | None:
    """The offset of the first byte that isn't the same; where the shorter one ends, if it is that."""
    with open(left, "rb", buffering=0) as one, open(right, "rb", buffering=0) as other:
        at = 0
        while True:
            first, second = one.read(_CHUNK), other.read(_CHUNK)
            if first != second:
                common = min(len(first), len(second))
                return at + next((index for index in range(common) if first[index] != second[index]), common)
            if not first:
                return None
            at += len(first)


def _kind(item: _Item) -> str:
    return "whiteout: removes what is below" if marks.is_whiteout(item.info) else stat.filemode(item.info.st_mode)


def _linked(item: _Item) -> str:
    """Where a link leads; for a further name of a file, the first."""
    if stat.S_ISLNK(item.info.st_mode):
        return tar.show(os.readlink(item.path))
    return "a file of its own" if _is_first(item) else f"a hard link to /{tar.show(item.first)}"


def _is_first(item: _Item) -> bool:
    """Whether a file's bytes are told under this name."""
    return item.first in (b"", item.name)


def _attributes(item: _Item) -> dict[str, bytes]:
    """Those that are part of a layer."""
    return {
        name: os.getxattr(item.path, name, follow_symlinks=False)
        for name in os.listxattr(item.path, follow_symlinks=False)
        if name in (marks.CAPABILITY, marks.OPAQUE) or (name.startswith("user.") and not marks.steers_overlayfs(name))
    }


def _told(values: dict[str, bytes], names: list[str]) -> str:
    return ", ".join(f"{name}={values[name][:40].hex()}" for name in names if name in values) or "none"


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _shown(item: _Item) -> str:
    return f"/{tar.show(item.name)}"
