"""What apt-get prints of an installation, read: names, versions with epochs, paths, and what can't be locked."""

from __future__ import annotations

import pytest

from devenv.errors import EngineError
from devenv.lock import debian
from devenv.model.lock import Deb

MAIN, SECURITY = "http://mirror.example/debian", "http://mirror.example/debian-security"
GIT, PERL, SSL, UV = "6" * 64, "5" * 64, "c" * 64, "a" * 64

# apt 2.6.1 in bookworm, `debian.resolve(["git", "hostname"])`; lines left out, hosts and digests others.
PRINTED = f"""\
Reading package lists...
Building dependency tree...
hostname is already the newest version (3.23+nmu1).
The following additional packages will be installed:
  liberror-perl libssl3
Suggested packages:
  gettext-base git-daemon-run | git-daemon-sysvinit git-doc git-email git-gui
The following NEW packages will be installed:
  git liberror-perl
The following packages will be upgraded:
  libssl3
1 upgraded, 2 newly installed, 0 to remove and 4 not upgraded.
Need to get 9333 kB of archives.
After this operation, 40.9 MB of additional disk space will be used.
'{SECURITY}/pool/updates/main/o/openssl/libssl3_3.0.22-1%7edeb12u2_amd64.deb' libssl3_3.0.22-1~deb12u2_amd64.deb 2039888 SHA256:{SSL}
'{MAIN}/pool/main/libe/liberror-perl/liberror-perl_0.17029-2_all.deb' liberror-perl_0.17029-2_all.deb 29032 SHA256:{PERL}
'{MAIN}/pool/main/g/git/git_2.39.5-0%2bdeb12u3_amd64.deb' git_1%3a2.39.5-0+deb12u3_amd64.deb 7264380 SHA256:{GIT}
"""


def one(line: str) -> str:
    return f"0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\n{line}\n"


def test_uris_are_read() -> None:
    assert debian.uris(PRINTED, (MAIN, SECURITY), layer=2) == (
        Deb(
            *("git", "1:2.39.5-0+deb12u3", "amd64", 7264380, GIT),
            path="pool/main/g/git/git_2.39.5-0+deb12u3_amd64.deb",
            layer=2,
        ),
        Deb(
            *("liberror-perl", "0.17029-2", "all", 29032, PERL),
            path="pool/main/libe/liberror-perl/liberror-perl_0.17029-2_all.deb",
            layer=2,
        ),
        Deb(
            *("libssl3", "3.0.22-1~deb12u2", "amd64", 2039888, SSL),
            path="pool/updates/main/o/openssl/libssl3_3.0.22-1~deb12u2_amd64.deb",
            layer=2,
        ),
    )


@pytest.mark.parametrize(
    ("uri", "roots", "path", "url"),
    [
        (f"{MAIN}/pool/u/uv_1_all.deb", (MAIN,), "pool/u/uv_1_all.deb", ""),
        (f"{MAIN}/pool/u/uv_1_all.deb", (f"{MAIN}/", ""), "pool/u/uv_1_all.deb", ""),
        # A root that another begins with.
        (f"{SECURITY}/pool/u/uv_1_all.deb", (MAIN,), "pool/u/uv_1_all.deb", f"{SECURITY}/pool/u/uv_1_all.deb"),
        (f"{MAIN}/security/pool/u/uv_1_all.deb", (MAIN, f"{MAIN}/security"), "pool/u/uv_1_all.deb", ""),
        # A password is nobody's business, neither the host's nor a project's.
        ("http://me:canary@mirror.example/debian/pool/u/uv_1_all.deb", (MAIN,), "pool/u/uv_1_all.deb", ""),
        (f"{MAIN}/pool/u/uv_1_all.deb", ("http://me:canary@mirror.example/debian",), "pool/u/uv_1_all.deb", ""),
        ("https://me:canary@x.example/a/uv_1_all.deb", (MAIN,), "a/uv_1_all.deb", "https://x.example/a/uv_1_all.deb"),
        ("https://x.example/a%2bb/uv_1_all.deb", (MAIN,), "a+b/uv_1_all.deb", "https://x.example/a%2bb/uv_1_all.deb"),
    ],
)
def test_uris_are_beneath_an_archive_of_the_host_or_whole(
    uri: str, roots: tuple[str, ...], path: str, url: str
) -> None:
    (found,) = debian.uris(one(f"'{uri}' uv_1_all.deb 3 SHA256:{UV}"), roots)

    assert (found.path, found.url) == (path, url)


def test_uris_of_nothing_are_none() -> None:
    assert debian.uris("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n", (MAIN,)) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "would install an unknown number, and fetches 0"),
        ("0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\n", "would install 1, and fetches 0"),
        (one(f"'{MAIN}/x_1_all.deb' x_1_all.deb 3 SHA512:{UV}"), "^lock x 1: its archive gives no SHA256"),
        (one(f"'{MAIN}/x_1_all.deb' x_1_all.deb 3 "), "^lock x 1: its archive gives no SHA256"),
        (one(f"'{MAIN}/x.deb' x.deb 3 SHA256:{UV}"), r"^lock x\.deb: apt gives it no name and version"),
        (one(f"'{MAIN}/x.deb' ..%2fx_1_all.deb 3 SHA256:{UV}"), r"^lock \.\./x_1_all\.deb: "),
    ],
)
def test_uris_that_cant_be_locked_are_refused(text: str, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        debian.uris(text, (MAIN,))


def test_resolve_takes_no_package_for_an_option() -> None:
    words = debian.resolve(["-oDir::Bin::dpkg=/x"])

    assert words[-2:] == ("--", "-oDir::Bin::dpkg=/x")
