"""A slot's user and network namespaces: made, pinned to files, let go. And user namespaces for idmapped mounts."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from devenv.errors import EngineError
from devenv.lives import process_start

from ..mount import CLONE_NEWNET, CLONE_NEWUSER, MNT_DETACH, MS_BIND, MS_SHARED, mount, umount2, unshare
from .ids import Extent

_KINDS = ("user", "net")
_AT_A_TIME = 16  # processes while namespaces are made
# Written inside the new network namespace, before it has any link but lo.
_SYSCTLS = (
    ("ipv4/ping_group_range", "0 65535"),  # ping without a privilege, as Docker and Podman allow
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),  # lo keeps ::1, eth0 gets no link-local address
)


def prepare(folder: str) -> None:
    """Make the folder of all slots a shared mount, so that pinning and unpinning reach the mount namespaces made later.

    A command calls it before it enters a mount namespace of its own, or it won't see what is pinned afterwards (50 µs).
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        if not _share(folder):
            import fcntl

            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # a second bind on top would hide what is pinned below
                if not _share(folder):
                    mount(folder, folder, "", MS_BIND)
                    _share(folder)
            finally:
                os.close(fd)
    except OSError as error:
        raise EngineError(f"prepare {folder}: {error.strerror}") from error


def _share(folder: str) -> bool:
    try:
        mount("", folder, "", MS_SHARED)
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a mount point
            return False
        raise
    return True


def unprepare(folder: str) -> None:
    """Undo `prepare`; nothing when it isn't a mount. The folder goes when it is empty."""
    with suppress(OSError):
        while True:  # however often it was bound on itself
            umount2(folder, MNT_DETACH)
    with suppress(OSError):
        os.rmdir(folder)


def pin(folder: str, extent: Extent) -> None:
    """Make a user namespace with this map and a network namespace it owns, lo up, at `folder`/user and `folder`/net.

    What was pinned there before is let go. Raises EngineError, and then nothing is left.
    """
    pin_all([(folder, extent)])


def pin_all(wanted: Sequence[tuple[str, Extent]]) -> None:
    """`pin`, many at a time: the kernel makes namespaces on every core it has."""
    for start in range(0, len(wanted), _AT_A_TIME):
        some = wanted[start : start + _AT_A_TIME]
        for folder, _ in some:
            unpin(folder)
        try:
            # The network namespace must be born inside the user namespace, with its map in place, or /sys can't be
            # mounted in it: sysfs belongs to the owner's root.
            with _children([(str(extent), str(extent)) for _, extent in some], _enter_network) as pids:
                for (folder, _), pid in zip(some, pids, strict=True):
                    _pin(folder, pid)
        except OSError as error:
            for folder, _ in wanted:
                unpin(folder)
            raise EngineError(
                f"pin namespaces at {some[0][0]}: {error.strerror} ({error.filename or 'child'})",
                hint="user namespaces may be turned off: see sysctl user.max_user_namespaces, user.max_net_namespaces",
            ) from error


def _pin(folder: str, pid: int) -> None:
    os.makedirs(folder, mode=0o700)
    for kind in _KINDS:
        os.close(os.open(f"{folder}/{kind}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        mount(f"/proc/{pid}/ns/{kind}", f"{folder}/{kind}", "", MS_BIND)


def unpin(folder: str) -> None:
    """Let go of what is pinned in the folder and remove it. Only its two files are touched; again does nothing."""
    for kind in _KINDS:
        with suppress(OSError):
            while True:  # stacked, if a refiller died between mounting and saying so
                umount2(f"{folder}/{kind}", MNT_DETACH)
        with suppress(FileNotFoundError):
            os.unlink(f"{folder}/{kind}")
    with suppress(FileNotFoundError):
        os.rmdir(folder)


def is_pinned(folder: str) -> bool:
    """Whether both files are namespaces. Plain files, left over on a disk by a reboot, are not."""
    nsfs = os.stat("/proc/self/ns/user").st_dev
    try:
        return all(os.stat(f"{folder}/{kind}").st_dev == nsfs for kind in _KINDS)
    except FileNotFoundError:
        return False


def occupants(*folders: str) -> list[int]:
    """Pids of the processes that live in the user namespaces pinned in these folders."""
    wanted = {f"user:[{os.stat(f'{folder}/user').st_ino}]" for folder in folders if is_pinned(folder)}
    if not wanted:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # gone meanwhile
                if os.readlink(f"/proc/{name}/ns/user") in wanted:
                    found.append(int(name))
    return found


def evict(*folders: str) -> None:
    """Kill what lives in these slots' user namespaces, and wait until it is gone, 2 s at most."""
    for _ in range(200):  # 2 s
        left = [pid for pid in occupants(*folders) if process_start(pid) is not None]  # zombies are harmless
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        time.sleep(0.01)


def mapping(inside: tuple[int, int], outside: tuple[int, int], count: int = 1) -> int:
    """An fd of a user namespace that maps (uid, gid) `inside` and the next ones to `outside`; the caller closes it.

    For mount_setattr(MOUNT_ATTR_IDMAP): `inside` are the ids on disk, `outside` those seen through the mount.
    """
    uids, gids = (str(Extent(inside[part], outside[part], count)) for part in (0, 1))
    try:
        with _child(uids, gids) as pid:
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f"map ids {inside} to {outside}: {error.strerror}") from error


@contextmanager
def _child(uids: str, gids: str) -> Iterator[int]:
    """A process in a new user namespace with these maps, that waits; it ends with the block."""
    with _children([(uids, gids)]) as (pid,):
        yield pid


@contextmanager
def _children(maps: Sequence[tuple[str, str]], then: Callable[[], None] | None = None) -> Iterator[list[int]]:
    """Processes, each in a new user namespace with its (uid, gid) maps, that did `then` in it and wait; they end with the block."""
    with ExitStack() as stack:
        found = [stack.enter_context(_forked(then)) for _ in maps]
        for (uids, gids), (pid, commands, answers) in zip(maps, found, strict=True):
            _hear(answers)
            for name, text in (("uid_map", uids), ("gid_map", gids)):
                fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, text.encode())  # in one write, or it doesn't count (user_namespaces(7))
                finally:
                    os.close(fd)
            os.write(commands, b"1")
        for _, _, answers in found:
            _hear(answers)
        yield [pid for pid, _, _ in found]


@contextmanager
def _forked(then: Callable[[], None] | None) -> Iterator[tuple[int, int, int]]:
    """A child that does `_live`: its pid, where it takes commands, where it answers."""
    to_child, from_us = os.pipe2(os.O_CLOEXEC)
    to_us, from_child = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        # Our end of its pipe must go, or it would not notice that we died.
        os.close(from_us)
        _live(to_child, from_child, then)
    try:
        os.close(to_child)
        os.close(from_child)
        yield pid, from_us, to_us
    finally:
        os.close(from_us)
        os.close(to_us)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(commands: int, answers: int, then: Callable[[], None] | None) -> None:
    """The child's whole life; it never returns into the program it was forked from."""
    try:
        unshare(CLONE_NEWUSER)
        os.write(answers, b"0\n")
        if os.read(commands, 1) and then is not None:
            then()
        os.write(answers, b"0\n")
        os.read(commands, 1)  # until we are killed, or left alone
    except OSError as error:
        os.write(answers, f"{error.errno}\n".encode())
    finally:
        os._exit(0)


def _hear(answers: int) -> None:
    code = int(os.read(answers, 16) or errno.ECHILD)
    if code:
        raise OSError(code, os.strerror(code))


def _enter_network() -> None:
    import fcntl
    import socket
    import struct

    unshare(CLONE_NEWNET)
    for name, value in _SYSCTLS:
        with suppress(FileNotFoundError):  # a kernel without IPv6
            fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, value.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        siocsifflags, iff_up = 0x8914, 1  # netdevice(7)
        fcntl.ioctl(control, siocsifflags, struct.pack("16sh14x", b"lo", iff_up))
