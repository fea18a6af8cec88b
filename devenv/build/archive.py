"""An open file → whether it is a tar archive, compressed or not, and its plain tar stream."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

from devenv.archive.stream import zstd_frames
from devenv.archive.tar import BadTar

from .words import Malformed

_SKIPPABLE = b"\x2a\x4d\x18"  # of a zstd frame that holds no data (RFC 8878, 3.1.2), behind its first byte


def is_tar(fd: int) -> bool:
    """Whether there is a tar header at the front, once decompressed.

    That much decides, as in BuildKit: what is damaged before its end is no archive and is copied, behind it is an error.
    """
    try:
        with plain(fd) as stream:
            block = stream.read(512)
    except Malformed:
        return False
    if len(block) < 512 or not block.strip(b"\0"):
        return False
    try:
        stored = int(block[148:156].strip(b"\0 ") or b"-", 8)
    except ValueError:
        return False
    return stored == sum(block[:148]) + 8 * 0x20 + sum(block[156:])


@contextmanager
def plain(fd: int) -> Iterator[BinaryIO]:
    """The decompressed stream of an open file, from its start; the file itself stays open.

    Reading raises Malformed where the compressed data is damaged or ends too early.
    """
    with open(os.dup(fd), "rb") as raw:
        raw.seek(0)
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            yield cast(BinaryIO, _Packed(gzip.GzipFile(fileobj=raw)))
        elif magic.startswith(b"BZh"):
            yield cast(BinaryIO, _Packed(bz2.BZ2File(raw)))
        elif magic == b"\xfd7zXZ\0":
            yield cast(BinaryIO, _Packed(lzma.LZMAFile(raw)))  # noqa: SIM115 - closed with raw
        elif magic.startswith(b"\x28\xb5\x2f\xfd") or magic[1:4] == _SKIPPABLE:
            yield cast(BinaryIO, _Packed(_Zstd(raw)))
        else:
            yield raw


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Packed:
    """A decompressed stream, whatever is wrong with it being Malformed."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read(size)
        except (EOFError, lzma.LZMAError, zlib.error, BadTar) as error:
            raise Malformed(str(error)) from error
        except OSError as error:
            if error.errno is not None:  # the disk's own; gzip's and bz2's have no number
                raise
            raise Malformed(str(error)) from error


class _Zstd:
    """Frames in a row as one stream."""

    def __init__(self, raw: BinaryIO) -> None:
        self._pieces = zstd_frames(raw)
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        found = [self._left]
        length = len(self._left)
        while (size < 0 or length < size) and (piece := next(self._pieces, None)) is not None:
            found.append(piece)
            length += len(piece)
        data = b"".join(found)
        self._left = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data
