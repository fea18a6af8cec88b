"""A layer's tar stream, plain, gzip or zstd → a layer folder in overlayfs form (image-spec, layer.md).

The archive is hostile until proven otherwise: docs/store.md says what is kept, dropped and refused.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable
from typing import NamedTuple

from devenv.archive import marks, tar
from devenv.archive.stream import Limits, Source, Stream, decompressed
from devenv.beneath import make_parents, open_beneath, remove_at
from devenv.errors import EngineError, StoreError

_WHITEOUT = b".wh."
_MAX_DEPTH = 256  # folders in folders
_MAX_NAMES = 128 << 20  # bytes: the names of all folders are held in memory
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class Unpacked(NamedTuple):
    """sha256 of the uncompressed tar, bytes of the files in it, number of its entries."""

    diff_id: str
    size: int
    entries: int


def unpack(stream: Stream, folder: str, *, limits: Limits = Limits(), diff_id: str = "") -> Unpacked:  # noqa: B008
    """Unpack a layer into `folder` (made if missing, else empty), with the image's own ids; reads `stream` to its end.

    StoreError for an archive that is broken, lies, is over a limit or isn't what `diff_id` says; EngineError when the
    disk fails. The folder is then rubbish.
    """
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f"unpack layer into {folder}: {error.strerror}") from error
    source = Source(decompressed(stream, limits), limits)
    tree = _Tree(root)
    entries = 0
    try:
        os.fchmod(root, 0o755)
        while (entry := tar.read(source)) is not None:
            entries += 1
            if entries > limits.entries:
                raise StoreError(f"unpack layer: more than {limits.entries} entries")
            _add(tree, entry, source, limits)
        tree.finish()
        source.drain()
    except (tar.BadTar, zlib.error) as error:
        raise StoreError(f"unpack layer: {error}") from error
    except OSError as error:
        raise EngineError(f"unpack layer into {folder}: {error.strerror}") from error
    finally:
        tree.close()
        os.close(root)
    if diff_id and source.digest() != diff_id:
        raise StoreError(f"unpack layer: its diff id is {source.digest()}, not {diff_id}")
    return Unpacked(source.digest(), tree.size, entries)


# The tree -----------------------------------------------------------------------------------------------------


class _Tree:
    """The layer folder being filled. The last parent is kept open: entries mostly come folder by folder."""

    __slots__ = ("_implied", "_names", "_parent", "_path", "folders", "root", "size")

    def __init__(self, root: int) -> None:
        self.root = root
        self.size = 0
        self.folders: dict[bytes, int] = {}  # path → mtime
        self._implied: set[bytes] = set()  # folders that files were put in; without an entry their mtime is 0
        self._names = 0
        self._path: bytes | None = None
        self._parent = -1

    def parent(self, path: bytes) -> int:
        """Descriptor of a folder, made with its parents if missing. Valid until the next call."""
        if path != self._path:
            self.close()
            self._parent = self._make(path)
            self._path = path
            while path not in self._implied:
                self._implied.add(path)
                self._count(path)
                path = path.rpartition(b"/")[0]
        return self._parent

    def _make(self, path: bytes) -> int:
        try:
            return make_parents(self.root, path)
        except NotADirectoryError:
            pass
        # A whiteout in the way: what it hides below stays hidden under the folder that takes its place.
        above, name = os.path.split(path)
        fd = self._make(above) if above else os.dup(self.root)
        try:
            if _exists(fd, name) and not _is_whiteout(fd, name):
                raise StoreError(f"unpack {tar.show(path)}: not a folder in this layer, but files are to be put in it")
            self.make_folder(fd, name)
            return open_beneath(fd, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        finally:
            os.close(fd)

    def keep_time(self, path: bytes, mtime: int) -> None:
        """A folder's time, to be set at the end: filling it changes it."""
        self.folders[path] = mtime
        self._count(path)

    def _count(self, path: bytes) -> None:
        self._names += len(path)
        if self._names > _MAX_NAMES:
            raise StoreError(f"unpack layer: the names of its folders take more than {_MAX_NAMES} bytes")

    def make_folder(self, parent: int, name: bytes) -> None:
        """A folder in place of whatever but a folder is there; in place of a whiteout it is opaque."""
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            hides = _is_whiteout(parent, name)
            self.clear(parent, name)
            os.mkdir(name, 0o755, dir_fd=parent)
            if hides:
                _set_opaque(parent, name)
        os.chmod(name, 0o755, dir_fd=parent)  # whatever the umask

    def clear(self, parent: int, name: bytes) -> None:
        """Remove what is at a name, for the entry that takes its place."""
        remove_at(parent, name)
        # Paths through a link or folder that is gone lead elsewhere now; `parent` itself must live on for our caller.
        self._path = None

    def finish(self) -> None:
        self.close()
        implied = dict.fromkeys(self._implied - self.folders.keys(), 0)
        for path, mtime in (
            *implied.items(),
            *self.folders.items(),
        ):  # a path through a link mustn't win over the real one
            try:
                fd = open_beneath(self.root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # a later entry took its place
            os.utime(fd, ns=(mtime, mtime))
            os.close(fd)

    def close(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
        self._parent = -1
        self._path = None


def _add(tree: _Tree, entry: tar.Entry, source: Source, limits: Limits) -> None:
    """One entry into the tree; its data and padding are taken from the stream."""
    try:
        path = _clean(entry.path)
        above, _, name = path.rpartition(b"/")
        if entry.uid >= limits.ids or entry.gid >= limits.ids:
            raise StoreError(
                f"unpack {tar.show(path)}: it belongs to {entry.uid}:{entry.gid}, a container has {limits.ids} ids"
            )
        if name.startswith(_WHITEOUT):
            _add_whiteout(tree, above, name[len(_WHITEOUT) :])
            _skip(source, entry)
        elif entry.kind == tar.FILE:
            _add_file(tree, tree.parent(above), name, entry, source)
        elif entry.kind == tar.FOLDER:
            _add_folder(tree, above, name, path, entry)
        else:
            _MAKERS[entry.kind](tree, tree.parent(above), name, entry)
    except OSError as error:
        kind = EngineError if error.errno in _FULL else StoreError
        raise kind(f"unpack {tar.show(entry.path)}: {error.strerror}") from error
    except tar.BadTar as error:
        raise StoreError(f"unpack {tar.show(entry.path)}: {error}") from error


def _clean(path: bytes) -> bytes:
    """The path relative to the root, without `.` and doubled slashes; absolute ones count from the layer's root."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if len(parts) > _MAX_DEPTH:
        raise StoreError(f"unpack {tar.show(path[:100])}…: more than {_MAX_DEPTH} folders deep")
    if b".." in parts:
        raise StoreError(f"unpack {tar.show(path)}: `..` in the name of an entry")
    if any(part.startswith(_WHITEOUT) for part in parts[:-1]):
        raise StoreError(f"unpack {tar.show(path)}: a file inside of a whiteout")
    return b"/".join(parts)


def _skip(source: Source, entry: tar.Entry) -> None:
    for _ in source.pieces(entry.size + tar.padding(entry.size)):
        pass


def _add_file(tree: _Tree, parent: int, name: bytes, entry: tar.Entry, source: Source) -> None:
    if not name:
        raise tar.BadTar("a file in place of the root")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        tree.clear(parent, name)
        fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        for piece in source.pieces(entry.size):
            while piece:
                piece = piece[os.write(fd, piece) :]
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)  # after chown, which takes setuid away
        _set_xattrs(fd, entry)
        os.utime(fd, ns=(entry.mtime, entry.mtime))
    finally:
        os.close(fd)
    tree.size += entry.size
    source.take(tar.padding(entry.size))


def _add_folder(tree: _Tree, above: bytes, name: bytes, path: bytes, entry: tar.Entry) -> None:
    if name:
        parent = tree.parent(above)
        tree.make_folder(parent, name)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    else:
        fd = os.dup(tree.root)
    try:
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        _set_xattrs(fd, entry)
    finally:
        os.close(fd)
    tree.keep_time(path, entry.mtime)


def _add_link(tree: _Tree, parent: int, name: bytes, entry: tar.Entry) -> None:
    above, _, target = _clean(entry.link).rpartition(b"/")
    shown = tar.show(entry.link)
    try:
        there = open_beneath(tree.root, above, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise tar.BadTar(f"a hard link to {shown}: {error.strerror}") from error
    try:
        info = os.stat(target or b".", dir_fd=there, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode) or marks.is_whiteout(info):
            raise tar.BadTar(f"a hard link to {shown}, which is not a file of this layer")
        _replacing(
            tree,
            parent,
            name,
            lambda: os.link(target, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False),
        )
    except FileNotFoundError as error:
        raise tar.BadTar(f"a hard link to {shown}, which is not in this layer") from error
    finally:
        os.close(there)


def _add_symlink(tree: _Tree, parent: int, name: bytes, entry: tar.Entry) -> None:
    if not entry.link:
        raise tar.BadTar("a symbolic link to nothing")
    _replacing(tree, parent, name, lambda: os.symlink(entry.link, name, dir_fd=parent))
    _own(parent, name, entry)


def _add_fifo(tree: _Tree, parent: int, name: bytes, entry: tar.Entry) -> None:
    _replacing(tree, parent, name, lambda: os.mkfifo(name, 0o600, dir_fd=parent))
    _own(parent, name, entry)
    os.chmod(name, entry.mode, dir_fd=parent)


def _add_device(_tree: _Tree, _parent: int, _name: bytes, entry: tar.Entry) -> None:
    if entry.kind == tar.CHARACTER and entry.major == entry.minor == 0:
        raise tar.BadTar("a 0:0 character device, overlayfs' mark for a removed file")
    # Others are dropped: a container's /dev is its own, and it may not open devices made elsewhere.


_MAKERS = {
    tar.LINK: _add_link,
    tar.SYMLINK: _add_symlink,
    tar.FIFO: _add_fifo,
    tar.CHARACTER: _add_device,
    tar.BLOCK: _add_device,
}


def _replacing(tree: _Tree, parent: int, name: bytes, make: Callable[[], None]) -> None:
    """Make something at a name; the last entry of a name wins."""
    if not name:
        raise tar.BadTar("it takes the place of the root")
    try:
        make()
    except FileExistsError:
        tree.clear(parent, name)
        make()


def _own(parent: int, name: bytes, entry: tar.Entry) -> None:
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)


# Whiteouts and xattrs -----------------------------------------------------------------------------------------


def _add_whiteout(tree: _Tree, above: bytes, name: bytes) -> None:
    """What `.wh.NAME` says about the layers below, never about this one."""
    if name == _WHITEOUT + b".opq":
        parent = tree.parent(above)
        _set_opaque(parent, b".")
        return
    if name.startswith(_WHITEOUT):
        return  # aufs' own notes
    if name in (b"", b".", b".."):
        raise tar.BadTar("a whiteout of nothing")
    parent = tree.parent(above)
    try:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
        os.utime(name, (0, 0), dir_fd=parent)
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _set_opaque(parent, name)


def _exists(parent: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_whiteout(parent: int, name: bytes) -> bool:
    return marks.is_whiteout(os.stat(name, dir_fd=parent, follow_symlinks=False))


def _set_opaque(parent: int, name: bytes) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.setxattr(fd, marks.OPAQUE, b"y")
    finally:
        os.close(fd)


def _set_xattrs(fd: int, entry: tar.Entry) -> None:
    """File capabilities and `user.` attributes are kept; overlayfs' own are refused, others mean nothing in a layer."""
    for name, value in entry.xattrs:
        text = os.fsdecode(name)
        if marks.steers_overlayfs(text):
            raise tar.BadTar(f"the attribute {tar.show(name)}, which steers overlayfs")
        if text == marks.CAPABILITY:
            capability = marks.unrooted(value)
            if capability is None:
                raise tar.BadTar("a file capability that isn't of version 2")
            os.setxattr(fd, name, capability)
        elif text.startswith("user."):
            os.setxattr(fd, name, value)
