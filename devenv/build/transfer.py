"""An open file's content and attributes → another open file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

_CHUNK = 1 << 30


def transfer(source: int, target: int, status: os.stat_result) -> None:
    """All bytes of a file; holes stay holes."""
    if status.st_blocks * 512 < status.st_size:
        for begin, end in _data(source, status.st_size):
            os.lseek(source, begin, os.SEEK_SET)
            os.lseek(target, begin, os.SEEK_SET)
            _bytes(source, target, end - begin)
        os.ftruncate(target, status.st_size)
    else:
        _bytes(source, target, status.st_size)


def _data(source: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that aren't holes."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = min(os.lseek(source, begin, os.SEEK_HOLE), size)
        if begin >= end:
            return
        yield begin, end


def _bytes(source: int, target: int, size: int) -> None:
    """`size` bytes from where both stand, or as many as there are."""
    copier: Callable[[int, int, int], int] = os.copy_file_range
    while size > 0:
        try:
            count = copier(source, target, min(size, _CHUNK))
        except OSError:
            if copier is _send:
                raise
            copier = _send  # between file systems, or where the kernel doesn't know how
            continue
        if count == 0:
            return
        size -= count


def _send(source: int, target: int, size: int) -> int:
    return os.sendfile(target, source, None, size)


def copy_xattrs(source: int, target: int) -> None:
    """File capabilities and user attributes; never overlayfs's own."""
    for name in os.listxattr(source):
        if name == "security.capability" or name.startswith("user."):
            os.setxattr(target, name, os.getxattr(source, name))
