"""What is copied <-> a plain tar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from devenv.archive import tar
from devenv.archive.stream import Limits, Source, Stream, decompressed

from .walk import Freight, Pieces

_ZEROS = bytes(1 << 20)
_LIMITS = Limits(bytes=1 << 50, entries=1 << 40, ratio=1 << 20)
"""It is the user's own: as large as it likes."""


class Output(Protocol):
    def write(self, data: bytes, /) -> int: ...


def pack(freight: Iterable[Freight], name: bytes, out: Output) -> None:
    """Write it all as a tar in which what is copied has this name; b"" for what is in a folder, without the folder."""
    for entry, pieces in freight:
        path = b"/".join(part for part in (name, entry.path) if part)
        link = b"/".join(part for part in (name, entry.link) if part) if entry.kind == tar.LINK else entry.link
        if not path:
            continue
        path += b"/" if entry.kind == tar.FOLDER else b""
        out.write(tar.header(entry._replace(path=path, link=link)))
        _content(entry.size, pieces, out)
    out.write(tar.END)


def _content(size: int, pieces: Pieces, out: Output) -> None:
    at = 0
    for offset, data in pieces:
        _fill(offset - at, out)
        out.write(data)
        at = offset + len(data)
    _fill(size - at + tar.padding(size), out)


def _fill(count: int, out: Output) -> None:
    while count > 0:
        out.write(_ZEROS[:count])
        count -= len(_ZEROS)


def unpack(stream: Stream, left: Callable[[bytes, str], None]) -> Iterator[Freight]:
    """What a tar has, plain or compressed. Raises tar.BadTar for one that is broken, or names what is above."""
    source = Source(decompressed(stream, _LIMITS), _LIMITS)
    while (entry := tar.read(source)) is not None:
        cleaned = entry._replace(path=_clean(entry.path), mode=entry.mode & 0o777)
        if entry.kind == tar.LINK:
            cleaned = cleaned._replace(link=_clean(entry.link))
        if entry.kind in (tar.CHARACTER, tar.BLOCK, tar.FIFO):
            left(cleaned.path, "a fifo" if entry.kind == tar.FIFO else "a device")
        elif cleaned.path or entry.kind == tar.FOLDER:
            pieces = _pieces(source, entry.size)
            yield Freight(cleaned, pieces)
            for _ in pieces:
                pass  # what nobody wanted of it
    source.drain()


def _pieces(source: Source, size: int) -> Pieces:
    at = 0
    for piece in source.pieces(size):
        yield at, bytes(piece)
        at += len(piece)
    source.take(tar.padding(size))


def _clean(path: bytes) -> bytes:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise tar.BadTar(f"{tar.show(path)}: `..` in the name of an entry")
    return b"/".join(parts)
