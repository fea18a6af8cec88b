"""The root that a COPY writes into → descriptors of its folders, new files in them, and what was in their way gone.

It may be hostile: its links are followed beneath it only, and never on this host.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from devenv.beneath import open_beneath
from devenv.errors import Fault, InputError

from .owner import Owner

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Open(NamedTuple):
    """A folder beneath the target that is being filled; `mtime` is set when it is left."""

    path: str
    fd: int
    mtime: int


class Target:
    """Folders beneath `root` (open), those on the way kept open; errors name `name`.

    Folders on the way that nobody named belong to `owner` and have the time `made_at`, in nanoseconds.
    """

    def __init__(self, root: int, name: str, owner: Owner, made_at: int) -> None:
        self.root = root
        self.name = name
        self.owner = owner
        self.made_at = made_at
        self.open: list[_Open] = []

    def close(self) -> None:
        """Let go of all folders; each gets the time it had, or was given."""
        while self.open:
            self._leave()

    def kind(self, path: str) -> tuple[int, str]:
        """What is at a path (0: nothing), and where it leads if it is a link to anything but a folder."""
        try:
            os.close(open_beneath(self.root, path, os.O_PATH | os.O_DIRECTORY))
            return stat.S_IFDIR, ""
        except OSError:
            pass
        try:
            fd = open_beneath(self.root, path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return 0, ""
        try:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            return kind, os.readlink("", dir_fd=fd) if kind == stat.S_IFLNK else ""
        finally:
            os.close(fd)

    def folder(self, path: str, mode: int = 0o755) -> int:
        """A descriptor of a folder beneath the root, made with those above it if missing."""
        while self.open and path != self.open[-1].path and not path.startswith(self.open[-1].path + "/"):
            self._leave()
        if not self.open or self.open[-1].path != path:
            self.enter(path, self.made(path, mode))
        return self.open[-1].fd

    def enter(self, path: str, fd: int, mtime: int | None = None) -> None:
        """An open folder in the one that is being filled: what comes next goes there. `mtime` None: the one it has."""
        self.open.append(_Open(path, fd, os.fstat(fd).st_mtime_ns if mtime is None else mtime))

    def made(self, path: str, mode: int = 0o755) -> int:
        """A new descriptor of a folder, made if missing; links on the way to it are followed beneath the root."""
        missing: list[tuple[str, int]] = []
        while (fd := self._there(path)) is None:
            missing.append((path, mode))
            path, mode = path.rpartition("/")[0], 0o755
        for path, mode in reversed(missing):
            fd = self._made_in(fd, path, mode)
        return fd

    def _there(self, path: str) -> int | None:
        try:
            return open_beneath(self.root, path, FOLDER)
        except FileNotFoundError:
            return None
        except OSError as error:
            why = "isn't a folder" if error.errno == errno.ENOTDIR else f"can't be a folder: {error.strerror}"
            raise self.refused(f"{path} {why}", "name another target") from error

    def _made_in(self, parent: int, path: str, mode: int) -> int:
        """The folder at the end of `path`, new in `parent`, which is closed."""
        name = path.rpartition("/")[2]
        try:
            before = os.fstat(parent).st_mtime_ns
            os.mkdir(name, 0o700, dir_fd=parent)
            fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=parent)
            finish(fd, self.owner, mode, self.made_at)
            os.utime(parent, ns=(before, before))
            return fd
        except FileExistsError as error:
            raise self.refused(f"{path} is a link that leads nowhere", "name another target") from error
        finally:
            os.close(parent)

    def _leave(self) -> None:
        _, fd, mtime = self.open.pop()
        try:
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)

    def create(self, name: str, folder: int, full: str) -> int:
        """A new file; whatever but a folder had the name before is gone."""
        try:
            return os.open(name, _NEW, 0o600, dir_fd=folder)
        except FileExistsError:
            self._remove(name, folder, full)
            return os.open(name, _NEW, 0o600, dir_fd=folder)

    def replacing(self, name: str, folder: int, full: str, make: Callable[[], None]) -> None:
        """Make something that has a name at once; whatever but a folder had it before is gone."""
        try:
            make()
        except FileExistsError:
            self._remove(name, folder, full)
            make()

    def _remove(self, name: str, folder: int, full: str) -> None:
        try:
            os.unlink(name, dir_fd=folder)
        except (IsADirectoryError, PermissionError) as error:
            raise self.refused(f"{full} is a folder, and a file is copied there", "name another target") from error

    def refused(self, message: str, hint: str) -> InputError:
        """The error that the target can't be what it would have to be."""
        return InputError(Fault(self.name, 0, 0, message, hint))


def finish(fd: int, owner: Owner, mode: int, mtime: int | None) -> None:
    """Owner first: chown(2) takes setuid bits away. What is right isn't touched: overlayfs would copy it up."""
    now = os.fstat(fd)
    if (now.st_uid, now.st_gid) != owner:
        os.fchown(fd, *owner)
        os.fchmod(fd, mode)
    elif stat.S_IMODE(now.st_mode) != mode:
        os.fchmod(fd, mode)
    if mtime is not None:
        os.utime(fd, ns=(mtime, mtime))
