"""A host name and who may be reached -> a connection to it, for whatever a project names that the host fetches."""

from __future__ import annotations

import socket
from collections.abc import Callable

Reaches = Callable[[str], bool]
"""Whether a build step could reach this IP address."""


class Unreached(Exception):
    """None of a host's addresses may be reached. The text says which there are."""


def connected(host: str, port: int | None, reaches: Reaches, seconds: float) -> socket.socket:
    """A connection to the first of a host's addresses that may be reached and answers within so many seconds.

    The address that was looked at is the one that is used: a name may mean another one at the next look.
    Raises Unreached, OSError.
    """
    failed: OSError | None = None
    refused: list[str] = []
    for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        address = str(place[0])
        if not reaches(address):
            refused.append(address)
            continue
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(seconds)
            connection.connect(place)
            return connection
        except OSError as error:
            connection.close()
            failed = error
    if failed is not None:
        raise failed
    raise Unreached(f"is {' and '.join(dict.fromkeys(refused))}, which no build step reaches")
