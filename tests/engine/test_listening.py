"""Who listens in a network, as the kernel says it."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from devenv.engine.native.slot.listening import heard
from tests.engine.conftest import Machine

pytestmark = pytest.mark.engine


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("family", "kind", "address", "told"),
    [
        (socket.AF_INET, "tcp", "0.0.0.0", "all"),
        (socket.AF_INET, "tcp", Machine.ADDRESS, "all"),
        (socket.AF_INET, "tcp", "127.0.0.5", "loopback"),
        (socket.AF_INET6, "tcp", "::", "all"),
        (socket.AF_INET6, "tcp", "::1", "loopback"),
        (socket.AF_INET6, "tcp", "::ffff:127.0.0.1", "loopback"),
        (socket.AF_INET, "udp", "0.0.0.0", "all"),
        (socket.AF_INET, "udp", "127.0.0.1", "loopback"),
    ],
)
def test_a_port_is_listened_on(family: socket.AddressFamily, kind: str, address: str, told: str) -> None:
    asked = [(8000, kind), (8001, kind), (8000, "udp" if kind == "tcp" else "tcp")]
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as server:
        server.bind((address, 8000))
        if kind == "tcp":
            assert heard(os.getpid(), asked) == ("", "", "")  # bound, but it doesn't listen yet
            server.listen()
        assert heard(os.getpid(), asked) == (told, "", "")


@pytest.mark.usefixtures("machine")
def test_what_takes_ipv6_only_takes_nothing_from_outside() -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("::", 8000))
        server.listen()
        assert heard(os.getpid(), [(8000, "tcp")]) == ("loopback",)


@pytest.mark.usefixtures("machine")
def test_who_is_connected_listens_to_nobody_else() -> None:
    with socket.create_server(("0.0.0.0", 8000)) as server, socket.create_connection(("127.0.0.1", 8000)) as client:
        server.accept()[0].close()
        asked = [(8000, "tcp"), (client.getsockname()[1], "tcp")]
        assert heard(os.getpid(), asked) == ("all", "")
    assert heard(os.getpid(), asked) == ("", "")


@pytest.mark.usefixtures("machine")
def test_many_sockets_are_all_looked_at() -> None:
    with ExitStack() as stack:
        for port in range(8000, 9000):
            stack.enter_context(socket.create_server(("127.0.0.1" if port % 2 else "0.0.0.0", port)))
        asked = [(port, "tcp") for port in range(8000, 9001)]
        assert heard(os.getpid(), asked) == (*(("all", "loopback") * 500), "")


def test_of_one_that_is_gone_nothing_is_known() -> None:
    assert heard(1 << 30, [(8000, "tcp")]) == ("all",)
