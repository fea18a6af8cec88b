"""The kernel's features that the engine stands on, each tried for real -> Checks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

from devenv.beneath import open_beneath
from devenv.errors import Unsupported
from devenv.model.host import Check
from devenv.paths import Paths

from .. import mount
from ..slot import namespace
from ..slot.ids import COUNT, host_start
from .attempt import Trouble, file_system, in_child, read, scratch

_FILE_SYSTEMS = "ext4, xfs, btrfs or tmpfs"


def checks() -> Iterator[Check]:
    """What anybody can ask."""
    yield _version()
    yield _seccomp()


def trials(paths: Paths, env: Mapping[str, str]) -> Iterator[Check]:
    """What root can try, in the order in which things build on each other."""
    yield _user_namespaces()
    yield _overlay(paths)
    yield _mapped_store(paths, env)
    yield _mapped_folder(paths, env)
    yield _cgroups()


def _version() -> Check:
    missing = [
        name
        for name, there in (("openat2", _openat2), ("mount_setattr", _mount_setattr), ("pidfd", _pidfd))
        if not there()
    ]
    found = f"Linux {os.uname().release}" + (f", without {', '.join(missing)}" if missing else "")
    return Check("kernel", not missing, found, "boot Linux 5.12 or newer (Debian 12 has 6.1)" if missing else "")


def _openat2() -> bool:
    root = os.open("/", os.O_PATH)
    try:
        os.close(open_beneath(root, ".", os.O_PATH))
    except Unsupported:
        return False
    finally:
        os.close(root)
    return True


def _mount_setattr() -> bool:
    try:
        mount.mount_setattr(-1, ())
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _seccomp() -> Check:
    there = "errno" in read("/proc/sys/kernel/seccomp/actions_avail").split()
    found, fix = ("filters", "") if there else ("none", "a kernel with CONFIG_SECCOMP_FILTER")
    return Check("seccomp", there, found, fix)


def _user_namespaces() -> Check:
    start = host_start(0)
    trouble = in_child(lambda: os.close(namespace.mapping((0, 0), (start, start), COUNT)))
    if trouble:
        return Check("user namespaces", False, trouble.cause, _turned_off() or trouble.fix or _NO_NAMESPACES)
    return Check("user namespaces", True, f"{COUNT} ids from {start}")


_NO_NAMESPACES = "a kernel with CONFIG_USER_NS; inside another container it must be allowed there"


def _turned_off() -> str:
    for name, wanted in (
        ("user.max_user_namespaces", "15000"),
        ("kernel.unprivileged_userns_clone", "1"),
    ):
        if read(f"/proc/sys/{name.replace('.', '/')}").strip() == "0":
            return f"sysctl -w {name}={wanted}"
    return ""


def _overlay(paths: Paths) -> Check:
    def attempt() -> None:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{folder}/{name}")
        mount.enter_private_namespace()
        mount.overlay([f"{folder}/lower"], f"{folder}/root", upperdir=f"{folder}/upper", workdir=f"{folder}/work")

    try:
        with scratch(paths) as folder:
            trouble = in_child(attempt)
    except OSError as error:
        return Check("overlayfs", False, _unusable(paths, error), _STORE)
    if trouble:
        fix = trouble.fix or f"modprobe overlay; or put the store on {_FILE_SYSTEMS} with DEVENV_HOME"
        return Check("overlayfs", False, f"{file_system(paths.home)}: {trouble.cause}", fix)
    return Check("overlayfs", True, f"works on {file_system(paths.home)}")


_STORE = "make the store's folder writable, free some space, or put it elsewhere with DEVENV_HOME"


def _unusable(paths: Paths, error: OSError) -> str:
    return f"the store, {paths.home}, can't be written: {error.strerror}"


def _mapped_store(paths: Paths, env: Mapping[str, str]) -> Check:
    name = "mapped ids: store"
    try:
        trouble = _cannot_map(paths, env, paths.home)
    except OSError as error:
        return Check(name, False, _unusable(paths, error), _STORE)
    if trouble is None:
        return Check(name, True, f"works on {file_system(paths.home)}")
    if trouble.fix:  # of what stops everything, not this alone
        return Check(name, False, trouble.cause, trouble.fix)
    fix = f"for speed, put the store on {_FILE_SYSTEMS} with DEVENV_HOME"
    return Check(name, True, f"{trouble.cause}: layers are copied for every slot", fix)


def _mapped_folder(paths: Paths, env: Mapping[str, str]) -> Check:
    name = "mapped ids: this folder"
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        return Check(name, False, "it was deleted", "cd somewhere else")
    try:
        trouble = _cannot_map(paths, env, folder)
    except OSError as error:
        return Check(name, False, _unusable(paths, error), _STORE)
    if trouble is None:
        return Check(name, True, f"works on {file_system(folder)}")
    fix = trouble.fix or f"put the project on {_FILE_SYSTEMS}: here it can't be mounted as a source"
    return Check(name, False, trouble.cause, fix)


def _cannot_map(paths: Paths, env: Mapping[str, str], folder: str) -> Trouble | None:
    """Why a bind mount of this folder can't map ids; None when it can. OSError when the store can't be written."""
    if env.get("DEVENV_IDMAP") == "off":
        return Trouble("DEVENV_IDMAP=off")

    def attempt() -> None:
        start = host_start(0)
        userns = namespace.mapping((0, 0), (start, start), COUNT)
        mount.enter_private_namespace()
        mount.bind(folder, place, userns=userns)

    with scratch(paths) as place:
        trouble = in_child(attempt)
    return trouble._replace(cause=f"{file_system(folder)}: {trouble.cause}") if trouble else None


def _cgroups() -> Check:
    mode, controllers = _cgroup_mode()
    missing = sorted({"memory", "cpu", "pids"} - controllers)
    if missing:
        fix = "boot with cgroup_enable=memory; in a container, pass the controllers on"
        return Check("cgroups", False, f"{mode}, without {', '.join(missing)}", fix)
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return Check("cgroups", False, f"{mode}, read-only", "mount /sys/fs/cgroup writable")
    return Check("cgroups", True, mode)


def _cgroup_mode() -> tuple[str, set[str]]:
    """`v2`, `hybrid` or `v1`, and the controllers there are."""
    root = "/sys/fs/cgroup"
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "v2", set(read(f"{root}/cgroup.controllers").split())
    folders = os.listdir(root) if os.path.isdir(root) else []
    there = {name for folder in folders for name in folder.split(",")}
    return ("hybrid" if "unified" in there else "v1"), there
