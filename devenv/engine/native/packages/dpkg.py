"""A root's dpkg database and folders, and plain packages -> which of these may lie unpacked below the root, and the layer that has them.

The layer is what dpkg itself would have written, with the packages as `install ok unpacked`: configuring them is all that is
left (dpkg(1), deb-triggers(5)). Whatever isn't as usual is left to dpkg: a root's files are of unknown making.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath

from ..trouble import trouble
from .deb import field
from .plain import INFO, LAYOUT, Content, Line
from .tree import linked

Fate = Callable[[bytes], str]
"""What becomes of a path that a step wrote, "" for nothing (see store/transient.py)."""

_STATUS = "var/lib/dpkg/status"
_LIMIT = 64 << 20  # bytes of a file of dpkg's, and of all its lists: an image may be hostile
_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""What is a link into /usr where that is merged."""
_FIELDS = re.compile(r"^(Package|Status|Provides|Breaks|Conflicts): (.*)$", re.MULTILINE)
_SETTLED = ("install ok installed", "hold ok installed", "deinstall ok config-files")
_SETTINGS = re.compile(r"\s*(#.*|no-debsig|log /var/log/dpkg\.log)?")
_PRECONFIGURE = 'DPkg::Pre-Install-Pkgs {"/usr/sbin/dpkg-preconfigure --apt || true";};'
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")


class Ground(NamedTuple):
    """What of a root (`root`, a descriptor) decides how packages are unpacked in it.

    `installed` are its packages, `names` also what they provide, `rivals` what they don't bear beside them; `taken` are the
    paths that packages have, divert or override; `watched` those whose changes they are told of; `merged` the links into /usr.
    """

    root: int
    status: bytes
    installed: frozenset[str]
    names: frozenset[str]
    rivals: frozenset[str]
    taken: frozenset[str]
    watched: tuple[str, ...]
    merged: frozenset[str]

    def real(self, path: str) -> str:
        """Where a package's path is in this root."""
        return f"usr/{path}" if path.partition("/")[0] in self.merged else path


def ground(root: int) -> Ground | None:
    """None when dpkg there isn't as Debian leaves it, or has unfinished work."""
    try:
        return _ground(root)
    except OSError:  # a link or a device where Debian has a file: whoever made it knows why
        return None


def _ground(root: int) -> Ground | None:
    status = _read(root, _STATUS)
    if not status or not status.endswith(b"\n\n") or not _ordinary(root):
        return None
    found = _FIELDS.findall(status.decode(errors="surrogateescape"))
    if not all(text in _SETTLED for name, text in found if name == "Status"):
        return None
    installed = frozenset(text for name, text in found if name == "Package")
    merged = frozenset(name for name in _USR if _link(root, name) == f"usr/{name}")
    ground = Ground(
        root,
        status,
        installed,
        installed | _named(text for name, text in found if name == "Provides"),
        _named(text for name, text in found if name in ("Breaks", "Conflicts")),
        frozenset(),
        tuple(line.split(" ")[0].strip("/") for line in _lines(root, "var/lib/dpkg/triggers/File")),
        merged,
    )
    return ground._replace(taken=frozenset(ground.real(path.strip("/")) for path in _taken(root)))


def _ordinary(root: int) -> bool:
    """Whether nobody has told dpkg or apt to do more than they do, and nothing is half done."""
    dpkg = [f"etc/dpkg/dpkg.cfg.d/{name}" for name in _names(root, "etc/dpkg/dpkg.cfg.d")]
    apt = [f"etc/apt/apt.conf.d/{name}" for name in _names(root, "etc/apt/apt.conf.d")]
    settings = (line for path in ("etc/dpkg/dpkg.cfg", "root/.dpkg.cfg", *dpkg) for line in _lines(root, path))
    hooks = (line for path in ("etc/apt/apt.conf", *apt) for line in _lines(root, path))
    return (
        _read(root, f"{INFO}/format") == b"1\n"
        and not _names(root, "var/lib/dpkg/updates")
        and not _read(root, "var/lib/dpkg/triggers/Unincorp")
        and len(_lines(root, "var/lib/dpkg/arch")) < 2
        and all(_SETTINGS.fullmatch(line) for line in settings)
        and not any("pre-install-pkgs" in line.lower() and line != _PRECONFIGURE for line in hooks)
    )


def _taken(root: int) -> Iterator[str]:
    left = _LIMIT
    for name in _names(root, INFO):
        if name.endswith(".list"):
            text = _read(root, f"{INFO}/{name}", left) or b""
            left -= len(text)
            yield from text.decode(errors="surrogateescape").splitlines()
    yield from _lines(root, "var/lib/dpkg/diversions")
    yield from (line.rpartition(" ")[2] for line in _lines(root, "var/lib/dpkg/statoverride"))


def _named(relations: Iterable[str]) -> frozenset[str]:
    """The packages in fields like `Breaks`."""
    words = (word.strip() for text in relations for word in re.split("[,|]", text))
    return frozenset(found[0] for word in words if (found := _NAME.match(word)))


# Which may lie there ----------------------------------------------------------------------------------------------


def choose(ground: Ground, contents: Sequence[Content], fate: Fate) -> tuple[Content, ...]:
    """The packages that may lie there unpacked when `contents` are all that is to be installed; in their order."""
    if any(content.deb.name in ground.installed for content in contents):
        return ()  # an upgrade: dpkg's own business
    held = Counter(ground.real(line.path) for content in contents for line in content.lines if line.kind != "folder")
    folders = {ground.real(line.path) for content in contents for line in content.lines if line.kind == "folder"}
    choice = _Choice(ground, held, folders, fate)
    return tuple(content for content in contents if choice.fits(content))


class _Choice:
    def __init__(self, ground: Ground, held: Counter[str], folders: set[str], fate: Fate) -> None:
        self.ground = ground
        self.held = held
        self.folders = folders
        self.fate = fate
        self.there = Folders(ground.root)
        self.names: dict[str, frozenset[str]] = {}

    def fits(self, content: Content) -> bool:
        if content.fault:
            return False
        relations = [field(content.control, name) for name in ("Breaks", "Conflicts")]
        own = _named([content.deb.name, field(content.control, "Provides")])
        if _named(relations) & self.ground.names or own & self.ground.rivals:
            return False
        return all(self._fits(line) for line in content.lines)

    def _fits(self, line: Line) -> bool:
        path = self.ground.real(line.path)
        if any(f"{path}/".startswith(f"{watched}/") for watched in self.ground.watched):
            return False
        if line.kind == "folder":
            return self.there.mtime(path) is not None and path not in self.held
        return not (
            path in self.folders
            or self.held[path] > 1
            or path in self.ground.taken
            or self.fate(os.fsencode(path))
            or self._is_there(path)
        )

    def _is_there(self, path: str) -> bool:
        above, _, name = path.rpartition("/")
        if above not in self.names:
            self.names[above] = frozenset(_names(self.ground.root, above or "."))
        return name in self.names[above]


class Folders:
    """Folders of a root, each looked at once."""

    NEW = -1

    def __init__(self, root: int) -> None:
        self._root = root
        self._found: dict[str, int | None] = {}

    def mtime(self, path: str) -> int | None:
        """A folder's time (Unix seconds), NEW when nothing is there, None for anything but an ordinary folder of root's."""
        if path not in self._found:
            above = self.mtime(path.rpartition("/")[0]) if path else 0
            self._found[path] = above if above in (None, self.NEW) else self._look(path)
        return self._found[path]

    def _look(self, path: str) -> int | None:
        try:
            fd = open_beneath(self._root, path or ".", os.O_PATH | os.O_NOFOLLOW, resolve=IN_ROOT | NO_SYMLINKS)
        except FileNotFoundError:
            return self.NEW
        except OSError:
            return None
        try:
            info = os.fstat(fd)
        finally:
            os.close(fd)
        ordinary = (info.st_mode, info.st_uid, info.st_gid) == (stat.S_IFDIR | 0o755, 0, 0)
        return int(info.st_mtime) if ordinary else None


# Laid out ---------------------------------------------------------------------------------------------------------


def lay(ground: Ground, chosen: Sequence[Content], target: str, clock: int) -> int:
    """Make the layer `target` of what `choose` chose; the bytes of its files. `clock` is the time of what is made now.

    StoreError for a file that was changed in the store.
    """
    trees = [content.tree for content in chosen]
    linked(trees, target, lambda path: "" if path == LAYOUT else ground.real(path))
    layer = _Layer(ground, target, clock)
    with trouble("lay packages out"):
        for content in chosen:
            layer.add(content)
        layer.finish(chosen)
    return sum(entry.size for tree in trees for entry in tree.entries if entry.path != LAYOUT)


class _Layer:
    """A folder that has the packages' files already."""

    def __init__(self, ground: Ground, target: str, clock: int) -> None:
        self.ground = ground
        self.target = target
        self.clock = clock
        self.there = Folders(ground.root)
        self.times: dict[str, int] = {}  # of folders that are new, as they were unpacked
        self.filled = {INFO}  # folders in which something new was made since

    def add(self, content: Content) -> None:
        real, filled = self.ground.real, self.filled
        for line in content.lines:
            path = real(line.path)
            if line.kind == "folder":
                if path not in self.times and self.there.mtime(path) == Folders.NEW:
                    self.times[path] = line.mtime
                    filled.add(path.rpartition("/")[0])
                    os.makedirs(f"{self.target}/{path}", exist_ok=True)
                continue
            above = path.rpartition("/")[0]
            filled.add(above)
            if line.kind == "link":
                os.makedirs(f"{self.target}/{above}", exist_ok=True)
                os.symlink(line.link, f"{self.target}/{path}")
                self._time(path, line.mtime)
        self._write(f"{content.noted}list", "".join(f"/{line.path or '.'}\n" for line in content.lines))

    def finish(self, chosen: Sequence[Content]) -> None:
        status = self.ground.status.decode(errors="surrogateescape")
        self._write(_STATUS, status + "".join(_unpacked(content.control) for content in chosen))
        folders = {*self.times, *self.filled}
        while above := {path.rpartition("/")[0] for path in folders} - folders:
            folders |= above
        for path in folders:
            os.chmod(f"{self.target}/{path}", 0o755)  # whatever the umask
            before = self.times.get(path, self.there.mtime(path))
            self._time(path, self.clock if path in self.filled or before is None else min(before, self.clock))

    def _write(self, path: str, text: str) -> None:
        with open(f"{self.target}/{path}", "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        self._time(path, self.clock)

    def _time(self, path: str, seconds: int) -> None:
        os.utime(f"{self.target}/{path}", (seconds, seconds), follow_symlinks=False)


def _unpacked(control: str) -> str:
    """A paragraph of dpkg's status."""
    first, _, rest = control.rstrip("\n").partition("\n")
    return f"{first}\nStatus: install ok unpacked\n{rest}\n\n"


def unfinished(root: str, chosen: Sequence[Content]) -> bool:
    """Whether one of these isn't installed in the layer that a step left."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = (_read(fd, _STATUS) or b"").decode(errors="surrogateescape")
    except OSError:
        return True
    finally:
        os.close(fd)
    versions: dict[tuple[str, str], str] = {}
    for paragraph in text.split("\n\n"):
        if "\nStatus: install ok installed\n" in f"\n{paragraph}\n":
            versions[field(paragraph, "Package"), field(paragraph, "Architecture")] = field(paragraph, "Version")
    return any(versions.get((deb.name, deb.arch)) != deb.version for deb in (content.deb for content in chosen))


# Files of a root --------------------------------------------------------------------------------------------------


def _open(root: int, path: str, flags: int) -> int | None:
    """None when nothing is there. Raises OSError for a path through a link."""
    try:
        return open_beneath(root, path, flags, resolve=IN_ROOT | NO_SYMLINKS)
    except FileNotFoundError:
        return None


def _read(root: int, path: str, limit: int = _LIMIT) -> bytes | None:
    """A file's bytes, None when there is none. Raises OSError for what isn't a file, or a far too large one."""
    fd = _open(root, path, os.O_RDONLY | os.O_NONBLOCK)  # a fifo there must not hang us
    if fd is None:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no file", path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, "too large", path)
    return data


def _lines(root: int, path: str) -> list[str]:
    return (_read(root, path) or b"").decode(errors="surrogateescape").splitlines()


def _names(root: int, path: str) -> list[str]:
    """What is in a folder; nothing when none is there."""
    fd = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
    if fd is None:
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _link(root: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=root)
    except OSError:
        return ""
