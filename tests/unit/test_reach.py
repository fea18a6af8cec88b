"""Which addresses the host fetches from in a build's name: those that a step could reach itself."""

from __future__ import annotations

import subprocess

import pytest

from devenv.engine.native.slot.reach import reaches
from devenv.errors import InputError


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("10.213.16.7", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%lo", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("192.0.2.1", True),
        ("10.213.32.7", True),
        ("192.168.77.1", True),
        ("2606:4700::1", True),
    ],
)
def test_reaches_what_a_container_does(address: str, expected: bool) -> None:
    assert reaches(address, "10.213.16.0/20", "") is expected


def test_reaches_no_address_of_this_host() -> None:
    words = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout.split()
    for address in words:
        assert not reaches(address, "", "")
        assert reaches(address, "", f"{address}, 192.0.2.0/24")


def test_reaches_says_what_is_wrong_with_its_exceptions() -> None:
    with pytest.raises(InputError, match="DEVENV_ADD_FROM: 'localhost' does not appear"):
        reaches("127.0.0.1", "", "localhost")
