"""What every verb is given: where it was called, the environment variables, and the door to an engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from devenv.engine import Engine, Observer
from devenv.engine.workshop import Workshop
from devenv.errors import NotFound
from devenv.model.host import Check, Garbage


class Window(Protocol):
    """A machine seen from outside: whoever holds only this can change no container (`plan`)."""

    @property
    def engine(self) -> Observer: ...

    @property
    def workshop(self) -> Workshop: ...

    def certificates(self, choice: str) -> str:
        """Path of the bundle that `certificates:` chooses (`host`, `none` or a path), "" for none."""


class Machine(Window, Protocol):
    """An engine with all its doors. `native` is ours; the tests bring one in memory."""

    @property
    def engine(self) -> Engine: ...

    def watched(self, certificates: str) -> Sequence[str]:
        """Files of the host that what is wanted depends on, there or not: apt's sources, the bundle chosen."""

    def layers(self, image: str) -> Sequence[str]:
        """Folders of an image's layers, which nobody may touch."""

    def collect(self, *, unwanted: Sequence[str], everything: bool, dry_run: bool) -> Sequence[Garbage]:
        """Remove what nothing needs and say what it was.

        Also names and digests of images that are `unwanted`, and, with `everything`, caches and unused images.
        """

    def examine(self) -> Sequence[Check]:
        """Look at the kernel, the runtime, the mirror, the disk."""


class Session(NamedTuple):
    """`folder` is absolute: the current directory (at first ""), or what `-C` said. A verb opens one machine."""

    folder: str
    env: Mapping[str, str]
    open: Callable[[Mapping[str, str]], Machine]
    begun: float = 0.0
    """When the command began, Unix seconds."""
    variant: str = ""
    """Of the manifest's `variants:`, the one that the command is about; "" for what is written there."""

    def machine(self) -> Machine:
        """All the doors."""
        return self.open(self.env)

    def engine(self) -> Engine:
        """The door of what acts."""
        return self.machine().engine

    def window(self) -> Window:
        """For verbs that only look."""
        return self.machine()

    def observer(self) -> Observer:
        """The door of what only looks."""
        return self.window().engine


def here() -> str:
    """The current directory. Raises NotFound when it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise NotFound("the current directory: was deleted", hint="cd somewhere else") from error


def places(env: Mapping[str, str]) -> tuple[str, ...]:
    """The engine's own folders, which no project may mount."""
    from devenv.paths import locate

    found = locate(env, os.geteuid())
    return (found.home, found.run)


def open_native(env: Mapping[str, str]) -> Machine:
    """Our own engine. Imported here because only some verbs need it."""
    from devenv.engine.native.machine import open_machine

    machine: Machine = open_machine(env)
    return machine
