"""--cache-from before a build, --cache-to after it: layers that others made, and ours for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def give(
    prepared: Mapping[str, Prepared],
    names: Mapping[str, Sequence[str]],
    machine: Machine,
    options: BuildOptions,
    digests: Mapping[str, str],
    sink: Sink,
) -> None:
    """Write the images that were made, and all layers of their builds, to --cache-to. All by the name they are wanted under;
    `names` are what they are called there.
    """
    made = {(*names.get(image, ()), digest[7:19])[0]: digest for image, digest in digests.items() if digest}
    if not options.cache_to or not made:
        return
    from devenv.build.share import every

    shared = {one.key: one for build in prepared.values() for one in every(build)}
    machine.workshop.give(options.cache_to, tuple(shared.values()), made, sink)
