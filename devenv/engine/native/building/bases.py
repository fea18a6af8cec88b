"""A suite -> what its base is made of, remembered; that -> the base's root: fetched, checked, installed without network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from devenv.errors import EngineError, Unsupported
from devenv.model.host import Archive
from devenv.model.lock import BaseLock, Deb

from .. import mount
from ..container import snapshot
from ..container.snapshot import Staging
from ..host import archives, bootstrap, lent
from ..packages import archive, deb
from ..packages.files import Files
from ..slot.ids import COUNT, host_start
from ..store.adopt import Normal, adopt, begin
from ..store.transient import fates
from .obtain import obtain
from .site import Site

Tell = Callable[[str], None]

SNAPSHOT = "DEVENV_SNAPSHOT"
"""The host's word where archives are as they were: see Archive.snapshot."""


def inputs(lock: BaseLock, architecture: str) -> tuple[str, ...]:
    """All that a base is a function of: its key is made of it."""
    packages = (f"{one.name} {one.version} {one.arch} {one.sha256}" for one in sorted(lock.packages))
    return ("bootstrap", bootstrap.VERSION, architecture, lock.suite, str(lock.clock), *packages)


# What was resolved before ---------------------------------------------------------------------------------------


def remembered(path: str) -> BaseLock | None:
    """What `remember` wrote; None when it never did, or a power loss left it short."""
    try:
        with open(path, encoding="utf-8") as file:
            suite, release, packages, clock = json.load(file)
        return BaseLock(suite, release, tuple(Deb(*one) for one in packages), clock)
    except (OSError, ValueError, TypeError):
        return None


def remember(path: str, lock: BaseLock) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(lock, file)
    os.rename(draft, path)


# Resolved, made -------------------------------------------------------------------------------------------------


def resolve(site: Site, suite: str, slot: int, draft: str) -> BaseLock:
    """Ask the archives what `minbase` of a suite is today."""
    where = archives.archive(site.lending.mirror)
    listing = archives.sources(suite, where)
    with site.stage().staging() as staging, _room(site, staging, slot, draft) as room:
        return bootstrap.resolve(
            suite,
            where,
            listing,
            room=room,
            lists=_lists(site, staging, slot, f"{draft}/bootstrap", listing),
            architecture=site.architecture,
            options=(*lent.apt_proxies(site.proxies()), *lent.apt_age()),
        )


def make(site: Site, lock: BaseLock, slot: int, draft: str, tell: Tell) -> tuple[str, int]:
    """Make the base in the folder `draft`: the path of what is the layer, and its bytes. Its clock is its own."""
    packages = fetched(site, lock.packages, (lock.release,), tell)
    deb.repository(f"{draft}/packages", packages)
    automatic = [one.deb.name for one in packages if _is_automatic(one)]
    begun = begin()
    with site.stage().staging() as staging, _room(site, staging, slot, draft) as room:
        bootstrap.make(
            lock,
            archives.note(lock.suite),
            automatic,
            room=room,
            repository=snapshot.bind_folder(staging, f"{draft}/packages", readonly=True),
            architecture=site.architecture,
            tell=tell,
        )
    root = f"{draft}/bootstrap/root"
    normal = Normal(lock.clock, begun.earliest(), fates(offline=True))
    return root, adopt(root, host_start(slot), COUNT, normal)


def fetched(site: Site, debs: tuple[Deb, ...], moments: Sequence[int], tell: Tell) -> tuple[deb.Repacked, ...]:
    """The packages, fetched where they aren't here yet, verified, without compression."""
    obtained(site, debs, moments, tell)
    with site.ending.stopped() as stopped:
        return deb.repacked(debs, Files(site.paths.packages), stopped)


def obtained(site: Site, debs: tuple[Deb, ...], moments: Sequence[int], tell: Tell) -> None:
    """Fetch the packages that aren't here yet."""
    files = Files(site.paths.packages)
    missing = [one for one in debs if not files.has(one.sha256, one.size)]
    if missing:
        tell(f"fetching {len(missing)} packages, {sum(one.size for one in missing) / 1e6:.1f} MB")
        where = _archive(site)
        obtain(site, [archive.wanted(one, where, moments) for one in missing])


def _archive(site: Site) -> Archive:
    try:
        found = archives.archive(site.lending.mirror)
    except EngineError:
        found = Archive("", "")  # a host without apt: the lock, or a snapshot, may have it all the same
    return found._replace(snapshot=site.lending.snapshot or site.env.get(SNAPSHOT, ""))


def _is_automatic(one: deb.Repacked) -> bool:
    """Whether it is there for others only: it isn't what `minbase` asks for."""
    asked = deb.field(one.control, "Essential") == "yes" or deb.field(one.control, "Priority") == "required"
    return not asked and one.deb.name != "apt"


@contextmanager
def _room(site: Site, staging: Staging, slot: int, draft: str) -> Iterator[bootstrap.Room]:
    # The namespace's root can't walk through our 0700 folders; it gets a place of its own to work in.
    folder = f"{draft}/bootstrap"
    os.mkdir(folder, 0o700)
    os.chown(folder, host_start(slot), host_start(slot))
    place = staging.place()
    mount.bind(folder, place, attributes=("nosuid",))
    with site.ending.programs() as started:
        yield bootstrap.Room(f"{site.paths.slot(slot)}/user", place, started)


def _lists(site: Site, staging: Staging, slot: int, folder: str, listing: str) -> str:
    """A folder for apt's lists that the slot's root may write, kept for the next time."""
    kept = site.cache(f"apt-lists {site.architecture} {listing}", 0o755, (0, 0))
    userns = os.open(f"{site.paths.slot(slot)}/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return snapshot.bind_folder(staging, kept, userns=userns)
    except Unsupported:  # ids can't be mapped here: they are read anew each time
        own = f"{folder}/lists"
        os.mkdir(own, 0o755)
        os.chown(own, host_start(slot), host_start(slot))
        return snapshot.bind_folder(staging, own)
    finally:
        os.close(userns)
