"""Containers of one environment reach each other and nobody else's, whatever they mark, send, or somebody flushes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from devenv.engine.native.slot import firewall, namespace, network
from devenv.engine.native.slot.address import FROM, INTO, PEER, mac
from devenv.engine.native.slot.ids import extent
from devenv.engine.native.slot.network import Wire
from devenv.engine.native.slot.ruleset import CLOSED, Open, Published

from .conftest import Machine, Slots, within
from .test_network_attacks import datagram, ethernet, heard, send

pytestmark = pytest.mark.engine

UNREACHABLE = {"refused", "no answer"}
OURS, THEIRS, ALONE = (0, 1), (2, 3), 4


@pytest.fixture
def five(slots: Slots) -> Iterator[Slots]:
    """Slots 0 and 1 of one environment, 2 and 3 of another, 4 of none."""
    more = range(2, 5)
    namespace.pin_all([(slots.paths.slot(slot), extent(slot)) for slot in more])
    firewall.ensure(slots.net, environments(slots), range(5))
    network.wire(slots.net, [Wire(slot, slots.netns(slot)) for slot in more])
    yield slots
    network.unwire(slots.net, more)
    for slot in more:
        namespace.unpin(slots.paths.slot(slot))


def environments(slots: Slots) -> Open:
    groups = [(slot, 1) for slot in OURS] + [(slot, (1 << 20) - 1) for slot in THEIRS]
    return Open(groups=tuple((slots.address(slot), group) for slot, group in groups))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_group_members_reach_each_other_as_themselves_and_nobody_elses(five: Slots, kind: str) -> None:
    for slot in range(5):
        five.machine.serve(five.netns(slot), "0.0.0.0", 80, kind)
    for one in range(5):
        for other in set(range(5)) - {one}:
            together = {one, other} in (set(OURS), set(THEIRS))
            said = five.ask(one, five.address(other), 80, kind)
            assert said == five.address(one) if together else said in UNREACHABLE, (one, other)
    assert five.machine.ask(five.machine.host, five.address(0), 80, kind) == five.net.gateway


def test_group_members_reach_what_they_did(five: Slots) -> None:
    five.machine.serve(five.machine.outside, "0.0.0.0", 80)
    five.machine.serve(five.machine.host, "0.0.0.0", 5432)
    assert five.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS
    assert five.ask(0, five.net.gateway, 5432) == "refused"


def test_group_that_is_left_is_left_by_connections_too(five: Slots) -> None:
    before = environments(five)
    after = before._replace(groups=before.groups[1:])
    with within(five.netns(1)):
        listener = socket.create_server(("0.0.0.0", 80))
    with within(five.netns(0)):
        client = socket.create_connection((five.address(1), 80), 2)
    accepted, _ = listener.accept()
    with listener, client, accepted:
        accepted.settimeout(0.5)
        client.sendall(b"1")
        assert accepted.recv(9) == b"1"
        firewall.change(five.net, before, after)
        with suppress(OSError):
            client.sendall(b"2")
        with pytest.raises(TimeoutError):
            accepted.recv(9)
    five.machine.serve(five.netns(3), "0.0.0.0", 80)
    assert five.ask(2, five.address(3), 80) == five.address(2)


@pytest.mark.parametrize("flushed", [False, True])
def test_group_cannot_be_entered_by_marking_packets(five: Slots, flushed: bool) -> None:
    """A mark ends with the network namespace that it was made in, here by root in there, which containers can't be."""
    five.machine.serve(five.netns(1), "0.0.0.0", 80)
    mark = INTO | FROM | PEER | 1
    rule = f"chain output {{ type route hook output priority 0; meta mark set {mark:#x}; }}"
    five.machine.run(five.netns(ALONE), "nft", f"table ip marks {{\n{rule}\n}}").check_returncode()
    if flushed:
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert five.ask(ALONE, five.address(1), 80) in UNREACHABLE


@pytest.mark.parametrize("mark", [1, PEER, INTO | PEER, INTO | FROM | PEER | 1])
def test_group_cannot_be_entered_with_a_mark_of_the_hosts_other_rules(five: Slots, mark: int) -> None:
    five.machine.serve(five.netns(1), "0.0.0.0", 80)
    chain = f"chain early {{ type filter hook prerouting priority -150; meta mark set {mark:#x}; }}"
    subprocess.run(["nft", f"table ip marks {{\n{chain}\n}}"], check=True)
    assert five.ask(ALONE, five.address(1), 80) in UNREACHABLE
    assert five.ask(2, five.address(1), 80) in UNREACHABLE
    assert five.ask(0, five.address(1), 80) == five.address(0)


def test_group_is_nothing_after_a_flush_and_comes_back(five: Slots) -> None:
    for slot in (1, 3):
        five.machine.serve(five.netns(slot), "0.0.0.0", 80)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    for one, other in ((0, 1), (2, 3), (2, 1), (ALONE, 1)):
        assert five.ask(one, five.address(other), 80) in UNREACHABLE
    firewall.ensure(five.net, environments(five), range(5))
    assert five.ask(0, five.address(1), 80) == five.address(0)
    assert five.ask(2, five.address(1), 80) in UNREACHABLE


def test_group_element_alone_opens_nothing(five: Slots) -> None:
    """Both have to be in: the sender in the map, the receiver in the set."""
    five.machine.serve(five.netns(1), "0.0.0.0", 80)
    table = five.net.table
    subprocess.run(["nft", f"add element inet {table} group {{ {five.address(ALONE)} : 0x77 }}"], check=True)
    assert five.ask(ALONE, five.address(1), 80) in UNREACHABLE
    subprocess.run(["nft", f"delete element inet {table} members {{ {five.address(1)} . 0x1 }}"], check=True)
    assert five.ask(0, five.address(1), 80) in UNREACHABLE


def test_group_isnt_joined_by_a_members_source_address(five: Slots) -> None:
    packet = datagram(five.address(0), five.address(1), 80, b"?")
    frame = ethernet(mac(five.address(ALONE)), mac(five.net.gateway), 0x0800, packet)
    own = ethernet(mac(five.address(0)), mac(five.net.gateway), 0x0800, packet)
    assert heard(five.netns(1), "0.0.0.0", 80, lambda: send(five, ALONE, [frame])) == []
    assert heard(five.netns(1), "0.0.0.0", 80, lambda: send(five, 0, [own])) == [b"?"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_group_is_not_entered_through_a_published_port(five: Slots, replicas: int) -> None:
    for slot in OURS:
        five.machine.serve(five.netns(slot), "0.0.0.0", 80)
    targets = tuple((five.address(slot), 80) for slot in OURS[:replicas])
    before = environments(five)
    ports = tuple(Published(address, "tcp", 8000, targets) for address in ("0.0.0.0", "127.0.0.1"))
    firewall.change(five.net, before, before._replace(published=ports))
    assert five.machine.ask(five.machine.host, "127.0.0.1", 8000) == five.net.gateway
    for address in ("127.0.0.1", five.net.gateway, Machine.ADDRESS):
        for slot in (*THEIRS, ALONE):
            assert five.ask(slot, address, 8000) in UNREACHABLE


@pytest.mark.parametrize("slot", [1, 2])
def test_group_has_no_ipv6(five: Slots, slot: int) -> None:
    """Even when root inside both turns it on."""
    addresses = {0: "fe80::1", slot: "fe80::2"}
    for number, address in addresses.items():
        for setting in ("eth0/disable_ipv6=0", "eth0/accept_dad=0"):
            five.machine.run(five.netns(number), "sysctl", "-w", f"net/ipv6/conf/{setting}").check_returncode()
        five.machine.run(five.netns(number), "ip", "-6", "address", "add", f"{address}/64", "dev", "eth0")
        hardware = mac(five.address(slot if number == 0 else 0))
        other = addresses[slot] if number == 0 else addresses[0]
        neighbour = ("ip", "-6", "neigh", "replace", other, "lladdr", hardware, "dev", "eth0")
        five.machine.run(five.netns(number), *neighbour).check_returncode()

    def ask() -> None:
        script = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'?', ('fe80::2%eth0', 80))"
        five.machine.run(five.netns(0), sys.executable, "-c", script).check_returncode()

    assert _heard6(five.netns(slot), ask) == b""
    assert _heard6(five.netns(0), ask_itself(five)) == b"?"  # shows that it would be heard


def ask_itself(five: Slots) -> Callable[[], None]:
    script = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'?', ('fe80::1%eth0', 80))"
    return lambda: five.machine.run(five.netns(0), sys.executable, "-c", script).check_returncode()


def _heard6(netns: str, act: Callable[[], None]) -> bytes:
    with within(netns):
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with listener:
        listener.bind(("::", 80))
        listener.settimeout(0.5)
        act()
        try:
            return listener.recv(9)
        except TimeoutError:
            return b""


def test_group_of_two_hundred_is_one_run_and_no_pairs(slots: Slots) -> None:
    """400 elements, not 40,000."""
    groups = Open(groups=tuple((slots.address(slot), 7) for slot in range(200)))
    firewall.change(slots.net, CLOSED, groups)
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    assert slots.ask(0, slots.address(1), 80) == slots.address(0)
    listed = subprocess.run(["nft", "list", "table", "inet", slots.net.table], capture_output=True, text=True).stdout
    assert listed.count(slots.net.address(150)) == 2
    firewall.change(slots.net, groups, CLOSED)
    assert slots.ask(0, slots.address(1), 80) in UNREACHABLE
