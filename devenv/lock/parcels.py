"""A locked section → what each path of the context `devenv-packages` stands for, its digest, and its contents in words. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from devenv.model import plain
from devenv.model.lock import Deb, Dist, Module, Parcel, Section

T = TypeVar("T", Deb, Dist, Module)


def parcels(section: Section) -> Mapping[str, Parcel]:
    """`apt/1`, `python/1`, `node/runtime`, `node/project/1`, …, as the templates name them."""
    found: dict[str, Parcel] = {}
    if section.apt:
        for layer in layers(section.apt.packages):
            found[f"apt/{layer}"] = Parcel("debs", debs=_of(section.apt.packages, layer))
    python = section.python
    if python:
        wheels = [dist for dist in python.packages if dist.is_wheel]
        for layer in python.layers:
            command = python.command if layer == 1 else ""
            found[f"python/{layer}"] = Parcel("site", dists=_of(wheels, layer), version=python.version, command=command)
        if sources := tuple(dist for dist in python.packages if not dist.is_wheel):
            found["python/sources"] = Parcel("wheels", dists=(*sources, *python.build))
        if python.interpreter:
            found["python/interpreter"] = Parcel("wheels", version=python.version, interpreter=python.interpreter)
    if section.node:
        if section.node.runtime:
            found["node/runtime"] = Parcel("runtime", modules=section.node.runtime)
        for layer in layers(section.node.tools):
            found[f"node/tools/{layer}"] = Parcel("tools", modules=_locked(section.node.tools, layer))
        for layer in layers(section.node.project):
            found[f"node/project/{layer}"] = Parcel("modules", modules=_locked(section.node.project, layer))
    return found


def layers(entries: Iterable[Deb | Dist | Module]) -> tuple[int, ...]:
    """The numbers of the layers there are, in order."""
    return tuple(sorted({one.layer for one in entries}))


def digest(parcel: Parcel) -> str:
    """sha256 (hex) over all that makes the content: not where it comes from, nor which layer it is."""
    debs = [(deb.name, deb.sha256) for deb in sorted(parcel.debs)]
    dists = [(dist.file, dist.sha256) for dist in sorted(parcel.dists)]
    modules = [
        (one.path, one.name, one.version, one.integrity, one.bins, one.scripts) for one in sorted(parcel.modules)
    ]
    interpreter = parcel.interpreter.sha256 if parcel.interpreter else ""
    told = (parcel.kind, debs, dists, modules, parcel.version, parcel.command, interpreter)
    return hashlib.sha256(json.dumps(plain(told)).encode()).hexdigest()


def listing(parcel: Parcel) -> str:
    """`curl 7.88.1-10, jq 1.6`: for saying what changed."""
    # What isn't resolved yet (wants.provisional) has no name of its own.
    dists = [dist for dist in parcel.dists if dist.sha256.strip("0")]
    modules = [module for module in parcel.modules if "[" not in module.integrity]
    debs = [deb for deb in parcel.debs if deb.name != "?"]
    entries: Sequence[Deb | Dist | Module] = (*debs, *dists, *modules)
    names = (
        f"{one.path.removeprefix('node_modules/') if isinstance(one, Module) else one.name} {one.version}"
        for one in entries
    )
    return ", ".join(sorted(names))


def _of(entries: Iterable[T], layer: int) -> tuple[T, ...]:
    return tuple(sorted(one for one in entries if one.layer == layer))


def _locked(modules: Iterable[Module], layer: int) -> tuple[Module, ...]:
    """Those of a layer that have bytes of their own: not what a step fetches from a repository."""
    return tuple(one for one in _of(modules, layer) if not one.commit)
