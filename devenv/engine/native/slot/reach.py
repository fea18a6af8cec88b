"""An IP address -> whether a container on a store's network reaches it: for what the host fetches in a build's name.

The same as the firewall decides for packets (docs/network.md, "Who reaches whom").
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from devenv.errors import Fault, InputError

from .address import METADATA

VARIABLE = "DEVENV_ADD_FROM"


def reaches(address: str, subnet: str, allowed: str) -> bool:
    """`subnet`: the containers' own, "" before there is one. `allowed`: addresses and networks that count as reached.

    Raises InputError when `allowed` is something else.
    """
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found in network for network in _networks(allowed)):
        return True
    # Containers have no IPv6: the world outside is the same by either, but nothing of this site's is.
    if any(found in ip_network(network) for network in METADATA):
        return False
    special = not found.is_global if found.version == 6 else found.is_loopback or found.is_link_local
    if special or found.is_multicast or found.is_unspecified or found.is_reserved:
        return False
    return not (subnet and found in ip_network(subnet)) and not _is_ours(found)


def _networks(allowed: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(word, strict=False) for word in allowed.replace(",", " ").split()]
    except ValueError as error:
        raise InputError(Fault(VARIABLE, 0, 0, str(error), "for example 127.0.0.1, or 10.1.0.0/16")) from error


def _is_ours(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is an address of this host: only to those the kernel goes from that very address. Sends nothing."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False  # no way there: connecting will say so
        return str(probe.getsockname()[0]) == str(address)
