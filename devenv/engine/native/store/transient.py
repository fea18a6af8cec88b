"""The path of a file that a step wrote, /etc/shadow -> what of it must not reach the layer, or it would never be the same twice."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

_DAY = 86400

Fate = Literal["", "gone", "emptied"]
"""`gone`: what was written is taken out again, and what a lower layer has there counts; `emptied`: a file of 0 bytes stays."""

Fates = Callable[[bytes], Fate]
"""A path within the layer, without a slash at its beginning -> its fate."""


class Transient(NamedTuple):
    """Paths (a regular expression over the whole path) with the same fate, and why."""

    fate: Fate
    paths: str
    why: str


_HOMES = r"(root|home/[^/]+)"

TRANSIENT = (
    Transient("gone", r"var/log/(dpkg|alternatives|bootstrap|fontconfig)\.log", "what was installed, and when"),
    Transient("gone", r"var/log/apt/.+", "the same, by apt"),
    # A service that isn't root can't make its log, so one that was made for it stays, with its owner and mode.
    Transient("emptied", r"var/log/.+", "what happened during the build, and when"),
    Transient("gone", r"var/cache/apt/[^/]+\.bin", "apt's index, with times of files; made again at need"),
    Transient("gone", r"var/cache/apt/archives/(partial/)?[^/]+\.deb", "fetched and installed"),
    Transient("gone", r"var/cache/ldconfig/aux-cache", "inode numbers and times of libraries"),
    Transient("gone", r"var/cache/fontconfig/.+", "times of font folders; no longer true, made again at need"),
    Transient("gone", r"var/cache/man/.+", "times of manual pages; made again by mandb"),
    Transient("gone", r"var/cache/debconf/[^/]+-old", "backup: what was before an unknown number of changes"),
    Transient("gone", r"var/lib/dpkg/[^/]+-old", "backup"),
    Transient("gone", r"etc/(passwd|shadow|group|gshadow|subuid|subgid)-", "backup"),
    Transient("gone", r"etc/\.pwd\.lock", "the lock of useradd and the like"),
    Transient("gone", r"var/lib/systemd/random-seed", "a secret that must not be the same in all containers"),
    Transient("gone", r"var/lib/dbus/machine-id", "an identity that must not be the same in all containers"),
    Transient("emptied", r"etc/machine-id", "the same; machine-id(5) wants it empty in images"),
    Transient("gone", rf"{_HOMES}/\.cache/(pip|uv)(/.*)?", "download cache of a tool"),
    Transient("gone", rf"{_HOMES}/\.npm/(_cacache|_logs|_update-notifier-last-checked)(/.*)?", "the same"),
)
"""What a RUN leaves by the way. Not /tmp, nor what is named in a COPY: whoever puts something there may want it."""

LISTS = Transient("gone", r"var/lib/apt/lists/.+", "what the archive had at that time")
"""Only of steps without network: after one that had it, a later `RUN apt-get install` may count on them.

Apt gives them the archive's own times.
"""


def fates(*, offline: bool) -> Fates:
    """What becomes of what a step left. `offline`: it had no network."""
    pattern = _OFFLINE if offline else _ONLINE

    def fate(path: bytes) -> Fate:
        found = pattern.fullmatch(path)
        return _FATES[found.lastgroup or ""] if found else ""

    return fate


def nothing(_: bytes) -> Fate:
    """For what the user put there by name."""
    return ""


def _pattern(table: tuple[Transient, ...]) -> re.Pattern[bytes]:
    # The first that fits counts; groups within a row don't, lastgroup is the last one that was closed.
    rows = (f"(?P<{row.fate}{number}>{row.paths})" for number, row in enumerate(table))
    return re.compile("|".join(rows).encode(), re.DOTALL)


_ONLINE, _OFFLINE = _pattern(TRANSIENT), _pattern((*TRANSIENT, LISTS))
_FATES: dict[str, Fate] = {f"{row.fate}{number}": row.fate for number, row in enumerate((*TRANSIENT, LISTS))}


def shadow(text: bytes, before: bytes, *, clock: int, begun: int) -> bytes:
    """/etc/shadow with the clock's day in lines that a step changed (shadow(5), third field), `before` as it was below.

    Changed today, whatever day the host thinks it is (`begun`, Unix seconds), or later than the clock. Day 0 would ask for
    another password at once, so it is none, as useradd(8) itself has it.
    """
    old = set(before.split(b"\n"))
    day = b"%d" % (clock // _DAY) if clock >= _DAY else b""
    lines = []
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if line not in old and len(fields) == 9 and fields[2].isdigit():
            changed = int(fields[2])
            if changed >= begun // _DAY or changed > clock // _DAY:
                fields[2] = day
        lines.append(b":".join(fields))
    return b"\n".join(lines)


TRUSTED = b"etc/ssl/certs/java/cacerts"
"""Where Debian's ca-certificates-java writes the certificate authorities that Java trusts: all of them, when it is installed."""

_CERTIFICATE = 2  # the tag of an entry; 1 is a key
_SALT = "changeit".encode("utf-16-be") + b"Mighty Aphrodite"
"""What the digest at the end of a Java key store begins with: its password, which is Debian's, and Java's own words."""


def trusted(store: bytes, *, clock: int, begun: int) -> bytes:
    """A Java key store (JKS, version 2) of certificates with the clock's time for those of this step, as files have it.

    As it was, when it is anything else: a store with keys in it, or with another password. Times are Unix seconds, in the store
    milliseconds (sun.security.provider.JavaKeyStore).
    """
    content, digest = store[:-20], store[-20:]
    if content[:8] != b"\xfe\xed\xfe\xed\0\0\0\2" or hashlib.sha1(_SALT + content).digest() != digest:
        return store
    found = bytearray(content)
    at = 12
    try:
        for _ in range(struct.unpack_from(">I", content, 8)[0]):
            kind, named = struct.unpack_from(">IH", content, at)
            at += 6 + named
            moment, typed = struct.unpack_from(">QH", content, at)
            if kind != _CERTIFICATE:
                return store
            if moment >= begun * 1000 or moment > clock * 1000:
                struct.pack_into(">Q", found, at, clock * 1000)
            at += 10 + typed
            at += 4 + struct.unpack_from(">I", content, at)[0]
    except struct.error:
        return store
    return bytes(found) + hashlib.sha1(_SALT + found).digest()
