"""A store's nft tables (ruleset.py) in the kernel: made, changed, looked at, taken away; and the passes through others' firewalls.

The tables are replaced whole in one transaction, so there is no moment without them.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from devenv.errors import EngineError

from ..process import find, run
from .address import Network
from .ruleset import CLOSED, SHARING, Open, difference, guard, itself, rule_counts, rules

_FAMILIES = ("inet", "bridge")


def ensure(network: Network, opened: Open = CLOSED, slots: Iterable[int] = ()) -> None:
    """(Re)create the tables with exactly this open and these slots, and the passes through others' firewalls."""
    _nft(rules(network, opened) + guard(network, slots), "set up firewall")
    _pass_through(network)


def change(network: Network, before: Open, after: Open) -> None:
    """Open and close what differs; nothing is run when nothing does. Connections that there are stay, none that begins is lost.

    Raises EngineError, also when the table is missing or hasn't open what was said: what there is must be put right then.
    """
    for transaction in difference(network, before, after):
        _nft(transaction, "open and close ports")


def admit(network: Network, slots: Sequence[int]) -> None:
    """What these slots will send is let through as theirs: before they are wired."""
    elements = ", ".join(itself(network, slot) for slot in slots)
    _nft(f"add element bridge {network.table} itself {{ {elements} }}\n", "admit slots")


def linked(bridge: str) -> bool:
    """Whether this link is there. By /proc/net: /sys may be that of another network namespace (`unshare --net`)."""
    with open("/proc/net/dev", encoding="ascii", errors="replace") as file:
        return any(line.split(":")[0].strip() == bridge for line in file)


def standing(table: str) -> bool:
    """Whether this table (address.table_name) is there. One netlink message (0.1 ms), not a start of nft: for commands that change nothing."""
    import _socket  # socket makes enums of all its constants, 4 ms: a tenth of `run`

    request, get_table, new_table, table_name, inet = 1, 10 << 8 | 1, 10 << 8, 1, 1  # linux/netfilter/nf_tables.h
    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), table_name) + name + bytes(-len(name) % 4)
    body = struct.pack("=BBH", inet, 0, 0) + attribute
    try:
        with closing(_socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 12)) as netlink:  # NETLINK_NETFILTER
            netlink.settimeout(1)
            netlink.send(struct.pack("=IHHII", 16 + len(body), get_table, request, 1, 0) + body)
            kind = struct.unpack_from("=H", netlink.recv(8192), 4)[0]
    except OSError:
        return False
    return int(kind) == new_table  # an error otherwise


def missing(network: Network) -> bool:
    """Whether a table, or any rule of one, is gone. Two starts of nft, 5 ms each."""
    found = [entry for kind in _FAMILIES for entry in _list(f"list table {kind} {network.table}")]
    there = Counter(entry["rule"]["chain"] for entry in found if "rule" in entry)
    sharing = {
        entry["chain"]["name"]: 1 for entry in found if entry.get("chain", {}).get("name", "").startswith(SHARING)
    }
    return dict(there) != {**rule_counts(network), **sharing} or any(
        len(_ours(network, chain)) != len(_passes(network)) for chain in _closing_chains()
    )


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
