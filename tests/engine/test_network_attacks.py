"""A slot as an attacker: frames made by hand by root inside, which containers can't be, against neighbours, host and clouds."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from devenv.engine.native.slot import firewall, flows
from devenv.engine.native.slot.address import mac
from devenv.engine.native.slot.ruleset import CLOSED, Lent, Open, Published

from .conftest import Machine, Slots, output, within

pytestmark = pytest.mark.engine

UNREACHABLE = {"refused", "no answer"}
METADATA = "169.254.169.254"

# Writes frames to eth0: each word is the hex of one.
_FRAMES = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind(("eth0", 0))
    for word in sys.argv[1:]:
        wire.send(bytes.fromhex(word))
"""


def checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return (0xFFFF - ((total & 0xFFFF) + (total >> 16))).to_bytes(2, "big")


def ethernet(source: str, target: str, kind: int, payload: bytes) -> str:
    return (bytes.fromhex((target + source).replace(":", "")) + kind.to_bytes(2, "big") + payload).hex()


def datagram(source: str, target: str, port: int, said: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram (without checksum)."""
    udp = (9).to_bytes(2, "big") + port.to_bytes(2, "big") + (8 + len(said)).to_bytes(2, "big") + bytes(2) + said
    start = bytes([0x45, 0]) + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + bytes([64, 17])
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    return start + checksum(start + bytes(2) + ends) + ends + udp


def arp(operation: int, hardware: str, address: str, target: str) -> bytes:
    head = bytes.fromhex("0001080006 04".replace(" ", "")) + operation.to_bytes(2, "big")
    sender = bytes.fromhex(hardware.replace(":", "")) + socket.inet_aton(address)
    return head + sender + bytes(6) + socket.inet_aton(target)


def send(slots: Slots, slot: int, frames: Sequence[str]) -> None:
    slots.machine.run(slots.netns(slot), sys.executable, "-c", _FRAMES, *frames).check_returncode()


def heard(netns: str, address: str, port: int, act: Callable[[], None]) -> list[bytes]:
    """What datagrams say that arrive there within half a second of the last."""
    with within(netns):
        listener = socket.socket(type=socket.SOCK_DGRAM)
    with listener:
        listener.bind((address, port))
        listener.settimeout(0.5)
        act()
        found = []
        try:
            while True:
                found.append(listener.recv(99))
        except TimeoutError:
            return found


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("where", ["outside", "host"])
def test_attack_spoofed_source_goes_nowhere(slots: Slots, where: str, guarded: bool) -> None:
    target = Machine.OUTSIDE if where == "outside" else Machine.ADDRESS
    sources = {
        b"neighbour": slots.address(1),
        b"gateway": slots.net.gateway,
        b"host": Machine.ADDRESS,
        b"stranger": "203.0.113.9",
        b"loopback": "127.0.0.1",
        b"own": slots.address(0),
    }
    if not guarded:  # shows what the table of the bridge is for
        subprocess.run(["nft", "delete", "table", "bridge", slots.net.table], check=True)
    frames = [
        ethernet(mac(slots.address(0)), mac(slots.net.gateway), 0x0800, datagram(source, target, 53, said))
        for said, source in sources.items()
    ]

    found = heard(
        slots.machine.outside if where == "outside" else slots.machine.host, target, 53, lambda: send(slots, 0, frames)
    )

    assert found == ([b"own"] if guarded else [b"neighbour", b"own"])


def test_attack_frames_of_another_kind_or_sender_change_nothing(slots: Slots) -> None:
    """Bogus ARP, in requests and answers, and a neighbour's or the gateway's hardware address as one's own."""
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    before = output("ip", "neigh", "show", "dev", slots.net.bridge)
    mine, gateway, unused = mac(slots.address(0)), slots.net.gateway, slots.address(7)
    everybody = "ff:ff:ff:ff:ff:ff"
    claims = [arp(way, mine, address, gateway) for way in (1, 2) for address in (slots.address(1), gateway, unused)]
    frames = [ethernet(mine, target, 0x0806, claim) for claim in claims for target in (everybody, mac(gateway))]
    for thief in (mac(slots.address(1)), mac(gateway)):
        packet = datagram(slots.address(0), gateway, 53, b"?")
        frames += [ethernet(thief, mac(gateway), 0x0800, packet), ethernet(thief, everybody, 0x88CC, bytes(46))]

    send(slots, 0, frames * 3)

    assert output("ip", "neigh", "show", "dev", slots.net.bridge) == before
    assert slots.machine.ask(slots.machine.host, slots.address(1), 80) == gateway
    assert slots.ask(1, Machine.OUTSIDE, 80) == Machine.ADDRESS


@pytest.mark.parametrize("guarded", [True, False])
def test_attack_frame_for_a_neighbour_by_its_hardware_address(slots: Slots, guarded: bool) -> None:
    if not guarded:  # every single wall would hold it
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        for slot in (0, 1):
            link = slots.net.link(slot)
            subprocess.run(["bridge", "link", "set", "dev", link, "isolated", "off"], check=True)
            subprocess.run(
                ["bridge", "fdb", "replace", mac(slots.address(slot)), "dev", link, "master", "static"], check=True
            )
    packet = datagram(slots.address(0), slots.address(1), 80, b"?")
    frame = ethernet(mac(slots.address(0)), mac(slots.address(1)), 0x0800, packet)

    found = heard(slots.netns(1), "0.0.0.0", 80, lambda: send(slots, 0, [frame]))

    assert found == ([] if guarded else [b"?"])


@pytest.mark.parametrize("guarded", [True, False])
def test_attack_ipv6_link_local_does_not_reach_the_host(slots: Slots, guarded: bool) -> None:
    """Even when root inside turns it on, and an administrator of the host turned it on for the bridge."""
    for netns, device in ((slots.netns(0), "eth0"), (slots.netns(1), "eth0"), (slots.machine.host, slots.net.bridge)):
        for setting in (f"{device}/disable_ipv6=0", f"{device}/accept_dad=0"):
            slots.machine.run(netns, "sysctl", "-w", f"net/ipv6/conf/{setting}").check_returncode()
        slots.machine.run(
            netns, "ip", "-6", "address", "add", "fe80::1" if device != "eth0" else "fe80::2", "dev", device
        )
    if not guarded:
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    frame = ethernet(mac(slots.address(0)), mac(slots.net.gateway), 0x86DD, _ipv6(b"?"))
    with within(slots.machine.host):
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with listener:
        listener.bind(("::", 53))
        listener.settimeout(0.5)
        send(slots, 0, [frame])
        try:
            found = listener.recv(9)
        except TimeoutError:
            found = b""

    assert found == (b"" if guarded else b"?")


def _ipv6(said: bytes) -> bytes:
    """A datagram from fe80::2 to fe80::1, port 53."""
    ends = socket.inet_pton(socket.AF_INET6, "fe80::2") + socket.inet_pton(socket.AF_INET6, "fe80::1")
    length = (8 + len(said)).to_bytes(2, "big")
    udp = (9).to_bytes(2, "big") + (53).to_bytes(2, "big") + length
    padded = said + bytes(len(said) % 2)
    total = checksum(ends + bytes(2) + length + bytes(3) + bytes([17]) + udp + bytes(2) + padded)
    return bytes([0x60, 0, 0, 0]) + length + bytes([17, 64]) + ends + udp + total + said


@pytest.mark.parametrize("address", ["172.17.0.1", "203.0.113.1", Machine.ADDRESS])
def test_attack_hosts_services_are_closed_at_every_address_it_has(slots: Slots, address: str) -> None:
    if address != Machine.ADDRESS:
        slots.machine.run(slots.machine.host, "ip", "link", "add", "other0", "type", "bridge").check_returncode()
        slots.machine.run(slots.machine.host, "ip", "link", "set", "other0", "up").check_returncode()
        slots.machine.run(slots.machine.host, "ip", "address", "add", f"{address}/24", "dev", "other0")
    for kind in ("tcp", "udp"):
        slots.machine.serve(slots.machine.host, "0.0.0.0", 8080, kind)
        assert slots.machine.ask(slots.machine.host, address, 8080, kind) == address
        assert slots.ask(0, address, 8080, kind) in UNREACHABLE


def test_attack_host_hears_no_broadcast_or_multicast(slots: Slots) -> None:
    with within(slots.machine.host):
        listener = socket.socket(type=socket.SOCK_DGRAM)
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton(slots.net.gateway)
    targets = {"224.0.0.251": "01:00:5e:00:00:fb", "255.255.255.255": "ff:ff:ff:ff:ff:ff"}
    targets["10.213.15.255"] = targets["255.255.255.255"]
    with listener:
        listener.bind(("0.0.0.0", 5353))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        listener.settimeout(0.5)
        own = mac(slots.address(0))
        send(
            slots,
            0,
            [ethernet(own, to, 0x0800, datagram(slots.address(0), at, 5353, b"?")) for at, to in targets.items()],
        )
        with pytest.raises(TimeoutError):
            listener.recv(9)


@pytest.mark.parametrize("guarded", [True, False])
def test_attack_route_asked_for_by_an_option_is_not_taken(slots: Slots, guarded: bool) -> None:
    """Loose source routing needs no privilege; a host may allow it elsewhere."""
    willing = [(slots.machine.host, "all"), (slots.machine.outside, "all"), (slots.machine.outside, "lan0")]
    for netns, name in [*willing, *([] if guarded else [(slots.machine.host, slots.net.bridge)])]:
        slots.machine.run(netns, "sysctl", "-w", f"net/ipv4/conf/{name}/accept_source_route=1").check_returncode()

    def ask() -> None:
        with within(slots.netns(0)), socket.socket(type=socket.SOCK_DGRAM) as client:
            via = bytes([0x83, 7, 4]) + socket.inet_aton(slots.net.gateway) + bytes(1)
            client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, via)
            client.sendto(b"?", (Machine.OUTSIDE, 53))

    assert heard(slots.machine.outside, "0.0.0.0", 53, ask) == ([] if guarded else [b"?"])


@pytest.mark.parametrize("address", [METADATA, "168.63.129.16", "100.100.100.200"])
def test_attack_metadata_service_of_a_cloud_is_closed(slots: Slots, address: str) -> None:
    slots.machine.run(slots.machine.outside, "ip", "address", "add", f"{address}/32", "dev", "lan0")
    slots.machine.run(slots.machine.host, "ip", "route", "add", address, "via", Machine.OUTSIDE)
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 53, "tcp")
    assert slots.machine.ask(slots.machine.host, address, 80) == Machine.ADDRESS
    assert slots.ask(0, address, 80) in UNREACHABLE
    assert slots.ask(0, address, 53) == Machine.ADDRESS  # some clouds' name servers are there


@pytest.mark.parametrize("proxy", [Machine.ADDRESS, Machine.OUTSIDE, "127.0.0.1"])
def test_attack_metadata_service_that_the_host_translates_is_closed(slots: Slots, proxy: str) -> None:
    """As agents that stand in for it do (kube2iam, ECS): their DNAT comes before the routing."""
    netns = slots.machine.outside if proxy == Machine.OUTSIDE else slots.machine.host
    slots.machine.serve(netns, proxy, 8181)
    rule = f"ip daddr {METADATA} tcp dport 80 dnat to {proxy}:8181"
    chain = f"chain prerouting {{ type nat hook prerouting priority -110; {rule}; }}"
    subprocess.run(["nft", f"table ip agent {{\n{chain}\n}}"], check=True)
    assert slots.ask(0, METADATA, 80) in UNREACHABLE


@pytest.mark.parametrize("name", ["docker0", "br-0123456789ab", "virbr0"])
def test_attack_containers_of_another_engine_are_as_closed_as_from_outside(slots: Slots, name: str) -> None:
    """Docker drops what isn't published by FORWARD's policy: our pass through it must not open that."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as other:
        try:
            for words in (
                f"link add {name} type bridge",
                f"address add 172.17.0.1/16 dev {name}",
                f"link set {name} up",
                f"link add theirs master {name} type veth peer name eth0 netns {other.pid}",
                "link set theirs up",
            ):
                slots.machine.run(slots.machine.host, "ip", *words.split()).check_returncode()
            inside = f"/proc/{other.pid}/ns/net"
            for words in ("address add 172.17.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.17.0.1"):
                slots.machine.run(inside, "ip", *words.split()).check_returncode()
            slots.machine.serve(inside, "0.0.0.0", 5432)
            slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
            forward = "chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }"
            subprocess.run(["nft", f"table ip filter {{\nchain DOCKER-USER {{ }}\n{forward}\n}}"], check=True)
            firewall.ensure(slots.net, slots=[0, 1])

            assert slots.machine.ask(slots.machine.host, "172.17.0.2", 5432) == "172.17.0.1"
            assert slots.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS
            assert slots.ask(0, "172.17.0.2", 5432) in UNREACHABLE
        finally:
            other.kill()


@pytest.mark.parametrize("forgotten", [True, False])
def test_attack_client_that_goes_on_sending_reaches_nobody_who_comes_later(slots: Slots, forgotten: bool) -> None:
    opened = Open((Published("0.0.0.0", "udp", 8000, ((slots.address(0), 80),)),))
    firewall.change(slots.net, CLOSED, opened)
    with within(slots.machine.outside):
        client = socket.socket(type=socket.SOCK_DGRAM)
    with client:
        client.connect((Machine.ADDRESS, 8000))
        assert heard(slots.netns(0), "0.0.0.0", 80, lambda: client.sendall(b"1")) == [b"1"]
        firewall.change(slots.net, opened, CLOSED)
        if forgotten:
            flows.forget(slots.address(0))
        assert heard(slots.netns(0), "0.0.0.0", 80, lambda: client.sendall(b"2")) == ([] if forgotten else [b"2"])


def test_attack_service_lent_to_one_is_had_by_no_other(slots: Slots) -> None:
    slots.machine.serve(slots.machine.host, "127.0.0.1", 3128)
    opened = Open(lent=(Lent("tcp", 3128, "127.0.0.1", slots.address(0)),))
    firewall.change(slots.net, CLOSED, opened)
    assert slots.ask(0, slots.net.gateway, 3128) == "127.0.0.1"
    assert slots.ask(1, slots.net.gateway, 3128) == "refused"
    firewall.change(slots.net, opened, CLOSED)
    assert slots.ask(0, slots.net.gateway, 3128) == "refused"
