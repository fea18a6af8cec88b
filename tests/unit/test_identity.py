"""USER against an image's accounts."""

from __future__ import annotations

import pytest

from devenv.engine.native.container.identity import resolve
from devenv.engine.native.container.spec import Identity
from devenv.errors import NotFound

PASSWD = "root:x:0:0:root:/root:/bin/bash\nbroken\nweb:x:33:34:www:/var/www:/bin/sh\nnohome:x:50:50:::\n12:x:99:99::/twelve:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:34:\nlog:x:4:web,other\ntty:x:5:web\nbroken:x\nown:x:34:web\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (), "/root")),
        ("root", Identity(0, 0, (), "/root")),
        ("web", Identity(33, 34, (4, 5), "/var/www")),
        ("33", Identity(33, 34, (4, 5), "/var/www")),
        ("web:log", Identity(33, 4, (), "/var/www")),
        ("web:77", Identity(33, 77, (), "/var/www")),
        ("1000", Identity(1000, 0, (), "/")),
        ("1000:1001", Identity(1000, 1001, (), "/")),
        ("nohome", Identity(50, 50, (), "/")),
        ("12", Identity(99, 99, (), "/twelve")),
        ("65535:65535", Identity(65535, 65535, (), "/")),
    ],
)
def test_identity_resolves(user: str, expected: Identity) -> None:
    assert resolve(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["who", "web:who", "65536", "-1", "4294967296", "0:70000", "٣", "web:-1"])
def test_identity_refuses(user: str) -> None:
    with pytest.raises(NotFound):
        resolve(user, PASSWD, GROUP)


def test_identity_refuses_an_account_outside_of_the_range() -> None:
    with pytest.raises(NotFound, match="65536"):
        resolve("far", "far:x:65536:0::/:/bin/sh\n", "")
    with pytest.raises(NotFound, match="70000"):
        resolve("far", "far:x:1:70000::/:/bin/sh\n", "")


def test_identity_without_accounts_knows_root_and_numbers() -> None:
    assert resolve("", "", "") == Identity(0, 0, (), "/")
    assert resolve("5:6", "", "") == Identity(5, 6, (), "/")
