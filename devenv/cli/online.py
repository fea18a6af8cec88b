"""A prepared build → which of its steps have network, and what is said of them: nobody can promise that they do the same twice."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from devenv.build.caption import called, title
from devenv.desired import manifests, owner
from devenv.model.build import Step
from devenv.model.manifest import Manifest

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared

_LINES = 6  # of a Containerfile that are named
_TITLE = 100


def steps(prepared: Prepared) -> Iterator[tuple[str, Step]]:
    """(file, step), those of bases that are themselves built first."""
    for base in prepared.bases.values():
        if base.prepared is not None:
            yield from steps(base.prepared)
    yield from ((prepared.graph.file, keyed.step) for keyed in prepared.steps if keyed.step.online)


def titles(prepared: Mapping[str, Prepared]) -> tuple[str, ...]:
    """What they are called, of these images."""
    return tuple(called(owner(image), title(step, _TITLE)) for image, one in prepared.items() for _, step in steps(one))


def told(
    prepared: Mapping[str, Prepared], manifest: Manifest | None, done: Collection[str] | None = None
) -> tuple[str, ...]:
    """A line for each that the manifest asks for, and one for all of a Containerfile's own, with their places.

    `done`: only of steps with these titles (in events); None: of all.
    """
    own = manifests(manifest) if manifest else {}
    lines = (line for image, one in prepared.items() for line in told_of(one, own.get(image), done, owner(image)))
    return tuple(dict.fromkeys(lines))


def told_of(
    prepared: Prepared, manifest: Manifest | None, done: Collection[str] | None = None, image: str = ""
) -> tuple[str, ...]:
    """The same of one image; `manifest` is its own, `image` what its steps are told by (Build)."""
    own: dict[str, list[int]] = {}
    found = []
    for file, step in steps(prepared):
        if done is not None and called(image, title(step)) not in done:
            continue
        if step.origins and manifest is not None:
            found.append(_asked(step, manifest))
        else:
            own.setdefault(file, []).append(step.line)
    return (*found, *(_own(file, lines) for file, lines in own.items()))


def _asked(step: Step, manifest: Manifest) -> str:
    key = step.origins[0][0]
    line, column = manifest.places.get(key, (0, 0))
    place = f"{os.path.relpath(manifest.path)}:{line}:{column}" if line else os.path.relpath(manifest.path)
    return f"{place}: `{key}`: {step.words}: installed with network, so it can't be promised to be the same twice"


def _own(file: str, lines: list[int]) -> str:
    promise = "can't be promised to give the same twice; `RUN --network=none` is for what needs none"
    shown = os.path.relpath(file)
    if len(lines) == 1:
        return f"{shown}:{lines[0]}: this step has network, so it {promise}"
    numbers = [*map(str, lines[:_LINES]), *(["…"] if len(lines) > _LINES else [])]
    return f"{shown}: {len(lines)} steps have network (lines {', '.join(numbers)}), so they {promise}"
