"""A store of its own per test, gone without a trace afterwards; and a pretend machine with a pretend outside."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple, TypeVar

import pytest

from devenv.engine.native.mount import CLONE_NEWNET, setns
from devenv.engine.native.records.state import State
from devenv.engine.native.slot import firewall, namespace, network
from devenv.engine.native.slot.address import Network, bridge_name, parse_subnet
from devenv.engine.native.slot.ids import extent
from devenv.engine.native.slot.network import Wire
from devenv.paths import Paths
from tests.conftest import SHARED
from tests.engine.project import Project

T = TypeVar("T")


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Paths]:
    """A store in a temporary folder; afterwards no link, table, rule, mount, cgroup or process of it may be left."""
    if "machine" in request.fixturenames:
        # Taken down in the namespace it was made in: the host's own stores may have the same subnet.
        request.getfixturevalue("machine")
    with temporary_store() as paths:
        yield paths


@pytest.fixture(scope="session")
def bootstrapped() -> Bootstrapped:
    return bootstrap_once()


@pytest.fixture(scope="session")
def base(request: pytest.FixtureRequest) -> str:
    """`oci:DIR:base`: so that other stores have Debian in 1.5 s.

    DEVENV_TEST_BASE names one that is there already: 20 s less for whoever runs one test again and again.
    """
    if "DEVENV_TEST_BASE" in os.environ:
        return os.environ["DEVENV_TEST_BASE"]
    made: Bootstrapped = request.getfixturevalue("bootstrapped")
    return f"oci:{made.layout}:base"


@pytest.fixture(scope="module")
def store() -> Iterator[Paths]:
    """A store that the tests of a module share; checked for leaks at the module's end."""
    with temporary_store() as paths:
        yield paths


@pytest.fixture
def project(store: Paths, base: str) -> Iterator[Project]:
    """A project of the test's own in the module's store, brought down afterwards."""
    # Not by mkdtemp: with `_` at its end, it were no image's tag.
    made = Project(store, f"{os.path.dirname(store.home)}/project-{os.urandom(4).hex()}", base)
    os.chmod(made.folder, 0o755)
    made.manifest()
    yield made
    made.down()


class Bootstrapped(NamedTuple):
    """Debian as our own workshop bootstrapped it: a layout, a cache, the packages and the lock they are made of, the digest."""

    layout: str
    cache: str
    packages: str
    lock: str
    digest: str


def bootstrap_once() -> Bootstrapped:
    """Made once in a run, by whichever worker comes first, from the mirror, in a store of its own."""
    place = f"{os.environ[SHARED]}/base"
    with open(f"{place}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(place):
            with temporary_store() as paths:
                project = Project(paths, f"{os.path.dirname(paths.home)}/base", "bootstrap:bookworm")
                project.write("Containerfile", "FROM bootstrap:bookworm\n")
                project.manifest("from: file:Containerfile\n")
                project.write("digest", project.run("build", "--tag", "base", "--cache-to", "cache").strip())
                os.rename(project.layout("base"), f"{project.folder}/layout")
                os.rename(paths.packages, f"{project.folder}/packages")
                os.rename(project.folder, place)
    with open(f"{place}/digest", encoding="ascii") as file:
        digest = file.read()
    return Bootstrapped(f"{place}/layout", f"{place}/cache", f"{place}/packages", f"{place}/devenv.lock.yml", digest)


@contextmanager
def temporary_store() -> Iterator[Paths]:
    """A store that leaves nothing."""
    folder = tempfile.mkdtemp(prefix="dv", dir="/var/tmp")
    paths = Paths(f"{folder}/h", f"{folder}/r")
    os.makedirs(paths.home)
    os.makedirs(paths.run)
    os.chmod(folder, 0o755)
    identities = _cgroups()
    try:
        yield paths
    finally:
        left = _taken_down(paths, identities)
    assert left == []


def _taken_down(paths: Paths, before: set[str]) -> list[str]:
    """What was left of a store when it was taken down. It is gone all the same."""
    if os.path.exists(paths.state):
        pool(paths, "--teardown")
    left = leaks(paths) + _abandoned(before, paths.run)
    if left:
        _end_containers(paths)
        pool(paths, "--teardown")
    folder = os.path.dirname(paths.home)
    if not any(f" {folder}" in line for line in _mounts()):
        shutil.rmtree(folder)
    return left


def _end_containers(paths: Paths) -> None:
    """End all that any runtime knows of in this store, what a broken `down` left, and give up its slots."""
    with suppress(FileNotFoundError):
        for runtime in os.listdir(paths.runtime):
            root = f"{paths.runtime}/{runtime}"
            for identifier in os.listdir(root):
                subprocess.run([runtime, "--root", root, "delete", "--force", identifier], check=False)
    state = State(paths.state)
    for number, _, _ in state.known_slots():
        state.release_slot(number)
    state.close()


def _abandoned(before: set[str], run: str) -> list[str]:
    """New cgroups that nobody is in and nobody removes, but those of other stores: they come and go on their own."""
    deadline = time.monotonic() + 3
    while left := sorted(one for one in _cgroups() - before if _idle(one) and not _elsewhere(one, run)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return left


def _elsewhere(cgroup: str, run: str) -> bool:
    """Whether another store in use has a container of this name. Each has its slots mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        places = {line.split()[4] for line in file}
    stores = {place.removesuffix("/slots") for place in places if place.endswith("/slots")} - {run}
    return any(os.path.exists(f"{store}/bundles/{os.path.basename(cgroup)}") for store in stores)


def _idle(cgroup: str) -> bool:
    with suppress(OSError), open(f"{cgroup.partition(' ')[2]}/cgroup.procs", encoding="ascii") as file:
        return not file.read()
    return False


@pytest.fixture
def state(home: Paths) -> Iterator[State]:
    """The store's state. It has the first block of slots, as stores once had: their numbers begin with 0."""
    opened = State(home.state)
    opened.set("blocks", "[0]")
    yield opened
    opened.close()


def pool(paths: Paths, *arguments: str) -> None:
    """Run the pool's own program in the foreground."""
    argv = [
        sys.executable,
        "-m",
        "devenv.engine.native.slot.refill",
        "--home",
        paths.home,
        "--run",
        paths.run,
        *arguments,
    ]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def leaks(paths: Paths) -> list[str]:
    """What is left of a store in the kernel. Background processes get 5 s to end."""
    folder = os.path.dirname(paths.home)
    bridge = bridge_name(paths.run)
    deadline = time.monotonic() + 5
    while (left := _processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left += [f"link {link['ifname']}" for link in json.loads(output("ip", "-j", "link")) if bridge in link["ifname"]]
    left += [f"table {line}" for line in output("nft", "list", "ruleset").splitlines() if bridge[2:] in line]
    left += [f"mount {line}" for line in _mounts() if folder in line]
    state = State(paths.state) if os.path.exists(paths.state) else None
    if state is not None:
        subnet = state.setting("subnet")
        # A store elsewhere may have the same subnet: `machine` tests choose theirs in a namespace of their own.
        left += [
            f"rule {line}"
            for line in output("ip", "rule").splitlines()
            if subnet and subnet in line and (bridge in line or not re.search(r"\bdv[0-9a-f]{6}\b", line))
        ]
        state.close()
    return left


def output(*argv: str) -> str:
    """What a foreign tool says."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _processes(folder: str) -> list[str]:
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) != os.getpid():
            with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
                if folder.encode() in words:
                    found.append(f"process {pid} {words.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def _mounts() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line for line in file if "/var/tmp/dv" in line]


def _cgroups() -> set[str]:
    """The cgroups of our containers, in every hierarchy."""
    return {
        f"cgroup {folder}/{name}"
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        if os.path.basename(folder) == "devenv"
        for name in names
    }


class Machine:
    """A pretend host, in whose network namespace the test runs, and a neighbour on its network: 198.51.100.1 and .2."""

    ADDRESS = "198.51.100.1"
    OUTSIDE = "198.51.100.2"

    def __init__(self, host: str, outside: str, stack: ExitStack) -> None:
        self.host = host
        self.outside = outside
        self._stack = stack

    def run(self, netns: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["nsenter", f"--net={netns}", *argv], capture_output=True, text=True, timeout=30)

    def serve(self, netns: str, address: str, port: int, kind: str = "tcp") -> None:
        """A server that answers with the address of whoever asked, until the test's end."""
        argv = ["nsenter", f"--net={netns}", sys.executable, "-c", _SERVER, address, str(port), kind]
        server = self._stack.enter_context(_ended(argv))
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"

    def ask(self, netns: str, address: str, port: int, kind: str = "tcp", device: str = "") -> str:
        """The server's answer: the asker's address as the server saw it; or what went wrong: `refused`, `no answer`."""
        return self.run(netns, sys.executable, "-c", _CLIENT, address, str(port), kind, device).stdout.strip()


_SERVER = """
import socket, sys
address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if kind == "tcp":
    server = socket.create_server((address, port))
    print("ready", flush=True)
    while True:
        client, peer = server.accept()
        client.sendall(peer[0].encode())
        client.close()
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind((address, port))
print("ready", flush=True)
while True:
    _, peer = server.recvfrom(9)
    server.sendto(peer[0].encode(), peer)
"""

_CLIENT = """
import socket, sys
address, port, kind, device = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
client = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
client.settimeout(1)
if device:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
try:
    client.connect((address, port))
    if kind == "udp":
        client.send(b"?")
    print(client.recv(99).decode() or "closed")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("no answer")
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    """The test runs in a network namespace of its own, so that flushing a firewall hurts nobody else on this host."""
    with ExitStack() as stack:
        host, outside = (_namespace(stack) for _ in range(2))
        made = Machine(f"/proc/{host}/ns/net", f"/proc/{outside}/ns/net", stack)
        link = ["ip", "link", "add", "up0", "netns", str(host), "type", "veth", "peer", "lan0", "netns", str(outside)]
        subprocess.run(link, check=True)
        for netns, device, address in ((made.host, "up0", made.ADDRESS), (made.outside, "lan0", made.OUTSIDE)):
            made.run(netns, "ip", "link", "set", "lo", "up").check_returncode()
            made.run(netns, "ip", "address", "add", f"{address}/24", "dev", device).check_returncode()
            made.run(netns, "ip", "link", "set", device, "up").check_returncode()
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        stack.callback(os.close, before)
        there = os.open(made.host, os.O_RDONLY)
        stack.callback(os.close, there)
        setns(there, CLONE_NEWNET)
        stack.callback(setns, before, CLONE_NEWNET)
        yield made


class Slots:
    """Two wired slots on a pretend machine."""

    def __init__(self, paths: Paths, machine: Machine) -> None:
        self.paths = paths
        self.machine = machine
        self.net = Network(bridge_name(paths.run), parse_subnet("10.213.0.0/20"))

    def netns(self, slot: int) -> str:
        return f"{self.paths.slot(slot)}/net"

    def address(self, slot: int) -> str:
        return self.net.address(slot)

    def ask(self, slot: int, address: str, port: int, kind: str = "tcp", device: str = "") -> str:
        return self.machine.ask(self.netns(slot), address, port, kind, device)


@pytest.fixture
def slots(home: Paths, machine: Machine) -> Iterator[Slots]:
    made = Slots(home, machine)
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("0")
    firewall.ensure(made.net, slots=[0, 1])
    network.setup(made.net)
    namespace.prepare(home.slots)
    for slot in (0, 1):
        namespace.pin(home.slot(slot), extent(slot))
    network.wire(made.net, [Wire(slot, made.netns(slot)) for slot in (0, 1)])
    yield made
    network.unwire(made.net, [0, 1])
    for slot in (0, 1):
        namespace.unpin(home.slot(slot))
    namespace.unprepare(home.slots)
    assert firewall.teardown(made.net) == []
    assert network.teardown(made.net) == []


@contextmanager
def within(netns: str) -> Iterator[None]:
    """This process in another network namespace; sockets made there stay there."""
    before, there = (os.open(path, os.O_RDONLY) for path in ("/proc/self/ns/net", netns))
    setns(there, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(before, CLONE_NEWNET)
        os.close(before)
        os.close(there)


def _namespace(stack: ExitStack) -> int:
    process = stack.enter_context(_ended(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"]))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process.pid


@contextmanager
def _ended(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def eventually(promise: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it becomes true within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if promise():
            return True
        time.sleep(0.02)
    return promise()


def sleeping(seconds: str) -> list[int]:
    """Pids of the processes that sleep for so long, on the host or inside."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if file.read() == f"sleep\0{seconds}\0".encode():
                found.append(int(name))
    return found


def settled(look: Callable[[], T], wanted: T) -> T:
    """What is seen once it is as wanted, or in the end: what is told of a change is written down after the change itself."""
    eventually(lambda: look() == wanted)
    return look()
