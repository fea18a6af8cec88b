"""A store's bridge, routing rules and veth pairs: set up, wired, taken down. The only home of pyroute2.

Everything can be repeated: what exists already is kept or replaced, what is gone already is not missed. pyroute2 takes
0.15 s to import, so it is imported in the functions, and only `pool.py`'s own process calls them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import EEXIST, ENODEV, ENOENT, ESRCH, EXFULL
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from devenv.errors import EngineError

from ..mount import CLONE_NEWNET, setns
from .address import FROM, INTO, Network, Subnet, mac, parse_subnet

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_RULES = 5213  # priority (ip-rule(8)) of the first of our rules; anything before main's 32766


class Wire(NamedTuple):
    """A slot to wire, and the path of its network namespace."""

    slot: int
    netns: str


def setup(network: Network) -> None:
    """Bridge up with the gateway's address, forwarding on, the routing rules in place, and every veth of ours on it."""
    with _kernel(f"set up bridge {network.bridge}") as ipr:
        index = _index(ipr, network.bridge)
        if index is None:
            ipr.link("add", ifname=network.bridge, kind="bridge", address=mac(network.gateway), br_forward_delay=0)
            index = _index(ipr, network.bridge)
        _interface_settings(network.bridge)
        prefix = network.subnet.prefix
        with _tolerate(EEXIST):
            ipr.addr("add", index=index, address=network.gateway, prefixlen=prefix)
        ipr.link("set", index=index, state="up")
        for rule in _rules(network):
            with _tolerate(EEXIST):
                ipr.rule("add", **rule)
        for slot, (link, master) in _wires(ipr, network).items():
            if master != index:  # somebody deleted the bridge while containers ran
                _join(ipr, network, slot, link, index)


def wire(network: Network, wires: Sequence[Wire]) -> None:
    """Give each network namespace an eth0 with the slot's address and a way out through the bridge.

    On the bridge the ports are isolated: on layer 2 a container reaches the gateway alone. All or nothing.
    """
    with _kernel(f"wire slots {', '.join(str(wire.slot) for wire in wires)}") as ipr, ExitStack() as undo:
        bridge = _index(ipr, network.bridge)
        if bridge is None:
            raise EngineError(f"wire slots: bridge {network.bridge} is missing")
        for slot, netns in wires:
            undo.callback(_delete, ipr, network.link(slot))
            _delete(ipr, network.link(slot))
            with _open(netns) as fd:
                peer = {"ifname": "eth0", "net_ns_fd": fd, "address": mac(network.address(slot))}
                ipr.link("add", ifname=network.link(slot), kind="veth", peer=peer)
                link = _index(ipr, network.link(slot))
                _write(f"ipv6/conf/{network.link(slot)}/disable_ipv6", "1")
                _join(ipr, network, slot, link, bridge)
                with _inside(fd) as inner:
                    _configure(inner, network, slot)
        undo.pop_all()


def unwire(network: Network, slots: Sequence[int]) -> None:
    """Delete the veth pairs of these slots; those that are gone are not missed."""
    with _kernel("unwire slots") as ipr:
        for slot in slots:
            _delete(ipr, network.link(slot))


def wired(network: Network) -> set[int]:
    """The slots that have a veth pair."""
    with _kernel("list links") as ipr:
        return set(_wires(ipr, network))


def foreign(network: Network) -> set[int]:
    """The slots of other stores that have a veth pair on this host."""
    with _kernel("list links") as ipr:
        slots = (network.foreign_slot(link.get_attr("IFLA_IFNAME")) for link in ipr.get_links())
        return {slot for slot in slots if slot is not None}


def teardown(network: Network) -> list[str]:
    """Delete veth pairs, bridge and routing rules. What fails is told, and doesn't stop the rest.

    ip_forward stays as it is: others may have come to count on it.
    """
    from pyroute2 import NetlinkError

    faults = []
    with _kernel(f"remove bridge {network.bridge}") as ipr:
        names = [network.link(slot) for slot in _wires(ipr, network)] + [network.bridge]
        steps: list[Callable[[], Any]] = [partial(_delete, ipr, name) for name in names]
        steps += [partial(ipr.rule, "del", **rule) for rule in _rules(network)]
        for step in steps:
            try:
                with _tolerate(ENOENT, ENODEV, ESRCH):
                    step()
            except (NetlinkError, OSError) as error:
                faults.append(f"remove bridge {network.bridge}: {error}")
    return faults


def taken(besides: str) -> list[Subnet]:
    """The IPv4 networks the host has routes to or addresses in, in any table; not those of the bridge `besides`."""
    with _kernel("list routes") as ipr:
        ours = _index(ipr, besides)
        found = []
        for route in ipr.get_routes(family=2):
            if route.get_attr("RTA_DST") and (ours is None or route.get_attr("RTA_OIF") != ours):
                found.append(parse_subnet(f"{route.get_attr('RTA_DST')}/{route['dst_len']}"))
        return found


def _rules(network: Network) -> list[dict[str, Any]]:
    """Into the subnet goes only what the host sends or the firewall marked, so a flushed firewall closes it."""
    subnet = {"dst": str(network.subnet).partition("/")[0], "dst_len": network.subnet.prefix}
    return [
        {**subnet, "priority": _RULES, "iifname": "lo", "table": 254},
        {**subnet, "priority": _RULES + 1, "fwmark": INTO, "fwmask": INTO, "table": 254},
        {**subnet, "priority": _RULES + 2, "iifname": network.bridge, "action": "prohibit"},
        # Only for the reverse path check (fib_validate_source): it looks for the way back to a packet's source as if
        # the answer came in where the packet will go out, with the packet's own mark (src_valid_mark).
        {**subnet, "priority": _RULES + 3, "fwmark": FROM, "fwmask": FROM, "table": 254},
        {**subnet, "priority": _RULES + 4, "action": "prohibit"},
    ]


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


def _join(ipr: IPRoute, network: Network, slot: int, link: int | None, bridge: int | None) -> None:
    """Enslave a veth to the bridge; the settings come before it is up, so that no frame passes without them."""
    address = network.address(slot)
    ipr.link("set", index=link, master=bridge)
    ipr.brport("set", index=link, isolated=1, mode=0, learning=0, unicast_flood=0, mcast_flood=0)
    with _tolerate(EEXIST):
        ipr.fdb("append", ifindex=link, lladdr=mac(address), state=0x80 | 0x40)  # NUD_PERMANENT | NUD_NOARP
    ipr.neigh("replace", ifindex=bridge, dst=address, lladdr=mac(address), state=0x80)
    ipr.link("set", index=link, state="up")


def _configure(inner: IPRoute, network: Network, slot: int) -> None:
    """The inside: a /32, so that even neighbours are reached through the gateway, where the firewall stands."""
    index = _index(inner, "eth0")
    inner.addr("add", index=index, address=network.address(slot), prefixlen=32)
    inner.link("set", index=index, state="up")
    inner.route("add", dst=f"{network.gateway}/32", oif=index, scope=253)
    inner.route("add", dst="default", gateway=network.gateway, oif=index)
    # A socket bound to eth0 could send to 127.0.0.1 through the gateway, and the bridge routes loopback addresses.
    with _tolerate(EEXIST):  # it outlives the eth0 before this one
        inner.route("add", dst="127.0.0.0/8", type="unreachable")
    inner.neigh("replace", ifindex=index, dst=network.gateway, lladdr=mac(network.gateway), state=0x80)


def _index(ipr: IPRoute, name: str) -> int | None:
    found = ipr.link_lookup(ifname=name)
    return int(found[0]) if found else None


def _delete(ipr: IPRoute, name: str) -> None:
    with _tolerate(ENODEV):
        ipr.link("del", ifname=name)


def _wires(ipr: IPRoute, network: Network) -> dict[int, tuple[int, int | None]]:
    """Slot → (link index, its master's index) of all veths of ours."""
    found = {}
    for link in ipr.get_links():
        slot = network.slot(link.get_attr("IFLA_IFNAME"))
        if slot is not None:
            found[slot] = (link["index"], link.get_attr("IFLA_MASTER"))
    return found


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
def _inside(netns: int) -> Iterator[IPRoute]:
    """A netlink socket of another network namespace: a socket stays in the one it was made in."""
    from pyroute2 import IPRoute

    with _open("/proc/self/ns/net") as ours:
        setns(netns, CLONE_NEWNET)
        try:
            inner = IPRoute()
        finally:
            setns(ours, CLONE_NEWNET)
    with inner:
        yield inner


@contextmanager
def _kernel(doing: str) -> Iterator[IPRoute]:
    """A netlink socket; whatever the kernel refuses becomes an EngineError that says what we were doing."""
    from pyroute2 import IPRoute, NetlinkError

    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        hint = "a bridge has 1023 ports: `devenv down` what you don't use" if error.code == EXFULL else ""
        raise EngineError(f"{doing}: {error}", hint=hint) from error
    except OSError as error:
        raise EngineError(f"{doing}: {error}") from error


@contextmanager
def _tolerate(*codes: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if _code(error) not in codes:
            raise


def _code(error: Exception) -> int | None:
    return getattr(error, "code", None) or getattr(error, "errno", None)
