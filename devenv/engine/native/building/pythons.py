"""A Python that the base lacks: which archive uv would take, fetched, and the list that makes uv take it, without network."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from devenv.errors import EngineError
from devenv.model.lock import Parcel, Remote

from .. import process
from ..host import lent
from ..packages.fetch import Fetched, Wanted
from ..packages.files import Files
from .obtain import obtain
from .site import Site

_OWN = "uv:"
"""How the address of an archive begins that comes from where the host's configuration says."""


def find(site: Site, version: str) -> tuple[str, Remote]:
    """The newest Python of a version (`3.12`): its full version, and its archive, fetched. Raises EngineError."""
    listed = _listed(site, version)
    if not listed:
        raise EngineError(
            f"find Python {version}: uv knows none for this machine", hint="name another `python.version`"
        )
    exact, url = str(listed[0]["version"]), str(listed[0]["url"])
    # Where the host has its Pythons from is nobody else's business.
    ours = any(name.startswith("UV_PYTHON_") for name, _ in lent.registry_variables(site.env))
    kept = f"{_OWN}{_name(url)}" if ours else url
    found = _fetch(site, exact, Remote(kept, 0, ""))
    return exact, Remote(kept, found.size, found.sha256)


def put(site: Site, files: Files, parcel: Parcel, folder: str) -> None:
    """The archive in a folder, and a list of Pythons, as uv reads it, that has only this one."""
    remote = parcel.interpreter
    assert remote is not None
    _fetch(site, parcel.version, remote)
    name = _name(remote.url)
    os.link(files.verified(f"python {parcel.version}", remote.sha256, remote.size), f"{folder}/{name}")
    machine = os.uname().machine
    major, minor, patch = (int(part) for part in parcel.version.split("."))
    entry = {
        "name": "cpython",
        "arch": {"family": machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "url": f"file:///run/devenv/packages/{name}",
        "sha256": remote.sha256,
        "variant": None,
        "build": "0",
    }
    with open(f"{folder}/pythons.json", "w", encoding="ascii") as file:
        json.dump({f"cpython-{parcel.version}-linux-{machine}-gnu": entry}, file)
        os.fchmod(file.fileno(), 0o644)


def _fetch(site: Site, version: str, remote: Remote) -> Fetched:
    def places() -> Iterator[str]:
        for one in _listed(site, version):
            if _name(str(one["url"])) == _name(remote.url):
                yield str(one["url"])
        if not remote.url.startswith(_OWN):
            yield remote.url

    (found,) = obtain(site, [Wanted(f"python {version}", remote.sha256, remote.size, places)])
    return found


def _listed(site: Site, version: str) -> list[dict[str, Any]]:
    """What uv could download, newest first."""
    bundle = lent.bundle("host")
    env = {**({"SSL_CERT_FILE": bundle} if bundle else {}), **dict(lent.registry_variables(site.env))}
    argv = (site.tool("uv"), "python", "list", "--only-downloads", "--output-format", "json", version)
    found = json.loads(process.run(argv, env=env).stdout)
    return [
        one for one in found if one.get("implementation") == "cpython" and one.get("libc") == "gnu" and one.get("url")
    ]


def _name(url: str) -> str:
    """An archive's name, without the signs that make a name in a URL hard to compare."""
    return posixpath.basename(unquote(url.removeprefix(_OWN))).replace("+", "-")
