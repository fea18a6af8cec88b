"""A step that installs Debian packages -> it, done: those that dpkg would only copy lay below its root, unpacked already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from devenv.beneath import remove_tree
from devenv.engine.workshop import Bind
from devenv.model.build import Run
from devenv.model.lock import Parcel

from ..packages import deb, dpkg, plain
from ..packages.files import Files
from ..store.adopt import Begun, begin
from ..store.transient import fates
from ..trouble import trouble
from . import bases, supply
from .draft import Draft
from .site import Site

Execute = Callable[[Sequence[int], Sequence[Bind]], tuple[str, int]]
"""Layers to lie upon the step's own, what it mounts -> the upperdir it left, its exit code."""


class Done(NamedTuple):
    """A step that ran: since when, what it left, its exit code; the layer that lay below it for that time ("": none), and its bytes."""

    begun: Begun
    upper: str
    code: int
    below: str = ""
    size: int = 0


def executed(
    site: Site, draft: Draft, layers: Sequence[int], run: Run, binds: Sequence[Bind], execute: Execute, clock: int
) -> Done:
    """Run a step. What it leaves, and what lay below it, together are what dpkg alone would have made of these packages."""
    parcel = next((bind.parcel for bind in binds if bind.parcel), None)
    if parcel is None:
        return Done(begin(), *execute((), binds))
    if run.network == "none" and all(bind.kind != "cache" for bind in binds):  # or it couldn't be done twice
        with _laid(site, draft, layers, parcel, clock) as laid:
            begun = begin()
            if laid is not None and (upper := _tried(site, draft, laid, binds, execute)):
                return Done(begun, upper, 0, site.paths.layer(draft.identifier), laid.size)
    with trouble("fetch packages"), supply.folder(site, parcel) as folder:
        return Done(begin(), *execute((), _mounting(binds, folder)))


class _Laid(NamedTuple):
    folder: str
    packages: tuple[plain.Content, ...]
    size: int


def _tried(site: Site, draft: Draft, laid: _Laid, binds: Sequence[Bind], execute: Execute) -> str:
    """The upperdir; "" when anything went wrong, and dpkg shall do it all, so that what goes wrong then is the packages' own."""
    upper, code = execute((draft.identifier,), _mounting(binds, laid.folder))
    for slot in os.listdir(site.paths.copies) if os.path.isdir(site.paths.copies) else ():
        remove_tree(f"{site.paths.copies}/{slot}/{draft.identifier}")  # it isn't what the layer of that number will be
    if code or dpkg.unfinished(upper, laid.packages):
        remove_tree(site.paths.layer(draft.identifier))
        for name in os.listdir(draft.folder):
            remove_tree(f"{draft.folder}/{name}")
        return ""
    return upper


def _mounting(binds: Sequence[Bind], folder: str) -> tuple[Bind, ...]:
    return tuple(bind._replace(source=folder, parcel=None) if bind.parcel else bind for bind in binds)


@contextmanager
def _laid(site: Site, draft: Draft, layers: Sequence[int], parcel: Parcel, clock: int) -> Iterator[_Laid | None]:
    """Plain packages in the layer with the draft's number, the others in a repository; None when none is plain."""
    files = Files(site.paths.packages)
    with trouble("fetch packages"), site.ending.stopped() as stopped:
        bases.obtained(site, parcel.debs, site.moments, lambda _: None)
        contents = plain.contents(parcel.debs, files, clock, stopped)
        below = f"{draft.folder}/below"
        chosen, size = _lay(site, layers, contents, below, clock)
        if not chosen:
            yield None
            return
        place = site.paths.layer(draft.identifier)  # where a step's layers are
        remove_tree(place)  # of a store whose database was lost
        os.rename(below, place)
        others = deb.repacked([content.deb for content in contents if content not in chosen], files, stopped)
        unread = [deb.Repacked(one.deb, "", one.deb.sha256, one.deb.size, one.control) for one in chosen]
        with files.draft() as folder:
            deb.repository(f"{folder}/debs", (*others, *unread))
            yield _Laid(f"{folder}/debs", chosen, size)


def _lay(
    site: Site, layers: Sequence[int], contents: Sequence[plain.Content], target: str, clock: int
) -> tuple[tuple[plain.Content, ...], int]:
    with site.view(layers) as root:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ground = dpkg.ground(fd)
            chosen = dpkg.choose(ground, contents, fates(offline=True)) if ground else ()
            return chosen, dpkg.lay(ground, chosen, target, clock) if ground and chosen else 0
        finally:
            os.close(fd)
