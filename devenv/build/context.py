"""A build context's folder → what COPY takes of it, and the digest of that. Reads files; writes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from devenv.errors import Fault, InputError, NotFound
from devenv.model.build import Copy, Mount
from devenv.model.manifest import Pairs

from .ignore import Matcher, read
from .observed import ABSENT, fingerprint
from .observed import unchanged as unchanged
from .select import Entry, changed, open_file, select
from .words import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_IGNORE = 1 << 20  # bytes of an ignore file
_LISTED = 2000  # files
_SETTLED = 2_000_000_000  # ns: a file changed more recently could change again within one tick of its ctime, as FAT's


class Context:
    """A folder that COPY and bind mounts read. `root` absolute. `unread`: paths of what is never read, by whatever name.

    `cache`: absolute path → "fingerprint sha256" of a file's content, kept by the caller from run to run.
    `observed`: absolute path → fingerprint of all that select() and digest() looked at.
    `listed`: digest → (path, mode and content) of the files in it, for saying which changed; not of very large ones.
    """

    def __init__(
        self, root: str, matcher: Matcher, cache: MutableMapping[str, str], unread: Sequence[str] = ()
    ) -> None:
        self.root = root
        self.unread = {identity for path in unread if (identity := _identity(path))}
        self.matcher = matcher
        self.cache = cache
        self.observed: dict[str, str] = {}
        self.listed: dict[str, Pairs] = {}

    def select(self, sources: Sequence[str], exclude: Sequence[str] = (), parents: bool = False) -> tuple[str, ...]:
        """The paths, below the root, COPY would copy; a folder before what is in it."""
        with self._entries(sources, exclude, parents) as entries:
            return tuple(entry.path for entry in entries)

    def digest(self, operation: Copy | Mount) -> str:
        """sha256 (hex) over all an operation reads: paths, kinds, permission bits, contents, links' targets.

        Neither times nor owners count. Raises NotFound, InputError.
        """
        total = hashlib.sha256()
        files: list[tuple[str, str]] = []
        is_copy = isinstance(operation, Copy)
        sources = operation.sources if isinstance(operation, Copy) else (operation.source,)
        exclude = operation.exclude if isinstance(operation, Copy) else ()
        with self._entries(sources, exclude, isinstance(operation, Copy) and operation.parents) as entries:
            for entry in entries:
                # A destination is made anew or left as it is: the mode of the folder that is copied there goes nowhere.
                mode = 0 if is_copy and not entry.target else stat.S_IMODE(entry.stat.st_mode)
                head = f"{entry.path}\0{entry.target}\0{stat.S_IFMT(entry.stat.st_mode):o}\0{mode:o}\0"
                total.update(head.encode("utf-8", "surrogateescape"))
                content = self._content(entry)
                total.update(f"{content}\0".encode("utf-8", "surrogateescape"))
                if len(files) <= _LISTED and not entry.is_folder:
                    told = f"→ {content}" if stat.S_ISLNK(entry.stat.st_mode) else content[:12]
                    files.append((entry.path, f"{mode:o} {told}"))
                if entry.is_source:
                    self._observe_link(f"{self.root}/{entry.path}", entry.stat)
        digest = total.hexdigest()
        if len(files) <= _LISTED:
            self.listed[digest] = tuple(files)
        return digest

    @contextmanager
    def _entries(self, sources: Sequence[str], exclude: Sequence[str], parents: bool) -> Iterator[Iterator[Entry]]:
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"open the build context {self.root}: {error.strerror}", hint="name a folder") from error
        found = select(root, sources, ignore=self.matcher, exclude=exclude, parents=parents, observe=self._observe)
        try:
            yield found
        except Malformed as error:
            raise InputError(Fault(self.root, 0, 0, error.message, error.hint)) from error
        finally:
            os.close(root)

    def _observe(self, path: str, status: os.stat_result | None) -> None:
        if status is not None and (status.st_dev, status.st_ino) in self.unread:
            shown = path or self.root
            raise InputError(
                Fault(shown, 0, 0, "is devenv's own store", "list it in .dockerignore, or move DEVENV_HOME")
            )
        place = f"{self.root}/{path}" if path else self.root
        self.observed[place] = _lstat(place) if status is None else fingerprint(status)

    def _content(self, entry: Entry) -> str:
        """A file's sha256, a link's target, nothing for a folder."""
        if stat.S_ISLNK(entry.stat.st_mode):
            return os.readlink(entry.name, dir_fd=entry.folder)
        if not stat.S_ISREG(entry.stat.st_mode):
            return ""
        path = f"{self.root}/{entry.path}"
        seen = f"{entry.stat.st_dev}:{fingerprint(entry.stat)}"
        known = self.cache.get(path, "")
        if known.startswith(seen + " "):
            return known[len(seen) + 1 :]
        content, is_settled = _hash(entry)
        if is_settled:
            self.cache[path] = f"{seen} {content}"
        return content

    def _observe_link(self, path: str, status: os.stat_result) -> None:
        """A source that is a link is two things to look at: the link, and the file it leads to beneath the root."""
        if os.path.islink(path):
            self.observed[path] = _lstat(path)
            # Where the host follows the link to another file than we do, this never compares equal: no short cut then.
            self.observed[os.path.realpath(path)] = fingerprint(status)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lstat(path: str) -> str:
    try:
        return fingerprint(os.lstat(path))
    except OSError:
        return ABSENT


def _hash(entry: Entry) -> tuple[str, bool]:
    """The content's sha256, and whether it is so old that its stat vouches for it."""
    with open(open_file(entry), "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if fingerprint(after) != fingerprint(entry.stat):
        raise changed(entry.path)
    return content, time.time_ns() - after.st_ctime_ns > _SETTLED


# The ignore file ------------------------------------------------------------------------------------------------------


def open_context(root: str, containerfile: str, cache: MutableMapping[str, str], unread: Sequence[str] = ()) -> Context:
    """The context of a Containerfile (absolute path, "" for none) with the first ignore file there is.

    Looked for: CONTAINERFILE.containerignore, CONTAINERFILE.dockerignore, .containerignore, .dockerignore.
    """
    own = [f"{containerfile}.containerignore", f"{containerfile}.dockerignore"] if containerfile else []
    observed: dict[str, str] = {}
    matcher = Matcher(())
    for path in (*own, f"{root}/.containerignore", f"{root}/.dockerignore"):
        observed[path] = _lstat(path)
        if observed[path] != ABSENT:
            matcher = _matcher(path)
            break
    context = Context(root, matcher, cache, unread)
    context.observed.update(observed)
    return context


def _matcher(path: str) -> Matcher:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_IGNORE + 1)
        if len(data) > _MAX_IGNORE:
            raise InputError(Fault(path, 0, 0, f"larger than {_MAX_IGNORE} bytes", "use patterns instead of names"))
        return Matcher(read(data.decode("utf-8", "surrogateescape")))
    except OSError as error:
        raise InputError(Fault(path, 0, 0, f"can't be read: {error.strerror}", "make it a readable file")) from error
    except Malformed as error:
        raise InputError(Fault(path, 0, 0, error.message, error.hint)) from error
