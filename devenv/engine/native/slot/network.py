"""A store's bridge, routing rules and veth pairs: set up, wired, taken down. The only home of rtnetlink(7).

Everything can be repeated: what exists already is kept or replaced, what is gone already is not missed.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import EEXIST, ENODEV, ENOENT, ESRCH, EXFULL
from typing import NamedTuple

from devenv.errors import EngineError

from ..mount import CLONE_NEWNET, setns
from .address import FROM, INTO, Network, Subnet, dotted, mac
from .netlink import APPEND, CREATE, EXCLUSIVE, REPLACE, Request, answers, ask, attribute, attributes, connection, dump

_RULES = 5213  # priority (ip-rule(8)) of the first of our rules; anything before main's 32766

_AT_A_TIME = 64  # slots wired at a time, a descriptor each

# linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, fib_rules.h: the kernel's names.
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 17, 18, 20, 24
_RTM_GETROUTE, _RTM_NEWNEIGH, _RTM_NEWRULE, _RTM_DELRULE = 26, 28, 32, 33
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_NET_NS_FD = 1, 3, 10, 18, 27, 28
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER, _BRIDGE_FORWARD_DELAY = 1, 1
_PORT_MODE, _PORT_LEARNING, _PORT_UNICAST_FLOOD, _PORT_MCAST_FLOOD, _PORT_ISOLATED = 4, 8, 9, 27, 33
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_SCOPE_LINK, _UNICAST, _UNREACHABLE = 253, 1, 7
_FRA_DST, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 1, 3, 6, 10, 15, 16
_LOOK_UP, _PROHIBIT = 1, 8
_MAIN, _STATIC, _UP = 254, 4, 1
_PERMANENT, _NOARP = 0x80, 0x40


class Wire(NamedTuple):
    """A slot to wire, and the path of its network namespace."""

    slot: int
    netns: str


def setup(network: Network) -> None:
    """Bridge up with the gateway's address, forwarding on, the routing rules in place, and every veth of ours on it."""
    with _kernel(f"set up bridge {network.bridge}") as kernel:
        if _index(network.bridge) is None:
            named = attribute(_IFLA_IFNAME, network.bridge) + _hardware(network.gateway)
            info = attribute(_KIND, "bridge") + attribute(_DATA, attribute(_BRIDGE_FORWARD_DELAY, 0))
            new = Request(
                _RTM_NEWLINK, _link() + named + attribute(_IFLA_LINKINFO, info), CREATE | EXCLUSIVE, (EEXIST,)
            )
            ask(kernel, [new])
        index = _index(network.bridge)
        if index is None:
            raise OSError(ENODEV, os.strerror(ENODEV))
        _interface_settings(network.bridge)
        strays = {slot: link for slot, (link, master) in _wires(kernel, network).items() if master != index}
        steps = [_new_address(index, network.gateway, network.subnet.prefix), _up(index)]
        steps += [Request(_RTM_NEWRULE, rule, CREATE | EXCLUSIVE, (EEXIST,)) for rule in _rules(network)]
        for slot, link in strays.items():  # somebody deleted the bridge while containers ran
            steps += _join(network, slot, link, index)
        ask(kernel, steps)


def wire(network: Network, wires: Sequence[Wire]) -> None:
    """Give each network namespace an eth0 with the slot's address and a way out through the bridge.

    On the bridge the ports are isolated: on layer 2 a container reaches the gateway alone. All or nothing.
    """
    numbers = [str(slot) for slot, _ in wires]
    named = ", ".join(numbers) if len(wires) < 8 else f"{numbers[0]} … {numbers[-1]}"
    with _kernel(f"wire slots {named}") as kernel:
        bridge = _index(network.bridge)
        if bridge is None:
            raise EngineError(f"wire slots: bridge {network.bridge} is missing")
        try:
            for start in range(0, len(wires), _AT_A_TIME):
                _wire(kernel, network, bridge, wires[start : start + _AT_A_TIME])
        except BaseException:
            _delete(kernel, [network.link(slot) for slot, _ in wires])
            raise


def _wire(kernel: socket.socket, network: Network, bridge: int, wires: Sequence[Wire]) -> None:
    _delete(kernel, [network.link(slot) for slot, _ in wires])
    with ExitStack() as stack:
        inside = {slot: stack.enter_context(_open(netns)) for slot, netns in wires}
        ask(kernel, [_pair(network, slot, netns) for slot, netns in inside.items()])
        steps = []
        for slot in inside:
            # Before it is up, or it would get a link-local address.
            _write(f"ipv6/conf/{network.link(slot)}/disable_ipv6", "1")
            steps += _join(network, slot, socket.if_nametoindex(network.link(slot)), bridge)
        ask(kernel, steps)
        for slot, netns in inside.items():
            _configure(network, slot, netns)


def unwire(network: Network, slots: Sequence[int]) -> None:
    """Delete the veth pairs of these slots; those that are gone are not missed."""
    with _kernel("unwire slots") as kernel:
        _delete(kernel, [network.link(slot) for slot in slots])


def wired(network: Network) -> set[int]:
    """The slots that have a veth pair."""
    with _kernel("list links") as kernel:
        return set(_wires(kernel, network))


def foreign(network: Network) -> set[int]:
    """The slots of other stores that have a veth pair on this host."""
    with _kernel("list links") as kernel:
        slots = (network.foreign_slot(name) for name, _, _ in _links(kernel))
        return {slot for slot in slots if slot is not None}


def teardown(network: Network) -> list[str]:
    """Delete veth pairs, bridge and routing rules. What fails is told, and doesn't stop the rest.

    ip_forward stays as it is: others may have come to count on it.
    """
    faults = []
    with _kernel(f"remove bridge {network.bridge}") as kernel:
        for names in ([network.link(slot) for slot in _wires(kernel, network)], [network.bridge]):
            try:
                _delete(kernel, names)
            except OSError as error:
                faults.append(f"remove bridge {network.bridge}: {error.strerror}")
        for code in answers(kernel, [Request(_RTM_DELRULE, rule) for rule in _rules(network)]):
            if code not in (0, ENOENT, ENODEV, ESRCH):
                faults.append(f"remove routing rules of {network.bridge}: {os.strerror(code)}")
    return faults


def taken(besides: str) -> list[Subnet]:
    """The IPv4 networks the host has routes to or addresses in, in any table; not those of the bridge `besides`."""
    with _kernel("list routes") as kernel:
        ours = _index(besides)
        found = []
        for route in dump(kernel, _RTM_GETROUTE, _route(0)):
            said = dict(attributes(route[12:]))
            if _RTA_DST in said and (ours is None or said.get(_RTA_OIF) != struct.pack("=I", ours)):
                found.append(Subnet(int.from_bytes(said[_RTA_DST], "big"), route[1]))
        return found


# Requests --------------------------------------------------------------------------------------


def _link(index: int = 0, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, _UP if up else 0, _UP if up else 0)


def _up(index: int) -> Request:
    return Request(_RTM_NEWLINK, _link(index, up=True))


def _pair(network: Network, slot: int, netns: int) -> Request:
    """A veth pair: on the bridge here, eth0 there."""
    peer = attribute(_IFLA_IFNAME, "eth0") + attribute(_IFLA_NET_NS_FD, netns) + _hardware(network.address(slot))
    info = attribute(_KIND, "veth") + attribute(_DATA, attribute(_VETH_PEER, _link(), peer))
    named = attribute(_IFLA_IFNAME, network.link(slot)) + attribute(_IFLA_LINKINFO, info)
    return Request(_RTM_NEWLINK, _link() + named, CREATE | EXCLUSIVE)


def _join(network: Network, slot: int, link: int, bridge: int) -> list[Request]:
    """Enslave a veth to the bridge; the settings come before it is up, so that no frame passes without them."""
    address = network.address(slot)
    alone = (_PORT_ISOLATED, 1), (_PORT_MODE, 0), (_PORT_LEARNING, 0), (_PORT_UNICAST_FLOOD, 0), (_PORT_MCAST_FLOOD, 0)
    port = b"".join(attribute(kind, bytes([value])) for kind, value in alone)
    info = attribute(_SLAVE_KIND, "bridge") + attribute(_SLAVE_DATA, port)
    return [
        Request(_RTM_NEWLINK, _link(link) + attribute(_IFLA_MASTER, bridge)),
        Request(_RTM_NEWLINK, _link(link) + attribute(_IFLA_LINKINFO, info)),
        _known(socket.AF_UNSPEC, link, address, _PERMANENT | _NOARP, CREATE | APPEND),
        _known(socket.AF_INET, bridge, address, _PERMANENT, CREATE | REPLACE),
        _up(link),
    ]


def _known(family: int, index: int, address: str, state: int, flags: int) -> Request:
    """Where the bridge (no family) or this host (IPv4) finds this address, without asking."""
    there = attribute(1, socket.inet_aton(address)) if family else b""  # NDA_DST, NDA_LLADDR
    hardware = attribute(2, _octets(address))
    bridging = 7  # AF_BRIDGE
    return Request(
        _RTM_NEWNEIGH,
        struct.pack("=BxxxiHBB", family or bridging, index, state, 0, 0) + there + hardware,
        flags,
        (EEXIST,),
    )


def _new_address(index: int, address: str, prefix: int) -> Request:
    number = socket.inet_aton(address)
    head = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    both = attribute(1, number) + attribute(2, number)  # IFA_ADDRESS, IFA_LOCAL
    return Request(_RTM_NEWADDR, head + both, CREATE | EXCLUSIVE, (EEXIST,))


def _route(prefix: int, scope: int = 0, kind: int = _UNICAST) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, _MAIN, _STATIC, scope, kind, 0)


def _rules(network: Network) -> list[bytes]:
    """Into the subnet goes only what the host sends or the firewall marked, so a flushed firewall closes it."""
    into, marked = attribute(_FRA_FWMARK, INTO) + attribute(_FRA_FWMASK, INTO), attribute(_FRA_FWMARK, FROM)
    conditions = [
        (_LOOK_UP, attribute(_FRA_IIFNAME, "lo")),
        (_LOOK_UP, into),
        (_PROHIBIT, attribute(_FRA_IIFNAME, network.bridge)),
        # Only for the reverse path check (fib_validate_source): it looks for the way back to a packet's source as if
        # the answer came in where the packet will go out, with the packet's own mark (src_valid_mark).
        (_LOOK_UP, marked + attribute(_FRA_FWMASK, FROM)),
        (_PROHIBIT, b""),
    ]
    subnet = network.subnet
    return [
        struct.pack("=BBBBBxxBI", socket.AF_INET, subnet.prefix, 0, 0, _MAIN if action == _LOOK_UP else 0, action, 0)
        + attribute(_FRA_PRIORITY, _RULES + number)
        + attribute(_FRA_DST, socket.inet_aton(dotted(subnet.base)))
        + condition
        for number, (action, condition) in enumerate(conditions)
    ]


def _configure(network: Network, slot: int, netns: int) -> None:
    """The inside: a /32, so that even neighbours are reached through the gateway, where the firewall stands."""
    gateway = socket.inet_aton(network.gateway)
    with _inside(netns) as (inner, index):
        out = attribute(_RTA_OIF, index)
        routes = [
            _route(32, _SCOPE_LINK) + attribute(_RTA_DST, gateway) + out,
            _route(0) + attribute(_RTA_GATEWAY, gateway) + out,
        ]
        # A socket bound to eth0 could send to 127.0.0.1 through the gateway, and the bridge routes loopback addresses.
        loopback = _route(8, kind=_UNREACHABLE) + attribute(_RTA_DST, bytes([127, 0, 0, 0]))
        steps = [_new_address(index, network.address(slot), 32), _up(index)]
        steps += [Request(_RTM_NEWROUTE, route, CREATE | EXCLUSIVE) for route in routes]
        steps.append(Request(_RTM_NEWROUTE, loopback, CREATE | EXCLUSIVE, (EEXIST,)))  # it outlives an eth0 before
        ask(inner, [*steps, _known(socket.AF_INET, index, network.gateway, _PERMANENT, CREATE | REPLACE)])


def _delete(kernel: socket.socket, names: Sequence[str]) -> None:
    """All at once, as a group that nobody else has: one after the other, the kernel waits 20 ms for each."""
    group = attribute(_IFLA_GROUP, int.from_bytes(os.urandom(4), "little") | 1)
    named = [_link() + attribute(_IFLA_IFNAME, name) for name in names]
    if len(named) > 1:
        ask(kernel, [Request(_RTM_NEWLINK, link + group, 0, (ENODEV,)) for link in named])
        named = [_link() + group]
    ask(kernel, [Request(_RTM_DELLINK, link, 0, (ENODEV,)) for link in named])


# The host --------------------------------------------------------------------------------------


def _interface_settings(bridge: str) -> None:
    _write("ipv4/ip_forward", "1")
    # So that 127.0.0.1:PORT of the host can lead to a container: source and destination of such packets are loopback.
    _write(f"ipv4/conf/{bridge}/route_localnet", "1")
    # ... which makes the host answer ARP for 127.0.0.1 on it, unless it answers for its own address alone.
    _write(f"ipv4/conf/{bridge}/arp_ignore", "1")
    _write(f"ipv4/conf/{bridge}/rp_filter", "1")
    _write(f"ipv4/conf/{bridge}/src_valid_mark", "1")
    # What a container says about routes doesn't count; it needs no privilege to ask for a route by an IP option.
    for name in ("accept_redirects", "send_redirects", "accept_source_route"):
        _write(f"ipv4/conf/{bridge}/{name}", "0")
    _write(f"ipv6/conf/{bridge}/disable_ipv6", "1")


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _links(kernel: socket.socket) -> Iterator[tuple[str, int, int | None]]:
    """Name, index and master's index of every link of this network namespace."""
    for link in dump(kernel, _RTM_GETLINK, _link()):
        said = dict(attributes(link[16:]))
        master = said.get(_IFLA_MASTER)
        name = said[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
        yield name, struct.unpack_from("=i", link, 4)[0], None if master is None else struct.unpack("=i", master)[0]


def _wires(kernel: socket.socket, network: Network) -> dict[int, tuple[int, int | None]]:
    """Slot → (link index, its master's index) of all veths of ours."""
    found = ((network.slot(name), index, master) for name, index, master in _links(kernel))
    return {slot: (index, master) for slot, index, master in found if slot is not None}


def _octets(address: str) -> bytes:
    return bytes.fromhex(mac(address).replace(":", ""))


def _hardware(address: str) -> bytes:
    return attribute(_IFLA_ADDRESS, _octets(address))


def _write(name: str, value: str) -> None:
    """A sysctl; one that has the value already isn't written, for where /proc/sys is read-only."""
    path = f"/proc/sys/net/{name}"
    try:
        with open(path, encoding="ascii") as file:
            if file.read().strip() == value:
                return
        with open(path, "w", encoding="ascii") as file:  # at position 0, or the kernel ignores it
            file.write(value)
    except FileNotFoundError:
        pass  # a kernel without IPv6
    except OSError as error:
        raise EngineError(
            f"set {path} to {value}: {error.strerror}", hint=f"run once: sysctl -w net.{name.replace('/', '.')}={value}"
        ) from error


@contextmanager
def _open(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _inside(netns: int) -> Iterator[tuple[socket.socket, int]]:
    """A netlink socket of another network namespace, where it stays, and the index of eth0 there."""
    with _open("/proc/self/ns/net") as ours:
        setns(netns, CLONE_NEWNET)
        try:
            inner = connection(socket.NETLINK_ROUTE)
            index = socket.if_nametoindex("eth0")
        finally:
            setns(ours, CLONE_NEWNET)
    with inner:
        yield inner, index


@contextmanager
def _kernel(doing: str) -> Iterator[socket.socket]:
    """A netlink socket; whatever the kernel refuses becomes an EngineError that says what we were doing."""
    try:
        with connection(socket.NETLINK_ROUTE) as kernel:
            yield kernel
    except OSError as error:
        hint = "a bridge has 1023 ports: `devenv down` what you don't use" if error.errno == EXFULL else ""
        raise EngineError(f"{doing}: {error.strerror}", hint=hint) from error
