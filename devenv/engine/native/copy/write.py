"""What is copied -> a folder that others may change meanwhile: each thing whole under its name or not at all, nothing outside."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

from devenv.archive import tar
from devenv.beneath import NO_SYMLINKS, NO_XDEV, open_beneath

from .walk import Freight, Made, Pieces, of_store

Acting = Callable[[tar.Entry], AbstractContextManager[object]]


class Target(NamedTuple):
    """Where things go: to the path `base` beneath the folder `root` (a descriptor), found as `resolve` says (openat2(2)).

    `barred` are devices and inodes of folders that nothing is put into.
    """

    root: int
    base: bytes
    resolve: int
    barred: Collection[tuple[int, int]] = ()

    def at(self, path: bytes) -> bytes:
        return b"/".join(part for part in (self.base, path) if part)

    def is_folder(self) -> bool:
        return _is_folder(self, self.base)

    def info(self) -> os.stat_result | None:
        """Of what is there; None for nothing."""
        try:
            found = open_beneath(self.root, self.base, os.O_PATH, resolve=self.resolve)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(found)
        finally:
            os.close(found)


def as_is(_: tar.Entry) -> AbstractContextManager[object]:
    """Whoever we are owns what we make."""
    return nullcontext()


def write(freight: Iterable[Freight], target: Target, made: Made, acting: Acting = as_is) -> None:
    """Make it all. `made` gets the folders. An OSError has the path."""
    tree = _Tree(target, made)
    if target.is_folder() and (info := target.info()):
        made.add((info.st_dev, info.st_ino))
    path = target.base
    try:
        for entry, pieces in freight:
            path = target.at(entry.path)
            with acting(entry):
                _make(tree, path, entry, pieces)
        tree.finish()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        tree.close()


class _Tree:
    """The last parent is kept open: things come folder by folder."""

    __slots__ = ("_parent", "_path", "folders", "made", "target")

    def __init__(self, target: Target, made: Made) -> None:
        self.target = target
        self.made = made
        self.folders: list[tuple[bytes, int]] = []
        self._path: bytes | None = None
        self._parent = -1

    def parent(self, path: bytes) -> int:
        above = path.rpartition(b"/")[0]
        if above != self._path:
            self.close()
            self._parent = self.open(above)
            self._path = above
        return self._parent

    def open(self, path: bytes) -> int:
        """A folder, made with those above where there is none yet: an archive may leave them out. InputError for the store's."""
        try:
            found = open_beneath(self.target.root, path, os.O_PATH | os.O_DIRECTORY, resolve=self.target.resolve)
            info = os.fstat(found)
            if (info.st_dev, info.st_ino) in self.target.barred:
                os.close(found)
                raise of_store(tar.show(path))
            return found
        except FileNotFoundError:
            if self.target.base and not (path + b"/").startswith(self.target.base + b"/"):
                raise  # what is above was to be there
            above, _, name = path.rpartition(b"/")
            folder = self.open(above)
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        finally:
            os.close(folder)
        return open_beneath(self.target.root, path, os.O_PATH | os.O_DIRECTORY, resolve=self.target.resolve)

    def finish(self) -> None:
        """Times of the folders that were made: what is put in them changes these."""
        for path, mtime in reversed(self.folders):
            name = path.rpartition(b"/")[2]
            with suppress(FileNotFoundError):
                os.utime(name, ns=(mtime, mtime), dir_fd=self.parent(path), follow_symlinks=False)

    def close(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
        self._parent, self._path = -1, None


def _make(tree: _Tree, path: bytes, entry: tar.Entry, pieces: Pieces) -> None:
    if entry.kind == tar.FOLDER:
        _make_folder(tree, path, entry)
        return
    parent, name = tree.parent(path), path.rpartition(b"/")[2]
    draft = b".devenv-" + os.urandom(8).hex().encode()
    try:
        if entry.kind == tar.SYMLINK:
            os.symlink(entry.link, draft, dir_fd=parent)
            os.utime(draft, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        elif entry.kind == tar.LINK:
            _make_link(tree.target, entry, parent, draft)
        else:
            _make_file(parent, draft, entry, pieces)
        _refuse_mount(parent, name)
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        with suppress(OSError):
            os.unlink(draft, dir_fd=parent)  # also of two names for one file, which rename(2) leaves as they are


def _refuse_mount(parent: int, name: bytes) -> None:
    """To replace what something is mounted on in another mount namespace would unmount it there (rename(2) says EBUSY for ours)."""
    try:
        os.close(open_beneath(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=NO_XDEV))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) if error.errno == errno.EXDEV else error from error


def _make_folder(tree: _Tree, path: bytes, entry: tar.Entry) -> None:
    if not path:
        return
    name = path.rpartition(b"/")[2]
    try:
        os.mkdir(name, 0o700, dir_fd=tree.parent(path))
    except FileExistsError:
        if not _is_folder(tree.target, path):
            raise
        os.close(tree.open(path))  # it stays as it is
        return
    # It may be a link by now.
    made = open_beneath(tree.parent(path), name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=NO_SYMLINKS)
    try:
        os.fchmod(made, entry.mode)
        info = os.fstat(made)
    finally:
        os.close(made)
    tree.made.add((info.st_dev, info.st_ino))
    tree.folders.append((path, entry.mtime))


def _make_file(parent: int, name: bytes, entry: tar.Entry, pieces: Pieces) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        for at, data in pieces:
            while data:
                count = os.pwrite(file, data, at)
                at, data = at + count, data[count:]
        os.ftruncate(file, entry.size)
        os.fchmod(file, entry.mode)
        os.utime(file, ns=(entry.mtime, entry.mtime))
    finally:
        os.close(file)


def _make_link(target: Target, entry: tar.Entry, parent: int, name: bytes) -> None:
    above, _, last = target.at(entry.link).rpartition(b"/")
    folder = open_beneath(target.root, above, os.O_PATH | os.O_DIRECTORY, resolve=target.resolve)
    try:
        os.link(last, name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(folder)


def _is_folder(target: Target, path: bytes) -> bool:
    try:
        found = open_beneath(target.root, path, os.O_PATH | os.O_DIRECTORY, resolve=target.resolve)
    except OSError:
        return False
    try:
        return stat.S_ISDIR(os.fstat(found).st_mode)
    finally:
        os.close(found)
