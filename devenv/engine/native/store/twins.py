"""A new layer and older ones made on the same root -> files that are the same in both are stored once, as hard links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from devenv.archive import tar
from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath
from devenv.errors import EngineError

SMALLEST = 4096
"""Bytes: what a smaller file takes on disk is hardly more than its inode."""

_CHUNK = 1 << 17
_DRAFT = b".devenv-twin"


def share(folder: str, others: Sequence[str]) -> int:
    """Replace files of the layer `folder` by links to equal ones in `others`, of the same path; returns the bytes saved.

    Equal are bytes, owner, mode, time and attributes; what is packed of the layer stays the same to the bit. Nobody else
    has the layer yet. Raises EngineError.
    """
    sharing = _Sharing([other for other in others if os.path.isdir(other)])
    pending = [(os.fsencode(folder), b"")] if sharing.others else []
    try:
        while pending:
            path, name = pending.pop()
            pending += sharing.folder(path, name)
    except OSError as error:
        raise EngineError(f"share {tar.show(sharing.path)}: {error.strerror}") from error
    finally:
        sharing.close()
    return sharing.saved


class _Sharing:
    def __init__(self, others: Sequence[str]) -> None:
        self.others = [os.open(other, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for other in others]
        self.saved = 0
        self.path = b""
        self.taken: set[int] = set()

    def close(self) -> None:
        for other in self.others:
            os.close(other)

    def folder(self, path: bytes, name: bytes) -> list[tuple[bytes, bytes]]:
        """Share the files in a folder; returns the folders in it."""
        self.path = path
        folders = []
        files = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, name + b"/" + entry.name if name else entry.name))
                elif entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    # Two names that are one file in just one of the layers would be another archive.
                    if info.st_size >= SMALLEST and info.st_nlink == 1:
                        files.append((entry.name, info))
        if files:
            self._files(path, name, files)
        return folders

    def _files(self, path: bytes, name: bytes, files: Sequence[tuple[bytes, os.stat_result]]) -> None:
        """Share these files of one folder; its time stays as it is."""
        before = os.lstat(path)
        here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        there = list(self._there(name))
        try:
            linked = [self._file(file, info, here, there) for file, info in files]
            if any(linked):
                os.utime(here, ns=(before.st_mtime_ns, before.st_mtime_ns))
        finally:
            for folder in (here, *there):
                os.close(folder)

    def _there(self, name: bytes) -> Iterator[int]:
        """The folder of this name in the other layers, where it is one: a link there may lead anywhere on the host."""
        for other in self.others:
            try:
                yield open_beneath(other, name, os.O_PATH | os.O_DIRECTORY, resolve=NO_SYMLINKS | IN_ROOT)
            except OSError:
                continue

    def _file(self, name: bytes, info: os.stat_result, here: int, there: Sequence[int]) -> bool:
        for folder in there:
            try:
                twin = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            if _alike(info, twin) and twin.st_ino not in self.taken and self._same(name, here, folder, info.st_size):
                return self._link(name, here, folder, twin)
        return False

    def _same(self, name: bytes, here: int, there: int, size: int) -> bool:
        """Whether bytes and attributes are the same."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        one = os.open(name, flags, dir_fd=here)
        try:
            other = os.open(name, flags, dir_fd=there)
            try:
                return _attributes(one) == _attributes(other) and _equal(one, other, size)
            finally:
                os.close(other)
        finally:
            os.close(one)

    def _link(self, name: bytes, here: int, there: int, twin: os.stat_result) -> bool:
        try:
            os.link(name, _DRAFT, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except OSError:
            return False  # as many links as the file system allows: it stays a copy
        os.rename(_DRAFT, name, src_dir_fd=here, dst_dir_fd=here)
        self.taken.add(twin.st_ino)
        self.saved += twin.st_size
        return True


def _alike(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether all that lstat says of two files of the same device is the same but which one it is."""
    return (
        stat.S_ISREG(other.st_mode)
        and one.st_size == other.st_size
        and one.st_mtime_ns == other.st_mtime_ns
        and (one.st_mode, one.st_uid, one.st_gid, one.st_dev)
        == (other.st_mode, other.st_uid, other.st_gid, other.st_dev)
        and one.st_ino != other.st_ino
    )


def _equal(one: int, other: int, size: int) -> bool:
    """Whether the bytes are the same."""
    while size > 0:
        data = os.read(one, _CHUNK)
        if not data or data != os.read(other, _CHUNK):
            return False
        size -= len(data)
    return True


def _attributes(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
