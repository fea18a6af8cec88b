"""An OCI image layout as one tar: written blob by blob, read where it lies (image-spec, image-layout.md)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from devenv.archive import tar
from devenv.errors import StoreError
from devenv.model.image import Descriptor

from .blob import Stream, Writer, verified
from .index import VERSION, check_version, entry, index_json

_BLOB = re.compile(rb"blobs/sha256/([0-9a-f]{64})")
_SMALL = (b"oci-layout", b"index.json")
_MAX_MEMBERS = 10_000
_MAX_JSON = 4 << 20


class Tarring:
    """A layout on its way into an empty file. The same blobs in the same order give the same bytes."""

    __slots__ = ("_entries", "_fd", "_there")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._there: set[str] = set()
        self._entries: list[dict[str, object]] = []
        self._write(_header(b"oci-layout", len(VERSION)) + VERSION + bytes(tar.padding(len(VERSION))))
        for folder in (b"blobs/", b"blobs/sha256/"):
            self._write(tar.header(tar.Entry(folder, tar.FOLDER, mode=0o755)))

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is in the file already."""
        return descriptor.digest in self._there

    @contextmanager
    def receive(self, descriptor: Descriptor) -> Iterator[Writer]:
        """Stream a blob in; whoever writes it says whether it is what its descriptor says."""
        self._write(_header(f"blobs/sha256/{descriptor.digest[7:]}".encode(), descriptor.size))
        blob = Writer(self._fd)
        yield blob
        self._write(bytes(tar.padding(descriptor.size)))
        self._there.add(descriptor.digest)

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Store small bytes; again is nothing."""
        blob = Descriptor(media_type, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        if not self.has(blob):
            with self.receive(blob) as out:
                out.write(data)
        return blob

    def name(self, reference: str, descriptor: Descriptor, artifact: str = "") -> None:
        """Name a manifest; `artifact` as in Store.retag."""
        self._entries.append(entry(reference, descriptor, artifact))

    def finish(self) -> None:
        """What is named is known: write that, and the end."""
        index = index_json(self._entries)
        self._write(_header(b"index.json", len(index)) + index + bytes(tar.padding(len(index))) + tar.END)

    def _write(self, data: bytes) -> None:
        Writer(self._fd).write(data)


def _header(name: bytes, size: int) -> bytes:
    return tar.header(tar.Entry(name, size=size))


class Tarred:
    """The layout in the file `path`, for reading: its blobs stay where they are. Hostile until what is read was verified."""

    __slots__ = ("_fd", "_members", "layout")

    def __init__(self, path: str) -> None:
        self.layout = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"read {path}: {error.strerror}") from error
        try:
            self._members = _scan(self._fd, path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Tarred:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index(self) -> bytes:
        """Its index.json, once its version is one we know. StoreError when it isn't an image layout."""
        version, index = (self._small(name) for name in _SMALL)
        check_version(version, self.layout)
        return index

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there with the right size."""
        return self._members.get(descriptor.digest[7:].encode(), (0, -1))[1] == descriptor.size

    def stream(self, descriptor: Descriptor) -> Stream:
        """As Store.stream. Any number of threads may read at once."""
        begin, size = self._members.get(descriptor.digest[7:].encode(), (0, -1))
        if size != descriptor.size:
            cause = "no such blob" if size < 0 else f"{size} bytes instead of {descriptor.size}"
            raise StoreError(f"open blob {descriptor.digest} in {self.layout}: {cause}")
        return _Window(self._fd, begin, size)

    def read(self, descriptor: Descriptor, limit: int = _MAX_JSON) -> bytes:
        """As Store.read."""
        return verified(self.stream, descriptor, limit)

    def _small(self, name: bytes) -> bytes:
        begin, size = self._members.get(name, (0, -1))
        if not 0 <= size <= _MAX_JSON:
            cause = "it isn't there" if size < 0 else f"larger than {_MAX_JSON} bytes"
            raise StoreError(
                f"read {self.layout}: {name.decode()}: {cause}", hint="is it a tar of an OCI image layout?"
            )
        return _Window(self._fd, begin, size).read(size)


class _Window:
    """Part of a file."""

    __slots__ = ("_at", "_end", "_fd")

    def __init__(self, fd: int, begin: int, size: int) -> None:
        self._fd = fd
        self._at = begin
        self._end = begin + size

    def read(self, size: int, /) -> bytes:
        data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def take(self, size: int) -> bytes:
        """For tar.read: a header, or what extends it."""
        return self.read(size)

    def skip(self, size: int) -> None:
        self._at += size

    def at(self) -> int:
        return self._at

    def close(self) -> None:
        """The file is its opener's."""


def _scan(fd: int, path: str) -> dict[bytes, tuple[int, int]]:
    """Where the layout's files are: blobs by the digits of their digest, the others by name; (begin, size)."""
    found: dict[bytes, tuple[int, int]] = {}
    end = os.fstat(fd).st_size
    window = _Window(fd, 0, end)
    try:
        for _ in range(_MAX_MEMBERS):
            member = tar.read(window)
            if member is None:
                return found
            name = member.path.removeprefix(b"./")
            blob = _BLOB.fullmatch(name)
            key = blob[1] if blob else name
            if member.kind == tar.FILE and (blob or name in _SMALL):
                if key in found:
                    raise tar.BadTar(f"{tar.show(name)} is in it twice")
                found[key] = (window.at(), member.size)
            window.skip(member.size + tar.padding(member.size))
            if window.at() > end:
                raise tar.BadTar(f"it ends inside of {tar.show(name)}")
    except (tar.BadTar, OSError) as error:
        raise StoreError(f"read {path}: {error}", hint="is it a tar of an OCI image layout?") from error
    raise StoreError(f"read {path}: more than {_MAX_MEMBERS} files")
