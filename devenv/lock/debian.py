"""What apt-get prints of an installation it would do -> Debs; and the commands that make it print, and install from what was fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devenv.errors import EngineError
from devenv.model.lock import Deb

_LINE = re.compile(r"'(?P<uri>[^'\s]+)' (?P<file>\S+) (?P<size>\d{1,12})(?: (?P<hash>\S+))?")
_NAME = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)_(?P<version>[0-9][0-9A-Za-z.+:~-]*)_(?P<arch>[a-z0-9][a-z0-9-]*)\.deb"
)
_SHA256 = re.compile(r"SHA256:([0-9a-f]{64})")
_COUNT = re.compile(r"^(\d+) upgraded, (\d+) newly installed, ", re.MULTILINE)
_ADDITIONAL = "The following additional packages will be installed:"
_USER = re.compile(r"(?<=://)[^/@]*@")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")

_APT = ("env", "LC_ALL=C.UTF-8", "apt-get", "-q", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3")

UPDATE = (*_APT, "-o", "APT::Update::Error-Mode=any", "update")
"""The command that reads what the archives have."""


def resolve(asked: Sequence[str]) -> tuple[str, ...]:
    """The command that prints, in a root with lists, which packages to fetch for these; nothing is installed."""
    return (
        # What lies in apt's cache already wouldn't be printed, so it is shown another.
        *(*_APT, "-o", "Acquire::ForceHash=sha256", "-o", "Dir::Cache::archives=/run/devenv/none/"),
        *("install", "--yes", "--no-install-recommends", "--print-uris", "--", *asked),
    )


def uris(text: str, roots: Sequence[str], *, layer: int = 1) -> tuple[Deb, ...]:
    """The packages in what `resolve` printed, by name. `roots` are the URIs of the host's (or manifest's) own archives.

    A package from elsewhere keeps its whole address. Raises EngineError for what can't be locked.
    """
    found = {_deb(match, roots, layer) for line in text.splitlines() if (match := _LINE.fullmatch(line.strip()))}
    count = _COUNT.search(text)
    if count is None or int(count[1]) + int(count[2]) != len(found):
        raise EngineError(
            f"lock Debian packages: apt would install {int(count[1]) + int(count[2]) if count else 'an unknown number'},"
            f" and fetches {len(found)}",
            hint="a package from a `file:` archive can't be locked; take it from one on the network",
        )
    return tuple(sorted(found))


def additional(text: str) -> frozenset[str]:
    """The packages, by name or name:arch, that apt would install for the sake of others, in what `resolve` printed."""
    _, _, rest = text.partition(f"\n{_ADDITIONAL}\n")
    found: set[str] = set()
    for line in rest.splitlines():
        if not line.startswith("  "):
            break
        found.update(line.split())
    return frozenset(found)


def _deb(match: re.Match[str], roots: Sequence[str], layer: int) -> Deb:
    # Who may fetch it is the host's business; the lock is for everybody to read.
    uri, file = _USER.sub("", match["uri"]), _unquoted(match["file"])
    name, digest = _NAME.fullmatch(file), _SHA256.fullmatch(match["hash"] or "")
    if name is None:
        raise EngineError(f"lock {file:.80}: apt gives it no name and version")
    if digest is None:
        raise EngineError(
            f"lock {name['name']} {name['version']}: its archive gives no SHA256 for it",
            hint="only a package with one can be locked; take it from another archive",
        )
    beginnings = sorted((f"{_USER.sub('', root).rstrip('/')}/" for root in roots if root), key=len, reverse=True)
    root = next((beginning for beginning in beginnings if uri.startswith(beginning)), "")
    path = _unquoted(uri.removeprefix(root)) if root else _beneath(uri)
    return Deb(
        *(name["name"], name["version"], name["arch"], int(match["size"]), digest[1]),
        path=path,
        url="" if root else uri,
        layer=layer,
    )


def _beneath(uri: str) -> str:
    """The part of a foreign address that is beneath its archive's root, as far as one can tell."""
    path = uri.partition("://")[2].partition("/")[2]
    at = path.find("pool/")
    return _unquoted(path[max(at, 0) :])


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
