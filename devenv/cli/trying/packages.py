"""Two sides that are ready → the packages that aren't the same in them, those that somebody asks for by name marked."""

from __future__ import annotations

from collections.abc import Iterator

from devenv import desired as wanting
from devenv.cli import asking
from devenv.lock.compare import moved
from devenv.lock.wants import group
from devenv.manifest import requirement
from devenv.model.manifest import Manifest
from devenv.model.trial import Moved

from .sides import Setup


def differing(before: Setup, after: Setup) -> tuple[Moved, ...]:
    """By group and name."""
    direct = {*_asked(before.manifest), *_asked(after.manifest)}
    found = moved(before.section, after.section)
    return tuple(Moved(*one, (one.group, requirement.normal(one.name)) in direct) for one in found)


def _asked(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What a manifest, or a file that it names, asks for: (group, name)."""
    for image, own in wanting.manifests(manifest).items():
        python, node = own.python, own.node
        listed = (
            ("python", requirement.python, python.packages if python else ()),
            ("apt", requirement.apt, own.apt),
            ("node.packages", requirement.node, node.packages if node else ()),
        )
        for kind, split, texts in listed:
            yield from ((group(image, kind), requirement.normal(one.name)) for one in map(split, texts) if one)
        for path, data in asking.told(own).items():
            kind = "node.lock" if requirement.is_npm(path) else "python"
            yield from ((group(image, kind), requirement.normal(one.name)) for one in requirement.names(path, data))
        yield group(image, "python"), "python"
