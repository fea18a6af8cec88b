"""Locked Debian packages -> where each is fetched from, in order: the host's archive, the snapshot archive, its own address."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from devenv.model.host import Archive
from devenv.model.lock import Deb

from .fetch import Wanted

_SECURITY = "pool/updates/"
"""How paths in Debian's security archive begin, and in no other."""

_DAY = 86400
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def wanted(deb: Deb, archive: Archive, moments: Sequence[int]) -> Wanted:
    """What to fetch for a package; `moments`: when it was there, in Unix seconds."""
    return Wanted(
        what=f"{deb.name} {deb.version}",
        sha256=deb.sha256,
        size=deb.size,
        places=lambda: places(deb, archive, moments),
        foreign=bool(deb.url),
    )


def places(deb: Deb, archive: Archive, moments: Sequence[int]) -> Iterator[str]:
    """URLs of a package, in the order to be tried."""
    if deb.url:
        yield deb.url
        return
    path = _quoted(deb.path)
    security = path.startswith(_SECURITY)
    # A `mirror:` names one archive; mirrors have that of security fixes beside it.
    beside = archive.security or (archive.main and f"{archive.main}-security")
    if root := (beside if security else archive.main):
        yield f"{root}/{path}"
    if archive.snapshot:
        # What a release has brought is in the snapshot after it; a day later it's surely there, and hardly gone again.
        for moment in dict.fromkeys(when for known in moments for when in (known + _DAY, known)):
            yield f"{snapshot(archive.snapshot, 'debian-security' if security else 'debian', moment)}/{path}"


def snapshot(pattern: str, archive: str, clock: int) -> str:
    """The root of an archive as it was."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock))
    return pattern.replace("{time}", moment).replace("{archive}", archive).rstrip("/")


def _quoted(path: str) -> str:
    """As apt writes it in a URL: all but the plain characters escaped, `+` too."""
    return "".join(char if char in _SAFE else "".join(f"%{byte:02x}" for byte in char.encode()) for char in path)
