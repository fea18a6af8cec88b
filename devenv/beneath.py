"""A folder and a path of unknown making → a descriptor that can't lie outside of it (openat2(2)), or its removal."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from devenv.errors import EngineError, Unsupported

NO_XDEV = 0x01
NO_MAGICLINKS = 0x02
NO_SYMLINKS = 0x04
IN_ROOT = 0x10

_OPENAT2 = 437
_DEPTH = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def open_beneath(
    root: int, path: str | bytes, flags: int, mode: int = 0, *, resolve: int = IN_ROOT | NO_MAGICLINKS
) -> int:
    """openat2(2): `path` as a process with its root at `root` would see it, so neither links nor `..` leave it.

    Returns a descriptor (close-on-exec). Raises OSError, Unsupported before Linux 5.6.
    """
    name = os.fsencode(path) or b"."
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        result = int(_syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how)))
        if result >= 0:
            return result
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):  # a rename somewhere on the host made the kernel unsure
            continue
        if code == errno.ENOSYS:
            raise Unsupported("open a path beneath a folder: no openat2", hint="Linux 5.6 or newer is needed")
        raise OSError(code, os.strerror(code), os.fsdecode(name))


def text_beneath(root: str, path: str, limit: int = 1 << 20) -> str:
    """The first `limit` bytes of a file beneath the folder `root`, as text; "" when there is none, or none of bytes."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = open_beneath(fd, path, os.O_RDONLY | os.O_NONBLOCK)  # a fifo there must not hang us
    except OSError:
        return ""
    finally:
        os.close(fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ""
        with open(file, "rb", closefd=False) as stream:
            return stream.read(limit).decode(errors="replace")
    finally:
        os.close(file)


def make_parents(root: int, path: bytes, mode: int = 0o755) -> int:
    """The folder `path` beneath `root`, made with its missing parents (mtime 0, so that it is the same every time).

    Returns an O_PATH descriptor. A link that leads nowhere beneath `root` is an OSError (ENOTDIR).
    """
    missing: list[bytes] = []
    while True:
        try:
            fd = open_beneath(root, path, os.O_PATH | os.O_DIRECTORY)
            break
        except FileNotFoundError:
            missing.append(path)
            path = path.rpartition(b"/")[0]
    for path in reversed(missing):
        fd = _made_in(fd, path, mode)
    return fd


def _made_in(above: int, path: bytes, mode: int) -> int:
    """The folder at the end of `path`, new in `above`, which is closed."""
    name = path.rpartition(b"/")[2]
    before = os.fstat(above).st_mtime_ns
    try:
        os.mkdir(name, mode, dir_fd=above)
        os.chmod(name, mode, dir_fd=above)
        os.utime(name, (0, 0), dir_fd=above)
        os.utime(".", ns=(before, before), dir_fd=above)
        return open_beneath(above, name, os.O_PATH | os.O_DIRECTORY, resolve=NO_SYMLINKS)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "a link that leads nowhere here", path) from error
    finally:
        os.close(above)


def remove_tree(path: str | bytes) -> None:
    """Remove a file or folder tree; what isn't there is fine. Memory and descriptors don't grow with the tree.

    A mount at or under `path` (bind mounts of the same file system too) is never entered: EngineError, the rest
    stays as it was when the mount was met.
    """
    parent, name = os.path.split(os.path.abspath(os.fsencode(path)))
    try:
        above = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(above, name)
    except OSError as error:
        shown = os.fsdecode(path)
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise EngineError(f"remove {shown}: {os.fsdecode(error.filename or name)} is a mount") from error
        raise EngineError(f"remove {shown}: {error.strerror}") from error
    finally:
        os.close(above)


def remove_at(above: int, name: bytes) -> None:
    """remove_tree of `name` in the folder `above`; raises OSError, EXDEV or EBUSY for a mount."""
    try:
        os.unlink(name, dir_fd=above)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    except PermissionError:  # what POSIX says for a folder
        if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise
    while True:
        try:
            os.rmdir(name, dir_fd=above)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        # rmdir refuses a mount; NO_XDEV refuses one that was made since (st_dev can't tell a bind mount).
        folder = open_beneath(above, name, _FOLDER, resolve=NO_XDEV | NO_SYMLINKS)
        try:
            _empty(folder, folder, 0)
        finally:
            os.close(folder)


def _empty(folder: int, top: int, depth: int) -> None:
    # A file system may skip entries of a folder that changes while it is read: the caller's rmdir tells.
    with os.scandir(folder) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if not entry.is_dir(follow_symlinks=False):
                _tolerant_unlink(name, folder)
                continue
            if _tolerant_rmdir(name, folder):
                continue
            child = open_beneath(folder, name, _FOLDER, resolve=NO_XDEV | NO_SYMLINKS)
            try:
                if depth < _DEPTH:
                    _empty(child, top, depth + 1)
                else:  # so that a tree of any depth needs few descriptors: hang the branch up at the top
                    os.rename(name, os.urandom(16).hex().encode(), src_dir_fd=folder, dst_dir_fd=top)
                    continue
            finally:
                os.close(child)
            _tolerant_rmdir(name, folder)


def _tolerant_unlink(name: bytes, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _tolerant_rmdir(name: bytes, folder: int) -> bool:
    """Whether the folder is gone; False when it isn't empty (or stayed so)."""
    try:
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True
