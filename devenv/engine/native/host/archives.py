"""The host's apt configuration -> which archives a suite's packages come from, and the sources.list that is lent inside.

An image names no mirror: its sources.list is one comment, and what is lent for that suite lies over it.
"""

from __future__ import annotations

import os
import re

from devenv.errors import EngineError
from devenv.model.host import Archive

_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")
_NO_SECURITY = ("sid", "unstable")
_NOTE = re.compile(r"# devenv: ([a-z]+), lent by the host(?:\n|$)")


def note(suite: str) -> str:
    """The sources.list of a base that we made."""
    return f"# devenv: {suite}, lent by the host\n"


def lent(own: str, mirror: str | None) -> bytes:
    """What is lent to a root whose own sources.list is `own`: b"" when that isn't ours, or the host has no archive."""
    found = _NOTE.match(own)
    if found is None:
        return b""
    try:
        return (note(found[1]) + sources(found[1], archive(mirror))).encode()
    except EngineError:  # a host without apt: who needs packages says `mirror:`
        return b""


def archive(mirror: str | None = None) -> Archive:
    """The manifest's mirror, or else the archives that the host's own apt uses. Raises EngineError when it names none."""
    if mirror:
        return Archive(mirror.rstrip("/"), "")
    found = [entry for text in _source_files() for entry in parse_sources(text)]
    security = next(
        (uri for uri, suites in found if any(suite.endswith(("-security", "/updates")) for suite in suites)), ""
    )
    # The host's own suite may be another than the one wanted: the archive has all of them.
    for uri, suites in found:
        if (
            uri != security
            and any(suite.split("-")[0] in KNOWN for suite in suites)
            and "debian" in uri.rsplit("/", 2)[-1]
        ):
            return Archive(uri, security)
    raise EngineError(
        "find a package archive: the host's apt sources name no Debian archive",
        hint="say `mirror: URL` in the manifest",
    )


KNOWN = ("bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable")


def parse_sources(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """(URI, suites) of a sources.list in either format (sources.list(5)); what is no package source is skipped."""
    if any(line.lower().startswith("uris:") for line in text.splitlines()):
        return [entry for paragraph in text.split("\n\n") for entry in _deb822(paragraph)]
    return [entry for line in text.splitlines() if (entry := _one_line(line)) is not None]


def _deb822(paragraph: str) -> list[tuple[str, tuple[str, ...]]]:
    fields = {}
    for line in paragraph.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith(("#", " ")):
            fields[name.strip().lower()] = value.split()
    if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
        return []
    return [(uri.rstrip("/"), tuple(fields.get("suites", ()))) for uri in fields.get("uris", ())]


def _one_line(line: str) -> tuple[str, tuple[str, ...]] | None:
    words = line.partition("#")[0].split()
    if not words or words[0] != "deb":
        return None
    if len(words) > 1 and words[1].startswith("["):
        end = next((index for index, word in enumerate(words) if word.endswith("]")), len(words))
        words = [words[0], *words[end + 1 :]]
    return (words[1].rstrip("/"), (words[2],)) if len(words) > 2 else None


def source_paths() -> list[str]:
    """The files and folders that say where the host's packages come from, there or not."""
    paths = list(_SOURCES)
    for folder in filter(os.path.isdir, _SOURCES):
        paths += [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith((".list", ".sources"))]
    return paths


def _source_files() -> list[str]:
    texts = []
    for path in filter(os.path.isfile, source_paths()):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read(1 << 20))
    return texts


def sources(suite: str, archives: Archive) -> str:
    """A sources.list: the suite, its updates, its security fixes."""
    lines = [f"deb {archives.main} {suite} main"]
    if suite not in _NO_SECURITY:
        lines.append(f"deb {archives.main} {suite}-updates main")
        if archives.security:
            lines.append(f"deb {archives.security} {suite}-security main")
    return "\n".join(lines) + "\n"
