"""A port of the host that leads to several containers in turn: while they come and go, and for connections that there are."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devenv.engine.native.slot import firewall, namespace, network
from devenv.engine.native.slot.ids import extent
from devenv.engine.native.slot.network import Wire
from devenv.engine.native.slot.ruleset import CLOSED, Open, Protocol, Published

from .conftest import Machine, Slots, _ended, output, within

pytestmark = pytest.mark.engine

REPLICAS = range(3)

# Says its own name to whoever connects or sends, and then whatever is asked of it once more.
_REPLICA = """
import contextlib, socket, sys, threading
kind, name = sys.argv[1], sys.argv[2].encode()
if kind == "tcp":
    def talk(client):
        with client, contextlib.suppress(OSError):
            client.sendall(name)
            while client.recv(9):
                client.sendall(name)
    server = socket.create_server(("0.0.0.0", 80), backlog=128)
    print("ready", flush=True)
    while True:
        threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 80))
print("ready", flush=True)
while True:
    server.sendto(name, server.recvfrom(9)[1])
"""


@pytest.fixture
def replicas(slots: Slots) -> Iterator[Slots]:
    """Slots 0, 1 and 2, each with a server on port 80 for TCP and UDP, that answers with its number."""
    namespace.pin(slots.paths.slot(2), extent(2))
    firewall.ensure(slots.net, slots=REPLICAS)
    network.wire(slots.net, [Wire(2, slots.netns(2))])
    with ExitStack() as stack:
        for slot in REPLICAS:
            for kind in ("tcp", "udp"):
                argv = ["nsenter", f"--net={slots.netns(slot)}", sys.executable, "-c", _REPLICA, kind, str(slot)]
                server = stack.enter_context(_ended(argv))
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
        yield slots
    network.unwire(slots.net, [2])
    namespace.unpin(slots.paths.slot(2))


def shared(slots: Slots, *some: int, address: str = "0.0.0.0", kind: Protocol = "tcp") -> Open:
    return Open((Published(address, kind, 8000, tuple((slots.address(slot), 80) for slot in some)),))


def ask(netns: str, address: str, kind: str = "tcp") -> str:
    """The number of the replica that answers to a new client, or what went wrong."""
    with within(netns):
        client = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    with client:
        client.settimeout(2)
        try:
            client.connect((address, 8000))
            client.send(b"?")
            return client.recv(1).decode()
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "no answer"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", Machine.ADDRESS, "127.0.0.1"])
def test_shared_port_leads_to_one_after_the_other(replicas: Slots, kind: Protocol, address: str) -> None:
    firewall.change(replicas.net, CLOSED, shared(replicas, *REPLICAS, address=address, kind=kind))
    machine = replicas.machine
    from_host, from_outside = address != Machine.ADDRESS, address != "127.0.0.1"
    for netns, target, reached in (
        (machine.host, "127.0.0.1", from_host),
        (machine.host, Machine.ADDRESS, from_outside),
        (machine.outside, Machine.ADDRESS, from_outside),
    ):
        found = Counter(ask(netns, target, kind) for _ in range(6))
        assert found == ({"0": 2, "1": 2, "2": 2} if reached else {"refused": 6})
    assert replicas.ask(0, replicas.net.gateway, 8000, kind) in ("refused", "no answer")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_shared_port_follows_its_replicas_up_and_down_and_refuses_without_any(replicas: Slots, kind: Protocol) -> None:
    before = CLOSED
    for some in ((1,), (0, 1, 2), (0, 2), (0, 1), (2,), (), (0, 1), ()):
        after = shared(replicas, *some, kind=kind)
        firewall.change(replicas.net, before, after)
        assert not firewall.missing(replicas.net)
        for netns, address in (("/proc/self/ns/net", "127.0.0.1"), (replicas.machine.outside, Machine.ADDRESS)):
            found = {ask(netns, address, kind) for _ in range(4 if some else 1)}  # ICMP is told now and then only
            assert found == ({str(slot) for slot in some} or {"refused"}), some
        before = after
    assert "chain to_" not in output("nft", "list", "table", "inet", replicas.net.table)


def test_shared_port_moves_under_load_without_a_lost_connection(replicas: Slots) -> None:
    before = shared(replicas, 0, 1, 2)
    firewall.change(replicas.net, CLOSED, before)
    script = (
        "import socket, sys, time\n"
        "done = failed = 0\n"
        "until = time.monotonic() + 3\n"
        "while time.monotonic() < until:\n"
        "    try:\n"
        "        with socket.create_connection(('127.0.0.1', 8000), 2) as client:\n"
        "            done += client.recv(1) in b'012'\n"
        "    except OSError:\n"
        "        failed += 1\n"
        "print(done, failed)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as load:
        changes = 0
        while load.poll() is None:
            after = shared(replicas, *((0, 1, 2), (0,), (0, 2), (1, 2))[changes % 4])
            firewall.change(replicas.net, before, after)
            before = after
            changes += 1
        assert load.stdout is not None
        done, failed = map(int, load.stdout.read().split())
    assert failed == 0
    assert done > 100
    assert changes > 20


def test_shared_port_keeps_a_connection_with_its_replica(replicas: Slots) -> None:
    before = shared(replicas, 0, 1, 2)
    firewall.change(replicas.net, CLOSED, before)
    clients = [socket.create_connection(("127.0.0.1", 8000), 2) for _ in range(3)]
    assert sorted(client.recv(1) for client in clients) == [b"0", b"1", b"2"]
    for some in ((1, 2), (2,), ()):
        after = shared(replicas, *some)
        firewall.change(replicas.net, before, after)
        before = after
        for client in clients:
            client.sendall(b"?")
        assert sorted(client.recv(1) for client in clients) == [b"0", b"1", b"2"]
    for client in clients:
        client.close()


def test_shared_port_is_set_up_whole_and_missed_when_its_chain_is_flushed(replicas: Slots) -> None:
    opened = shared(replicas, 0, 1, 2)
    firewall.ensure(replicas.net, opened, REPLICAS)
    assert not firewall.missing(replicas.net)
    assert {ask("/proc/self/ns/net", "127.0.0.1") for _ in range(3)} == {"0", "1", "2"}
    table = f"inet {replicas.net.table}".split()
    (chain,) = re.findall(r"chain (to_\S+) {", output("nft", "list", "table", *table))
    subprocess.run(["nft", "flush", "chain", *table, chain], check=True)
    assert firewall.missing(replicas.net)
    assert ask("/proc/self/ns/net", "127.0.0.1") == "refused"
    firewall.ensure(replicas.net, opened, REPLICAS)
    assert {ask("/proc/self/ns/net", "127.0.0.1") for _ in range(3)} == {"0", "1", "2"}


def test_shared_port_at_one_address_goes_before_the_same_port_everywhere(replicas: Slots) -> None:
    everywhere, here = shared(replicas, 0, 1), shared(replicas, 2, address=Machine.ADDRESS)
    firewall.change(replicas.net, CLOSED, Open(everywhere.published + here.published))
    assert {ask(replicas.machine.outside, Machine.ADDRESS) for _ in range(4)} == {"2"}
    assert {ask(replicas.machine.host, "127.0.0.1") for _ in range(4)} == {"0", "1"}


def test_shared_port_of_two_hundred_replicas_is_one_rule(slots: Slots) -> None:
    many = Open((Published("0.0.0.0", "tcp", 8000, tuple((slots.address(slot), 80) for slot in range(200))),))
    firewall.change(slots.net, CLOSED, many)
    assert "mod 200" in output("nft", "list", "table", "inet", slots.net.table)
    firewall.change(slots.net, many, CLOSED)
    assert "mod" not in output("nft", "list", "map", "inet", slots.net.table, "shared_anywhere")
    assert not firewall.missing(slots.net)
