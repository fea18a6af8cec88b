"""What resolving works with: a desk; a command over a throwaway root, asked → what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from devenv.engine.workshop import Bind, Workshop
from devenv.errors import DevenvError, StepFailed
from devenv.model.build import Run
from devenv.model.events import Sink
from devenv.model.image import Rootfs
from devenv.model.lock import Section
from devenv.model.manifest import Manifest

EVERYTHING = frozenset("*")
"""An upgrade of all there is."""

_PATH = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("UV_CACHE_DIR", "/root/.cache/uv"))


class Desk(NamedTuple):
    """What resolving works with.

    `root` builds a stage of the rendered Containerfile, from what is locked so far. `contents` are the project's files
    that say what is wanted, by path. `clock` gives Unix seconds. `blamed` says which line of theirs makes a part (`apt`,
    `python`, `node`) fail.
    """

    manifest: Manifest
    workshop: Workshop
    root: Callable[[Section, str], Rootfs]
    contents: Mapping[str, bytes]
    clock: Callable[[], float]
    sink: Sink
    blamed: Callable[[str, StepFailed], DevenvError]


def ask(desk: Desk, rootfs: Rootfs, argv: tuple[str, ...], binds: Sequence[Bind], answer: str) -> str:
    """What a command writes to the file `answer`, in a root that is thrown away."""
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        del said[:-50]

    try:
        return desk.workshop.ask(rootfs.layers, Run(argv), env=dict(_PATH), binds=binds, output=hear, answer=answer)
    except StepFailed as error:
        error.output = tuple(said)
        raise
