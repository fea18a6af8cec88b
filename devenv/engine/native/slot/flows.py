"""An address → connections that lead to it, which the kernel remembers, forgotten (linux/netfilter/nfnetlink_conntrack.h).

Translation is decided once, at a connection's first packet: a client that goes on sending datagrams would reach whoever
has the address next.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from .netlink import NESTED, Request, answers, attribute, attributes, connection, dump

_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE, _FILTER, _FILTER_REPLY = 1, 2, 18, 25, 2
_IP, _PROTO = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_SOURCE = 1  # CTA_FILTER_F_CTA_IP_SRC, CTA_IP_V4_SRC, CTA_PROTO_NUM
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)


def forget(address: str) -> None:
    """Of datagrams: who has the address next knows nothing of a TCP connection and resets it.

    Nothing where the kernel keeps no such table. 10 ms: the kernel looks through all of it.
    """
    with suppress(OSError), connection(_NETFILTER) as netfilter:
        netfilter.settimeout(1)
        answers(netfilter, [Request(_DELETE, _HEAD + entry) for entry in _answered_by(netfilter, address)])


def _answered_by(netfilter: socket.socket, address: str) -> Iterator[bytes]:
    """What names each UDP flow that this address answers to."""
    number = socket.inet_aton(address)
    sender = attribute(_IP | NESTED, attribute(_SOURCE, number))
    wanted = attribute(_FILTER | NESTED, attribute(_FILTER_REPLY, _SOURCE))
    for entry in dump(netfilter, _GET, _HEAD + attribute(_TUPLE_REPLY | NESTED, sender) + wanted):
        found = dict(attributes(entry[4:]))
        reply = dict(attributes(found[_TUPLE_REPLY]))
        answer, protocol = dict(attributes(reply[_IP])), dict(attributes(reply[_PROTO]))
        # A kernel before 5.8 doesn't know the filter.
        if answer.get(_SOURCE) == number and protocol.get(_SOURCE) == bytes([socket.IPPROTO_UDP]):
            zone = attribute(_ZONE, found[_ZONE]) if _ZONE in found else b""
            yield attribute(_TUPLE_ORIG | NESTED, found[_TUPLE_ORIG]) + zone
