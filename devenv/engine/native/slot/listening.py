"""A process, ports of its network → who takes what comes there. One netlink message for each kind of socket, 0.1 ms in all:
/proc/net/tcp goes through the connections of the whole host, 10 ms.
"""

from __future__ import annotations

import _socket  # as the quick door comes here: socket makes enums of all its constants
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ..mount import CLONE_NEWNET, setns

if TYPE_CHECKING:  # the quick door comes here
    from devenv.model.container import Heard

_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP = 4, 20, 0x301  # linux/netlink.h, linux/sock_diag.h
_ERROR, _DONE = 2, 3
_SKV6ONLY = 11  # linux/inet_diag.h
_STATES = {"tcp": (_socket.IPPROTO_TCP, 1 << 10), "udp": (_socket.IPPROTO_UDP, 1 << 7)}
"""Of sockets that wait for somebody (net/tcp_states.h): TCP's listen; UDP's have a port, and nobody at the other end."""

_LOOPBACK = (b"\x7f", bytes(15) + b"\x01", bytes(10) + b"\xff\xff\x7f")
"""How addresses begin that nobody else reaches: 127.0.0.0/8, ::1, ::ffff:127.0.0.0/8."""


def heard(pid: int, ports: Sequence[tuple[int, str]]) -> tuple[Heard, ...]:
    """For each (port, protocol). Where the kernel doesn't say, or the process is gone, all is as it should be."""
    try:
        waiting = [*_waiting(pid, {protocol for _, protocol in ports})]
    except OSError:
        return tuple("all" for _ in ports)
    return tuple(_heard([near for one, near in waiting if one == port]) for port in ports)


def _heard(near: Sequence[bool]) -> Heard:
    if not near:
        return ""
    return "loopback" if all(near) else "all"


def _waiting(pid: int, protocols: Iterable[str]) -> Iterator[tuple[tuple[int, str], bool]]:
    """((port, protocol), whether on the loopback only) of each socket."""
    with closing(_within(pid)) as kernel:
        for protocol in protocols:
            for family in (_socket.AF_INET, _socket.AF_INET6):
                for port, near in _dump(kernel, family, *_STATES[protocol]):
                    yield (port, protocol), near


def _within(pid: int) -> _socket.socket:
    """A netlink socket of the process's network, where it stays."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            made = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _SOCK_DIAG)
        finally:
            setns(ours, CLONE_NEWNET)
    finally:
        os.close(ours)
    made.settimeout(1)
    return made


def _dump(kernel: _socket.socket, family: int, protocol: int, states: int) -> Iterator[tuple[int, bool]]:
    """(port, whether reached from inside only) of all sockets in these states (struct inet_diag_req_v2, struct inet_diag_msg)."""
    body = struct.pack("=BBBxI", family, protocol, 0, states) + bytes(48)
    kernel.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
    while True:
        data, at = kernel.recv(1 << 16), 0
        while at < len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "sock_diag")
            if kind == _DONE:
                return
            (port,) = struct.unpack_from(">H", data, at + 20)
            address = data[at + 24 : at + 24 + (4 if family == _socket.AF_INET else 16)]
            yield port, address.startswith(_LOOPBACK) or _only_ipv6(data[at + 88 : at + length])
            at += length + 3 & ~3


def _only_ipv6(attributes: bytes) -> bool:
    """Whether these of a socket (rtnetlink(7)) say so: what comes from outside comes to IPv4."""
    at = 0
    while at < len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind == _SKV6ONLY:
            return attributes[at + 4] == 1
        at += max(length, 4) + 3 & ~3
    return False
