"""Debian packages that are asked for → locked: apt is asked, over the base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from devenv.engine.workshop import Bind
from devenv.errors import StepFailed
from devenv.model.image import Rootfs
from devenv.model.lock import AptLock, Deb, Parcel, Section

from . import apt
from .desk import EVERYTHING, Desk, ask

_DAY = 86400


def debs(asked: tuple[str, ...], section: Section, desk: Desk, upgrade: frozenset[str]) -> AptLock:
    """Pinned to what is locked; without, when that can't be had any more together with what is new."""
    before = section.apt.packages if section.apt and upgrade != EVERYTHING else ()
    renewed = {deb.version for deb in before if deb.name in upgrade}  # the packages of one source go together
    kept = tuple(deb for deb in before if deb.version not in renewed)
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    try:
        found = _installed(asked, kept, rootfs, desk)
    except StepFailed:
        if not kept:
            raise
        found = _installed(asked, (), rootfs, desk)
    return AptLock(asked, apt.layered(before, found), int(desk.clock()) // _DAY * _DAY)


def _installed(asked: Sequence[str], kept: tuple[Deb, ...], rootfs: Rootfs, desk: Desk) -> tuple[Deb, ...]:
    # A cache of their own for what this base's sources say: apt takes lists it doesn't know for outdated.
    lists = desk.workshop.cache(f"lock-apt-{rootfs.key[:16]}", 0o755, (0, 0))
    binds = [Bind("cache", apt.LISTS, lists, readonly=False, locked=True)]
    with ExitStack() as held:
        if kept:
            folder = held.enter_context(desk.workshop.parcel(Parcel("debs", debs=kept)))
            binds.append(Bind("bind", apt.LOCKED, folder))
        answer = ask(desk, rootfs, apt.question(asked, pinned=bool(kept)), binds, apt.ANSWER)
    return apt.answered(answer, asked, kept, desk.workshop.archives())
