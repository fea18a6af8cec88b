"""An entry of a tar archive → its header bytes, and bytes → an entry (POSIX ustar and pax, GNU long names on reading).

Written by hand because tarfile takes three times as long and reads headers of any size into memory.
"""

from __future__ import annotations

import struct
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, Protocol

FILE, LINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
KINDS = frozenset((FILE, LINK, SYMLINK, CHARACTER, BLOCK, FOLDER, FIFO))
BLOCK_SIZE = 512
END = bytes(2 * BLOCK_SIZE)
XATTR = b"SCHILY.xattr."

_ZERO = bytes(BLOCK_SIZE)
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_MAX_EXTENSION = 1 << 20  # bytes of pax records or of a GNU long name
_MAX_EXTENSIONS = 8  # in a row, before the entry they are for
_MAX_PATH = 4096
_MAX_MTIME = 1 << 34
_MAX_OCTAL_12 = 0o77777777777


class Entry(NamedTuple):
    """An entry. `mtime` in nanoseconds, `size` the bytes of data that follow (files only), xattrs as (name, value)."""

    path: bytes
    kind: bytes = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class BadTar(Exception):
    """The bytes aren't a tar archive we accept; the text says why."""


class Source(Protocol):
    """Where an archive is read from."""

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end of the stream."""


def padding(size: int) -> int:
    """Bytes from the end of `size` bytes of data to the next header."""
    return -size % BLOCK_SIZE


# Writing ------------------------------------------------------------------------------------------------------


def header(entry: Entry) -> bytes:
    """The header of an entry: one ustar block, before it a pax header where ustar can't hold a field.

    Owners are numbers only and times whole seconds, so equal entries give equal bytes.
    """
    path, link, size, mtime = entry.path, entry.link, entry.size, entry.mtime // 1_000_000_000
    records = [(XATTR + name, value) for name, value in entry.xattrs]
    prefix = b""
    if len(path) > 100:
        split = _split(path)
        if split is None:
            records.append((b"path", path))
            path = path[:100].rstrip(b"/") or b"x"
        else:
            prefix, path = split
    if len(link) > 100:
        records.append((b"linkpath", link))
        link = link[:100]
    if size > _MAX_OCTAL_12:
        records.append((b"size", b"%d" % size))
        size = 0
    if not 0 <= mtime <= _MAX_OCTAL_12:
        records.append((b"mtime", b"%d" % mtime))
        mtime = 0
    block = _block(path, prefix, entry, size, mtime, link)
    return _pax(records) + block if records else block


def _block(path: bytes, prefix: bytes, entry: Entry, size: int, mtime: int, link: bytes) -> bytes:
    block = _HEADER.pack(
        path,
        b"%07o" % entry.mode,
        b"%07o" % entry.uid,
        b"%07o" % entry.gid,
        b"%011o" % size,
        b"%011o" % mtime,
        b"        ",
        entry.kind,
        link,
        b"ustar",
        b"00",
        b"",
        b"",
        b"%07o" % entry.major,
        b"%07o" % entry.minor,
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, name) as ustar wants a long path, None when there is no place to part it."""
    cut = path.find(b"/", max(0, len(path) - 101), len(path) - 1)
    return (path[:cut], path[cut + 1 :]) if 0 < cut <= 155 else None


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(name, value) for name, value in sorted(records))
    entry = Entry(b"PaxHeader", b"x", size=len(data))
    return _block(entry.path, b"", entry, entry.size, 0, b"") + data + bytes(padding(len(data)))


def _record(name: bytes, value: bytes) -> bytes:
    body = len(name) + len(value) + 3
    size = body + len(str(body))
    if len(str(size)) > len(str(body)):  # the length counts its own digits
        size += 1
    return b"%d %b=%b\n" % (size, name, value)


# Reading ------------------------------------------------------------------------------------------------------


def read(source: Source) -> Entry | None:
    """The next entry, None at the end. Its `size` bytes and their padding are left for the caller to take.

    Raises BadTar. Global pax headers are passed over, as container engines do.
    """
    records: dict[bytes, bytes] = {}
    path = link = b""
    for _ in range(_MAX_EXTENSIONS):
        block = source.take(BLOCK_SIZE)
        if not block:
            if records or path or link:
                raise BadTar("the stream ends inside an entry")
            return None
        if block == _ZERO:
            if source.take(BLOCK_SIZE) not in (b"", _ZERO):
                raise BadTar("a lone block of zeros in the middle")
            return None
        kind = _check(block)
        if kind == b"x":
            records.update(_records(_extension(source, block)))
        elif kind == b"g":
            _extension(source, block)
        elif kind == b"L":
            path = _extension(source, block).split(b"\0", 1)[0]
        elif kind == b"K":
            link = _extension(source, block).split(b"\0", 1)[0]
        else:
            return _entry(block, kind, path, link, records)
    raise BadTar("too many extension headers in a row")


def _check(block: bytes) -> bytes:
    """The kind of a header, once its checksum (the sum of its bytes, its own field as spaces) is right."""
    if len(block) < BLOCK_SIZE:
        raise BadTar("the stream ends inside a header")
    if _number(block[148:156], "checksum") != sum(block) - sum(block[148:156]) + 256:
        raise BadTar("a header's checksum is wrong")
    return block[156:157]


def _entry(block: bytes, kind: bytes, path: bytes, link: bytes, records: dict[bytes, bytes]) -> Entry:
    path = records.get(b"path") or path or _name(block)
    if any(name.startswith(b"GNU.sparse.") for name in records):
        raise BadTar(f"{show(path)}: sparse files are not supported")
    if kind in (b"\0", b"7"):
        kind = FOLDER if kind == b"\0" and path.endswith(b"/") else FILE
    if kind not in KINDS:
        raise BadTar(f"{show(path)}: entries of type {kind!r} are not supported")
    link = records.get(b"linkpath") or link or block[157:257].split(b"\0", 1)[0]
    if b"\0" in path or b"\0" in link or any(b"\0" in name for name in records):
        raise BadTar(f"{show(path)}: a name with NUL in it")
    if len(path) > _MAX_PATH or len(link) > _MAX_PATH:
        raise BadTar(f"{show(path[:100])}…: a name longer than {_MAX_PATH} bytes")
    device = kind in (CHARACTER, BLOCK)
    return Entry(
        path,
        kind,
        _number(block[100:108], "mode") & 0o7777,
        _integer(records, b"uid", block[108:116]),
        _integer(records, b"gid", block[116:124]),
        _integer(records, b"size", block[124:136]) if kind == FILE else 0,
        _mtime(records, block[136:148]),
        link if kind in (LINK, SYMLINK) else b"",
        _number(block[329:337], "device") if device else 0,
        _number(block[337:345], "device") if device else 0,
        tuple(sorted((name[len(XATTR) :], value) for name, value in records.items() if name.startswith(XATTR))),
    )


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":  # GNU's own format keeps other things where the prefix would be
        prefix = block[345:500].split(b"\0", 1)[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _number(field: bytes, what: str) -> int:
    """Octal digits, or GNU's base 256 when the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
        if field[0] & 0x40:
            raise BadTar(f"a negative {what}")
        return value
    text = field.strip(b"\0 ").split(b"\0", 1)[0]
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise BadTar(f"{what} {field!r} isn't an octal number")
    return int(text, 8)


def _integer(records: dict[bytes, bytes], name: bytes, field: bytes) -> int:
    text = records.get(name)
    if not text:
        return _number(field, name.decode())
    if not text.isdigit() or len(text) > 20:
        raise BadTar(f"{name.decode()} {text[:40]!r} isn't a number")
    return int(text)


def _mtime(records: dict[bytes, bytes], field: bytes) -> int:
    """Nanoseconds, clamped to the years 1970 to 2514: times outside say nothing and some file systems refuse them."""
    text = records.get(b"mtime")
    if not text:
        seconds = 0 if field[0] == 0xFF else _number(field, "mtime")
        return min(seconds, _MAX_MTIME) * 1_000_000_000
    try:
        value = Decimal(text[:40].decode("ascii"))
        return int(max(Decimal(0), min(value, Decimal(_MAX_MTIME))) * 1_000_000_000)
    except (InvalidOperation, UnicodeDecodeError) as error:
        raise BadTar(f"mtime {text[:40]!r} isn't a number") from error


def _extension(source: Source, block: bytes) -> bytes:
    size = _number(block[124:136], "size")
    if size > _MAX_EXTENSION:
        raise BadTar(f"an extension header of {size} bytes (at most {_MAX_EXTENSION})")
    data = source.take(size + padding(size))
    if len(data) < size + padding(size):
        raise BadTar("the stream ends inside an extension header")
    return data[:size]


def _records(data: bytes) -> dict[bytes, bytes]:
    """pax records: `LENGTH NAME=VALUE\\n`, the length counting the whole record."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        if space < 0 or not data[at:space].isdigit():
            raise BadTar("a pax record without its length")
        end = at + int(data[at:space])
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 2 or data[end - 1 : end] != b"\n" or not equals or not name:
            raise BadTar("a pax record whose length lies")
        records[name] = value
        at = end
    return records


def show(path: bytes) -> str:
    """A name for a message, without anything a terminal would obey."""
    return "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" for char in path.decode("utf-8", "backslashreplace")
    )
