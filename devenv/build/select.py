"""A folder, sources and patterns → the entries a COPY takes, folders before what is in them, names sorted.

Nothing outside the folder is ever opened: sources are found by openat2(RESOLVE_IN_ROOT), what lies below them
without following links.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from devenv.beneath import open_beneath
from devenv.errors import Fault, InputError, NotFound

from .ignore import Matcher, compile_pattern, is_wildcard

MAX_ENTRIES = 2_000_000
MAX_DEPTH = 256

Observe = Callable[[str, os.stat_result | None], None]
"""Told of every folder that was read and every entry that was taken: path below the root, its status.

None for a folder that was to be read and isn't there."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO put in its place must not block


class Entry(NamedTuple):
    """One thing to copy. `path` below the source root, `target` below the destination ("" the destination itself).

    `name` in the open folder `folder` is where it can be read, until the next entry is asked for. `is_source`: it was
    named itself, so links on the way to it count; a file named itself may get another name at the destination.
    """

    path: str
    target: str
    name: str
    folder: int
    stat: os.stat_result
    is_source: bool = False

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)


def open_file(entry: Entry) -> int:
    """A descriptor of an entry's file. InputError when it isn't the one that was seen any more."""
    try:
        if entry.is_source:
            file = open_beneath(entry.folder, entry.name, _FILE & ~os.O_NOFOLLOW)
        else:
            file = os.open(entry.name, _FILE, dir_fd=entry.folder)
    except PermissionError as error:
        raise _unreadable(entry.path) from error
    except OSError as error:
        raise changed(entry.path) from error
    now = os.fstat(file)
    if (now.st_ino, now.st_dev, now.st_mode) != (entry.stat.st_ino, entry.stat.st_dev, entry.stat.st_mode):
        os.close(file)
        raise changed(entry.path)
    return file


def _unreadable(path: str) -> InputError:
    return InputError(Fault(path, 0, 0, "can't be read", "make it readable, or list it in .dockerignore"))


def changed(path: str) -> InputError:
    """Something changed between two looks at it."""
    return InputError(Fault(path, 0, 0, "changed while it was read", "build again once nothing writes there"))


class _Filters(NamedTuple):
    """What is left out: `ignore` by the path below the root, `exclude` by the path below the destination."""

    ignore: Matcher
    exclude: Matcher

    def match(self, path: str, target: str, bits: tuple[int, int]) -> tuple[bool, bool, tuple[int, int]]:
        """Whether it is taken, whether something below may be, and the bits for that."""
        ignored, ignore_bits = self.ignore.match(path, bits[0])
        excluded, exclude_bits = self.exclude.match(target, bits[1])
        below = not (ignored and not self.ignore.reopens(path)) and not (excluded and not self.exclude.reopens(target))
        return not ignored and not excluded, below, (ignore_bits, exclude_bits)


class _Frame:
    """A folder being read. `entry` is told before the first thing in it, if it wasn't yet."""

    __slots__ = ("bits", "entry", "fd", "items", "told")

    def __init__(self, fd: int, entry: Entry, bits: tuple[int, int], told: bool) -> None:
        self.fd = fd
        self.entry = entry
        self.bits = bits
        self.told = told
        with os.scandir(fd) as items:
            self.items = iter(sorted(items, key=_name))


def _name(item: os.DirEntry[str]) -> str:
    return item.name


class _Selection(NamedTuple):
    root: int
    filters: _Filters
    strict: bool
    observe: Observe | None


def select(
    root: int,
    sources: Sequence[str],
    *,
    ignore: Matcher | None = None,
    exclude: Sequence[str] = (),
    parents: bool = False,
    strict: bool = True,
    observe: Observe | None = None,
) -> Iterator[Entry]:
    """What COPY takes of the folder open at `root`; a source that is a folder stands for what is in it.

    `parents` as --parents (with its `/./`). `strict`: sockets, FIFOs and devices are errors (a context); otherwise
    FIFOs are taken and the others left out (a stage). A source that isn't there: NotFound; wildcards may match nothing.
    """
    nothing = Matcher(())
    selection = _Selection(root, _Filters(ignore or nothing, Matcher(exclude) if exclude else nothing), strict, observe)
    count = 0
    for source in sources:
        for path, start in _matches(selection, source, parents):
            for entry in _source(selection, path, path[start:].lstrip("/") if parents else None):
                count += 1
                if count > MAX_ENTRIES:
                    raise InputError(
                        Fault(source, 0, 0, f"more than {MAX_ENTRIES} files", "leave some out by .dockerignore")
                    )
                yield entry


# Sources ------------------------------------------------------------------------------------------------------------


def _matches(selection: _Selection, source: str, parents: bool) -> Iterator[tuple[str, int]]:
    """The paths a source stands for, and where in them the part begins that --parents keeps."""
    pivot, separator, rest = source.partition("/./") if parents else ("", "", source)
    start = len(_clean(pivot)) if separator else 0
    path = _clean(f"{pivot}/{rest}" if separator else source)
    if not f"{path}/".startswith(f"{_clean(pivot)}/"):
        start = 0
    if not is_wildcard(path):
        yield path, start
        return
    parts = path.split("/")
    first = next(place for place, part in enumerate(parts) if is_wildcard(part))
    folder = "/".join(parts[:first])
    pattern = "/".join(parts[first:])
    depth = MAX_DEPTH if "**" in pattern else len(parts) - first
    try:
        fd = open_beneath(selection.root, folder, _FOLDER & ~os.O_NOFOLLOW)
    except OSError:
        if selection.observe is not None:
            selection.observe(folder, None)
        return
    _, bits = selection.filters.ignore.matches(folder) if folder else (False, 0)
    for match in _glob(selection, fd, folder, "", compile_pattern(pattern), depth, bits):
        yield match, start


def _clean(path: str) -> str:
    path = posixpath.normpath(path.lstrip("/") or ".")
    return "" if path == "." else path


def _glob(
    selection: _Selection, fd: int, folder: str, below: str, pattern: re.Pattern[str], depth: int, bits: int
) -> Iterator[str]:
    """Paths in an open folder (closed at the end) that match; what lies in a match isn't looked at."""
    try:
        if selection.observe is not None:
            selection.observe(folder, os.fstat(fd))
        with os.scandir(fd) as scan:
            items = sorted(scan, key=_name)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            rest = f"{below}/{item.name}" if below else item.name
            is_folder = item.is_dir(follow_symlinks=False)
            ignored, inner = selection.filters.ignore.match(path, bits)
            if ignored and not (is_folder and selection.filters.ignore.reopens(path)):
                continue
            if pattern.match(rest):
                yield path
            elif is_folder and depth > 1:
                child = os.open(item.name, _FOLDER, dir_fd=fd)
                yield from _glob(selection, child, path, rest, pattern, depth - 1, inner)
    finally:
        os.close(fd)


def _source(selection: _Selection, path: str, kept: str | None) -> Iterator[Entry]:
    """One source: a file, or a folder and all that is in it. `kept`: the path --parents keeps."""
    ignore, exclude = selection.filters
    ignored, ignore_bits = ignore.matches(path) if path else (False, 0)
    status = _status(selection, path, ignored)
    is_folder = stat.S_ISDIR(status.st_mode)
    target = kept if kept is not None else "" if is_folder else posixpath.basename(path)
    excluded, exclude_bits = exclude.matches(target) if target else (False, 0)
    entry = Entry(path, target, path or ".", selection.root, status, True)
    taken = not ignored and not excluded
    if not is_folder:
        if ignored:
            raise _missing(selection, path, ignored)
        if taken and _usable(selection, entry):
            yield from _above(selection, entry)
            yield entry
        return
    told = False
    for found in _walk(selection, entry, (ignore_bits, exclude_bits), taken):
        if not told:
            yield from _above(selection, entry)
        told = True
        yield found
    if ignored and not told:
        raise _missing(selection, path, ignored)


def _above(selection: _Selection, entry: Entry) -> Iterator[Entry]:
    """With --parents, the folders on the way to a source."""
    parts = entry.target.split("/")[:-1]
    prefix = entry.path[: len(entry.path) - len(entry.target)]
    for end in range(1, len(parts) + 1):
        target = "/".join(parts[:end])
        path = prefix + target
        status = _status(selection, path, False)
        if selection.observe is not None:
            selection.observe(path, status)
        yield Entry(path, target, path, selection.root, status, True)


def _status(selection: _Selection, path: str, ignored: bool) -> os.stat_result:
    try:
        fd = open_beneath(selection.root, path, os.O_PATH)
    except OSError as error:
        raise _missing(selection, path, ignored) from error
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _missing(selection: _Selection, path: str, ignored: bool) -> NotFound:
    if ignored:
        return NotFound(
            f"copy {path}: the ignore file leaves it out", hint="add !" + path + " at the end of .dockerignore"
        )
    folder, name = posixpath.split(path)
    try:
        fd = open_beneath(selection.root, folder, _FOLDER & ~os.O_NOFOLLOW)
        try:
            near = get_close_matches(name, sorted(os.listdir(fd))[:1000], 1)
        finally:
            os.close(fd)
    except OSError:
        near = []
    hint = (
        f"did you mean {posixpath.join(folder, near[0])}?" if near else "paths are relative to the build context's root"
    )
    return NotFound(f"copy {path}: there is no such file", hint=hint)


# Folders ------------------------------------------------------------------------------------------------------------


def _walk(selection: _Selection, top: Entry, bits: tuple[int, int], taken: bool) -> Iterator[Entry]:
    """A folder and what is in it. A folder that is left out is told all the same before the first thing taken in it."""
    fd = open_beneath(top.folder, top.name, _FOLDER & ~os.O_NOFOLLOW)
    stack = [_Frame(fd, top, bits, taken)]
    try:
        if selection.observe is not None:
            selection.observe(top.path, os.fstat(fd))
        if taken:
            yield top
        while stack:
            frame = stack[-1]
            item = next(frame.items, None)
            if item is None:
                os.close(stack.pop().fd)
                continue
            found = _entry(selection, frame, item)
            if found is None:
                continue
            entry, taken, inner = found
            if taken:
                for above in stack:
                    if not above.told:
                        above.told = True
                        yield above.entry
                yield entry
            if entry.is_folder:
                stack.append(_enter(selection, entry, inner, taken, len(stack)))
    finally:
        for frame in stack:
            os.close(frame.fd)


def _entry(selection: _Selection, frame: _Frame, item: os.DirEntry[str]) -> tuple[Entry, bool, tuple[int, int]] | None:
    """An item as an entry, whether it is taken, and its bits; None when there is nothing to do with it."""
    name = item.name
    path = f"{frame.entry.path}/{name}" if frame.entry.path else name
    target = f"{frame.entry.target}/{name}" if frame.entry.target else name
    taken, below, bits = selection.filters.match(path, target, frame.bits)
    if not taken and not (below and item.is_dir(follow_symlinks=False)):
        return None
    try:
        entry = Entry(path, target, name, frame.fd, item.stat(follow_symlinks=False))
    except OSError as error:
        raise changed(path) from error
    if not entry.is_folder and not (taken and _usable(selection, entry)):
        return None
    return entry, taken, bits


def _enter(selection: _Selection, entry: Entry, bits: tuple[int, int], taken: bool, depth: int) -> _Frame:
    if depth >= MAX_DEPTH:
        raise InputError(
            Fault(entry.path, 0, 0, f"folders more than {MAX_DEPTH} deep", "leave it out by .dockerignore")
        )
    try:
        fd = os.open(entry.name, _FOLDER, dir_fd=entry.folder)
    except PermissionError as error:
        raise _unreadable(entry.path) from error
    except OSError as error:
        raise changed(entry.path) from error
    if selection.observe is not None:
        selection.observe(entry.path, entry.stat)
    return _Frame(fd, entry, bits, taken)


_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def _usable(selection: _Selection, entry: Entry) -> bool:
    """Whether something that is no folder can be copied. Tells the observer."""
    kind = stat.S_IFMT(entry.stat.st_mode)
    if kind in _KINDS:
        if selection.strict:
            hint = "list it in .dockerignore, or remove it"
            raise InputError(Fault(entry.path, 0, 0, f"is {_KINDS[kind]}, which can't be copied", hint))
        return kind == stat.S_IFIFO
    if selection.observe is not None:
        selection.observe(entry.path, entry.stat)
    return True
