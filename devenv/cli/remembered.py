"""A prepared build and its lock → what is kept of it, so that it can be told next time what changed. None of it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from devenv.changes import PACKAGES
from devenv.lock.parcels import listing
from devenv.model.build import Keyed
from devenv.model.lock import Parcel, Section
from devenv.model.manifest import FROM_LOCK, FROM_MANIFEST, Manifest, Pairs

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared

_KEYS = ("version", "packages", "network")
"""What a lock is asked for that isn't a file; the manifest's words say it."""


def with_files(steps: tuple[tuple[str, Keyed], ...], section: Section) -> tuple[tuple[str, Keyed], ...]:
    """The steps that put in place what a requirements file or an npm lock asks for, with what that file means."""
    python = _files(section.python.asked if section.python else ())
    node = _files(section.node.asked if section.node else ())
    wanted = ((f"{PACKAGES}python/", python), (f"{PACKAGES}node/project", node))

    def named(keyed: Keyed) -> Keyed:
        taken = [name for name, _ in keyed.inputs if name.startswith(PACKAGES)]
        files = [one for begin, listed in wanted if any(name.startswith(begin) for name in taken) for one in listed]
        return replace(keyed, inputs=(*files, *keyed.inputs)) if files else keyed

    return tuple((position, named(keyed)) for position, keyed in steps)


def _files(asked: Pairs) -> Pairs:
    return tuple((f"{FROM_MANIFEST}{name}", digest) for name, digest in asked if name not in _KEYS)


def bases(prepared: Prepared, manifest: Manifest, section: Section, before: str = "") -> Iterator[tuple[str, Pairs]]:
    """(position, inputs) of what the stages start from: what it is called, its key, the lock's packages in it."""
    packages = {f"bootstrap:{base.suite}": listing(Parcel("debs", debs=base.packages)) for base in section.bases}
    for stage in prepared.graph.stages:
        base = None if stage.base_is_stage else prepared.bases.get(stage.base)
        if base is not None:
            name = str(manifest.base) if stage.base == "devenv-base" else stage.base
            inputs = (("from", name), ("key", base.rootfs.key), (FROM_LOCK, packages.get(base.reference, "")))
            yield f"{before}{stage.name}:0", tuple(one for one in inputs if one[1])
    for name, base in prepared.bases.items():
        if base.prepared is not None:
            yield from bases(base.prepared, manifest, section, f"{before}{name}/")


def listings(prepared: Prepared) -> dict[str, Pairs]:
    """Digest of what a step reads of a folder → the files in it."""
    found = {digest: files for context in prepared.contexts.values() for digest, files in context.listed.items()}
    for base in prepared.bases.values():
        found |= listings(base.prepared) if base.prepared else {}
    return found
