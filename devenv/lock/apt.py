"""Debian packages that are asked for, and those locked → the shell command that asks apt, and its answer as Debs in layers. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from devenv.errors import EngineError
from devenv.model.lock import Deb

from . import debian

ANSWER = "/tmp/apt-answer"
LOCKED = "/run/devenv/locked"
"""Where the packages that are locked are mounted, as a flat archive."""

LISTS = "/var/lib/apt/lists"
_MOST = 8  # layers: then the last one takes what is new


def question(asked: Sequence[str], *, pinned: bool) -> tuple[str, ...]:
    """What is installed with these packages, over a base; with `pinned`, in the locked versions wherever there is one."""
    lines = ["set -eu", "rm -f /etc/apt/apt.conf.d/docker-clean"]
    if pinned:
        lines += [
            "mkdir -p /etc/apt/sources.list.d /etc/apt/preferences.d",
            # Not file:, whose packages apt doesn't list among those to be fetched.
            f"echo 'deb [trusted=yes] copy:{LOCKED} ./' > /etc/apt/sources.list.d/devenv-locked.list",
            "printf 'Package: *\\nPin: origin \"\"\\nPin-Priority: 1001\\n' > /etc/apt/preferences.d/devenv-locked",
        ]
    lines += [f"{shlex.join(debian.UPDATE)} >&2", f"{shlex.join(debian.resolve(asked))} > {ANSWER}"]
    return ("/bin/sh", "-c", "\n".join(lines))


def answered(text: str, asked: Sequence[str], kept: Sequence[Deb], roots: Sequence[str]) -> tuple[Deb, ...]:
    """The packages; those that came from what is locked as they are locked. `roots`: the host's own archives."""
    return _manual(_answered(text, kept, roots), asked, debian.additional(text))


def _manual(found: Sequence[Deb], asked: Sequence[str], additional: Collection[str]) -> tuple[Deb, ...]:
    """Marked where they were asked for by the name of something that they provide: apt doesn't say which provides what."""
    names = {re.split("[=/]", one)[0] for one in asked}
    is_virtual = bool(names - {name for deb in found for name in _names(deb)})
    return tuple(deb._replace(manual=is_virtual and not _names(deb) & {*names, *additional}) for deb in found)


def _names(deb: Deb) -> set[str]:
    return {deb.name, f"{deb.name}:{deb.arch}"}


def _answered(text: str, kept: Sequence[Deb], roots: Sequence[str]) -> tuple[Deb, ...]:
    known = {(deb.name, deb.version, deb.arch): deb for deb in kept}
    found = []
    for deb in debian.uris(text, roots):
        if deb.url.startswith("copy:"):
            before = known.get((deb.name, deb.version, deb.arch))
            if before is None:
                raise EngineError(f"lock {deb.name} {deb.version}: apt found it where it isn't")
            deb = before
        found.append(deb)
    return tuple(sorted(found))


def layered(before: Sequence[Deb], after: Sequence[Deb]) -> tuple[Deb, ...]:
    """`after` in layers: what was added makes one of its own. When anything else changed, all are one again.

    Packages of one layer are installed upon those of the layers before: taking one of these away, or another version of it,
    could leave what comes later without what it needs.
    """
    layers = {(deb.name, deb.version, deb.arch): deb.layer for deb in before}
    names = {(deb.name, deb.version, deb.arch) for deb in after}
    if not layers.keys() <= names:
        return tuple(deb._replace(layer=1) for deb in after)
    added = min(max(layers.values(), default=0) + 1, _MOST)
    return tuple(deb._replace(layer=layers.get((deb.name, deb.version, deb.arch), added)) for deb in after)
