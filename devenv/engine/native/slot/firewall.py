"""A store's nft table: (network, published ports, lent services) → who may reach whom. And which host ports are free.

docs/network.md says what each rule is for. The table is replaced whole in one transaction, so there is no moment
without it; published ports are map elements, so that publishing touches nothing else.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from devenv.errors import EngineError

from ..process import find, run
from .address import FROM, INTO, Network

if TYPE_CHECKING:
    from devenv.model.manifest import Port

Protocol = Literal["tcp", "udp"]

ANYWHERE = "0.0.0.0"


class Published(NamedTuple):
    """A port of the host (its `host` is set) that leads to a container's address."""

    port: Port
    target: str


class Lent(NamedTuple):
    """A service on the host's loopback that containers reach at the gateway's address, on the same port."""

    protocol: Protocol
    port: int
    address: str


def rules(network: Network, published: Sequence[Published] = (), lent: Sequence[Lent] = ()) -> str:
    """The whole table as nft(8) text, to replace whatever there is."""
    table, bridge, subnet, gateway = network.table, network.bridge, network.subnet, network.gateway
    narrow = _elements(_element(entry) for entry in published if entry.port.address != ANYWHERE)
    wide = _elements(_element(entry) for entry in published if entry.port.address == ANYWHERE)
    loans = _elements(f"{loan.protocol} . {loan.port} : {loan.address} . {loan.port}" for loan in lent)
    return f"""
add table inet {table}
delete table inet {table}
table inet {table} {{
    map published {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        {narrow}
    }}
    map published_anywhere {{
        type inet_proto . inet_service : ipv4_addr . inet_service
        {wide}
    }}
    map lent {{
        type inet_proto . inet_service : ipv4_addr . inet_service
        {loans}
    }}
    set peers {{
        type ipv4_addr . ipv4_addr
    }}
    chain genuine {{
        type filter hook prerouting priority -300
        iifname "{bridge}" meta nfproto ipv6 drop
        iifname "{bridge}" ip saddr != {subnet} drop
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
    }}
    chain arrive {{
        type nat hook prerouting priority -100
        iifname "{bridge}" ip daddr {gateway} dnat ip to meta l4proto . th dport map @lent
        iifname "{bridge}" return
        ip daddr 127.0.0.0/8 return
        dnat ip to ip daddr . meta l4proto . th dport map @published
        fib daddr type local dnat ip to meta l4proto . th dport map @published_anywhere
    }}
    chain local {{
        type nat hook output priority -100
        dnat ip to ip daddr . meta l4proto . th dport map @published
        fib daddr type local dnat ip to meta l4proto . th dport map @published_anywhere
    }}
    chain vouch {{
        type filter hook prerouting priority -90
        iifname "{bridge}" meta mark set meta mark or {FROM:#x}
        ip daddr != {subnet} return
        ct state established,related meta mark set meta mark or {INTO:#x}
        ct status dnat meta mark set meta mark or {INTO:#x}
        iifname "{bridge}" ip saddr . ip daddr @peers meta mark set meta mark or {INTO:#x}
    }}
    chain through {{
        type filter hook forward priority 0
        iifname "{bridge}" oifname "{bridge}" ip saddr . ip daddr @peers accept
        iifname "{bridge}" oifname "{bridge}" drop
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        oifname "{bridge}" drop
        iifname "{bridge}" ct state invalid drop
        iifname "{bridge}" ip daddr 169.254.0.0/16 meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "{bridge}" ip daddr 169.254.0.0/16 reject with icmpx admin-prohibited
    }}
    chain inward {{
        type filter hook input priority 0
        iifname != "{bridge}" return
        ct state established,related accept
        ct status dnat accept
        meta l4proto {{ tcp, udp }} th dport 53 accept
        icmp type echo-request accept
        meta l4proto tcp reject with tcp reset
        reject with icmpx admin-prohibited
    }}
    chain lend {{
        type nat hook input priority 100
        iifname "{bridge}" ip daddr 127.0.0.0/8 snat ip to 127.0.0.1
    }}
    chain leave {{
        type nat hook postrouting priority 100
        ip saddr {subnet} oifname != "{bridge}" masquerade
        ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
    }}
}}
"""


def edition(network: Network) -> str:
    """Changes with the rules: a table that another version of devenv made has another."""
    return f"{zlib.crc32(rules(network).encode()):08x}"


def ensure(network: Network, published: Sequence[Published] = (), lent: Sequence[Lent] = ()) -> None:
    """(Re)create the table with exactly these ports and services, and the passes through others' firewalls."""
    _nft(rules(network, published, lent), "set up firewall")
    _pass_through(network)


def linked(bridge: str) -> bool:
    """Whether this link is there. By /proc/net: /sys may be that of another network namespace (`unshare --net`)."""
    with open("/proc/net/dev", encoding="ascii", errors="replace") as file:
        return any(line.split(":")[0].strip() == bridge for line in file)


def standing(table: str) -> bool:
    """Whether this table (address.table_name) is there. One netlink message (0.1 ms), not a start of nft: for commands that change nothing."""
    import socket

    request, get_table, new_table, table_name, inet = 1, 10 << 8 | 1, 10 << 8, 1, 1  # linux/netfilter/nf_tables.h
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), table_name) + name + bytes(-len(name) % 4)
    body = struct.pack("=BBH", inet, 0, 0) + attribute
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:  # NETLINK_NETFILTER
            netlink.settimeout(1)
            netlink.send(struct.pack("=IHHII", 16 + len(body), get_table, request, 1, 0) + body)
            kind = struct.unpack_from("=H", netlink.recv(8192), 4)[0]
    except OSError:
        return False
    return int(kind) == new_table  # an error otherwise


def missing(network: Network) -> bool:
    """Whether the table, or any rule of it, is gone. One start of nft, 5 ms."""
    found = _list(f"list table inet {network.table}")
    there = sum("rule" in entry for entry in found)
    return there != _rule_count(network) or any(
        len(_ours(network, chain)) != len(_PASSES) for chain in _closing_chains()
    )


def publish(network: Network, published: Sequence[Published]) -> None:
    """Let these ports lead to their targets, all or none; what led elsewhere under the same key is replaced.

    Raises EngineError, also when the table is missing (see `ensure`).
    """
    keys = {_key(entry) for entry in published}
    stale = [element for element in _mapped(network) if element.key in keys]
    _nft(
        "".join(_change(network, "delete", element.map, element.text) for element in stale)
        + "".join(_change(network, "add", _map(entry), _element(entry)) for entry in published),
        "publish ports",
    )


def unpublish(network: Network, target: str) -> None:
    """No port leads to this address any more. Nothing when none did, or when there is no table."""
    gone = [element for element in _mapped(network) if element.target == target]
    if gone:
        _nft("".join(_change(network, "delete", element.map, element.text) for element in gone), "unpublish ports")


def teardown(network: Network) -> list[str]:
    """Remove the table and our rules in others' chains; what fails is told."""
    faults = []
    removals = [f"add table inet {network.table}\ndelete table inet {network.table}\n"]
    for chain in _forward_chains():
        removals += [f"delete rule {chain} handle {handle}\n" for handle in _ours(network, chain)]
    for removal in removals:
        try:
            _nft(removal, "remove firewall")
        except EngineError as error:
            faults.append(str(error))
    return faults


# Others' firewalls -----------------------------------------------------------------------------

_PASSES = ('iifname "{bridge}"', 'oifname "{bridge}"')


def _pass_through(network: Network) -> None:
    """Docker, ufw and others drop forwarded packets by policy, and a drop is final whichever table says it.

    Our own table still decides: accepting in theirs only keeps their policy from deciding.
    """
    changes = ""
    for chain in _closing_chains():
        handles = _ours(network, chain)
        if len(handles) != len(_PASSES):
            changes += "".join(f"delete rule {chain} handle {handle}\n" for handle in handles)
            for match in _PASSES:
                rule = match.format(bridge=network.bridge)
                changes += f'insert rule {chain} {rule} counter accept comment "{network.table}"\n'
    if changes:
        _nft(changes, "pass through the host's firewall")


def _closing_chains() -> list[str]:
    """Chains where an accept is needed: DOCKER-USER where there is one, else a FORWARD whose policy is drop."""
    chains = [entry["chain"] for entry in _list("list chains ip") if "chain" in entry]
    named = {chain["name"]: chain for chain in chains if chain["table"] == "filter"}
    forward = named.get("FORWARD", {})
    if "DOCKER-USER" in named:
        return ["ip filter DOCKER-USER"]
    return ["ip filter FORWARD"] if forward.get("policy") == "drop" else []


def _forward_chains() -> list[str]:
    names = {
        entry["chain"]["name"] for entry in _list("list chains ip") if entry.get("chain", {}).get("table") == "filter"
    }
    return [f"ip filter {name}" for name in ("DOCKER-USER", "FORWARD") if name in names]


def _ours(network: Network, chain: str) -> list[int]:
    """Handles of our rules in somebody else's chain."""
    found = [entry["rule"] for entry in _list(f"list chain {chain}") if "rule" in entry]
    return [rule["handle"] for rule in found if rule.get("comment") == network.table]


# nft -------------------------------------------------------------------------------------------


class _Mapped(NamedTuple):
    """An element found in one of the two maps of published ports."""

    map: str
    key: tuple[str, ...]
    target: str
    text: str


def _map(entry: Published) -> str:
    return "published_anywhere" if entry.port.address == ANYWHERE else "published"


def _key(entry: Published) -> tuple[str, ...]:
    port = entry.port
    key = (port.protocol, str(port.host))
    return key if port.address == ANYWHERE else (port.address, *key)


def _element(entry: Published) -> str:
    return f"{' . '.join(_key(entry))} : {entry.target} . {entry.port.container}"


def _elements(elements: Iterator[str]) -> str:
    text = ", ".join(sorted(set(elements)))
    return f"elements = {{ {text} }}" if text else ""


def _change(network: Network, verb: str, name: str, element: str) -> str:
    return f"{verb} element inet {network.table} {name} {{ {element} }}\n"


def _mapped(network: Network) -> list[_Mapped]:
    found = []
    for name in ("published", "published_anywhere"):
        for entry in _list(f"list map inet {network.table} {name}"):
            for key, value in entry.get("map", {}).get("elem", ()):
                words = tuple(str(word) for word in key["concat"])
                address, port = value["concat"]
                found.append(_Mapped(name, words, address, f"{' . '.join(words)} : {address} . {port}"))
    return found


def _rule_count(network: Network) -> int:
    """Rules in `rules`: the lines of chains that aren't their hooks."""
    chains = rules(network).split("chain ")[1:]
    return sum(chain.count("\n        ") - 1 for chain in chains)


def _nft(text: str, doing: str) -> None:
    done = run([find("nft", "apt-get install nftables"), "-f", "-"], input=text.encode(), check=False)
    if done.code != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise EngineError(f"{doing}: nft: {said[0].removeprefix('/dev/stdin:')}")


def _list(what: str) -> list[dict[str, Any]]:
    """What `nft -j` lists; nothing when the object doesn't exist."""
    done = run([find("nft", "apt-get install nftables"), "-j", *what.split()], check=False)
    if done.code != 0:
        return []
    entries: list[dict[str, Any]] = json.loads(done.stdout or b"{}").get("nftables", [])
    return entries


# Ports of the host -----------------------------------------------------------------------------


def port_owner(address: str, port: int, protocol: Protocol = "tcp") -> str:
    """ "" when the port is free (it can be bound); otherwise who has it: `python3 (pid 123)`, or `another program`.

    Raises EngineError for an address that isn't this host's.
    """
    import errno

    try:
        _bind(address, port, protocol).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _holder(port, protocol) or "another program"
        raise EngineError(f"publish {address}:{port}: {error.strerror}") from error
    return ""


def free_port(address: str = "127.0.0.1", protocol: Protocol = "tcp") -> int:
    """A port that nobody has on this address at this moment."""
    with _bind(address, 0, protocol) as bound:
        return int(bound.getsockname()[1])


def _bind(address: str, port: int, protocol: Protocol) -> Any:
    import socket

    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    bound = socket.socket(socket.AF_INET, kind)
    try:
        if protocol == "tcp":  # or connections of the last server, in TIME_WAIT, would count
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def _holder(port: int, protocol: Protocol) -> str:
    """`name (pid N)` of a process with a socket on this port, by /proc/net and its descriptors; "" if none is seen."""
    listening = {"tcp": "0A", "udp": "07"}[protocol]
    inodes = set()
    for family in (protocol, f"{protocol}6"):
        with suppress(OSError), open(f"/proc/net/{family}", encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError):
            fds = f"/proc/{name}/fd"
            if any(os.readlink(f"{fds}/{fd}") in inodes for fd in os.listdir(fds)):
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (pid {name})"
    return ""
