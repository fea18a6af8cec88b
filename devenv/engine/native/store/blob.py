"""A blob on its way in or out, by whose digest and size it is known (image-spec, descriptor.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from devenv.errors import StoreError
from devenv.model.image import Descriptor

MAX_JSON = 4 << 20
"""Bytes of a document: of an index, a manifest, a configuration."""

_CHUNK = 1 << 20


class Stream(Protocol):
    """Bytes to read; b"" at the end."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Writer:
    """A blob on its way into the store. `descriptor` is set once the context of Store.writer has ended well."""

    __slots__ = ("_fd", "_hash", "descriptor", "size")

    def __init__(self, fd: int) -> None:
        import hashlib  # it loads OpenSSL, 3 ms, and most commands read no blob

        self._fd = fd
        self._hash = hashlib.sha256()
        self.size = 0
        self.descriptor = Descriptor("", "", 0)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data)
        self._hash.update(view)
        left = view
        while left:
            left = left[os.write(self._fd, left) :]
        self.size += len(view)
        return len(view)

    def digest(self) -> str:
        """Digest of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"


class Reader:
    """A blob being read: at its end StoreError unless digest and size are what they should be."""

    __slots__ = ("_descriptor", "_file", "_hash", "_read")

    def __init__(self, file: Stream, descriptor: Descriptor) -> None:
        import hashlib

        self._file = file
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes. The bytes count only when the end has been read without an error."""
        left = self._descriptor.size - self._read
        data = self._file.read(left if size < 0 else min(size, left))
        self._hash.update(data)
        self._read += len(data)
        if size == 0 or (data and self._read < self._descriptor.size):
            return data
        if self._read < self._descriptor.size:
            raise StoreError(f"read blob {self._descriptor.digest}: it ends after {self._read} bytes")
        if f"sha256:{self._hash.hexdigest()}" != self._descriptor.digest:
            raise StoreError(
                f"read blob {self._descriptor.digest}: its bytes have another digest",
                hint="the disk or a program changed it: remove the blob and build or fetch the image again",
            )
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verified(stream: Callable[[Descriptor], Stream], descriptor: Descriptor, limit: int = MAX_JSON) -> bytes:
    """A whole blob. StoreError when its bytes have another digest, or are more than `limit`."""
    if descriptor.size > limit:
        raise StoreError(f"read blob {descriptor.digest}: {descriptor.size} bytes, at most {limit} are accepted")
    parts = []
    with Reader(stream(descriptor), descriptor) as blob:
        while part := blob.read(_CHUNK):
            parts.append(part)
    return b"".join(parts)
