"""(A store's network, what is open) → its nft tables as nft(8) text, and what leads from one state of them to another. Pure.

docs/network.md says what each rule is for. Ports, services and groups are elements of maps and sets, so that opening one
touches nothing else; only a port with several targets has a chain of its own.
"""

from __future__ import annotations

from binascii import crc32
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from .address import FROM, INTO, METADATA, PEER, Network

Protocol = Literal["tcp", "udp"]

ANYWHERE = "0.0.0.0"
SHARING = "to_"
"""How the names of chains begin that choose among several targets: one rule each."""

_METADATA = f"{{ {', '.join(METADATA)} }}"
_NUMBERED = "type ipv4_addr . inet_proto . inet_service"
_ANY = "type inet_proto . inet_service"
_TARGET = "ipv4_addr . inet_service"
_WAYS = ("published", "published_anywhere", "shared", "shared_anywhere")
"""Where a port of the host is found, by these in turn."""
# The chains that `shared` leads to stand before it. Names and types of all that has elements:
_PLACES = {
    "published": f"map published {{ {_NUMBERED} : {_TARGET}",
    "published_anywhere": f"map published_anywhere {{ {_ANY} : {_TARGET}",
    "shared": f"map shared {{ {_NUMBERED} : verdict",
    "shared_anywhere": f"map shared_anywhere {{ {_ANY} : verdict",
    "lent": f"map lent {{ {_NUMBERED} : {_TARGET}",
    "lent_to_all": f"map lent_to_all {{ {_ANY} : {_TARGET}",
    "group": "map group { type ipv4_addr : mark",
    "members": "set members { type ipv4_addr . mark",
}


class Published(NamedTuple):
    """A port of the host that leads to (address, port) of a container, or of several, in turn."""

    address: str
    protocol: Protocol
    port: int
    targets: tuple[tuple[str, int], ...]


class Lent(NamedTuple):
    """A service on the host's loopback, reached at the gateway's address on the same port: by `borrower`, or by all ("")."""

    protocol: Protocol
    port: int
    address: str
    borrower: str = ""


class Open(NamedTuple):
    """All that is open beyond what everybody may. `groups`: (address, group's number); those of a group reach each other."""

    published: tuple[Published, ...] = ()
    lent: tuple[Lent, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()


CLOSED = Open()


def rules(network: Network, opened: Open = CLOSED) -> str:
    """The table that decides, to replace whatever there is."""
    table, bridge, subnet, gateway = network.table, network.bridge, network.subnet, network.gateway
    return f"""
add table inet {table}
delete table inet {table}
table inet {table} {{
{_chains(opened)}{_places(opened)}
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
        ip daddr . meta l4proto . th dport vmap @shared
        fib daddr type local dnat ip to meta l4proto . th dport map @published_anywhere
        fib daddr type local meta l4proto . th dport vmap @shared_anywhere
    }}
    chain local {{
        type nat hook output priority -100
        dnat ip to ip daddr . meta l4proto . th dport map @published
        ip daddr . meta l4proto . th dport vmap @shared
        fib daddr type local dnat ip to meta l4proto . th dport map @published_anywhere
        fib daddr type local meta l4proto . th dport vmap @shared_anywhere
    }}
    chain vouch {{
        type filter hook prerouting priority -90
        iifname "{bridge}" meta mark set meta mark or {FROM:#x}
        ip daddr != {subnet} return
        ct state established,related meta mark set meta mark or {INTO:#x}
        ct status dnat meta mark set meta mark or {INTO:#x}
        iifname != "{bridge}" return
        ip daddr {gateway} return
        meta mark set ip saddr map @group
        ip daddr . meta mark @members meta mark set {FROM | INTO | PEER:#x} return
        meta mark set {FROM:#x}
    }}
    chain through {{
        type filter hook forward priority 0
        iifname "{bridge}" oifname "{bridge}" meta mark and {PEER:#x} == {PEER:#x} accept
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
        {_elements(itself(network, slot) for slot in slots)}
    }}
    chain itself {{
        type filter hook prerouting priority -300
        iifname "{link}" ether type ip iifname . ip saddr @itself accept
        iifname "{link}" ether type arp iifname . arp saddr ip @itself accept
        iifname "{link}" drop
    }}
}}
"""


def itself(network: Network, slot: int) -> str:
    """The element of `itself` that is this slot."""
    return f'"{network.link(slot)}" . {network.address(slot)}'


def edition(network: Network) -> str:
    """Changes with the rules: tables that another version of devenv made have another."""
    return f"{crc32((rules(network) + guard(network)).encode()):08x}"


def rule_counts(network: Network) -> Mapping[str, int]:
    """How many rules each chain of both tables has: its lines that aren't its hook. Those that share ports have one each."""
    chains = [chain for table in (rules(network), guard(network)) for chain in table.split("chain ")[1:]]
    return {chain.split()[0]: chain.count("\n        ") - 1 for chain in chains}


def difference(network: Network, before: Open, after: Open) -> tuple[str, ...]:
    """What makes of the one the other: transactions to run in turn, none when they are the same.

    It is several when the way of an open port to its targets becomes another: the chain that is to choose among them is
    there before anything leads to it, and what leads elsewhere goes last. A packet goes through chains of the generation
    it began with and looks elements up in that which counts just then: one that is under way while a transaction is
    committed may find both the old way gone and the new one missing (the kernel's nft_do_chain, nft_lookup).
    """
    table = f"inet {network.table}"
    old, new = _all(before), _all(after)
    gone = [key for key, value in old.items() if new.get(key) != value]
    come = [key for key, value in new.items() if old.get(key) != value]
    open_before, open_after = ({key for place, key in each if place in _WAYS} for each in (old, new))
    left = [(place, key) for place, key in gone if (place, key) not in new and place in _WAYS and key in open_after]
    chains_before, chains_after = _sharing(before), _sharing(after)
    chains_come = {name for name, chain in chains_after.items() if chains_before.get(name) != chain}
    chains_gone = chains_before.keys() - chains_after.keys()
    first = {name for name in chains_come if chains_after[name].key in open_before}
    last = {name for name in chains_gone if chains_before[name].key in open_after}
    transactions = (
        _additions(table, chains_after, first),
        [
            *_commands("delete", table, (each for each in gone if each not in left)),
            *_removals(table, chains_gone - last),
            *_additions(table, chains_after, chains_come - first),
            *_commands("add", table, ((place, _text(key, new[place, key])) for place, key in come)),
        ],
        [*_commands("delete", table, left), *_removals(table, last)],
    )
    return tuple(text for commands in transactions if (text := "".join(commands)))


def _additions(table: str, chains: Mapping[str, _Chain], names: Iterable[str]) -> Iterator[str]:
    for name in sorted(names):
        yield f"add chain {table} {name}\nflush chain {table} {name}\nadd rule {table} {name} {chains[name].rule}\n"


def _removals(table: str, chains: Iterable[str]) -> Iterator[str]:
    for name in sorted(chains):
        yield f"flush chain {table} {name}\ndelete chain {table} {name}\n"


def _commands(verb: str, table: str, elements: Iterable[tuple[str, str]]) -> Iterator[str]:
    by_place = defaultdict(list)
    for place, text in elements:
        by_place[place].append(text)
    for place in sorted(by_place):
        yield f"{verb} element {table} {place} {{ {', '.join(sorted(by_place[place]))} }}\n"


def _all(opened: Open) -> dict[tuple[str, str], str]:
    """(map or set, key) → value of all elements; a set's have none."""
    found = {}
    for address, protocol, port, targets in opened.published:
        everywhere = address == ANYWHERE
        key = _key(address, protocol, port)
        place, value = "published", "".join(f"{host} . {number}" for host, number in targets[:1])
        if len(targets) > 1:
            place, value = "shared", f"goto {_chain(address, protocol, port, targets)}"
        if targets:
            found[f"{place}_anywhere" if everywhere else place, key] = value
    for protocol, port, address, borrower in opened.lent:
        key = f"{protocol} . {port}"
        place, key = ("lent", f"{borrower} . {key}") if borrower else ("lent_to_all", key)
        found[place, key] = f"{address} . {port}"
    for address, group in opened.groups:
        found["group", address] = f"{group:#x}"
        found["members", f"{address} . {group:#x}"] = ""
    return found


class _Chain(NamedTuple):
    """Chooses among the targets of the port that this key in `shared` or `shared_anywhere` stands for."""

    key: str
    rule: str


def _sharing(opened: Open) -> dict[str, _Chain]:
    """The chain, by its name, of each port with several targets."""
    return {
        _chain(address, protocol, port, targets): _Chain(_key(address, protocol, port), _rule(protocol, targets))
        for address, protocol, port, targets in opened.published
        if len(targets) > 1
    }


def _key(address: str, protocol: str, port: int) -> str:
    return f"{protocol} . {port}" if address == ANYWHERE else f"{address} . {protocol} . {port}"


def _chain(address: str, protocol: str, port: int, targets: Sequence[tuple[str, int]]) -> str:
    """Another name for other targets: the chain of those that were stands until nothing leads to it."""
    return f"{SHARING}{address}_{protocol}_{port}_{crc32(repr(targets).encode()):08x}"


def _rule(protocol: str, targets: Sequence[tuple[str, int]]) -> str:
    numbered = ", ".join(f"{number} : {host} . {port}" for number, (host, port) in enumerate(targets))
    # A map to ports needs the protocol said: nft demands it.
    return f"meta l4proto {protocol} dnat ip to numgen inc mod {len(targets)} map {{ {numbered} }}"


def _chains(opened: Open) -> str:
    chains = sorted(_sharing(opened).items())
    return "".join(f"    chain {name} {{\n        {chain.rule}\n    }}\n" for name, chain in chains)


def _places(opened: Open) -> str:
    by_place = defaultdict(list)
    for (place, key), value in _all(opened).items():
        by_place[place].append(_text(key, value))
    return "\n".join(f"    {head}; {_elements(by_place[place])} }}" for place, head in _PLACES.items())


def _text(key: str, value: str) -> str:
    return f"{key} : {value}" if value else key


def _elements(elements: Iterable[str]) -> str:
    text = ", ".join(sorted(set(elements)))
    return f"elements = {{ {text} }}" if text else ""
