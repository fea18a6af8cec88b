"""Slot number → names and addresses of its network; which subnet; which name servers a container is told. Pure."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

PREFIX = 20
"""Network, gateway, one address per slot (ids.LIMIT = 4093), broadcast: exactly a /20."""

METADATA = ("169.254.0.0/16", "168.63.129.16", "100.100.100.200")
"""Where clouds tell a machine its credentials: link-local; Azure's and Alibaba's own."""

INTO, FROM, PEER = 0x04000000, 0x08000000, 0x10000000
"""Bits of the packet mark: the firewall lets the packet into the subnet; it comes from there; its sender and receiver are of one group."""


class Subnet(NamedTuple):
    """An IPv4 network: its first address as a number, and its prefix length."""

    base: int
    prefix: int

    def __str__(self) -> str:
        return f"{dotted(self.base)}/{self.prefix}"

    def overlaps(self, other: Subnet) -> bool:
        """Whether any address is in both."""
        shift = 32 - min(self.prefix, other.prefix)
        return self.base >> shift == other.base >> shift


class Network(NamedTuple):
    """The one network of a store: its bridge (`dv` + 6 hex digits) and subnet; every other name follows from them."""

    bridge: str
    subnet: Subnet

    @property
    def table(self) -> str:
        """Name of the nft table."""
        return table_name(self.bridge)

    @property
    def gateway(self) -> str:
        return dotted(self.subnet.base + 1)

    def address(self, slot: int) -> str:
        """The slot's address. Raises ValueError when the subnet has none for it."""
        number = self.subnet.base + 2 + slot
        if slot < 0 or number >= self.subnet.base + (1 << (32 - self.subnet.prefix)) - 1:
            raise ValueError(f"slot {slot} has no address in {self.subnet}")
        return dotted(number)

    def link(self, slot: int) -> str:
        """Name of the host's end of the slot's veth pair, at most 13 of the 15 characters allowed."""
        return f"{self.bridge}-{slot}"

    def slot(self, link: str) -> int | None:
        """The slot a link of the host belongs to, None if it isn't one of ours."""
        name, _, number = link.partition("-")
        return int(number) if name == self.bridge and number.isascii() and number.isdigit() else None

    def foreign_slot(self, link: str) -> int | None:
        """The slot of another store that a link of the host belongs to, None for any other link."""
        bridge, _, number = link.partition("-")
        theirs = len(bridge) == len(self.bridge) and bridge.startswith("dv") and bridge != self.bridge
        return int(number) if theirs and number.isascii() and number.isdigit() else None


def bridge_name(run: str) -> str:
    """The bridge of the store with this run-time folder: no two folders share one."""
    # Not hashlib: OpenSSL takes 4 ms to load, and every `run` asks for the name.
    return f"dv{crc32(run.encode()) & 0xFFFFFF:06x}"


def table_name(bridge: str) -> str:
    """The nft table of the store with this bridge."""
    return f"devenv_{bridge[2:]}"


def dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def mac(address: str) -> str:
    """The hardware address (locally administered) of whoever has this IPv4 address: no neighbour needs to ask."""
    return "02:64:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def parse_subnet(text: str) -> Subnet:
    """`10.0.0.0/8` (a bare address is a /32) → Subnet, host bits cleared. Raises ValueError."""
    host, _, length = text.partition("/")
    parts = [int(part) for part in host.split(".")]
    prefix = int(length) if length else 32
    if len(parts) != 4 or not all(0 <= part <= 255 for part in parts) or not 0 <= prefix <= 32:
        raise ValueError(f"{text} is not an IPv4 network")
    number = int.from_bytes(bytes(parts), "big")
    return Subnet(number >> (32 - prefix) << (32 - prefix), prefix)


def candidates(seed: int) -> Iterator[Subnet]:
    """Private /20s that Docker, Podman, libvirt and home routers leave alone, in an order that `seed` decides."""
    pools = [parse_subnet("10.213.0.0/16"), parse_subnet("10.214.0.0/15"), parse_subnet("172.30.0.0/15")]
    all_of_them = [
        Subnet(pool.base + (number << (32 - PREFIX)), PREFIX)
        for pool in pools
        for number in range(1 << (PREFIX - pool.prefix))
    ]
    start = seed % len(all_of_them)
    yield from all_of_them[start:]
    yield from all_of_them[:start]


def choose(offered: Iterable[Subnet], taken: Sequence[Subnet]) -> Subnet | None:
    """The first offered subnet that overlaps none of those taken; default routes (prefix 0) take nothing."""
    real = [network for network in taken if network.prefix > 0]
    return next((subnet for subnet in offered if not any(subnet.overlaps(other) for other in real)), None)


def nameservers(resolv_conf: str, upstream: str, gateway: str) -> tuple[tuple[str, ...], str]:
    """What a container's resolv.conf should name, and the host's loopback resolver behind it ("" for none).

    `resolv_conf` is the host's file (resolv.conf(5)). A resolver on the host's loopback is lent at the gateway's
    address: it knows what the others don't (VPN, mDNS, its cache). IPv6 servers are left out: containers have no IPv6.
    `upstream` (systemd-resolved's list of real servers) counts only when nothing else is usable.
    """
    named = _ipv4_servers(resolv_conf)
    loopback = next((server for server in named if server.startswith("127.")), "")
    if loopback:
        return (gateway, *(server for server in named if not server.startswith("127."))), loopback
    real = named or [server for server in _ipv4_servers(upstream) if not server.startswith("127.")]
    return tuple(real), ""


def _ipv4_servers(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            found.append(dotted(parse_subnet(words[1]).base))
        except ValueError:
            continue  # IPv6, or nonsense: the host's own resolver skips it too
    return list(dict.fromkeys(found))
