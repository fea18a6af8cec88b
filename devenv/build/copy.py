"""A Copy operation and a source folder → files written beneath a target folder, with Docker's meaning of COPY and ADD.

Source and target may be hostile: their links are followed inside them only (openat2), and never on this host.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple

from devenv.beneath import open_beneath
from devenv.errors import EngineError, Fault, InputError, StoreError
from devenv.model.build import Copy, Heredoc

from .archive import is_tar, plain
from .ignore import Matcher
from .owner import Owner
from .select import Entry, open_file, select
from .target import FOLDER, Target, finish
from .transfer import copy_xattrs, transfer
from .words import Malformed

Unpack = Callable[[BinaryIO, int], None]
"""(a plain tar stream, an open folder): unpack it there, beneath the folder only."""

_MAX_LINKS = 40


def copy(
    operation: Copy,
    source_root: str,
    target_root: str,
    *,
    matcher: Matcher | None,
    owner: Owner | None,
    epoch: int | None,
    hardlink: bool = False,
    unpack: Unpack | None = None,
    fetched: Mapping[str, str] | None = None,
) -> None:
    """Do a COPY or ADD. Raises InputError, NotFound, EngineError; what was written until then stays.

    `matcher`: the ignore file's, for a context; None for a stage or image, whose owners' special files, xattrs and hard
    links are kept. `owner`: for all that is written, None to keep the source's (contexts: give (0, 0) or --chown's).
    `epoch`: Unix seconds; times of a context become it, later ones of a stage too. `hardlink`: link files instead of
    copying where nothing about them changes. `unpack`: for ADD's archives. `fetched`: url → file with its content.
    """
    try:
        root = os.open(target_root, FOLDER)
        try:
            rules = _Rules(owner, operation.chmod, epoch, matcher is None, hardlink)
            target = Target(root, operation.target, rules.made, rules.made_at)
            writer = _Writer(target, operation, rules)
            try:
                _sources(writer, operation, source_root, matcher, unpack)
                for heredoc in operation.heredocs:
                    writer.text(heredoc)
                for url in operation.urls:
                    writer.download(url, (fetched or {})[url])
            finally:
                target.close()
        finally:
            os.close(root)
    except OSError as error:
        raise EngineError(f"copy to {operation.target}: {error.strerror} ({error.filename or 'no name'})") from error
    except Malformed as error:
        raise InputError(Fault(operation.target, 0, 0, error.message, error.hint)) from error


def _sources(
    writer: _Writer, operation: Copy, source_root: str, matcher: Matcher | None, unpack: Unpack | None
) -> None:
    if not operation.sources:
        return
    source = os.open(source_root, FOLDER)
    try:
        entries = select(
            source,
            operation.sources,
            ignore=matcher,
            exclude=operation.exclude,
            parents=operation.parents,
            strict=matcher is not None,
        )
        for entry in entries:
            if not (operation.unpack and unpack and entry.is_source and _unpacked(writer, entry, unpack)):
                writer.entry(entry)
    finally:
        os.close(source)


# Writing --------------------------------------------------------------------------------------------------------------


class _Rules(NamedTuple):
    owner: Owner | None
    chmod: int | None
    epoch: int | None
    is_stage: bool
    hardlink: bool

    def mtime(self, status: os.stat_result) -> int:
        """Nanoseconds. A context's times say when it was checked out: with an epoch, they must not reach the image."""
        if self.epoch is None:
            return status.st_mtime_ns
        limit = self.epoch * 1_000_000_000
        return min(status.st_mtime_ns, limit) if self.is_stage else limit

    def mode(self, status: os.stat_result) -> int:
        return stat.S_IMODE(status.st_mode) if self.chmod is None else self.chmod

    def owned(self, status: os.stat_result) -> Owner:
        return self.owner or (status.st_uid, status.st_gid)

    @property
    def made(self) -> Owner:
        """The owner of folders on the way that nobody named."""
        return self.owner or (0, 0)

    @property
    def made_at(self) -> int:
        """Their time, in nanoseconds: the same at every build."""
        return (self.epoch or 0) * 1_000_000_000


class _Writer:
    """Writes entries in the order select() gives them."""

    def __init__(self, target: Target, operation: Copy, rules: _Rules) -> None:
        self.target = target
        self.rules = rules
        self.operation = operation
        self.links: dict[tuple[int, int], str] = {}
        self.single = ""
        # Never of a context: its files go on being edited.
        self.may_borrow = rules.hardlink and rules.is_stage

    def entry(self, entry: Entry) -> None:
        """Write one entry where it belongs."""
        if entry.is_source and not entry.is_folder and not self.operation.parents:
            folder, name = self.place(posixpath.basename(entry.path))
        else:
            folder, _, name = _joined(self.operation.target, entry.target).rpartition("/")
            if not entry.target:
                self._top(entry)
                return
        self._file(entry, self.target.folder(folder), folder, name)

    def place(self, name: str) -> tuple[str, str]:
        """Folder and name of a file that was named itself: in the target if that is a folder, else the target."""
        target = self.operation.target
        for _ in range(_MAX_LINKS):
            kind, link = self.target.kind(target)
            if target.endswith("/") or kind == stat.S_IFDIR:
                return target.rstrip("/"), name
            folder, _, last = target.rpartition("/")
            if kind != stat.S_IFLNK:
                if self.single:
                    raise self.target.refused(
                        "several files need a folder as target", f"end it with a slash: {target}/"
                    )
                self.single = target
                return folder, last
            target = link if link.startswith("/") else f"{folder}/{link}"
        raise self.target.refused("goes round in links", "remove them")

    def text(self, heredoc: Heredoc) -> None:
        """A heredoc's file."""
        folder, name = self.place(heredoc.name)
        fd = self.target.create(name, self.target.folder(folder), f"{folder}/{name}")
        with open(fd, "wb") as file:
            file.write(heredoc.content.encode("utf-8", "surrogateescape"))
            file.flush()
            finish(fd, self.rules.made, 0o644 if self.rules.chmod is None else self.rules.chmod, self.rules.made_at)

    def download(self, url: str, path: str) -> None:
        """A fetched file, named as in its URL; 0600 as Docker has it."""
        name = posixpath.basename(url.partition("?")[0].partition("#")[0].split("://", 1)[-1].partition("/")[2])
        if name in ("", ".", ".."):
            raise self.target.refused(f"{url} names no file", "add the file's name to the target")
        folder, name = self.place(name)
        target = self.target.create(name, self.target.folder(folder), f"{folder}/{name}")
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            transfer(source, target, os.fstat(source))
            mode = 0o600 if self.rules.chmod is None else self.rules.chmod
            finish(target, self.rules.made, mode, self.rules.made_at)
        finally:
            os.close(source)
            os.close(target)

    # Folders

    def _top(self, entry: Entry) -> None:
        """The destination of a folder's content: made as nobody's, or left as it is."""
        path = self.operation.target.rstrip("/")
        if self.target.kind(path or "/")[0] not in (0, stat.S_IFDIR, stat.S_IFLNK):
            raise self.target.refused("is a file, and a folder is copied there", "name another target")
        self.target.folder(path, self.rules.mode(entry.stat) if self.rules.chmod is not None else 0o755)

    def _enter(self, entry: Entry, folder: int, path: str, name: str) -> None:
        """A folder of the source: made, or taken as it is with the source's owner, mode and time."""
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            pass
        try:
            fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except OSError:
            # A link, as /lib in a merged /usr: what it leads to beneath the root stays as it is, and is filled.
            self.target.enter(path, self.target.made(path))
            return
        self.target.enter(path, fd, self.rules.mtime(entry.stat))
        finish(fd, self.rules.owned(entry.stat), self.rules.mode(entry.stat), None)
        if self.rules.is_stage:
            source = os.open(entry.name, FOLDER | os.O_NOFOLLOW, dir_fd=entry.folder) if not entry.is_source else None
            if source is not None:
                try:
                    copy_xattrs(source, fd)
                finally:
                    os.close(source)

    # Files

    def _file(self, entry: Entry, folder: int, path: str, name: str) -> None:
        kind = stat.S_IFMT(entry.stat.st_mode)
        full = f"{path}/{name}"
        if kind == stat.S_IFDIR:
            self._enter(entry, folder, full, name)
        elif kind == stat.S_IFREG:
            self._regular(entry, folder, full, name)
        elif kind == stat.S_IFLNK:
            link = os.readlink(entry.name, dir_fd=entry.folder)
            self.target.replacing(name, folder, full, lambda: os.symlink(link, name, dir_fd=folder))
            self._finish_name(entry, name, folder)
        else:
            self.target.replacing(name, folder, full, lambda: os.mkfifo(name, 0o600, dir_fd=folder))
            self._finish_name(entry, name, folder)
            os.chmod(name, self.rules.mode(entry.stat), dir_fd=folder)

    def _regular(self, entry: Entry, folder: int, full: str, name: str) -> None:
        status, rules = entry.stat, self.rules
        inode = (status.st_dev, status.st_ino)
        if rules.is_stage and status.st_nlink > 1 and self._linked(inode, folder, full, name):
            return
        if self.may_borrow and self._same(status) and self._borrowed(entry, folder, full, name):
            return
        source = open_file(entry)
        try:
            target = self.target.create(name, folder, full)
            try:
                transfer(source, target, status)
                finish(target, rules.owned(status), rules.mode(status), None)
                if rules.is_stage:
                    copy_xattrs(source, target)
                mtime = rules.mtime(status)
                os.utime(target, ns=(mtime, mtime))
            finally:
                os.close(target)
        finally:
            os.close(source)
        if rules.is_stage and status.st_nlink > 1:
            self.links[inode] = full

    def _linked(self, inode: tuple[int, int], folder: int, full: str, name: str) -> bool:
        """Whether the file was written before under another name, and is now the same file again."""
        first = self.links.get(inode)
        if first is None or first == full:
            return False
        above, _, other = first.rpartition("/")
        fd = open_beneath(self.target.root, above, os.O_PATH | os.O_DIRECTORY)
        try:
            self.target.replacing(
                name,
                folder,
                full,
                lambda: os.link(other, name, src_dir_fd=fd, dst_dir_fd=folder, follow_symlinks=False),
            )
        finally:
            os.close(fd)
        return True

    def _same(self, status: os.stat_result) -> bool:
        """Whether nothing about a file changes on its way."""
        rules = self.rules
        unchanged = rules.owned(status) == (status.st_uid, status.st_gid)
        return (
            unchanged
            and rules.mode(status) == stat.S_IMODE(status.st_mode)
            and rules.mtime(status) == status.st_mtime_ns
        )

    def _borrowed(self, entry: Entry, folder: int, full: str, name: str) -> bool:
        """Whether a hard link to the source could be made; not over file systems, nor of a source found by links."""
        if entry.is_source:
            return False

        def link() -> None:
            os.link(entry.name, name, src_dir_fd=entry.folder, dst_dir_fd=folder, follow_symlinks=False)

        try:
            self.target.replacing(name, folder, full, link)
        except OSError:  # another file system, or too many links: the rest would fail as well
            self.may_borrow = False
            return False
        return True

    def _finish_name(self, entry: Entry, name: str, folder: int) -> None:
        """Owner and time of what can't be opened: a link, a FIFO."""
        owner = self.rules.owned(entry.stat)
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (now.st_uid, now.st_gid) != owner:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        mtime = self.rules.mtime(entry.stat)
        os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)


def _joined(target: str, below: str) -> str:
    return f"{target.rstrip('/')}/{below}"


# ADD's archives -------------------------------------------------------------------------------------------------------


def _unpacked(writer: _Writer, entry: Entry, unpack: Unpack) -> bool:
    """Whether a source was a tar archive, compressed or not, and has been unpacked into the target."""
    if not stat.S_ISREG(entry.stat.st_mode):
        return False
    file = open_file(entry)
    try:
        if not is_tar(file):
            return False
        with plain(file) as stream:
            unpack(stream, writer.target.folder(writer.operation.target.rstrip("/")))
    except (Malformed, StoreError) as error:
        cause = error.message.removeprefix("unpack layer: ")
        hint = "make the archive again; --unpack=false copies it as it is"
        raise InputError(Fault(entry.path, 0, 0, f"can't be unpacked: {cause}", hint)) from error
    finally:
        os.close(file)
    return True
