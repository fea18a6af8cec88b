"""Slots on the bridge: who reaches whom, with and without the firewall, seen from real network namespaces."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from devenv.engine.native.slot import firewall, namespace, network, ports
from devenv.engine.native.slot.address import mac, parse_subnet
from devenv.engine.native.slot.ids import extent
from devenv.engine.native.slot.network import Wire
from devenv.engine.native.slot.ruleset import CLOSED, Lent, Open, Published
from devenv.errors import EngineError
from devenv.model.manifest import Port
from devenv.paths import Paths

from .conftest import Machine, Slots, output

pytestmark = pytest.mark.engine

UNREACHABLE = {"refused", "no answer"}


def published(port: Port, *addresses: str) -> Open:
    """That port of the host leads to these containers, and nothing else is open."""
    assert port.host is not None
    targets = tuple((address, port.container) for address in addresses)
    return Open((Published(port.address, port.protocol, port.host, targets),))


def test_network_slot_has_its_address_and_no_ipv6(slots: Slots) -> None:
    (link,) = json.loads(slots.machine.run(slots.netns(1), "ip", "-j", "address", "show", "eth0").stdout)
    assert [(info["local"], info["prefixlen"]) for info in link["addr_info"]] == [("10.213.0.3", 32)]
    assert link["address"] == mac("10.213.0.3")
    (loopback,) = json.loads(slots.machine.run(slots.netns(1), "ip", "-j", "address", "show", "lo").stdout)
    assert {info["local"] for info in loopback["addr_info"]} == {"127.0.0.1", "::1"}


def test_network_slot_belongs_to_its_user_namespace(slots: Slots) -> None:
    user = f"{slots.paths.slot(1)}/user"
    script = "cat /proc/self/uid_map && mount -t sysfs sysfs /sys && stat -c %u /sys/class/net/eth0/ifalias"
    entered = subprocess.run(
        ["nsenter", f"--user={user}", f"--net={slots.netns(1)}", "unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
    )
    assert entered.returncode == 0, entered.stderr
    assert entered.stdout.split() == ["0", "1879113728", "65536", "0"]


def test_network_ports_are_isolated_on_the_bridge(slots: Slots) -> None:
    found = json.loads(output("bridge", "-d", "-j", "link", "show", "dev", slots.net.link(0)))
    assert found[0]["master"] == slots.net.bridge
    assert (found[0]["isolated"], found[0]["learning"], found[0]["hairpin"]) == (True, False, False)


def test_network_outside_is_reached_from_a_slot_under_the_hosts_address(slots: Slots) -> None:
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    assert slots.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS


def test_network_slots_cannot_reach_each_other(slots: Slots) -> None:
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80, "udp")
    assert slots.ask(1, slots.address(1), 80) == slots.address(1)
    assert slots.ask(0, slots.address(1), 80) in UNREACHABLE
    assert slots.ask(0, slots.address(1), 80, "udp") in UNREACHABLE


def test_network_host_reaches_a_slot(slots: Slots) -> None:
    slots.machine.serve(slots.netns(0), "0.0.0.0", 80)
    assert slots.machine.ask(slots.machine.host, slots.address(0), 80) == slots.net.gateway


def test_network_services_of_the_host_are_closed_to_slots_but_for_dns(slots: Slots) -> None:
    slots.machine.serve(slots.machine.host, "0.0.0.0", 5432)
    for address in (slots.net.gateway, Machine.ADDRESS):
        slots.machine.serve(slots.machine.host, address, 53, "udp")
        assert slots.ask(0, address, 5432) == "refused"
        assert slots.ask(0, address, 53, "udp") == slots.address(0)


def test_network_loopback_service_is_lent_at_the_gateway_as_from_loopback(slots: Slots) -> None:
    slots.machine.serve(slots.machine.host, "127.0.0.53", 53, "udp")
    slots.machine.serve(slots.machine.host, "127.0.0.1", 3128)
    lent = (Lent("udp", 53, "127.0.0.53"), Lent("tcp", 3128, "127.0.0.1"))
    firewall.ensure(slots.net, Open(lent=lent), [0, 1])
    assert slots.ask(0, slots.net.gateway, 53, "udp") == "127.0.0.1"
    assert slots.ask(0, slots.net.gateway, 3128) == "127.0.0.1"


def test_network_metadata_service_of_a_cloud_is_closed_to_slots(slots: Slots) -> None:
    slots.machine.run(slots.machine.outside, "ip", "address", "add", "169.254.169.254/32", "dev", "lan0")
    slots.machine.run(slots.machine.host, "ip", "route", "add", "169.254.169.254", "via", Machine.OUTSIDE)
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    assert slots.machine.ask(slots.machine.host, "169.254.169.254", 80) == Machine.ADDRESS
    assert slots.ask(0, "169.254.169.254", 80) in UNREACHABLE


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_network_port_published_on_loopback_answers_there_alone(slots: Slots, kind: str) -> None:
    slots.machine.serve(slots.netns(0), "0.0.0.0", 80, kind)
    port = Port(80, 8000, protocol="udp" if kind == "udp" else "tcp")
    firewall.change(slots.net, CLOSED, published(port, slots.address(0)))
    slots.machine.run(slots.machine.outside, "ip", "route", "add", "10.213.0.0/20", "via", Machine.ADDRESS)
    slots.machine.run(slots.machine.outside, "ip", "route", "add", "127.0.0.1", "via", Machine.ADDRESS, "table", "9")
    slots.machine.run(slots.machine.outside, "ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "table", "9")
    assert slots.machine.ask(slots.machine.host, "127.0.0.1", 8000, kind) == slots.net.gateway
    assert slots.machine.ask(slots.machine.host, Machine.ADDRESS, 8000, kind) in UNREACHABLE
    assert slots.machine.ask(slots.machine.outside, Machine.ADDRESS, 8000, kind) in UNREACHABLE
    assert slots.machine.ask(slots.machine.outside, slots.address(0), 80, kind) in UNREACHABLE
    assert slots.machine.ask(slots.machine.outside, "127.0.0.1", 8000, kind, "lan0") in UNREACHABLE
    assert slots.ask(1, slots.net.gateway, 8000, kind) in UNREACHABLE
    firewall.change(slots.net, published(port, slots.address(0)), CLOSED)
    assert slots.machine.ask(slots.machine.host, "127.0.0.1", 8000, kind) == "refused"


@pytest.mark.parametrize("address", ["0.0.0.0", Machine.ADDRESS])
def test_network_port_published_to_the_outside_answers_there_but_not_to_other_slots(slots: Slots, address: str) -> None:
    slots.machine.serve(slots.netns(0), "0.0.0.0", 80)
    firewall.change(slots.net, CLOSED, published(Port(80, 8000, address), slots.address(0)))
    assert slots.machine.ask(slots.machine.outside, Machine.ADDRESS, 8000) == Machine.OUTSIDE
    assert slots.machine.ask(slots.machine.host, Machine.ADDRESS, 8000) == Machine.ADDRESS
    on_loopback = slots.machine.ask(slots.machine.host, "127.0.0.1", 8000)
    assert (on_loopback == slots.net.gateway) == (address == "0.0.0.0")
    assert slots.ask(1, Machine.ADDRESS, 8000) in UNREACHABLE


def test_network_publishing_again_moves_the_port(slots: Slots) -> None:
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    before, after = (published(Port(80, 8000), slots.address(slot)) for slot in (0, 1))
    firewall.change(slots.net, CLOSED, before)
    assert slots.machine.ask(slots.machine.host, "127.0.0.1", 8000) == "refused"
    firewall.change(slots.net, before, after)
    assert slots.machine.ask(slots.machine.host, "127.0.0.1", 8000) == slots.net.gateway


def test_network_flushed_firewall_opens_nothing(slots: Slots) -> None:
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    slots.machine.run(slots.machine.outside, "ip", "route", "add", "10.213.0.0/20", "via", Machine.ADDRESS)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert firewall.missing(slots.net)
    assert slots.ask(0, slots.address(1), 80) in UNREACHABLE
    assert slots.machine.ask(slots.machine.outside, slots.address(1), 80) in UNREACHABLE
    assert slots.machine.ask(slots.machine.host, slots.address(1), 80) == slots.net.gateway


@pytest.mark.parametrize("protected", [True, False])
def test_network_hosts_loopback_is_closed_without_the_firewall(slots: Slots, protected: bool) -> None:
    """A socket bound to eth0 may send to 127.0.0.1 through the gateway; the route in the slot stops it."""
    import socket

    subprocess.run(["nft", "flush", "ruleset"], check=True)
    if not protected:  # shows that this test can fail
        slots.machine.run(slots.netns(0), "ip", "route", "del", "unreachable", "127.0.0.0/8").check_returncode()
    with socket.socket(type=socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(2)
        slots.ask(0, "127.0.0.1", listener.getsockname()[1], "udp", "eth0")
        try:
            heard = listener.recv(9)
        except TimeoutError:
            heard = b""
    assert heard == (b"" if protected else b"?")


def test_network_firewall_misses_a_single_flushed_chain_and_is_restored(slots: Slots) -> None:
    slots.machine.serve(slots.netns(0), "0.0.0.0", 80)
    assert not firewall.missing(slots.net)
    subprocess.run(["nft", "flush", "chain", "inet", slots.net.table, "inward"], check=True)
    assert firewall.missing(slots.net)
    for _ in range(2):
        firewall.ensure(slots.net, published(Port(80, 8000), slots.address(0)), [0, 1])
        assert not firewall.missing(slots.net)
    assert slots.machine.ask(slots.machine.host, "127.0.0.1", 8000) == slots.net.gateway


@pytest.mark.parametrize("user_chain", [True, False])
def test_network_docker_policy_drop_does_not_cut_slots_off(slots: Slots, user_chain: bool) -> None:
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    slots.machine.serve(slots.netns(1), "0.0.0.0", 80)
    jump = "jump DOCKER-USER" if user_chain else ""
    chain = "chain DOCKER-USER { }" if user_chain else ""
    forward = f"chain FORWARD {{ type filter hook forward priority 0; policy drop\n {jump}\n}}"
    docker = f"table ip filter {{ {chain}\n {forward}\n}}"
    subprocess.run(["nft", docker], check=True)
    assert slots.ask(0, Machine.OUTSIDE, 80) in UNREACHABLE
    assert firewall.missing(slots.net)
    for _ in range(2):
        firewall.ensure(slots.net, slots=[0, 1])
    assert not firewall.missing(slots.net)
    assert slots.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS
    assert slots.ask(0, slots.address(1), 80) in UNREACHABLE
    assert firewall.teardown(slots.net) == []
    assert slots.net.bridge not in output("nft", "list", "ruleset")


def test_network_deleted_bridge_is_set_up_again_with_its_veths(slots: Slots) -> None:
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    subprocess.run(["ip", "link", "del", slots.net.bridge], check=True)
    assert slots.ask(0, Machine.OUTSIDE, 80) in UNREACHABLE
    for _ in range(2):
        network.setup(slots.net)
    assert slots.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS


def test_network_wiring_again_replaces_and_unwiring_again_does_nothing(slots: Slots) -> None:
    slots.machine.serve(slots.machine.outside, "0.0.0.0", 80)
    network.wire(slots.net, [Wire(0, slots.netns(0))])
    assert slots.ask(0, Machine.OUTSIDE, 80) == Machine.ADDRESS
    for _ in range(2):
        network.unwire(slots.net, [0, 7])
    assert network.wired(slots.net) == {1}


def test_network_failed_wiring_leaves_no_link(slots: Slots) -> None:
    network.unwire(slots.net, [0, 1])
    with pytest.raises(EngineError, match="wire slots 0, 9"):
        network.wire(slots.net, [Wire(0, slots.netns(0)), Wire(9, "/nowhere")])
    assert network.wired(slots.net) == set()


def test_network_teardown_leaves_nothing_and_can_be_repeated(slots: Slots) -> None:
    for _ in range(2):
        assert firewall.teardown(slots.net) == []
        assert network.teardown(slots.net) == []
    assert slots.net.bridge not in output("ip", "link")
    assert "10.213" not in output("ip", "rule")
    assert output("nft", "list", "tables") == ""


def test_network_taken_subnets_are_those_of_every_routing_table(slots: Slots) -> None:
    subprocess.run(["ip", "route", "add", "10.99.0.0/16", "dev", "up0", "table", "77"], check=True)
    found = network.taken(slots.net.bridge)
    assert parse_subnet("10.99.0.0/16") in found
    assert parse_subnet("198.51.100.0/24") in found
    assert not any(subnet.overlaps(slots.net.subnet) for subnet in found if subnet.prefix)


@pytest.mark.usefixtures("machine")
def test_network_port_in_use_names_its_owner() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"(pid {os.getpid()})" in ports.owner("127.0.0.1", port)
    assert ports.owner("127.0.0.1", port) == ""
    with pytest.raises(EngineError, match=r"publish 192\.0\.2\.77:80"):
        ports.owner("192.0.2.77", 80)


@pytest.mark.usefixtures("machine")
def test_network_free_port_can_be_bound() -> None:
    assert ports.owner("127.0.0.1", ports.free()) == ""


def test_network_namespaces_unpinned_are_gone_and_can_be_unpinned_again(home: Paths) -> None:
    namespace.prepare(home.slots)
    for _ in range(2):
        namespace.pin(home.slot(5), extent(5))
    assert namespace.is_pinned(home.slot(5))
    assert len(output("findmnt", "-rno", "TARGET").split(home.slot(5))) == 3
    for _ in range(2):
        namespace.unpin(home.slot(5))
    assert not namespace.is_pinned(home.slot(5))
    namespace.unprepare(home.slots)
    assert home.slots not in output("findmnt", "-rno", "TARGET")


def test_network_plain_files_are_no_pinned_namespaces(home: Paths) -> None:
    os.makedirs(home.slot(1))
    for kind in ("user", "net"):
        with open(f"{home.slot(1)}/{kind}", "w", encoding="ascii"):
            pass
    assert not namespace.is_pinned(home.slot(1))
    namespace.unpin(home.slot(1))
    assert not os.path.exists(home.slot(1))


def test_network_unpinning_reaches_a_slave_mount_namespace(home: Paths) -> None:
    namespace.prepare(home.slots)
    namespace.pin(home.slot(0), extent(0))
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; read _; cat /proc/self/mountinfo"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        namespace.unpin(home.slot(0))
        seen, _ = other.communicate("\n")
    namespace.unprepare(home.slots)
    assert home.slot(0) not in seen


def test_network_mapping_maps_user_and_group_apart() -> None:
    fd = namespace.mapping((1000, 100), (0x70000005, 0x70000006), 2)
    try:
        shown = subprocess.run(
            [
                "nsenter",
                "--preserve-credentials",
                f"--user=/proc/self/fd/{fd}",
                "cat",
                "/proc/self/uid_map",
                "/proc/self/gid_map",
            ],
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    finally:
        os.close(fd)
    assert shown == ["1000", "1879048197", "2", "100", "1879048198", "2"]


def test_network_mapping_the_kernel_refuses_leaves_no_process() -> None:
    before = output("ps", "-o", "pid=", "--ppid", str(os.getpid())).split()
    with pytest.raises(EngineError, match="map ids"):
        namespace.mapping((0, 0), (0, 0), 0)
    after = output("ps", "-o", "pid=", "--ppid", str(os.getpid())).split()
    assert len(after) == len(before)
