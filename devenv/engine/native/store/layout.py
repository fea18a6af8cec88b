"""Blobs by digest, names by tag: an OCI image layout on disk (image-spec, image-layout.md)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from devenv.errors import EngineError, StoreError
from devenv.model.image import INDEX, Descriptor

REF_NAME = "org.opencontainers.image.ref.name"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_JSON = 4 << 20
_CHUNK = 1 << 20


class Writer:
    """A blob on its way into the store. `descriptor` is set once the context of Store.writer has ended well."""

    __slots__ = ("_fd", "_hash", "descriptor", "size")

    def __init__(self, fd: int) -> None:
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

    def __init__(self, file: BinaryIO, descriptor: Descriptor) -> None:
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


class Store:
    """The layout in the folder `layout`. Any number of processes may use it at once."""

    __slots__ = ("layout",)

    def __init__(self, layout: str) -> None:
        self.layout = layout

    def init(self) -> None:
        """Make the layout, or leave the one that is there as it is."""
        for folder in (self.layout, f"{self.layout}/blobs", f"{self.layout}/blobs/sha256", f"{self.layout}/ingest"):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        with self._locked():
            if not os.path.exists(f"{self.layout}/index.json"):
                self._save([])
            if not os.path.exists(f"{self.layout}/oci-layout"):
                _replace(f"{self.layout}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    # Blobs -------------------------------------------------------------------------------------

    def put(self, data: bytes, media_type: str, *, sync: bool = False) -> Descriptor:
        """Store small bytes; again is nothing."""
        with self.writer(media_type, sync=sync) as blob:
            blob.write(data)
        return blob.descriptor

    @contextmanager
    def writer(self, media_type: str, *, sync: bool = False) -> Iterator[Writer]:
        """Stream a blob in; it is there, whole, when the context ends well, and never otherwise.

        Without `sync` the caller makes it last (one syncfs for many blobs) before anything refers to it.
        """
        fd, path = self._temporary()
        try:
            blob = Writer(fd)
            yield blob
            if sync:
                os.fsync(fd)
            blob.descriptor = Descriptor(media_type, blob.digest(), blob.size)
            if not self.has(blob.descriptor):
                os.chmod(fd, 0o600)
                os.rename(path, self._path(blob.descriptor.digest))
                path = ""
                if sync:
                    _sync(f"{self.layout}/blobs/sha256")
        except OSError as error:
            raise EngineError(f"write a blob in {self.layout}: {error.strerror}") from error
        finally:
            if path:
                _unlink(path)
            os.close(fd)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there with the right size (its bytes are checked when read)."""
        try:
            info = os.stat(self._path(descriptor.digest))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(info.st_mode) and info.st_size == descriptor.size

    def open(self, descriptor: Descriptor) -> Reader:
        """A blob to read; see Reader. StoreError when it is missing or has another size."""
        try:
            # NONBLOCK: a fifo in somebody else's layout must not hang us.
            fd = os.open(self._path(descriptor.digest), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"open blob {descriptor.digest} in {self.layout}: {error.strerror}") from error
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size != descriptor.size:
            os.close(fd)
            cause = f"{info.st_size} bytes instead of {descriptor.size}" if stat.S_ISREG(info.st_mode) else "not a file"
            raise StoreError(f"open blob {descriptor.digest} in {self.layout}: {cause}")
        return Reader(os.fdopen(fd, "rb", buffering=0), descriptor)

    def read(self, descriptor: Descriptor, limit: int = _MAX_JSON) -> bytes:
        """A whole blob, verified. StoreError when it is larger than `limit` bytes."""
        if descriptor.size > limit:
            raise StoreError(f"read blob {descriptor.digest}: {descriptor.size} bytes, at most {limit} are accepted")
        parts = []
        with self.open(descriptor) as blob:
            while part := blob.read(_CHUNK):
                parts.append(part)
        return b"".join(parts)

    def sweep(self, keep: set[str]) -> int:
        """Remove blobs whose digest isn't in `keep`, and what dead writers left. Returns the bytes freed.

        The caller keeps others from committing images meanwhile; blobs being written aren't touched.
        """
        freed = 0
        for name in os.listdir(f"{self.layout}/blobs/sha256"):
            if f"sha256:{name}" not in keep:
                freed += _unlink(f"{self.layout}/blobs/sha256/{name}")
        for name in os.listdir(f"{self.layout}/ingest"):
            freed += _unlink_abandoned(f"{self.layout}/ingest/{name}")
        return freed

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"find blob {digest[:100]!r}: not a sha256 digest")
        return f"{self.layout}/blobs/sha256/{digest[7:]}"

    def _temporary(self) -> tuple[int, str]:
        """A file under `ingest`, locked for as long as its writer lives."""
        while True:
            path = f"{self.layout}/ingest/{os.urandom(16).hex()}"
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise EngineError(f"write a blob in {self.layout}: {error.strerror}") from error
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:  # a sweep may have taken it for abandoned before it was locked
                return fd, path
            os.close(fd)

    # The index -----------------------------------------------------------------------------------

    def index(self) -> bytes:
        """The layout's index.json, once its version is one we know. StoreError when it isn't an image layout."""
        version = _json(_small(f"{self.layout}/oci-layout"), f"{self.layout}/oci-layout").get("imageLayoutVersion")
        if version != "1.0.0":
            raise StoreError(f"read {self.layout}: image layout version {version!r} is not known")
        return _small(f"{self.layout}/index.json")

    def tags(self) -> dict[str, Descriptor]:
        """What is named, by name."""
        return {
            str(entry["annotations"][REF_NAME]): Descriptor(entry["mediaType"], entry["digest"], entry["size"])
            for entry in self._entries()
            if REF_NAME in entry.get("annotations", {})
        }

    def tag(self, reference: str, descriptor: Descriptor) -> None:
        """Name a manifest; a name that was another's moves. On disk when it returns."""
        with self._locked():
            entries = [entry for entry in self._entries() if not _named(entry, reference)]
            entries.append(
                {
                    "annotations": {REF_NAME: reference},
                    "digest": descriptor.digest,
                    "mediaType": descriptor.media_type,
                    "size": descriptor.size,
                }
            )
            self._save(entries)

    def untag(self, reference: str) -> None:
        """Forget a name; one that isn't there is fine."""
        with self._locked():
            entries = self._entries()
            kept = [entry for entry in entries if not _named(entry, reference)]
            if kept != entries:
                self._save(kept)

    def _entries(self) -> list[dict[str, Any]]:
        path = f"{self.layout}/index.json"
        entries = _json(_small(path), path).get("manifests")
        if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
            raise StoreError(f"read {path}: its list of manifests is damaged")
        return entries

    def _save(self, entries: list[dict[str, Any]]) -> None:
        index = {
            "manifests": sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True)),
            "mediaType": INDEX,
            "schemaVersion": 2,
        }
        _replace(f"{self.layout}/index.json", json.dumps(index, sort_keys=True, separators=(",", ":")).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.layout, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("digest"), str)
        and isinstance(entry.get("mediaType"), str)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("annotations", {}), dict)
    )


def _named(entry: dict[str, Any], reference: str) -> bool:
    return bool(entry.get("annotations", {}).get(REF_NAME) == reference)


def _json(data: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"read {path}: not JSON") from error
    if not isinstance(value, dict):
        raise StoreError(f"read {path}: not a JSON object")
    return value


def _small(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            data = file.read(_MAX_JSON + 1)
    except OSError as error:
        raise StoreError(f"read {path}: {error.strerror}", hint="is it the folder of an OCI image layout?") from error
    if len(data) > _MAX_JSON:
        raise StoreError(f"read {path}: larger than {_MAX_JSON} bytes")
    return data


def _replace(path: str, data: bytes) -> None:
    """Temporary file, fsync, rename. One name is enough: the caller holds the lock."""
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        _sync(os.path.dirname(path))
    except OSError as error:
        raise EngineError(f"write {path}: {error.strerror}") from error


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> int:
    """Bytes freed; 0 when it isn't there."""
    try:
        size = os.lstat(path).st_size
        os.unlink(path)
    except FileNotFoundError:
        return 0
    return size


def _unlink_abandoned(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _unlink(path)
    except BlockingIOError:
        return 0
    finally:
        os.close(fd)
