"""Locked Debian packages → the layers that install them, each with the keys of the manifest that it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from devenv.model.lock import AptLock, Deb
from devenv.model.manifest import Manifest

from .needs import node_needs, python_needs
from .per_machine import PerMachine, left_out
from .quote import Origins


class AptLayer(NamedTuple):
    number: int
    packages: tuple[str, ...]
    automatic: tuple[str, ...]
    origins: Origins
    left_out: tuple[PerMachine, ...]


def apt_layers(manifest: Manifest, apt: AptLock, arch: str) -> tuple[AptLayer, ...]:
    """What each layer installs, and which key of the manifest asks for what in it."""
    wanted: list[tuple[str, tuple[str, ...]]] = [("apt", manifest.apt), ("python", python_needs(manifest))]
    wanted.append(("node", node_needs(manifest)))
    known = {package for _, packages in wanted for package in packages}
    wanted.append(("python", tuple(name for name in apt.asked if name not in known)))
    debs = {
        number: [deb for deb in apt.packages if deb.layer == number]
        for number in sorted({deb.layer for deb in apt.packages})
    }
    names = {number: {name for deb in found for name in _names(deb, arch)} for number, found in debs.items()}
    brought = set().union(*names.values())
    nowhere = [(key, tuple(one for one in packages if _plain(one) not in brought)) for key, packages in wanted]
    told = {
        number: [(key, tuple(one for one in packages if _plain(one) in here)) for key, packages in wanted]
        for number, here in names.items()
    }
    # What no layer brings was in the base already, or is the name of something that others provide.
    lacking = [number for number, here in told.items() if not any(packages for _, packages in here)]
    for number in lacking or list(told)[:1]:
        told[number] += nowhere if any(packages for _, packages in nowhere) or not lacking else wanted
    asked = {_plain(one) for _, packages in wanted for one in packages}
    return tuple(
        AptLayer(
            number,
            packages=tuple(sorted(f"{deb.name}:{deb.arch}={deb.version}" for deb in found)),
            automatic=tuple(
                sorted(f"{deb.name}:{deb.arch}" for deb in found if not (deb.manual or asked & _names(deb, arch)))
            ),
            origins=_gathered(told[number]),
            left_out=left_out({deb.name for deb in found}),
        )
        for number, found in debs.items()
    )


def _names(deb: Deb, arch: str) -> set[str]:
    """What a package may be asked for as."""
    return {f"{deb.name}:{deb.arch}"} | ({deb.name} if deb.arch in (arch, "all") else set())


def _gathered(told: Sequence[tuple[str, tuple[str, ...]]]) -> Origins:
    """Each key once, with all that it asks for."""
    found: dict[str, set[str]] = {}
    for key, packages in told:
        found.setdefault(key, set()).update(packages)
    return tuple((key, tuple(sorted(packages))) for key, packages in found.items() if packages)


def _plain(package: str) -> str:
    """A package as apt is asked for it, without version and release."""
    return re.split("[=/]", package)[0]
