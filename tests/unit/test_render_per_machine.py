"""What install scripts make for one machine: which packages are known for it, that what they made goes, that the page says so."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from devenv.render.per_machine import PER_MACHINE, PerMachine, left_out

PAGE = os.path.join(os.path.dirname(__file__), "../../docs/lock.md")


@pytest.mark.parametrize(
    ("package", "known"),
    [
        *((name, True) for name in ("postgresql-common", "postgresql-15", "mariadb-server", "mariadb-server-10.5")),
        *(
            (name, False)
            for name in ("postgresql-client-15", "postgresql-15-pgvector", "mariadb-server-core", "openssh-client")
        ),
    ],
)
def test_packages_are_known_by_their_whole_name(package: str, known: bool) -> None:
    assert bool(left_out({package})) == known


@pytest.mark.parametrize("one", [one for one in PER_MACHINE if one.made], ids=lambda one: one.packages)
def test_what_was_there_before_stays(one: PerMachine, tmp_path: Path) -> None:
    """A base of one's own may have been given keys by whoever made it."""
    names = {
        "openssh-server": ["ssh_host_rsa_key", "ssh_host_rsa_key.pub"],
        "ssl-cert": ["private/ssl-cert-snakeoil.key", "certs/ssl-cert-snakeoil.pem"],
        "bind9": ["rndc.key"],
        "munge": ["munge.key"],
        "rabbitmq-server": [".erlang.cookie"],
        "varnish": ["secret"],
    }.get(one.packages, ["ibdata1", "mysql/user.frm"])
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
        os.utime(tmp_path / name, (1, 1))
    begun = tmp_path / "begun"
    begun.write_text("")
    os.utime(begun, (2, 2))

    def find() -> list[str]:
        command = f"find {re.sub(r'/(etc|var)/[^ ]*', str(tmp_path), one.made)} -newer {begun} ! -name begun -delete"
        subprocess.run(["sh", "-c", command], check=True)
        return [name for name in names if (tmp_path / name).exists()]

    if one.packages == "ssl-cert":
        (tmp_path / "certs/0a1b2c3d.0").symlink_to("ssl-cert-snakeoil.pem")
    if one.packages.startswith("mariadb"):
        os.utime(tmp_path / "mysql", (1, 1))
    assert find() == names
    for name in names:
        (tmp_path / name).write_text("made")
    assert find() == []
    assert not (tmp_path / "certs/0a1b2c3d.0").is_symlink()


def test_page_says_what_is_left_out_and_what_makes_it() -> None:
    with open(PAGE, encoding="utf-8") as file:
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| `(.+?)`", file.read(), re.MULTILINE)
    assert len(rows) == len(PER_MACHINE)
    for (package, what, again), one in zip(rows, PER_MACHINE, strict=True):
        assert re.fullmatch(one.packages, package) or package == "postgresql"
        assert (what, again) == (one.what, one.again)
