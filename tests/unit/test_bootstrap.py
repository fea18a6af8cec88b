"""The host's package sources, read."""

from __future__ import annotations

import pytest

from devenv.engine.native.host.archives import parse_sources, sources
from devenv.engine.native.host.bootstrap import failure
from devenv.model.host import Archive

MAIN, SECURITY = "http://mirror.example/debian", "http://mirror.example/debian-security"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"deb {MAIN} bookworm main\n", [(MAIN, ("bookworm",))]),
        (f"deb  {MAIN}/  bookworm  main contrib # our mirror\n", [(MAIN, ("bookworm",))]),
        (f"# deb {MAIN} bookworm main\ndeb-src {MAIN} bookworm main\n\n", []),
        (f"deb [arch=amd64 signed-by=/k.gpg] {MAIN} sid main\n", [(MAIN, ("sid",))]),
        (f"deb [ arch=amd64 ] {MAIN} sid main\n", [(MAIN, ("sid",))]),
        ("deb\ndeb [x\ndeb a\n", []),
        (
            f"Types: deb deb-src\nURIs: {MAIN}/\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
            f"# a comment\nTypes: deb\nURIs: {SECURITY}\nSuites: bookworm-security\nComponents: main\n",
            [(MAIN, ("bookworm", "bookworm-updates")), (SECURITY, ("bookworm-security",))],
        ),
        (f"Types: deb\nURIs: {MAIN}\nSuites: sid\nEnabled: no\n", []),
        (f"Types: deb-src\nURIs: {MAIN}\nSuites: sid\n", []),
        (f"types: deb\nuris: {MAIN} {SECURITY}\nsuites: sid\n", [(MAIN, ("sid",)), (SECURITY, ("sid",))]),
        ("", []),
    ],
)
def test_bootstrap_reads_sources(text: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert parse_sources(text) == expected


def test_bootstrap_writes_sources_of_a_suite() -> None:
    assert sources("bookworm", Archive(MAIN, SECURITY)).splitlines() == [
        f"deb {MAIN} bookworm main",
        f"deb {MAIN} bookworm-updates main",
        f"deb {SECURITY} bookworm-security main",
    ]
    assert "security" not in sources("bookworm", Archive(MAIN, ""))
    assert sources("sid", Archive(MAIN, SECURITY)) == f"deb {MAIN} sid main\n"


_UPDATE_FAILED = ("E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> failed", "E: mmdebstrap failed to run")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            ("E: The repository 'http://m/debian sid Release' does not have a Release file.",),
            "bootstrap sid: http://m/debian has no sid\n  hint: name an archive",
        ),
        (
            (
                "E: Failed to fetch http://u:canary@m/debian/dists/sid/InRelease  Could not resolve 'm'",
                "E: Some index files failed to download. They have been ignored, or old ones used instead.",
            ),
            "bootstrap sid: http://…@m/debian/dists/sid/InRelease: Could not resolve 'm'\n  hint: is the archive right",
        ),
        (("E: GPG error: http://m sid InRelease: NO_PUBKEY 1",), "bootstrap sid: http://m/debian isn't signed with"),
        (("I: x", "E: no space"), "bootstrap sid: it failed with http://m/debian\n  │ no space\n  hint: "),
    ],
)
def test_failure_says_which_archive_and_why(said: tuple[str, ...], told: str) -> None:
    assert str(failure("sid", "http://m/debian", (*said, *_UPDATE_FAILED))).startswith(told)
