"""Clients that ask at a port of the host, again and again, and count who answered and what was lost; the server that they ask."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SERVER = """
use IO::Socket::INET;
$SIG{PIPE} = "IGNORE";
$SIG{TERM} = sub { $over = 1 } if $ENV{GRACEFUL};
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 4096, ReuseAddr => 1) or die;
until ($over) {
    my $ready = "";
    vec($ready, fileno($server), 1) = 1;
    next unless select($ready, undef, undef, 0.05) > 0;
    my $client = $server->accept or next;
    1 until defined sysread($client, my $asked, 99);  # a signal interrupts it
    select(undef, undef, undef, 0.002);
    syswrite($client, $ENV{HOSTNAME});
    close $client;
}
"""
"""Perl: one client after the other, asked by a byte, answered with the server's name. Told to end, it ends: with GRACEFUL once
it has answered whom it has accepted, without at once. Who waits to be accepted is reset, as with most servers."""

HEALTHY = "bash -c '</dev/tcp/127.0.0.1/8000'"
"""A health check: it accepts connections."""

_MOST, _SECONDS = 50_000, 120.0
"""What all clients together ask at most, and for how long."""


class Load:
    """Who answered, in this order, and each request that nobody did: seconds since the start, and why."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered: list[str] = []
        self.lost: list[tuple[float, str]] = []
        self.over = threading.Event()
        self._begun = time.monotonic()

    def ask(self) -> None:
        """A connection of its own for each request, until it is over."""
        while not self.over.is_set() and len(self.answered) < _MOST and self._seconds() < _SECONDS:
            try:
                self.answered.append(asked(self.port))
            except OSError as error:
                self.lost.append((self._seconds(), str(error)))

    def names(self, since: int = 0) -> set[str]:
        """Who answered, but for so many answers."""
        return set(self.answered[since:])

    def _seconds(self) -> float:
        return time.monotonic() - self._begun


def asked(port: int) -> str:
    """The name of who answers. OSError when nobody does."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"?")
        return answer(connection)


def answer(connection: socket.socket) -> str:
    """What is answered there. OSError when that is nothing."""
    name = connection.recv(99).decode()
    if not name:
        raise ConnectionError("closed without an answer")
    return name


@contextmanager
def load(port: int, clients: int = 8) -> Iterator[Load]:
    """So many clients, at work while the body runs."""
    made = Load(port)
    threads = [threading.Thread(target=made.ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.over.set()
        for thread in threads:
            thread.join()
