"""This host -> what of it will do, and the fix for what won't. Things are tried for real, and leave nothing behind.

What mounts or makes interfaces does so in a child with namespaces of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from devenv.beneath import open_beneath, remove_tree
from devenv.errors import DevenvError, EngineError, Unsupported
from devenv.model.host import Check
from devenv.paths import Paths

from .. import mount, process
from ..container import runtime
from ..slot import address, firewall, namespace, pool
from ..slot.ids import COUNT, host_start
from ..state import State
from . import bootstrap

_SPACE = 2 << 30  # bytes that a base, some packages and their blobs want
_INODES = 100_000
_NETWORK_PATIENCE = 0.7  # seconds that a name or a mirror may take to answer
_FILE_SYSTEMS = "ext4, xfs, btrfs or tmpfs"
_PROGRAMS = (
    ("conmon", "conmon", "holds the output of containers"),
    ("catatonit", "catatonit", "is their init"),
    ("mmdebstrap", "mmdebstrap", "bootstraps bases"),
    ("nft", "nftables", "is the firewall"),
    ("nsenter", "util-linux", "enters namespaces"),
)


def examine(paths: Paths, env: Mapping[str, str]) -> Sequence[Check]:
    """All checks, in the order in which things build on each other. Under a second, unless the host is slow to fork."""
    checks = [_user(), _kernel(), _seccomp(), _user_namespaces(), _overlay(paths)]
    checks += [_mapped_store(paths, env), _mapped_folder(paths, env)]
    checks += [_runtime(), _cgroups(), *(_program(*one) for one in _PROGRAMS), _uv()]
    checks += [_interfaces(), _forwarding(), _own_network(paths)]
    outside = _Outside(env)  # a thread: after the last check that forks
    space = [_space(paths), _inodes(paths)]
    return [*checks, outside.names(), outside.mirror(), *space]


def _user() -> Check:
    root = os.geteuid() == 0
    return Check(
        "user", root, "root" if root else "not root", "" if root else "sudo devenv …; rootless use comes later"
    )


# The kernel --------------------------------------------------------------------------------------


def _kernel() -> Check:
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
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    there = "errno" in actions
    return Check(
        "seccomp", there, "filters" if there else "none", "" if there else "a kernel with CONFIG_SECCOMP_FILTER"
    )


def _user_namespaces() -> Check:
    start = host_start(0)
    try:
        os.close(namespace.mapping((0, 0), (start, start), COUNT))
    except EngineError as error:
        return Check("user namespaces", False, error.message, _namespace_fix())
    return Check("user namespaces", True, f"{COUNT} ids from {start}")


def _namespace_fix() -> str:
    for name, wanted in (
        ("user.max_user_namespaces", "15000"),
        ("kernel.unprivileged_userns_clone", "1"),
    ):
        if _read(f"/proc/sys/{name.replace('.', '/')}").strip() == "0":
            return f"sysctl -w {name}={wanted}"
    return "a kernel with CONFIG_USER_NS; inside another container it must be allowed there"


def _overlay(paths: Paths) -> Check:
    fix = f"modprobe overlay; or put the store on {_FILE_SYSTEMS} with DEVENV_HOME"

    def attempt() -> None:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{folder}/{name}")
        mount.enter_private_namespace()
        mount.overlay([f"{folder}/lower"], f"{folder}/root", upperdir=f"{folder}/upper", workdir=f"{folder}/work")

    try:
        with _scratch(paths) as folder:
            trouble = _in_child(attempt)
    except OSError as error:
        trouble = f"{paths.drafts}: {error.strerror}"
    where = f"works on {_file_system(paths.home)}"
    return Check("overlayfs", not trouble, trouble or where, fix if trouble else "")


def _mapped_store(paths: Paths, env: Mapping[str, str]) -> Check:
    trouble = "DEVENV_IDMAP=off" if env.get("DEVENV_IDMAP") == "off" else _cannot_map(paths, paths.home)
    if trouble:
        fix = f"for speed, put the store on {_FILE_SYSTEMS} with DEVENV_HOME"
        return Check("mapped ids: store", True, f"{trouble}: layers are copied for every slot", fix)
    return Check("mapped ids: store", True, f"works on {_file_system(paths.home)}")


def _mapped_folder(paths: Paths, env: Mapping[str, str]) -> Check:
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        return Check("mapped ids: this folder", False, "it was deleted", "cd somewhere else")
    trouble = "DEVENV_IDMAP=off" if env.get("DEVENV_IDMAP") == "off" else _cannot_map(paths, folder)
    fix = f"put the project on {_FILE_SYSTEMS}: here it can't be mounted as a source" if trouble else ""
    return Check("mapped ids: this folder", not trouble, trouble or f"works on {_file_system(folder)}", fix)


def _cannot_map(paths: Paths, folder: str) -> str:
    """Why a bind mount of this folder can't map ids; "" when it can."""

    def attempt() -> None:
        start = host_start(0)
        userns = namespace.mapping((0, 0), (start, start), COUNT)
        mount.enter_private_namespace()
        mount.bind(folder, place, userns=userns)

    try:
        with _scratch(paths) as place:
            trouble = _in_child(attempt)
    except OSError as error:
        return f"{paths.drafts}: {error.strerror}"
    return f"{_file_system(folder)}: {trouble}" if trouble else ""


def _cgroups() -> Check:
    mode, controllers = _cgroup_mode()
    missing = sorted({"memory", "cpu", "pids"} - controllers)
    if missing:
        return Check(
            "cgroups",
            False,
            f"{mode}, without {', '.join(missing)}",
            "boot with cgroup_enable=memory; in a container, pass the controllers on",
        )
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return Check("cgroups", False, f"{mode}, read-only", "mount /sys/fs/cgroup writable")
    try:
        chosen = os.path.basename(runtime.choose("", "").path)
    except Unsupported:
        chosen = ""
    if mode == "hybrid" and chosen == "crun":
        return Check(
            "cgroups",
            False,
            "hybrid, which crun refuses",
            "apt-get install runc; or boot with systemd.unified_cgroup_hierarchy=1",
        )
    return Check("cgroups", True, mode)


def _cgroup_mode() -> tuple[str, set[str]]:
    """`v2`, `hybrid` or `v1`, and the controllers there are."""
    root = "/sys/fs/cgroup"
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "v2", set(_read(f"{root}/cgroup.controllers").split())
    there = {name for folder in _list(root) for name in folder.split(",")}
    return ("hybrid" if "unified" in there else "v1"), there


# Programs ----------------------------------------------------------------------------------------


def _runtime() -> Check:
    try:
        chosen = runtime.choose("", "")
        said = process.run([chosen.path, "--version"]).stdout.decode(errors="replace").splitlines()
    except DevenvError as error:
        return Check("runtime", False, error.message, error.hint or "apt-get install runc")
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

    trouble = _in_child(attempt)
    fix = "modprobe -a bridge veth nf_tables nft_chain_nat nft_fib_inet" if trouble else ""
    return Check("bridge, veth, nf_tables", not trouble, trouble or "work", fix)


def _forwarding() -> Check:
    path = "/proc/sys/net/ipv4/ip_forward"
    on = _read(path).strip() == "1"
    settable = on or os.access(path, os.W_OK)
    found = "on" if on else "off; the first container turns it on" if settable else "off, and read-only"
    return Check("ip_forward", settable, found, "" if settable else "sysctl -w net.ipv4.ip_forward=1")


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
    except DevenvError as error:
        return Check(name, False, error.message, error.hint)


class _Outside:
    """Name servers and mirror, asked by a thread: an answer that is late counts as none."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.resolved = self.reached = False
        self.trouble = ""
        self.uri = ""
        try:
            self.uri = bootstrap.archive().main
        except EngineError as error:
            self.trouble = error.message
        self.host, self.port = _endpoint(self.uri, env)
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def names(self) -> Check:
        with_servers = address.nameservers(_read("/etc/resolv.conf"), _read("/run/systemd/resolve/resolv.conf"), "")
        servers = [server or with_servers[1] for server in with_servers[0]]
        if not servers:
            return Check("name servers", False, "/etc/resolv.conf names none (IPv4)", "name one in /etc/resolv.conf")
        self._thread.join(_NETWORK_PATIENCE)
        found = ", ".join(servers)
        if self.uri and not self.resolved:
            return Check(
                "name servers", False, f"{found}: {self.host} isn't found", "see /etc/resolv.conf, and the firewall"
            )
        return Check("name servers", True, found)

    def mirror(self) -> Check:
        if not self.uri:
            return Check("package mirror", False, self.trouble, "say `mirror: URL` in the manifest")
        self._thread.join(_NETWORK_PATIENCE)
        if self.reached:
            return Check("package mirror", True, self.uri)
        why = self.trouble or "no answer"
        return Check(
            "package mirror", False, f"{self.uri}: {why}", "set http_proxy, or say `mirror: URL` in the manifest"
        )

    def _ask(self) -> None:
        import socket

        if not self.host:
            return
        try:
            socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.resolved = True
            socket.create_connection((self.host, self.port), 2).close()
            self.reached = True
        except OSError as error:
            self.trouble = error.strerror or str(error)


def _endpoint(uri: str, env: Mapping[str, str]) -> tuple[str, int]:
    """Host and port of whom apt would connect to for this URI: its proxy, or the mirror itself. ("", 0) without one."""
    from urllib.parse import urlsplit

    scheme = urlsplit(uri).scheme
    proxy = env.get(f"{scheme}_proxy") or env.get(f"{scheme}_proxy".upper())
    if proxy:
        uri = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(uri)
        return parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return "", 0


# The disk ----------------------------------------------------------------------------------------


def _space(paths: Paths) -> Check:
    status = os.statvfs(_existing(paths.home))
    free = status.f_bavail * status.f_frsize
    enough = free >= _SPACE
    fix = "" if enough else "devenv gc; or put the store elsewhere with DEVENV_HOME"
    return Check("disk space", enough, f"{free / (1 << 30):.1f} GiB free in {paths.home}", fix)


def _inodes(paths: Paths) -> Check:
    status = os.statvfs(_existing(paths.home))
    if not status.f_files:
        return Check("inodes", True, "as many as are wanted")
    enough = status.f_favail >= _INODES
    fix = "" if enough else "devenv gc; or put the store elsewhere with DEVENV_HOME"
    return Check("inodes", enough, f"{status.f_favail} free", fix)


# Helpers of the checks -----------------------------------------------------------------------------


def _in_child(attempt: Callable[[], None]) -> str:
    """Try it in a process of its own, which takes namespaces and mounts with it; what went wrong, "" when nothing did."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except OSError as error:
            os.write(writing, (error.strerror or str(error)).encode()[:4000])
        except DevenvError as error:
            os.write(writing, error.message.encode()[:4000])
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return os.read(reading, 4096).decode(errors="replace")
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


@contextmanager
def _scratch(paths: Paths) -> Iterator[str]:
    """A folder in the store, locked like any draft, gone afterwards."""
    os.makedirs(paths.drafts, 0o700, exist_ok=True)
    folder = f"{paths.drafts}/doctor-{os.urandom(8).hex()}"
    os.mkdir(folder, 0o700)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        remove_tree(folder)
        os.close(lock)


def _file_system(path: str) -> str:
    """The type of the file system that holds a path, as mountinfo has it."""
    device = os.stat(_existing(path)).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return "this file system"


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
