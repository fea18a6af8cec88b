"""An address → connections that lead to it, which the kernel remembers, forgotten (linux/netfilter/nfnetlink_conntrack.h).

Translation is decided once, at a connection's first packet: a client that goes on sending datagrams would reach whoever
has the address next.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE, _FILTER, _FILTER_REPLY = 1, 2, 18, 25, 2
_SOURCE = 1  # CTA_TUPLE_IP, CTA_IP_V4_SRC, CTA_FILTER_F_CTA_IP_SRC


def forget(address: str) -> None:
    """Nothing where the kernel keeps no such table. 10 ms: the kernel looks through all of it."""
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:  # NETLINK_NETFILTER
        netlink.settimeout(1)
        for entry in list(_answered_by(netlink, socket.inet_aton(address))):
            netlink.send(_message(_DELETE, _REQUEST | _ACK, entry))
            netlink.recv(8192)  # gone meanwhile, or not


def _answered_by(netlink: socket.socket, address: bytes) -> Iterator[bytes]:
    """What names each connection that this address answers to."""
    sender = _attribute(_SOURCE | _NESTED, _attribute(_SOURCE, address))
    wanted = _attribute(_FILTER | _NESTED, _attribute(_FILTER_REPLY, struct.pack("=I", _SOURCE)))
    netlink.send(_message(_GET, _REQUEST | _DUMP, _attribute(_TUPLE_REPLY | _NESTED, sender) + wanted))
    while True:
        data = netlink.recv(1 << 16)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (_DONE, _ERROR):
                return
            found = dict(_attributes(data[20:length]))
            answer = dict(_attributes(dict(_attributes(found[_TUPLE_REPLY]))[_SOURCE]))
            if answer.get(_SOURCE) == address:  # a kernel before 5.8 doesn't know the filter
                zone = _attribute(_ZONE, found[_ZONE]) if _ZONE in found else b""
                yield _attribute(_TUPLE_ORIG | _NESTED, found[_TUPLE_ORIG]) + zone
            data = data[_aligned(length) :]


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 20 + len(body), kind, flags, 1, 0) + struct.pack("=BBH", socket.AF_INET, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return length + 3 & ~3
