"""Requests to the kernel's networking, as bytes: made, sent many at a time, answered one by one (netlink(7), linux/netlink.h).

By hand, since wiring a slot takes a dozen of them: a library of objects needs 0.8 ms for each, the kernel 0.1 ms.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
"""What a request that makes something does with what is there already."""

NESTED = 0x8000

_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_AT_A_TIME = 64  # answers wait in the socket's buffer meanwhile
_ATTEMPTS = 20


class Request(NamedTuple):
    """Its kind (RTM_NEWLINK …), the flags above, the header of its kind with all attributes; errors that are as good as success."""

    kind: int
    body: bytes
    flags: int = 0
    tolerated: tuple[int, ...] = ()


def connection(family: int) -> socket.socket:
    """A socket to this part of the kernel (NETLINK_ROUTE, NETLINK_NETFILTER), of the network namespace we are in."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)


def attribute(kind: int, *values: bytes | str | int) -> bytes:
    """Numbers have 32 bits, texts end with NUL; several values, or attributes within it, follow each other."""
    data = b"".join(_bytes(value) for value in values)
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each, without the flags that a kind may bear."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]


def ask(connection: socket.socket, requests: Sequence[Request]) -> None:
    """Have all of them done, in this order. Raises OSError for the first that was refused; others may have been done."""
    for request, code in zip(requests, answers(connection, requests), strict=True):
        if code and code not in request.tolerated:
            raise OSError(code, os.strerror(code))


def answers(connection: socket.socket, requests: Sequence[Request]) -> list[int]:
    """Have all of them done, in this order; the error number of each, 0 for what succeeded."""
    found: list[int] = []
    for start in range(0, len(requests), _AT_A_TIME):
        some = requests[start : start + _AT_A_TIME]
        connection.send(b"".join(_message(request.kind, request.flags | _ACK, request.body) for request in some))
        for _ in some:
            kind, data = next(_messages(connection.recv(1 << 16)))
            found.append(-struct.unpack_from("=i", data)[0] if kind == _ERROR else errno.EPROTO)
    return found


def dump(connection: socket.socket, kind: int, body: bytes) -> list[bytes]:
    """All that the kernel has of this kind: header and attributes of each. Raises OSError."""
    for _ in range(_ATTEMPTS):
        found = _dump(connection, kind, body)
        if found is not None:
            return found
    raise OSError(errno.EINTR, "it changes all the time")


def _dump(connection: socket.socket, kind: int, body: bytes) -> list[bytes] | None:
    """None when something changed meanwhile: what was told may have holes."""
    connection.send(_message(kind, _DUMP, body))
    found: list[bytes] = []
    whole = True
    while True:
        received = connection.recv(1 << 18)
        whole = whole and not struct.unpack_from("=H", received, 6)[0] & _INTERRUPTED
        for answer, data in _messages(received):
            if answer == _DONE:
                return found if whole else None
            if answer == _ERROR:
                code = -struct.unpack_from("=i", data)[0]
                raise OSError(code, os.strerror(code))
            found.append(data)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, 1, 0) + body + padding


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[length + 3 & ~3 :]


def _bytes(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() + b"\0" if isinstance(value, str) else struct.pack("=I", value)
