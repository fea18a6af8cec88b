"""A place of its own for the benchmark: the same command line in, run again in namespaces that leave nothing behind.

dockerd and Podman rewrite the firewall and add bridges. Here they do it in a network namespace of the benchmark's own,
which reaches the outside through one veth pair and one masquerading rule; devenv runs in that namespace too, so that
all are measured under the same conditions. A PID and a mount namespace end what was left running or mounted.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

NAME = "devenv-bench"
TABLE = "devenv_bench"
OUTER = "dvbench0"
SUBNET = "198.18.77"
"""Of the range that RFC 2544 sets aside for benchmarks."""
INSIDE = "--inside"


def enter(home: str, keep: frozenset[str], argv: list[str]) -> int:
    """Run `python -m tests.bench --inside ARGV` in namespaces of its own; its code. Only `keep` of `home` stays."""
    os.makedirs(home, exist_ok=True)
    with open(f"{home}/lock", "w") as lock, ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(home, keep)
        stack.callback(_sweep, home, keep)
        stack.callback(_tidy, [path for path in _places() if not os.path.exists(path)])
        stack.enter_context(_way_out())
        # ^C reaches the whole process group: the inner process ends by it, this one waits. An exception ends the inner.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # The shell is the namespace's init: it reaps what monitors and shims leave behind, which Python would not.
        init = ["sh", "-c", '"$@"; exit $?', "init", sys.executable, "-m", "tests.bench", INSIDE, *argv]
        return subprocess.call(["nsenter", f"--net=/run/netns/{NAME}", *unshare, *init])


def _sweep(home: str, keep: frozenset[str]) -> None:
    """Remove what this run or one that was killed left; no mount of theirs outlives their namespace."""
    for entry in set(os.listdir(home)) - keep:
        subprocess.run(["rm", "-rf", "--one-file-system", f"{home}/{entry}"], check=True)


def _places() -> list[str]:
    """Where the peers write on the host whatever they are told: cgroups, and two folders of Podman's."""
    hierarchies = ["/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*")]  # v2; v1 and hybrid
    groups = [f"{hierarchy}/{parent}" for hierarchy in hierarchies for parent in ("docker", "libpod_parent")]
    return ["/var/lib/containers", "/var/cache/containers", *groups]


def _tidy(paths: list[str]) -> None:
    """Remove what wasn't there before: a cgroup by rmdir only, as that file system wants it."""
    for path in paths:
        for folder, _, files in os.walk(path, topdown=False):
            with suppress(OSError):  # a cgroup's files go with it, and cannot be removed
                for file in () if path.startswith("/sys/") else files:
                    os.unlink(f"{folder}/{file}")
                os.rmdir(folder)


@contextmanager
def _way_out() -> Iterator[None]:
    """A network namespace with a veth pair and NAT to the outside, and the host as it was afterwards."""
    uplink = _uplink()
    switch = f"/proc/sys/net/ipv4/conf/{uplink}/forwarding"
    before = _read(switch)
    _close()
    try:
        _ip("netns", "add", NAME)
        _ip("link", "add", OUTER, "type", "veth", "peer", "name", "eth0", "netns", NAME)
        _ip("addr", "add", f"{SUBNET}.1/30", "dev", OUTER)
        _ip("link", "set", OUTER, "up")
        _ip("-n", NAME, "link", "set", "lo", "up")
        _ip("-n", NAME, "addr", "add", f"{SUBNET}.2/30", "dev", "eth0")
        _ip("-n", NAME, "link", "set", "eth0", "up")
        _ip("-n", NAME, "route", "add", "default", "via", f"{SUBNET}.1")
        _write(switch, "1")
        _write(f"/proc/sys/net/ipv4/conf/{OUTER}/forwarding", "1")
        rule = f'ip saddr {SUBNET}.0/30 oifname != "{OUTER}" masquerade'
        chain = f"chain postrouting {{ type nat hook postrouting priority srcnat; policy accept; {rule}; }};"
        subprocess.run(["nft", f"table ip {TABLE} {{ {chain} }}"], check=True)
        yield
    finally:
        _close()
        # Somebody who needs forwarding on the whole host may have come meanwhile.
        if _read("/proc/sys/net/ipv4/ip_forward") == "0":
            _write(switch, before)


def _close() -> None:
    """Remove what `_way_out` made; absence is fine."""
    for argv in (["nft", "delete", "table", "ip", TABLE], ["ip", "link", "del", OUTER], ["ip", "netns", "del", NAME]):
        subprocess.run(argv, check=False, stderr=subprocess.DEVNULL)


def _uplink() -> str:
    routes = json.loads(
        subprocess.run(["ip", "-j", "route", "show", "default"], check=True, capture_output=True).stdout or b"[]"
    )
    if not routes:
        sys.exit("bench: this machine has no default route, and the builds need the package mirrors")
    return str(routes[0]["dev"])


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def furnish() -> None:
    """Inside: private /run and /dev/shm, with the host's name servers kept."""
    stub, upstream = os.path.realpath("/etc/resolv.conf"), "/run/systemd/resolve/resolv.conf"
    text = _read(stub)
    if "nameserver 127." in text and os.path.exists(upstream):
        text = _read(upstream)  # a loopback name server is not in this network namespace
    for folder in ("/run", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    if stub.startswith("/run/"):
        os.makedirs(os.path.dirname(stub))
        _write(stub, text + "\n")
