"""The upperdir of a container or of a build step -> a layer, in place: the image's own ids, and the same bytes whenever it was made."""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import NamedTuple

from devenv.archive import marks, tar
from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath, remove_at
from devenv.errors import EngineError

from .lowers import have
from .transient import TRUSTED, Fates, shadow, trusted

_SECOND = 1_000_000_000
_REALTIME_COARSE = 5  # linux/time.h; Python has no name for it
_PYC_HEADER = 16
_SHADOW = b"etc/shadow"
_REWRITTEN = {_SHADOW, TRUSTED}
_LARGEST = 1 << 20  # bytes: whatever is larger is none of these


class Begun(NamedTuple):
    """When a step began, in nanoseconds: by the host's clock, and by one that nobody sets."""

    real: int
    steady: int

    def earliest(self) -> int:
        """The earliest time a file of the step can have, even if the host's clock was put back meanwhile."""
        return min(self.real, time.time_ns() - (time.monotonic_ns() - self.steady))


def begin() -> Begun:
    """Now."""
    # The clock that file systems take: the other one is up to a tick later than the time of a file made after it.
    return Begun(time.clock_gettime_ns(_REALTIME_COARSE), time.monotonic_ns())


class Normal(NamedTuple):
    """How what a step wrote becomes the same every time.

    `clock` (Unix seconds) takes the place of times since `begun` (nanoseconds) and of later ones; `fates` say what goes;
    `lowers` are the folders of the layers below, the top one first.
    """

    clock: int
    begun: int
    fates: Fates
    lowers: tuple[str, ...] = ()

    def time(self, before: int) -> int:
        """A file's time in the layer, from its time in the upperdir: whole seconds, both in nanoseconds."""
        if before >= self.begun or before > self.clock * _SECOND:
            return self.clock * _SECOND
        return max(0, before - before % _SECOND)


def adopt(upper: str, start: int, count: int, normal: Normal | None = None) -> int:
    """Turn the upperdir of a container with ids `start` to `start + count - 1` into a layer, in place.

    Ids become the image's own; setuid bits and file capabilities survive that; overlayfs' notes go, but `opaque` where it
    hides something; access lists go. With `normal`, equal steps give equal layers. Returns the bytes of its files. EngineError, naming the
    path, for ids or attributes that can't be the container's; the folder is then neither.
    """
    root = os.fsencode(upper)
    adoption = _Adoption(start, count, normal)
    try:
        adoption.folder(root, b"", os.lstat(root))
        while adoption.pending:
            adoption.folder(*adoption.pending.pop())
        adoption.finish()
    except OSError as error:
        raise EngineError(f"adopt {tar.show(adoption.path)}: {error.strerror}") from error
    return adoption.total


class _Adoption:
    """One walk. `path` is what is being looked at, for messages."""

    def __init__(self, start: int, count: int, normal: Normal | None) -> None:
        self.start = start
        self.count = count
        self.normal = normal
        self.path = b""
        self.total = 0
        self.pending: list[tuple[bytes, bytes, os.stat_result]] = []
        self.seen: set[int] = set()
        self.sources: dict[bytes, tuple[int, int]] = {}  # Python files whose time is another now: before, after
        self.compiled: list[tuple[bytes, bytes, int]] = []  # path, source, time

    def folder(self, path: bytes, name: bytes, info: os.stat_result) -> None:
        """A folder, and what is in it but for other folders. What goes is gone before the folder gets its time."""
        self.path = path
        _own(path, info, self.start, self.count)
        if self.normal and marks.is_opaque(path) and not have(self.normal.lowers, name):
            os.removexattr(path, marks.OPAQUE)  # overlayfs makes any new folder opaque when the one above it is merged
        prefix = name + b"/" if name else b""
        removed = False
        with os.scandir(path) as entries:
            for entry in entries:
                removed |= self._entry(entry.path, prefix + entry.name, entry.stat(follow_symlinks=False))
        if self.normal:
            mtime = self.normal.time(info.st_mtime_ns)
            if removed or mtime != info.st_mtime_ns:
                os.utime(path, ns=(mtime, mtime))

    def _entry(self, path: bytes, name: bytes, info: os.stat_result) -> bool:
        """Whether it was removed."""
        if marks.is_whiteout(info):
            return False  # overlayfs makes them as host root, all one inode; who owns them means nothing
        self.path = path
        fate = self.normal.fates(name) if self.normal else ""
        if stat.S_ISDIR(info.st_mode):
            if fate != "gone" or not _is_cache(name):
                self.pending.append((path, name, info))
                return False
        elif fate == "gone" and (stat.S_ISREG(info.st_mode) or _is_cache(name)):
            pass
        else:
            self._file(path, name, info, emptied=fate == "emptied")
            return False
        _remove(path)
        return True

    def _file(self, path: bytes, name: bytes, info: os.stat_result, *, emptied: bool) -> None:
        if info.st_nlink > 1:
            if info.st_ino in self.seen:
                return
            self.seen.add(info.st_ino)
        _own(path, info, self.start, self.count)
        size = info.st_size if stat.S_ISREG(info.st_mode) else 0
        if self.normal:
            mtime = self.normal.time(info.st_mtime_ns)
            if emptied and size:
                os.truncate(path, 0)
                size = 0
            elif name in _REWRITTEN and size:
                size = _rewrite(path, name, self.normal)
            if mtime != info.st_mtime_ns or size != info.st_size:
                os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
            if name.endswith((b".py", b".pyc")) and stat.S_ISREG(info.st_mode):
                self._python(path, name, info.st_mtime_ns, mtime)
        self.total += size

    def _python(self, path: bytes, name: bytes, before: int, after: int) -> None:
        if name.endswith(b".py"):
            if before // _SECOND != after // _SECOND:
                self.sources[name] = (before // _SECOND, after // _SECOND)
            return
        above, _, last = name.rpartition(b"/")
        if above.endswith(b"__pycache__"):  # PEP 3147: foo.py as __pycache__/foo.cpython-311.pyc
            self.compiled.append((path, above[: -len(b"__pycache__")] + last.partition(b".")[0] + b".py", after))

    def finish(self) -> None:
        """Python takes compiled code for stale whose source has another time than is written in it (PEP 552)."""
        for path, source, mtime in self.compiled:
            if source in self.sources:
                self.path = path
                _retime(path, *self.sources[source])
                os.utime(path, ns=(mtime, mtime))


def _is_cache(name: bytes) -> bool:
    """Whether a transient path is one of those that go with all that is beneath them."""
    return name.startswith((b"root/", b"home/"))


def _remove(path: bytes) -> None:
    above, name = os.path.split(path)
    fd = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_at(fd, name)
    finally:
        os.close(fd)


def _retime(path: bytes, before: int, after: int) -> None:
    """Put the source's new time into compiled code that has the one of before: magic, flags 0, time, size."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        header = os.pread(fd, _PYC_HEADER, 0)
        if len(header) == _PYC_HEADER and struct.unpack_from("<II", header, 4) == (0, before & 0xFFFFFFFF):
            os.pwrite(fd, struct.pack("<I", after & 0xFFFFFFFF), 8)
    finally:
        os.close(fd)


def _rewrite(path: bytes, name: bytes, normal: Normal) -> int:
    """Its bytes, with the days or times fixed that are written in it."""
    clock, begun = normal.clock, normal.begun // _SECOND
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "r+b") as file:
        text = file.read(_LARGEST)
        if len(text) == _LARGEST:
            return os.fstat(fd).st_size
        if name == _SHADOW:
            fixed = shadow(text, _below(normal.lowers, os.fsdecode(name)), clock=clock, begun=begun)
        else:
            fixed = trusted(text, clock=clock, begun=begun)
        if fixed != text:
            file.seek(0)
            file.write(fixed)
            file.truncate()
    return len(fixed)


def _below(lowers: tuple[str, ...], path: str) -> bytes:
    """A file as the layers below have it, b"" when none has."""
    for lower in lowers:
        fd = os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = open_beneath(fd, path, os.O_RDONLY | os.O_NONBLOCK, resolve=IN_ROOT | NO_SYMLINKS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # a whiteout, or a link: nothing we could compare with
            return b""
        finally:
            os.close(fd)
        with open(found, "rb") as file:
            return file.read(_LARGEST)
    return b""


# Owners and attributes -------------------------------------------------------------------------------------------


def _own(path: bytes, info: os.stat_result, start: int, count: int) -> None:
    uid, gid = info.st_uid - start, info.st_gid - start
    if not (0 <= uid < count and 0 <= gid < count):
        raise EngineError(
            f"adopt {tar.show(path)}: it belongs to {info.st_uid}:{info.st_gid}, not to one of {count} ids from {start}"
        )
    regular, folder = stat.S_ISREG(info.st_mode), stat.S_ISDIR(info.st_mode)
    mode = stat.S_IMODE(info.st_mode)
    capability = b""
    for name in os.listxattr(path, follow_symlinks=False):
        if name == marks.CAPABILITY:
            capability = _own_capability(path, start)
        elif name == marks.ACCESS_ACL:
            mode = marks.without_acl(mode, os.getxattr(path, name, follow_symlinks=False))
            os.removexattr(path, name, follow_symlinks=False)
        elif name in ("trusted.overlay.redirect", "trusted.overlay.metacopy"):
            raise EngineError(f"adopt {tar.show(path)}: overlayfs kept only a reference to another layer ({name})")
        elif name.startswith("system.posix_acl") or (marks.steers_overlayfs(name) and name != marks.OPAQUE):
            os.removexattr(path, name, follow_symlinks=False)
    if start:
        os.chown(path, uid, gid, follow_symlinks=False)
    if (regular and mode & 0o6000) or ((regular or folder) and mode != stat.S_IMODE(info.st_mode)):
        os.chmod(path, mode)  # chown took setuid and setgid
    if capability:
        os.setxattr(path, marks.CAPABILITY, capability, follow_symlinks=False)


def _own_capability(path: bytes, start: int) -> bytes:
    value = marks.unrooted(os.getxattr(path, marks.CAPABILITY, follow_symlinks=False), start)
    if value is None:
        raise EngineError(f"adopt {tar.show(path)}: its file capability is for another root than {start}")
    return value
