"""An open file → whether it is a tar archive, compressed or not, and its plain tar stream."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast


def is_tar(fd: int) -> bool:
    """Whether there is a tar header at the front, once decompressed."""
    try:
        with plain(fd) as stream:
            block = stream.read(512)
    except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error):
        return False
    except Exception as error:  # zstandard's own, known by name so that it isn't imported for all other files
        if type(error).__name__ != "ZstdError":
            raise
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
    """The decompressed stream of an open file, from its start; the file itself stays open."""
    with open(os.dup(fd), "rb") as raw:
        raw.seek(0)
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        elif magic.startswith(b"BZh"):
            yield cast(BinaryIO, bz2.BZ2File(raw))
        elif magic == b"\xfd7zXZ\0":
            yield cast(BinaryIO, lzma.LZMAFile(raw))  # noqa: SIM115 - closed with raw
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            import zstandard  # only for the rare ADD of such an archive

            yield cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
        else:
            yield raw
