"""Fetched files, kept by their sha256 in one folder and checked when they are used; folders made beside them, whole or not at all.

Nothing here is synced: what a power loss leaves short or empty, size and digest find, and it is fetched again.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader

from devenv.beneath import remove_tree
from devenv.errors import StoreError
from devenv.model.lock import EPOCH as EPOCH

from ..mount import spread
from ..trouble import trouble

_EMPTY = hashlib.sha256().hexdigest()

KINDS = ("files", "unpacked", "integrity")
"""The folders of what is kept."""
UNUSED = 30
"""Days after which it isn't, when nobody used it."""
DAY = 86400
_DIGEST = re.compile(r"[0-9a-f]{64}")
_AGAIN = "the next command fetches it again"
_INTEGRITIES = {"sha512": 64, "sha384": 48, "sha256": 32, "sha1": 20}


class Writer:
    """A file on its way in. `sha256` and `size` are those of what was written so far."""

    __slots__ = ("_fd", "_hash", "_limit", "_what", "size")

    def __init__(self, fd: int, what: str, limit: int) -> None:
        self._fd = fd
        self._what = what
        self._limit = limit
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        with trouble(f"keep {self._what}"):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """StoreError as soon as it is more than the size it should have."""
        view = memoryview(data)
        self.size += len(view)
        if self._limit and self.size > self._limit:
            raise StoreError(f"keep {self._what}: more than the {self._limit} bytes it should have")
        self._hash.update(view)
        left = view
        with trouble(f"keep {self._what}"):
            while left:
                left = left[os.write(self._fd, left) :]
        return len(view)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class Files:
    """What is kept under `folder` ($DEVENV_HOME/packages). Any number of threads and processes may use it at once.

    `what` is how messages name a package: its name first, as in `flask 3.0.0`.
    """

    __slots__ = ("folder",)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, sha256: str) -> str:
        if not _DIGEST.fullmatch(sha256):
            raise StoreError(f"find package {sha256[:100]!r}: not a sha256")
        return f"{self.folder}/files/{sha256[:2]}/{sha256}"

    def has(self, sha256: str, size: int = 0) -> bool:
        """Whether the file is there, with its size (0: unknown); its bytes are checked by `verified`."""
        return bool(sha256) and _sized(self.path(sha256), size, empty=sha256 == _EMPTY)

    def verified(self, what: str, sha256: str, size: int = 0, integrity: str = "") -> str:
        """The path of a file that has this digest, size and integrity. One that hasn't is removed: StoreError.

        Whoever else has a hard link to it (a tree, a repository of packages) is none the better for that.
        """
        path = self.path(sha256)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                found = hashlib.file_digest(file, "sha256").hexdigest()
                named = not integrity or digest_of(what, integrity) == _again(file, integrity)
        except FileNotFoundError:
            raise StoreError(f"use {what}: its file isn't in the store", hint=_AGAIN) from None
        except OSError as error:
            # A sector that can't be read, a folder in its place: as wrong as other bytes.
            remove_tree(path)
            raise StoreError(f"use {what}: {path}: {error.strerror}", hint=f"it was removed; {_AGAIN}") from error
        if found != sha256 or (size and status.st_size != size):
            remove_tree(path)
            cause = f"its kept file has sha256 {found} and {status.st_size} bytes, not {sha256}"
            raise StoreError(f"use {what}: {cause}", hint=f"it was changed, and is removed; {_AGAIN}")
        if not named:
            self.forget(integrity)
            raise StoreError(f"use {what}: its kept file isn't {integrity}", hint=_AGAIN)
        used(path)
        return path

    @contextmanager
    def writer(self, what: str, sha256: str = "", size: int = 0) -> Iterator[Writer]:
        """Write a file; when the context ends well it is kept under its digest. StoreError when that, or its size, is another."""
        with self.draft() as path:
            with trouble(f"keep {what}"):
                fd = os.open(f"{path}/file", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                writer = Writer(fd, what, size)
                yield writer
                with trouble(f"keep {what}"):
                    os.fchmod(fd, 0o644)  # whatever the umask
                    os.utime(fd, (time.time(), EPOCH))
            finally:
                os.close(fd)
            if sha256 and writer.sha256 != sha256:
                raise StoreError(f"keep {what}: its sha256 is {writer.sha256}, not {sha256}")
            if size and writer.size != size:
                raise StoreError(f"keep {what}: it has {writer.size} bytes, not {size}")
            with trouble(f"keep {what}"):
                place(f"{path}/file", self.path(writer.sha256))

    @contextmanager
    def draft(self) -> Iterator[str]:
        """A folder to make something in, on the same file system; removed at the end with what wasn't moved away.

        Its lock tells those who sweep that we live (`sweep.unlocked`).
        """
        folder = f"{self.folder}/drafts"
        with trouble(f"write in {self.folder}"):
            if not os.path.isdir(folder):
                os.makedirs(folder, 0o700, exist_ok=True)
                spread(folder)
            path, lock = _locked(folder)
        try:
            yield path
        finally:
            try:
                remove_tree(path)
            finally:
                os.close(lock)

    # npm's integrity: what the file is known by, before its sha256 is

    def find(self, integrity: str) -> str:
        """The sha256 of the file that was fetched for this integrity; "" when it isn't known. For `verified` to check."""
        path = self._named(integrity)
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                found = file.read(65)
        except OSError:
            return ""
        used(path)
        return found if _DIGEST.fullmatch(found) else ""

    def remember(self, integrity: str, sha256: str) -> None:
        path = self._named(integrity)
        with trouble(f"keep {integrity}"), self.draft() as draft:
            with open(f"{draft}/note", "w", encoding="ascii") as file:
                file.write(sha256)
            place(f"{draft}/note", path)

    def forget(self, integrity: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._named(integrity))

    def _named(self, integrity: str) -> str:
        digest = digest_of("a package", integrity).hex()
        return f"{self.folder}/integrity/{digest[:2]}/{digest}"


def digest_of(what: str, integrity: str) -> bytes:
    """The digest a Subresource Integrity speaks of; StoreError for one that isn't `sha512-BASE64` or the like."""
    algorithm, _, encoded = integrity.partition("-")
    with suppress(binascii.Error, ValueError):
        digest = base64.b64decode(encoded, validate=True)
        if len(digest) == _INTEGRITIES.get(algorithm):
            return digest
    raise StoreError(f"use {what}: {integrity[:120]!r} is no integrity", hint="write it as sha512-BASE64")


def _again(file: BufferedReader, integrity: str) -> bytes:
    file.seek(0)
    return hashlib.file_digest(file, integrity.partition("-")[0]).digest()


def place(source: str, target: str) -> None:
    """Rename, into a folder that is made when it is missing."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        os.rename(source, target)


def used(path: str) -> None:
    """Note, to the day, that a file or folder was used today: its atime says so. `gc` goes by that."""
    now = time.time()
    with suppress(FileNotFoundError):
        status = os.stat(path)
        if now - status.st_atime > DAY or status.st_atime > now:
            os.utime(path, ns=(int(now * 1e9), status.st_mtime_ns))


def unused(folder: str, days: int = UNUSED) -> Iterator[str]:
    """Paths under $DEVENV_HOME/packages that nobody used for so long: files, unpacked trees, notes of integrity."""
    limit = time.time() - days * DAY
    for kind in KINDS:
        for top, folders, files in os.walk(f"{folder}/{kind}"):
            depth = top.count("/") - folder.count("/")
            if kind == "unpacked" or depth == 2:
                names, folders[:] = sorted({*folders, *files}), []
                yield from (path for path in (f"{top}/{name}" for name in names) if _atime(path) < limit)


def _atime(path: str) -> float:
    try:
        return os.lstat(path).st_atime
    except FileNotFoundError:
        return float("inf")


def _sized(path: str, size: int, *, empty: bool) -> bool:
    """`empty`: it should be; else one of unknown size that is was cut off."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and (status.st_size == size if size or empty else status.st_size > 0)


def _locked(folder: str) -> tuple[str, int]:
    """A new folder, and the lock on it."""
    while True:
        path = f"{folder}/{os.urandom(16).hex()}"
        os.mkdir(path, 0o700)
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a sweep took it for abandoned before it was locked
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(path):
            return path, lock
        os.close(lock)
