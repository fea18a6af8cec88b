"""System calls that Python lacks: mounts, namespaces, idmapped mounts. Kernel names and constants kept; the only home of ctypes' libc.

Every function raises OSError with the kernel's errno and the object's name (mount(2), mount_setattr(2), open_tree(2), …).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_FS, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x200, 0x20000, 0x10000000, 0x40000000, 0x20000000

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_MOUNT_ATTR = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "idmap": 0x100000, "nosymfollow": 0x200000}
# The numbers are the same on x86_64 and aarch64: these calls are newer than the common table (asm-generic/unistd.h).
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x20000  # linux/fs.h; as above

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """struct mount_attr (linux/mount.h)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, name: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """setns(2)."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    encode = os.fsencode
    _check(_libc.mount(encode(source), encode(target), encode(fstype), ctypes.c_ulong(flags), encode(data)), target)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags | UMOUNT_NOFOLLOW), target)


def open_tree(path: str, *, recursive: bool = False) -> int:
    """A detached clone of the mount at `path`, as a file descriptor (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), ctypes.c_uint(flags)), path)


def mount_setattr(fd: int, attributes: Sequence[str], userns: int | None = None, *, recursive: bool = False) -> None:
    """Set attributes (`ro nosuid nodev noexec nosymfollow`) and, with a user namespace's fd, an id mapping."""
    bits = sum(_MOUNT_ATTR[name] for name in attributes) | (_MOUNT_ATTR["idmap"] if userns is not None else 0)
    attr = _MountAttr(attr_set=bits, userns_fd=userns or 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attr)
    result = _libc.syscall(_SYS_MOUNT_SETATTR, fd, b"", ctypes.c_uint(flags), ctypes.byref(attr), ctypes.c_size_t(size))
    _check(result, "mount_setattr")


def move_mount(fd: int, target: str) -> None:
    """Attach a detached mount at `target`."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    _check(_libc.syscall(_SYS_MOVE_MOUNT, fd, b"", _AT_FDCWD, os.fsencode(target), flags), target)


def bind(source: str, target: str, *, attributes: Sequence[str] = (), userns: int | None = None) -> None:
    """Bind `source` at `target`, with attributes and, with a user namespace's fd, idmapped by it."""
    fd = open_tree(source)
    try:
        if attributes or userns is not None:
            mount_setattr(fd, attributes, userns)
        move_mount(fd, target)
    finally:
        os.close(fd)


def overlay(
    lowerdirs: Sequence[str], target: str, *, upperdir: str = "", workdir: str = "", volatile: bool = False
) -> None:
    """Mount an overlay, topmost lowerdir first. Read-only without an upperdir (overlayfs.rst).

    `volatile`: nothing is synced, neither on fsync(2) nor at the unmount, which else waits for the whole file system
    below; the workdir can't be used again then.
    Layers come from elsewhere, so redirect_dir, metacopy and index, which make the kernel follow what files say, stay off.
    """
    data = f"lowerdir={':'.join(map(_escape, lowerdirs))}"
    if upperdir:
        data += f",upperdir={_escape(upperdir)},workdir={_escape(workdir)}"
    data += ",volatile" if volatile else ""
    mount("overlay", target, "overlay", MS_NODEV, f"{data},redirect_dir=off,metacopy=off,index=off,xino=off")


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def sync(path: str) -> None:
    """syncfs(2) of the file system that holds `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(fd), path)
    finally:
        os.close(fd)


def spread(folder: str) -> None:
    """Tell ext4 that what is in a folder doesn't belong together (chattr +T); other file systems don't ask.

    ext4 puts a folder near the one it is in, and takes no inode again for a minute or more after it was freed: what is
    made beside a large tree that was just removed looks for a free one again and again, for ten times as long.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = bytearray(8)
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
        (before,) = struct.unpack_from("i", flags)
        if not before & _FS_TOPDIR_FL:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i", before | _FS_TOPDIR_FL) + bytes(4))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
            raise
    finally:
        os.close(fd)


def enter_private_namespace() -> int:
    """Give this thread a mount namespace of its own; returns an fd of the one it had.

    From here on its mounts are seen by it, threads it starts and its children alone, and end with them. Slave, not private, so that
    the host's unmounts (of a slot's pinned namespaces, of a USB stick) still reach us.
    """
    host = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    unshare(CLONE_NEWNS)
    mount("", "/", "", MS_REC | MS_SLAVE)
    return host


def join(namespace: int) -> None:
    """Take this thread into a mount namespace. Its current folder stays the one of this name; `/` where that isn't there."""
    unshare(CLONE_FS)  # setns(2): root and current folder may not be shared with other threads
    here = ""
    with suppress(OSError):
        here = os.getcwd()
    setns(namespace, CLONE_NEWNS)  # which makes it /: the main thread's relative paths would lead elsewhere
    with suppress(OSError):
        os.chdir(here or "/")


class _Capabilities(ctypes.Structure):
    """struct __user_cap_header_struct and two of __user_cap_data_struct (linux/capability.h)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int), ("data", ctypes.c_uint32 * 6))


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """What this thread makes belongs to somebody else meanwhile (setfsuid(2)); its capabilities stay as they are.

    A mount that maps ids takes nothing from those whose own it doesn't map.
    """
    held = _Capabilities(version=_LINUX_CAPABILITY_VERSION_3)
    there = ctypes.byref(held, _Capabilities.data.offset)
    _check(_libc.capget(ctypes.byref(held), there), "capget")
    before = _libc.setfsgid(gid), _libc.setfsuid(uid)
    try:
        _check(_libc.capset(ctypes.byref(held), there), "capset")  # the kernel took some away, as from a daemon
        yield
    finally:
        _libc.setfsgid(before[0])
        _libc.setfsuid(before[1])


@contextmanager
def within(folder: str) -> Iterator[None]:
    """This thread's current folder, and so that of programs it starts, is another one meanwhile."""
    unshare(CLONE_FS)  # or it would be that of all threads
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
