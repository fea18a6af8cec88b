"""This host -> what of it will do, and the fix for what won't. Things are tried for real, and leave nothing behind.

It needs no store that can be opened: that one can't be is what it is asked about.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from devenv.errors import DevenvError, StoreError, Unsupported
from devenv.model.host import Check
from devenv.paths import Paths

from .. import mount, process
from ..container import runtime
from ..records.state import State
from ..slot import address, firewall, pool
from . import kernel
from .attempt import PRIVILEGES, existing, in_child, read
from .outside import Outside

_SPACE = 2 << 30  # bytes that a base, some packages and their blobs want
_INODES = 100_000
_ELSEWHERE = "devenv gc; or put the store elsewhere with DEVENV_HOME"
_CAPABILITIES = {
    "sys_admin": 21,
    "net_admin": 12,
    "sys_chroot": 18,
    "mknod": 27,
    "setuid": 7,
    "kill": 5,
}  # capabilities(7)
_PROGRAMS = (
    ("conmon", "conmon", "holds the output of containers"),
    ("catatonit", "catatonit", "is their init"),
    ("mmdebstrap", "mmdebstrap", "bootstraps bases"),
    ("nft", "nftables", "is the firewall"),
    ("nsenter", "util-linux", "enters namespaces"),
)


def examine(paths: Paths, env: Mapping[str, str]) -> Sequence[Check]:
    """All checks, in the order in which things build on each other. Under a second, unless the host is slow to fork.

    Whoever isn't root is told that, and what can be said without: the rest would fail for this one reason.
    """
    root = os.geteuid() == 0
    checks = [_user(), *kernel.checks(), *(kernel.trials(paths, env) if root else ())]
    checks += [_runtime(), *(_program(*one) for one in _PROGRAMS), _uv()]
    if root:
        checks += [_interfaces(), _forwarding(), _store(paths), _own_network(paths)]
    outside = Outside(env)  # a thread: after the last check that forks
    space = [_space(paths), _inodes(paths)]
    return [*checks, outside.names(), outside.mirror(), *space]


def _user() -> Check:
    if os.geteuid() != 0:
        return Check("user", False, "not root", "sudo devenv …; rootless use comes later")
    held = next((line.split()[1] for line in read("/proc/self/status").splitlines() if line.startswith("CapEff")), "0")
    missing = [name for name, bit in _CAPABILITIES.items() if not int(held, 16) >> bit & 1]
    if missing:
        return Check("user", False, f"root, without {', '.join(missing)}", PRIVILEGES)
    return Check("user", True, "root")


# Programs ----------------------------------------------------------------------------------------


def _runtime() -> Check:
    try:
        chosen = runtime.choose("", "")
        said = process.run([chosen.path, "--version"]).stdout.decode(errors="replace").splitlines()
    except DevenvError as error:
        return Check("runtime", False, error.message, error.hint or "apt-get install crun")
    return Check("runtime", True, said[0] if said else chosen.path)


def _program(name: str, package: str, purpose: str) -> Check:
    try:
        return Check(name, True, process.find(name))
    except Unsupported:
        return Check(name, False, f"not installed; it {purpose}", f"apt-get install {package}")


def _uv() -> Check:
    try:
        from uv import find_uv_bin

        return Check("uv", True, os.fsdecode(find_uv_bin()))
    except (ImportError, FileNotFoundError):
        return Check(
            "uv", False, "not installed; it installs Python packages", "pip install uv, where devenv is installed"
        )


# The network -------------------------------------------------------------------------------------


def _interfaces() -> Check:
    """Bridge, veth pair, routing rules and firewall, set up in a network namespace that ends with the child."""
    from ..slot import network

    def attempt() -> None:
        mount.unshare(mount.CLONE_NEWNET)
        there = address.Network("dvdoctor", address.parse_subnet("10.213.0.0/20"))
        firewall.ensure(there)
        network.setup(there)
        network.wire(there, [network.Wire(0, "/proc/self/ns/net")])

    trouble = in_child(attempt)
    name = "bridge, veth, nf_tables"
    if trouble:
        fix = trouble.fix or "modprobe -a bridge veth nf_tables nf_tables_bridge nft_chain_nat nft_fib_inet"
        return Check(name, False, trouble.cause, fix)
    return Check(name, True, "work")


def _forwarding() -> Check:
    path = "/proc/sys/net/ipv4/ip_forward"
    on = read(path).strip() == "1"
    settable = on or os.access(path, os.W_OK)
    found = "on" if on else "off; the first container turns it on" if settable else "off, and read-only"
    return Check("ip_forward", settable, found, "" if settable else "sysctl -w net.ipv4.ip_forward=1")


def _store(paths: Paths) -> Check:
    if not os.path.exists(paths.state):
        return Check("store", True, f"none yet in {paths.home}")
    try:
        State(paths.state).close()
    except DevenvError as error:
        return Check("store", False, error.message, error.hint or _ELSEWHERE)
    return Check("store", True, paths.home)


def _own_network(paths: Paths) -> Check:
    """The store's own bridge and firewall: what somebody took away is put back."""
    name = "containers' network"
    if not os.path.exists(paths.state):
        return Check(name, True, "none yet")
    try:
        state = State(paths.state)
        try:
            if not any(wired for _, wired, _ in state.known_slots()):
                return Check(name, True, "none yet")
            there = pool.network(paths, state)
            if pool.healthy(paths, state):
                return Check(name, True, f"{there.bridge}, {there.subnet}")
            pool.heal(paths)
            return Check(name, True, f"{there.bridge}, {there.subnet}: bridge or firewall were gone, and were put back")
        finally:
            state.close()
    except StoreError:
        return Check(name, False, "not known: its store can't be opened", "see above")
    except DevenvError as error:
        return Check(name, False, error.message, error.hint)


# The disk ----------------------------------------------------------------------------------------


def _space(paths: Paths) -> Check:
    status = os.statvfs(existing(paths.home))
    free = status.f_bavail * status.f_frsize
    enough = free >= _SPACE
    fix = "" if enough else _ELSEWHERE
    return Check("disk space", enough, f"{free / (1 << 30):.1f} GiB free in {paths.home}", fix)


def _inodes(paths: Paths) -> Check:
    status = os.statvfs(existing(paths.home))
    if not status.f_files:
        return Check("inodes", True, "as many as are wanted")
    enough = status.f_favail >= _INODES
    fix = "" if enough else _ELSEWHERE
    return Check("inodes", enough, f"{status.f_favail} free", fix)
