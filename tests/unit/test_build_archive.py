"""ADD's archives: whole, damaged at every place, and what only looks like one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from devenv.build.archive import is_tar, plain
from devenv.build.copy import copy
from devenv.build.ignore import Matcher
from devenv.build.words import Malformed
from devenv.errors import InputError, StoreError
from devenv.model.build import Copy


def _tar(size: int) -> bytes:
    """Two files that no compression makes much smaller, so that there are many places to cut."""
    buffer = io.BytesIO()
    noise = random.Random(7)
    with tarfile.open(fileobj=buffer, mode="w", bufsize=512) as made:
        for name in ("first", "second"):
            data = noise.randbytes(size)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


TAR, LARGE = _tar(700), _tar(200_000)


def _zstd(data: bytes) -> bytes:
    """Two frames, and one between them that holds nothing."""
    half = len(data) // 2
    compress = zstandard.ZstdCompressor(write_checksum=True).compress
    return compress(data[:half]) + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + compress(data[half:])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": lambda data: bz2.compress(data, 1),  # in blocks of 100 kB
    "xz": lzma.compress,
    "zst": _zstd,
    "skippable": lambda data: b"\x5f\x2a\x4d\x18\x01\x00\x00\x00x" + _zstd(data),
}


def _read(path: Path) -> bytes:
    """All of the decompressed stream, in small pieces."""
    fd = os.open(path, os.O_RDONLY)
    try:
        with plain(fd) as stream:
            return b"".join(iter(lambda: stream.read(300), b""))
    finally:
        os.close(fd)


def _is_tar(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return is_tar(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", PACKERS)
def test_archive_that_ends_too_early_is_never_taken_for_whole(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    whole = PACKERS[kind](TAR)
    file.write_bytes(whole)
    assert (_is_tar(file), _read(file)) == (True, TAR)
    # Where a frame ends, a file of fewer frames does, too.
    frames = {end for end in range(len(whole)) if kind in ("zst", "skippable") and whole[end:].startswith(b"\x50\x2a")}
    frames |= {end + 11 for end in frames} | ({9} if kind == "skippable" else set())
    for end in set(range(len(whole))) - frames - {0}:
        file.write_bytes(whole[:end])
        known = _is_tar(file)
        if known or end > 6:
            with pytest.raises(Malformed):
                _read(file)


@pytest.mark.parametrize("kind", ["tar", *PACKERS])
def test_archive_with_wrong_bytes_is_malformed_or_other_data(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    whole = TAR if kind == "tar" else PACKERS[kind](TAR)
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        _is_tar(file)
        try:
            _read(file)
        except Malformed:
            pass


def _extract(stream: BinaryIO, folder: int) -> None:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            for member in opened:
                content = opened.extractfile(member)
                if content is not None:
                    with open(
                        os.path.basename(member.name),
                        "wb",
                        opener=lambda name, flags: os.open(name, flags, dir_fd=folder),
                    ) as file:
                        file.write(content.read())
    except tarfile.ReadError as error:
        raise StoreError(f"unpack layer: {error}") from error


@pytest.mark.parametrize("kind", ["tar", *PACKERS])
def test_add_of_a_damaged_archive_names_it(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    whole = LARGE if kind == "tar" else PACKERS[kind](LARGE)
    (source / "x.tar").write_bytes(whole[:300_000])
    owner = (os.geteuid(), os.getegid())
    operation = Copy(("x.tar",), "/srv/", unpack=True)
    with pytest.raises(InputError) as caught:
        copy(operation, str(source), str(target), matcher=Matcher(()), owner=owner, epoch=None, unpack=_extract)
    (fault,) = caught.value.faults
    assert fault.file == "x.tar"
    assert "can't be unpacked" in fault.message
    assert "unpack layer" not in fault.message
    assert "--unpack=false" in fault.hint
