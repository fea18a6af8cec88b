"""A layer's stream, plain, gzip or zstd → its uncompressed bytes, counted, hashed and within limits."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from devenv.errors import StoreError

from .tar import BadTar

_CHUNK = 1 << 20
_PACKED_CHUNK = 1 << 17  # small, as a hostile chunk full of tiny gzip members is copied once for each
_ZSTD_PIECE = 1 << 10  # bytes: one may unpack to 32,768 times as many, all of them in memory
_RATIO_FLOOR = 64 << 20  # bytes unpacked before the ratio says anything: a disk image of zeros may be small


class Limits(NamedTuple):
    """What a layer may cost: bytes unpacked, entries, times its packed size, and the ids it may use (0 to ids - 1)."""

    bytes: int = 64 << 30
    entries: int = 1_000_000
    ratio: int = 500
    ids: int = 65536


class Stream(Protocol):
    """Bytes to read; b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class Source:
    """The uncompressed archive: counted, hashed, handed out in pieces."""

    __slots__ = ("_at", "_chunk", "_chunks", "_hash", "_left")

    def __init__(self, chunks: Iterator[bytes], limits: Limits) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self._left = limits.bytes
        self._hash = hashlib.sha256()

    def _next(self) -> bool:
        self._chunk = next(self._chunks, b"")
        self._at = 0
        self._hash.update(self._chunk)
        self._left -= len(self._chunk)
        if self._left < 0:
            raise StoreError("unpack layer: more bytes than are accepted")
        return bool(self._chunk)

    def take(self, size: int) -> bytes:
        data = self._chunk[self._at : self._at + size]
        self._at += len(data)
        while len(data) < size and self._next():
            more = self._chunk[: size - len(data)]
            self._at = len(more)
            data += more
        return data

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes. BadTar when the stream ends before."""
        if size > self._left + len(self._chunk) - self._at:
            raise StoreError("unpack layer: more bytes than are accepted")
        while size:
            if self._at == len(self._chunk) and not self._next():
                raise BadTar("the stream ends inside a file")
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def drain(self) -> None:
        while self._next():
            pass

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def decompressed(stream: Stream, limits: Limits) -> Iterator[bytes]:
    """Uncompressed chunks of 1 MiB or so. What the compression is, the first bytes say: media types are often wrong."""
    first = b""
    while len(first) < 4 and (more := stream.read(_PACKED_CHUNK)):
        first += more
    if first.startswith(b"\x1f\x8b"):
        chunks = _gunzip(stream, first)
    elif first.startswith(b"\x28\xb5\x2f\xfd") or first[1:4] == b"\x2a\x4d\x18":  # a frame, or one to skip
        chunks = _unzstd(stream, first)
    else:
        chunks = _plain(stream, first)
    unpacked = 0
    for packed, chunk in chunks:
        unpacked += len(chunk)
        if unpacked > _RATIO_FLOOR and unpacked > packed * limits.ratio:
            raise StoreError(f"unpack layer: a bomb, more than {limits.ratio} times its compressed size")
        yield chunk


def _plain(stream: Stream, first: bytes) -> Iterator[tuple[int, bytes]]:
    packed = 0
    data = first
    while data:
        packed += len(data)
        yield packed, data
        data = stream.read(_CHUNK)


def _gunzip(stream: Stream, first: bytes) -> Iterator[tuple[int, bytes]]:
    """(compressed bytes read, chunk) pairs; members in a row are one stream (RFC 1952), zeros after them padding."""
    packed, data = len(first), first
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not data:
                data = stream.read(_PACKED_CHUNK)
                packed += len(data)
                if not data:
                    raise BadTar("the gzip stream ends too early")
            chunk = member.decompress(data, _CHUNK)
            data = member.unconsumed_tail
            if chunk:
                yield packed, chunk
        data = member.unused_data.lstrip(b"\0")
        while not data and (more := stream.read(_PACKED_CHUNK)):
            packed += len(more)
            data = more.lstrip(b"\0")


def _unzstd(stream: Stream, first: bytes) -> Iterator[tuple[int, bytes]]:
    counted = _Counted(stream, first)
    for chunk in zstd_frames(counted):
        yield counted.count, chunk


def zstd_frames(stream: Stream) -> Iterator[bytes]:
    """The bytes of zstd frames in a row (RFC 8878, 3). BadTar for damage, and where the stream ends inside a frame.

    Not by zstandard's own reader: that takes the end of the stream for the end of a frame.
    """
    import zstandard  # only what comes from elsewhere needs it

    # A frame may ask for a window of 128 MiB at most, the most that zstd itself makes without --ultra --long=31.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    frame = None
    try:
        while packed := stream.read(_PACKED_CHUNK):
            found = []
            for begin in range(0, len(packed), _ZSTD_PIECE):
                data = packed[begin : begin + _ZSTD_PIECE]
                while data:
                    frame = frame or decompressor.decompressobj()
                    found.append(frame.decompress(data))
                    data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
                if sum(map(len, found)) > _CHUNK:
                    yield b"".join(found)
                    found = []
            if rest := b"".join(found):  # an empty one would mean the end
                yield rest
    except zstandard.ZstdError as error:
        raise BadTar(str(error)) from error
    if frame is not None:
        raise BadTar("the zstd stream ends too early")


class _Counted:
    """A stream with its first bytes put back, and how many were read."""

    __slots__ = ("_first", "_stream", "count")

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._first[:size] or self._stream.read(size)
        self._first = self._first[size:]
        self.count += len(data)
        return data
