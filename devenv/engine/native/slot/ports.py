"""Ports of the host: (address, port) -> who has it, if anybody; and any that is free. Found by binding them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Literal

from devenv.errors import EngineError

Protocol = Literal["tcp", "udp"]


def owner(address: str, port: int, protocol: Protocol = "tcp") -> str:
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


def free(address: str = "127.0.0.1", protocol: Protocol = "tcp") -> int:
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
