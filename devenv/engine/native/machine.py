"""All doors of this host's engine at once: what the command line opens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property

from devenv.model.host import Check, Garbage
from devenv.paths import locate

from . import collect
from .building.site import Site
from .building.workshop import Shop
from .facade import Native
from .host import archives, doctor, lent
from .records import observe

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Host:
    """The engine, the workshop, and the host itself."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.paths = locate(env, os.geteuid())

    @cached_property
    def engine(self) -> Native:
        """Opened when it is first asked for: `examine` is for hosts where it can't be."""
        return Native(self.paths, self.env)

    @cached_property
    def workshop(self) -> Shop:
        return Shop(Site(self.paths, self.env, self.engine.stage, self.engine.begin, architecture()))

    def certificates(self, choice: str) -> str:
        """Path of the bundle that `certificates:` chooses (`host`, `none` or a path), "" for none."""
        return lent.bundle(choice)

    def watched(self, certificates: str) -> Sequence[str]:
        """Files of the host that what is wanted depends on, there or not: apt's sources, the bundle chosen."""
        return [*archives.source_paths(), *lent.bundles(certificates)]

    def layers(self, image: str) -> Sequence[str]:
        """Folders of an image's layers, which nobody may touch."""
        found = observe.image(self.engine.state, image)
        return [self.paths.layer(number) for number in found.layers] if found else []

    def collect(self, *, unwanted: Sequence[str], everything: bool, dry_run: bool) -> Sequence[Garbage]:
        """Remove what nothing needs, what is unwanted (names, digests), with `everything` caches and unused images; say what."""
        return collect.collect(self.engine, unwanted=unwanted, everything=everything, dry_run=dry_run)

    def examine(self) -> Sequence[Check]:
        """Look at the kernel, the runtime, the mirror, the disk."""
        return doctor.examine(self.paths, self.env)


def open_machine(env: Mapping[str, str]) -> Host:
    """This host's engine."""
    return Host(env)


def architecture() -> str:
    """This machine's architecture as OCI calls it."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)
