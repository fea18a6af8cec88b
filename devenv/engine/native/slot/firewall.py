"""A store's nft tables: (network, published ports, lent services, slots) → who may reach whom.

docs/network.md says what each rule is for. The tables are replaced whole in one transaction, so there is no moment
without them; ports and services are map elements, so that opening one touches nothing else.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from devenv.errors import EngineError

from ..process import find, run
from .address import FROM, INTO, METADATA, Network

if TYPE_CHECKING:
    from devenv.model.manifest import Port

Protocol = Literal["tcp", "udp"]

ANYWHERE = "0.0.0.0"
_FAMILIES = ("inet", "bridge")
_METADATA = f"{{ {', '.join(METADATA)} }}"


class Published(NamedTuple):
    """A port of the host (its `host` is set) that leads to a container's address."""

    port: Port
    target: str


class Lent(NamedTuple):
    """A service on the host's loopback, reached at the gateway's address on the same port: by `borrower`, or by all ("")."""

    protocol: Protocol
    port: int
    address: str
    borrower: str = ""


def rules(network: Network, published: Sequence[Published] = (), lent: Sequence[Lent] = ()) -> str:
    """The table that decides, as nft(8) text, to replace whatever there is."""
    table, bridge, subnet, gateway = network.table, network.bridge, network.subnet, network.gateway
    narrow, wide, single, common = (
        _elements(entry.text for entry in _entries(published, lent) if entry.map == name) for name in _MAPS
    )
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
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        {single}
    }}
    map lent_to_all {{
        type inet_proto . inet_service : ipv4_addr . inet_service
        {common}
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
        iifname "{bridge}" ip daddr {gateway} dnat ip to ip saddr . meta l4proto . th dport map @lent
        iifname "{bridge}" ip daddr {gateway} dnat ip to meta l4proto . th dport map @lent_to_all
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
        iifname "{bridge}" ct original ip daddr {_METADATA} meta l4proto {{ tcp, udp }} th dport 53 accept
        iifname "{bridge}" ct original ip daddr {_METADATA} reject with icmpx admin-prohibited
    }}
    chain inward {{
        type filter hook input priority 0
        iifname != "{bridge}" return
        ct state established,related accept
        ct status dnat ct original ip daddr {gateway} accept
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


def guard(network: Network, slots: Iterable[int] = ()) -> str:
    """The table that sees which port of the bridge a frame comes from: each slot sends as itself only."""
    table, link = network.table, f"{network.bridge}-*"
    return f"""
add table bridge {table}
delete table bridge {table}
table bridge {table} {{
    set itself {{
        type ifname . ipv4_addr
        {_elements(_itself(network, slot) for slot in slots)}
    }}
    chain itself {{
        type filter hook prerouting priority -300
        iifname "{link}" ether type ip iifname . ip saddr @itself accept
        iifname "{link}" ether type arp iifname . arp saddr ip @itself accept
        iifname "{link}" drop
    }}
}}
"""


def edition(network: Network) -> str:
    """Changes with the rules: tables that another version of devenv made have another."""
    return f"{zlib.crc32((rules(network) + guard(network)).encode()):08x}"


def ensure(
    network: Network, published: Sequence[Published] = (), lent: Sequence[Lent] = (), slots: Iterable[int] = ()
) -> None:
    """(Re)create the tables with exactly these ports, services and slots, and the passes through others' firewalls."""
    _nft(rules(network, published, lent) + guard(network, slots), "set up firewall")
    _pass_through(network)


def admit(network: Network, slots: Sequence[int]) -> None:
    """What these slots will send is let through as theirs: before they are wired."""
    elements = ", ".join(_itself(network, slot) for slot in slots)
    _nft(f"add element bridge {network.table} itself {{ {elements} }}\n", "admit slots")


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
    """Whether a table, or any rule of one, is gone. Two starts of nft, 5 ms each."""
    found = [entry for kind in _FAMILIES for entry in _list(f"list table {kind} {network.table}")]
    there = sum("rule" in entry for entry in found)
    return there != _rule_count(network) or any(
        len(_ours(network, chain)) != len(_passes(network)) for chain in _closing_chains()
    )


def open_doors(network: Network, published: Sequence[Published], lent: Sequence[Lent] = ()) -> None:
    """Let these ports lead to their targets and these services to their borrowers, all or none; the same key leads
    nowhere else any more.

    Raises EngineError, also when the table is missing (see `ensure`).
    """
    wanted = _entries(published, lent)
    keys = {(entry.map, entry.key) for entry in wanted}
    stale = [entry for entry in _found(network) if (entry.map, entry.key) in keys]
    _change(network, stale, wanted, "publish ports")


def close_doors(network: Network, address: str) -> None:
    """No port leads to this address any more, and no service is lent to it. Nothing when none was."""
    stale = [entry for entry in _found(network) if address in (entry.target, entry.key[0])]
    if stale:
        _change(network, stale, (), "unpublish ports")


def teardown(network: Network) -> list[str]:
    """Remove the tables and our rules in others' chains; what fails is told."""
    faults = []
    removals = [f"add table {kind} {network.table}\ndelete table {kind} {network.table}\n" for kind in _FAMILIES]
    for chain in _forward_chains():
        removals += [f"delete rule {chain} handle {handle}\n" for handle in _ours(network, chain)]
    for removal in removals:
        try:
            _nft(removal, "remove firewall")
        except EngineError as error:
            faults.append(str(error))
    return faults


# Others' firewalls -----------------------------------------------------------------------------

_ENGINES = ("br-*", "docker*", "podman*", "virbr*")
"""Bridges of other engines, by the names they give them. Into those their owners' firewall decides."""


def _passes(network: Network) -> list[str]:
    back = [f'iifname "{network.bridge}" oifname "{name}" counter return' for name in _ENGINES]
    return [*back, f'iifname "{network.bridge}" counter accept', f'oifname "{network.bridge}" counter accept']


def _pass_through(network: Network) -> None:
    """Docker, ufw and others drop forwarded packets by policy, and a drop is final whichever table says it.

    Our own table still decides: accepting in theirs only keeps their policy from deciding.
    """
    changes = ""
    for chain in _closing_chains():
        handles = _ours(network, chain)
        if len(handles) != len(_passes(network)):
            changes += "".join(f"delete rule {chain} handle {handle}\n" for handle in handles)
            for rule in reversed(_passes(network)):  # each goes before the last one
                changes += f'insert rule {chain} {rule} comment "{network.table}"\n'
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


_MAPS = ("published", "published_anywhere", "lent", "lent_to_all")


class _Entry(NamedTuple):
    """An element of one of the maps: what packets to (or, in `lent`, from) `key` are sent on to."""

    map: str
    key: tuple[str, ...]
    target: str
    port: int

    @property
    def text(self) -> str:
        return f"{' . '.join(self.key)} : {self.target} . {self.port}"


def _entries(published: Iterable[Published], lent: Iterable[Lent]) -> list[_Entry]:
    found = []
    for port, target in published:
        key = (port.protocol, str(port.host))
        everywhere = port.address == ANYWHERE
        whole = key if everywhere else (port.address, *key)
        found.append(_Entry("published_anywhere" if everywhere else "published", whole, target, port.container))
    for loan in lent:
        key = (loan.protocol, str(loan.port))
        whole = (loan.borrower, *key) if loan.borrower else key
        found.append(_Entry("lent" if loan.borrower else "lent_to_all", whole, loan.address, loan.port))
    return found


def _itself(network: Network, slot: int) -> str:
    return f'"{network.link(slot)}" . {network.address(slot)}'


def _elements(elements: Iterable[str]) -> str:
    text = ", ".join(sorted(set(elements)))
    return f"elements = {{ {text} }}" if text else ""


def _change(network: Network, gone: Iterable[_Entry], new: Iterable[_Entry], doing: str) -> None:
    steps = [("delete", entry) for entry in gone] + [("add", entry) for entry in new]
    lines = [f"{verb} element inet {network.table} {entry.map} {{ {entry.text} }}\n" for verb, entry in steps]
    _nft("".join(lines), doing)


def _found(network: Network) -> list[_Entry]:
    """What is in the maps now."""
    found = []
    for listed in _list(f"list table inet {network.table}"):
        for key, value in listed.get("map", {}).get("elem", ()):
            address, port = value["concat"]
            found.append(_Entry(listed["map"]["name"], tuple(str(word) for word in key["concat"]), address, port))
    return found


def _rule_count(network: Network) -> int:
    """Rules in both tables: the lines of chains that aren't their hooks."""
    chains = [chain for table in (rules(network), guard(network)) for chain in table.split("chain ")[1:]]
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
