"""--cache-from before a build, --cache-to after it: layers that others made, and ours for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.cli.project import BuildOptions
from devenv.cli.session import Machine, Session
from devenv.console import warning
from devenv.errors import NotFound
from devenv.model.events import Sink

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared


def take(prepared: Prepared, machine: Machine, session: Session, options: BuildOptions, sink: Sink) -> None:
    """Have in the store what --cache-from has of what would be done anew. One that isn't there is told: CI's first run."""
    if not options.cache_from:
        return
    from devenv.build.share import bring  # the room of builds, which a plain `up` comes to only when it must

    bring(prepared, machine.workshop, options.cache_from, sink, lambda error: _absent(error, session))


def _absent(error: NotFound, session: Session) -> None:
    warning(f"{error.message}: nothing is taken from it", session.env)


def give(prepared: Prepared, machine: Machine, options: BuildOptions, digest: str, sink: Sink) -> None:
    """Write the image with this digest ("" for none) and all its build's layers to --cache-to."""
    if not options.cache_to or not digest:
        return
    from devenv.build.share import every

    name = (*options.tags, digest[7:19])[0]
    machine.workshop.give(options.cache_to, every(prepared), digest, name, sink)
