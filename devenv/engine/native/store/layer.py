"""Layer folders in overlayfs form: to a tar archive, to a copy with shifted ids.

A whiteout is a 0:0 character device, an opaque folder has trusted.overlay.opaque=y; ids are the image's own.
Nobody else writes in these folders meanwhile: their containers have ended.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from devenv.archive import marks, tar
from devenv.beneath import remove_tree as remove_tree
from devenv.errors import EngineError, StoreError
from devenv.model.image import LAYER, Descriptor

_BUFFER = 1 << 20
_IDS = 65536


class Output(Protocol):
    """Where an archive is written to; all bytes are taken."""

    def write(self, data: bytes, /) -> int: ...


class _Item(NamedTuple):
    """Something in a layer folder: where it is, its name within the layer, what lstat says."""

    path: bytes
    name: bytes
    info: os.stat_result


def _walk(folder: bytes) -> Iterator[_Item]:
    """All that is in a folder, folders before what is in them, sorted by the bytes of the names."""
    pending = [_Item(folder, b"", os.lstat(folder))]
    while pending:
        item = pending.pop()
        if item.name:
            yield item
        if stat.S_ISDIR(item.info.st_mode):
            prefix = item.name + b"/" if item.name else b""
            with os.scandir(item.path) as entries:
                pending += sorted(
                    (_Item(entry.path, prefix + entry.name, entry.stat(follow_symlinks=False)) for entry in entries),
                    reverse=True,
                )


# To a tar archive ------------------------------------------------------------------------------------------------


def pack(folder: str, out: Output, *, epoch: int | None) -> None:
    """Write the layer as an uncompressed tar (image-spec, layer.md): equal folders give equal bytes.

    Sorted, owners as numbers, times in whole seconds and not after `epoch` (Unix seconds). Sockets are left out, and so
    is the root itself unless it differs from 0755 0:0. Raises EngineError, StoreError for ids beyond a container's.
    """
    root = os.fsencode(folder)
    pending: list[bytes] = []
    size = 0
    path = root
    links: dict[int, bytes] = {}
    try:
        for part in _root_parts(root, epoch):
            pending.append(part)
        for path, name, info in _walk(root):
            entry = _entry(path, name, info, links, epoch)
            if entry is None:
                continue
            parts = [tar.header(entry)]
            if entry.kind == tar.FOLDER and marks.is_opaque(path):
                parts.append(tar.header(_opaque_mark(entry)))
            if entry.size > _BUFFER // 4:
                out.write(b"".join(pending + parts))
                pending, size = [], 0
                _send(path, entry.size, out)
                continue
            if entry.size:
                parts.append(_content(path, entry.size))
            pending += parts
            size += sum(map(len, parts))
            if size > _BUFFER:
                out.write(b"".join(pending))
                pending, size = [], 0
        out.write(b"".join([*pending, tar.END]))
    except OSError as error:
        raise EngineError(f"pack {tar.show(path)}: {error.strerror}") from error


def descriptor(folder: str) -> Descriptor:
    """What `pack` would write, written nowhere: the digest is the diff id. Raises as `pack` does."""
    packed = Digest()
    pack(folder, packed, epoch=None)
    return Descriptor(LAYER, packed.digest(), packed.size)


class Digest:
    """An Output that only counts, and hands on to another if there is one."""

    __slots__ = ("_hash", "_out", "size")

    def __init__(self, out: Output | None = None) -> None:
        self._hash = hashlib.sha256()
        self._out = out
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._out.write(data) if self._out else len(data)

    def digest(self) -> str:
        """Of all that was written."""
        return f"sha256:{self._hash.hexdigest()}"


def _root_parts(root: bytes, epoch: int | None) -> Iterator[bytes]:
    info = os.lstat(root)
    if (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (0o755, 0, 0):
        yield tar.header(_common(root, b"./", info, epoch)._replace(kind=tar.FOLDER, mtime=0))
    if marks.is_opaque(root):
        yield tar.header(tar.Entry(b".wh..wh..opq"))


def _entry(
    path: bytes, name: bytes, info: os.stat_result, links: dict[int, bytes], epoch: int | None
) -> tar.Entry | None:
    """The archive's entry for one thing; None for what has no place in a layer."""
    mode = info.st_mode
    if marks.is_whiteout(info):
        above, _, last = name.rpartition(b"/")
        return tar.Entry((above + b"/" if above else b"") + b".wh." + last, mtime=0)
    if stat.S_ISSOCK(mode):
        return None
    if stat.S_ISDIR(mode):
        return _common(path, name + b"/", info, epoch)._replace(kind=tar.FOLDER, xattrs=_xattrs(path))
    entry = _common(path, name, info, epoch)
    if info.st_nlink > 1:
        first = links.setdefault(info.st_ino, name)
        if first != name:
            return entry._replace(kind=tar.LINK, link=first)
    if stat.S_ISREG(mode):
        return entry._replace(size=info.st_size, xattrs=_xattrs(path))
    if stat.S_ISLNK(mode):
        return entry._replace(kind=tar.SYMLINK, link=os.readlink(path), mode=0o777)
    if stat.S_ISFIFO(mode):
        return entry._replace(kind=tar.FIFO)
    kind = tar.CHARACTER if stat.S_ISCHR(mode) else tar.BLOCK
    return entry._replace(kind=kind, major=os.major(info.st_rdev), minor=os.minor(info.st_rdev))


def _common(path: bytes, name: bytes, info: os.stat_result, epoch: int | None) -> tar.Entry:
    if info.st_uid >= _IDS or info.st_gid >= _IDS:
        raise StoreError(
            f"pack {tar.show(path)}: it belongs to {info.st_uid}:{info.st_gid}, a container has {_IDS} ids"
        )
    if b".wh." in name and any(part.startswith(b".wh.") for part in name.split(b"/")):
        raise StoreError(f"pack {tar.show(path)}: a name with .wh. means a removed file in an image")
    seconds = max(0, info.st_mtime_ns // 1_000_000_000)
    if epoch is not None and seconds > epoch:
        seconds = epoch
    return tar.Entry(
        name, mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid, mtime=seconds * 1_000_000_000
    )


def _opaque_mark(folder: tar.Entry) -> tar.Entry:
    return tar.Entry(folder.path + b".wh..wh..opq")


def _xattrs(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    names = os.listxattr(path, follow_symlinks=False)
    if not names:
        return ()
    return tuple(
        (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(names)
        if name == marks.CAPABILITY or (name.startswith("user.") and not marks.steers_overlayfs(name))
    )


def _content(path: bytes, size: int) -> bytes:
    """A small file with its padding."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = os.read(fd, size)
    finally:
        os.close(fd)
    _check_length(path, len(data), size)
    return data + bytes(tar.padding(size))


def _send(path: bytes, size: int, out: Output) -> None:
    """A large file with its padding."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        left = size
        while left and (data := os.read(fd, min(left, _BUFFER))):
            out.write(data)
            left -= len(data)
    finally:
        os.close(fd)
    _check_length(path, size - left, size)
    out.write(bytes(tar.padding(size)))


def _check_length(path: bytes, got: int, size: int) -> None:
    if got != size:
        raise EngineError(f"pack {tar.show(path)}: it changed meanwhile")


# A copy with shifted ids -----------------------------------------------------------------------------------------


def shift(folder: str, target: str, start: int) -> None:
    """Copy a layer into the new folder `target` with `start` added to all ids, for hosts that can't idmap.

    Hard links, times, attributes and marks are kept; capabilities become those of the root at `start`. EngineError.
    """
    root, there = os.fsencode(folder), os.fsencode(target)
    links: dict[int, bytes] = {}
    folders = [(there, os.lstat(root))]
    path = root
    try:
        os.mkdir(there, 0o700)
        for path, name, info in _walk(root):
            copy = there + b"/" + name
            if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode) and not marks.is_whiteout(info):
                first = links.setdefault(info.st_ino, copy)
                if first != copy:
                    os.link(first, copy, follow_symlinks=False)
                    continue
            _copy(path, copy, info)
            if stat.S_ISDIR(info.st_mode):
                folders.append((copy, info))
            _dress(path, copy, info, start)
        _dress(root, there, folders[0][1], start)
        for copy, info in folders:
            os.utime(copy, ns=(info.st_mtime_ns, info.st_mtime_ns))
    except OSError as error:
        raise EngineError(f"shift {tar.show(path)}: {error.strerror}") from error


def _copy(path: bytes, copy: bytes, info: os.stat_result) -> None:
    mode = info.st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(copy, 0o700)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(path), copy)
    elif stat.S_ISREG(mode):
        _copy_file(path, copy, info.st_size)
    else:
        os.mknod(copy, mode, info.st_rdev)


def _copy_file(path: bytes, copy: bytes, size: int) -> None:
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        out = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = size
            while left and (sent := os.copy_file_range(source, out, left)):
                left -= sent
        finally:
            os.close(out)
    finally:
        os.close(source)


def _dress(path: bytes, copy: bytes, info: os.stat_result, start: int) -> None:
    """Owner, mode, attributes and (but for folders, which are still being filled) time."""
    if marks.is_whiteout(info):
        return
    os.chown(copy, info.st_uid + start, info.st_gid + start, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(copy, stat.S_IMODE(info.st_mode))
        for name in os.listxattr(path, follow_symlinks=False):
            value = os.getxattr(path, name, follow_symlinks=False)
            os.setxattr(copy, name, marks.rooted(value, start) if name == marks.CAPABILITY else value)
    os.utime(copy, ns=(info.st_mtime_ns, info.st_mtime_ns), follow_symlinks=False)
