"""The host's package sources, read."""

from __future__ import annotations

import pytest

from devenv.engine.native.host.bootstrap import Archive, parse_sources, sources

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
