"""Blobs by digest, names by tag: an OCI image layout on disk (image-spec, image-layout.md)."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from devenv.errors import EngineError, StoreError
from devenv.model.image import Descriptor

from .blob import MAX_JSON, Reader, Stream, Writer, verified
from .index import VERSION, check_version, entry, index_json, is_named, listed, tags

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Store:
    """The layout in the folder `layout`. Any number of processes may use it at once.

    `mode` is that of its folders, and, but for the search bits, of its files.
    """

    __slots__ = ("layout", "mode")

    def __init__(self, layout: str, mode: int = 0o700) -> None:
        self.layout = layout
        self.mode = mode

    def init(self, check: Callable[[], object] = lambda: None) -> None:
        """Make the layout, or leave the one that is there as it is. `check` raises if the folder is somebody else's."""
        self._folder(self.layout)
        with self._locked():
            check()  # not before: another could just be making the layout
            for folder in (f"{self.layout}/blobs", f"{self.layout}/blobs/sha256", f"{self.layout}/ingest"):
                self._folder(folder)
            if not os.path.exists(f"{self.layout}/index.json"):
                self._save([])
            if not os.path.exists(f"{self.layout}/oci-layout"):
                _replace(f"{self.layout}/oci-layout", VERSION, self.mode & 0o666)

    def _folder(self, path: str) -> None:
        if not os.path.isdir(path):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, self.mode)

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
                os.chmod(fd, self.mode & 0o666)
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

    def find(self, digest: str, media_type: str) -> Descriptor:
        """What is there under a digest. StoreError when it is missing."""
        try:
            return Descriptor(media_type, digest, os.stat(self._path(digest)).st_size)
        except OSError as error:
            raise StoreError(f"find blob {digest} in {self.layout}: {error.strerror}") from error

    def open(self, descriptor: Descriptor) -> Reader:
        """A blob to read; see Reader. StoreError when it is missing or has another size."""
        return Reader(self.stream(descriptor), descriptor)

    def stream(self, descriptor: Descriptor) -> Stream:
        """A blob of the right size, its bytes unchecked: for who computes their digest anyway."""
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
        return os.fdopen(fd, "rb", buffering=0)

    def read(self, descriptor: Descriptor, limit: int = MAX_JSON) -> bytes:
        """A whole blob, verified. StoreError when it is larger than `limit` bytes."""
        return verified(self.stream, descriptor, limit)

    @contextmanager
    def receive(self, descriptor: Descriptor) -> Iterator[Writer]:
        """Stream a blob in whose digest is known; whoever writes it says whether it is that."""
        with self.writer(descriptor.media_type) as blob:
            yield blob

    def sweep(self, keep: set[str]) -> int:
        """Remove blobs whose digest isn't in `keep`, and what dead writers left. Returns the bytes freed.

        The caller keeps others from committing images meanwhile; blobs being written aren't touched.
        """
        freed = 0
        for name in os.listdir(f"{self.layout}/blobs/sha256"):
            if f"sha256:{name}" not in keep:
                freed += _unlink(f"{self.layout}/blobs/sha256/{name}")
        return freed + self.tidy()

    def tidy(self) -> int:
        """Remove what dead writers left. Returns the bytes freed."""
        return sum(_unlink_abandoned(f"{self.layout}/ingest/{name}") for name in os.listdir(f"{self.layout}/ingest"))

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
        check_version(_small(f"{self.layout}/oci-layout"), self.layout)
        return _small(f"{self.layout}/index.json")

    def tags(self) -> dict[str, Descriptor]:
        """What is named, by name."""
        return tags(self._entries())

    def tag(self, reference: str, descriptor: Descriptor) -> None:
        """Name a manifest; a name that was another's moves. On disk when it returns."""
        self.retag(reference, lambda _: descriptor)

    def retag(self, reference: str, renew: Callable[[Descriptor | None], Descriptor], artifact: str = "") -> None:
        """Give a name to what `renew` makes of what had it; nobody else changes a name meanwhile.

        `artifact`: what kind of thing it is, when it is no image (image-spec, descriptor.md: artifactType).
        """
        with self._locked():
            entries = self._entries()
            descriptor = renew(tags(entries).get(reference))
            kept = [one for one in entries if not is_named(one, reference)]
            self._save([*kept, entry(reference, descriptor, artifact)])

    def untag(self, reference: str) -> None:
        """Forget a name; one that isn't there is fine."""
        with self._locked():
            entries = self._entries()
            kept = [entry for entry in entries if not is_named(entry, reference)]
            if kept != entries:
                self._save(kept)

    def _entries(self) -> list[dict[str, Any]]:
        path = f"{self.layout}/index.json"
        return listed(_small(path), path)

    def _save(self, entries: list[dict[str, Any]]) -> None:
        _replace(f"{self.layout}/index.json", index_json(entries), self.mode & 0o666)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.layout, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _small(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_JSON + 1)
    except OSError as error:
        raise StoreError(f"read {path}: {error.strerror}", hint="is it the folder of an OCI image layout?") from error
    if len(data) > MAX_JSON:
        raise StoreError(f"read {path}: larger than {MAX_JSON} bytes")
    return data


def _replace(path: str, data: bytes, mode: int) -> None:
    """Temporary file, fsync, rename. One name is enough: the caller holds the lock."""
    temporary = f"{path}.new"
    try:
        _unlink(temporary)  # of a writer that died; or a link, put there by somebody who may write in the folder too
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
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
