"""A package unpacked once: a folder of plain files with a manifest of them, hard-linked wherever it is wanted, verified each time.

`unpacked/KEY/files/` is the tree, `unpacked/KEY/manifest` a line for each file (`mode sha256 size path`, `mode@time` where that isn't
1980's) under the sha256 of those lines. Every byte is hashed when it is linked: on two cores that takes less time than making the folders.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

from devenv.beneath import remove_tree
from devenv.crew import each
from devenv.errors import StoreError

from ..trouble import trouble
from .files import EPOCH, Files, place, used

_KEY = re.compile(r"[0-9a-f]{64}(-[0-9]+(\.[0-9]+)*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DEPTH = 64
_MAX_PATH = 2048  # leaves room below PATH_MAX for wherever it is linked
_MAX_NAME = 255
_PORTION = 4 << 20
"""Bytes that a thread verifies and links at a time; a file counts as 16 KiB more."""
_WHOLE = 8 << 20
"""Files up to this size are read at once."""

Select = Callable[[str], str]
"""A file's path in its tree -> its path in the target, "" for a file that is left out."""


class Entry(NamedTuple):
    """A file of a tree: its path beneath the tree, permissions, size, sha256, and time (Unix seconds)."""

    path: str
    mode: int
    size: int
    sha256: str
    mtime: int = EPOCH


class Tree(NamedTuple):
    """An unpacked package. `what` names it in messages; `folder` has its files and its manifest."""

    what: str
    folder: str
    entries: tuple[Entry, ...]


# Made once ----------------------------------------------------------------------------------------


class Draft:
    """A tree being made. Nothing of it is seen before it is whole."""

    __slots__ = ("_folder", "_folders", "_what", "entries")

    def __init__(self, what: str, folder: str) -> None:
        self._what = what
        self._folder = folder
        self._folders: set[str] = {""}
        self.entries: dict[str, Entry] = {}

    def add(self, path: str, executable: bool, pieces: Iterable[bytes | memoryview], mtime: int = EPOCH) -> Entry:
        """Write a file (0644, or 0755). StoreError for a path that leaves the tree, is no path, or is taken."""
        if cause := unfit(path):
            raise StoreError(f"unpack {self._what}: {path!r} {cause}")
        above = path.rpartition("/")[0]
        if path in self.entries or path in self._folders:
            raise StoreError(f"unpack {self._what}: {path} is in it twice")
        mode = 0o755 if executable else 0o644
        digest, size = hashlib.sha256(), 0
        with trouble(f"unpack {self._what}"):
            self._make(above)
            fd = os.open(f"{self._folder}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                left = memoryview(piece)
                with trouble(f"unpack {self._what}"):
                    while left:
                        left = left[os.write(fd, left) :]
            with trouble(f"unpack {self._what}"):
                os.fchmod(fd, mode)  # whatever the umask
                os.utime(fd, (mtime, mtime))
        finally:
            os.close(fd)
        self.entries[path] = Entry(path, mode, size, digest.hexdigest(), mtime)
        return self.entries[path]

    def drop(self, path: str) -> None:
        """Take a file out again: in some archives what comes later counts."""
        del self.entries[path]
        with trouble(f"unpack {self._what}"):
            os.unlink(f"{self._folder}/{path}")

    def _make(self, folder: str) -> None:
        if folder in self._folders:
            return
        if folder in self.entries:
            raise StoreError(f"unpack {self._what}: {folder} is a file in it, and a folder")
        self._make(folder.rpartition("/")[0])
        os.mkdir(f"{self._folder}/{folder}", 0o755)
        self._folders.add(folder)


def unfit(path: str) -> str:
    """Why no file of a package may have this path; "" when it may."""
    parts = path.split("/")
    if path.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of it"
    if "" in parts or "." in parts:
        return "is no path of a file"
    if _CONTROL.search(path):
        return "has control characters"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "isn't UTF-8"
    if len(encoded) > _MAX_PATH or len(parts) > _MAX_DEPTH or max(len(part.encode()) for part in parts) > _MAX_NAME:
        return "is too long or too deep"
    return ""


@contextmanager
def making(files: Files, what: str, key: str) -> Iterator[Draft]:
    """Make the tree `key` (a sha256, and `-1.2` after it for what else it depends on); it is there when the context ends well.

    Made by two at once, one of them counts: they are the same.
    """
    target = _folder(files, key)
    with files.draft() as path:
        with trouble(f"unpack {what}"):
            os.makedirs(f"{path}/tree/files", 0o755)
        draft = Draft(what, f"{path}/tree/files")
        yield draft
        with trouble(f"unpack {what}"):
            with open(f"{path}/tree/manifest", "wb") as file:
                file.write(_manifest(draft.entries.values()))
            try:
                place(f"{path}/tree", target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def find(files: Files, what: str, key: str) -> Tree | None:
    """The tree `key`, if it was made; one whose manifest a power loss or somebody has changed is made anew."""
    folder = _folder(files, key)
    try:
        with open(f"{folder}/manifest", "rb") as file:
            entries = _entries(file.read())
    except FileNotFoundError:
        entries = None
    if entries is None:
        remove_tree(folder)
        return None
    used(folder)
    return Tree(what, folder, entries)


def _folder(files: Files, key: str) -> str:
    if not _KEY.fullmatch(key):
        raise StoreError(f"find unpacked {key[:100]!r}: not a sha256")
    return f"{files.folder}/unpacked/{key}"


def _manifest(entries: Iterable[Entry]) -> bytes:
    lines = "".join(f"{_mode(one)} {one.sha256} {one.size} {one.path}\n" for one in sorted(entries)).encode()
    return hashlib.sha256(lines).hexdigest().encode() + b"\n" + lines


def _mode(entry: Entry) -> str:
    return f"{entry.mode:o}" if entry.mtime == EPOCH else f"{entry.mode:o}@{entry.mtime}"


def _entries(manifest: bytes) -> tuple[Entry, ...] | None:
    """None when it isn't whole."""
    digest, _, lines = manifest.partition(b"\n")
    if hashlib.sha256(lines).hexdigest().encode() != digest:
        return None
    parts = (line.split(" ", 3) for line in lines.decode().split("\n")[:-1])
    return tuple(_entry(*part) for part in parts)


def _entry(mode: str, sha256: str, size: str, path: str) -> Entry:
    mode, _, mtime = mode.partition("@")
    return Entry(path, int(mode, 8), int(size), sha256, int(mtime or EPOCH))


def content(tree: Tree, path: str) -> bytes:
    """The bytes of a file of the tree, which must be there. StoreError as for `linked`."""
    (entry,) = (entry for entry in tree.entries if entry.path == path)
    with trouble(f"read {tree.what}"), open(_verified(_Link(tree, entry, path)), "rb") as file:
        return file.read()


# Linked anywhere ----------------------------------------------------------------------------------


class _Link(NamedTuple):
    tree: Tree
    entry: Entry
    path: str


def linked(trees: Sequence[Tree], target: str, select: Select | None = None) -> tuple[str, ...]:
    """Hard-link trees into a folder of ours, made when it is missing (folders 0755); what several have is the last one's.

    Returns, in words, what of one package another has overwritten with something else. StoreError for a file that was changed
    since it was unpacked, by package and path: that tree is gone then, and made again by the next command. Whatever was
    linked until then is the caller's to remove.
    """
    plan, said = _plan(trees, select)
    folders = sorted({folder for path in plan for folder in _above(path)})
    with trouble(f"link packages into {target}"):
        os.makedirs(target, 0o755, exist_ok=True)
        for folder in folders:
            try:
                os.mkdir(f"{target}/{folder}")
            except FileExistsError:
                continue
            os.chmod(f"{target}/{folder}", 0o755)  # whatever the umask
        said += _all(list(plan.values()), target)
        for folder in ("", *folders):
            os.utime(f"{target}/{folder}", (EPOCH, EPOCH))
    return tuple(said)


def verify(tree: Tree) -> None:
    """Hash all of it; StoreError as for `linked`."""
    for entry in tree.entries:
        with trouble(f"verify {tree.what}"):
            _verified(_Link(tree, entry, entry.path))


def _plan(trees: Sequence[Tree], select: Select | None) -> tuple[dict[str, _Link], list[str]]:
    plan: dict[str, _Link] = {}
    said = []
    for tree in trees:
        for entry in tree.entries:
            path = select(entry.path) if select else entry.path
            if not path:
                continue
            before = plan.get(path)
            if before is not None and before.entry[1:] != entry[1:]:
                said.append(f"{path} of {before.tree.what} is overwritten by {tree.what}")
            plan[path] = _Link(tree, entry, path)
    for path, link in plan.items():
        for folder in _above(path):
            if folder in plan:
                other = plan[folder].tree.what
                raise StoreError(f"link {link.tree.what}: {folder} is a folder in it, and a file in {other}")
    return plan, said


def _above(path: str) -> Iterator[str]:
    """The folders a path is in, from the top."""
    parts = path.split("/")[:-1]
    return accumulate(parts, lambda above, name: f"{above}/{name}")


def _all(links: list[_Link], target: str) -> list[str]:
    """Verify and link them, a few portions at a time; what was there already, in words."""
    weights = accumulate(link.entry.size + (16 << 10) for link in links)
    numbered = zip((weight // _PORTION for weight in weights), links, strict=True)
    portions = [[link for _, link in group] for _, group in groupby(numbered, itemgetter(0))]
    return [line for said in each(lambda links: _portion(links, target), portions) for line in said]


def _portion(links: Sequence[_Link], target: str) -> list[str]:
    said = []
    for link in links:
        source = _verified(link)
        path = f"{target}/{link.path}"
        try:
            os.link(source, path)
        except FileExistsError:
            said.append(f"{link.path} was there already, and is overwritten by {link.tree.what}")
            os.unlink(path)
            os.link(source, path)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM):
                raise
            _copied(source, path)
    return said


def _copied(source: str, path: str) -> None:
    """Where a file can't have another name: the file system is another, or has no room for more names."""
    import shutil

    shutil.copyfile(source, path)
    shutil.copystat(source, path)


def _verified(link: _Link) -> str:
    """The path of a tree's file that is what its manifest says."""
    tree, entry, _ = link
    path = f"{tree.folder}/files/{entry.path}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EIO):
            raise
        raise _changed(tree, entry, str(error.strerror)) from error
    try:
        status = os.fstat(fd)
        if (status.st_mode, status.st_size, int(status.st_mtime)) != (
            stat.S_IFREG | entry.mode,
            entry.size,
            entry.mtime,
        ):
            raise _changed(tree, entry, "its size, mode or time is another")
        if entry.size <= _WHOLE:
            found = hashlib.sha256(os.read(fd, entry.size)).hexdigest()
        else:
            with open(fd, "rb", closefd=False) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        os.close(fd)
    if found != entry.sha256:
        raise _changed(tree, entry, f"its sha256 is {found}, not {entry.sha256}")
    return path


def _changed(tree: Tree, entry: Entry, how: str) -> StoreError:
    remove_tree(tree.folder)
    hint = "what was unpacked is removed, the next command unpacks it again; `devenv build --check` tells whether images have it too"
    return StoreError(f"use {tree.what}: {entry.path} was changed in the store: {how}", hint=hint)
