"""Two sides that are ready → the packages that aren't the same in them, those that somebody asks for by name marked."""

from __future__ import annotations

from collections.abc import Iterator

from devenv import desired as wanting
from devenv.cli import asking
from devenv.lock.compare import moved
from devenv.lock.parts import part
from devenv.lock.wants import group
from devenv.manifest import requirement
from devenv.model.dist import normal
from devenv.model.image import PROJECT
from devenv.model.lock import Section
from devenv.model.manifest import Manifest
from devenv.model.trial import Moved

from .sides import Setup

_BASE = "base"
_SHARED = (_BASE, "from", "files")


def differing(before: Setup, after: Setup) -> tuple[Moved, ...]:
    """By group and name; `base` is what an image starts from, whatever its suite is."""
    direct = {*_asked(before.manifest), *_asked(after.manifest)}
    found: dict[Moved, None] = {}
    shared: set[tuple[str, str, str, str]] = set()
    for image in wanting.manifests(after.manifest):
        for one in moved(_part(before.section, image), _part(after.section, image)):
            if image == PROJECT and one.group in _SHARED:
                shared.add(one)
            if image == PROJECT or one not in shared:  # or what all images start from is told for each of them
                where = group(image, one.group)
                found[Moved(where, *one[1:], (where, normal(one.name)) in direct)] = None
    return tuple(found)


def _part(section: Section, image: str) -> Section:
    own = part(section, image)
    return own._replace(bases=tuple(base._replace(suite=_BASE) for base in own.bases))


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
            yield from ((group(image, kind), normal(one.name)) for one in map(split, texts) if one)
        for path, data in asking.told(own).items():
            kind = "node.lock" if requirement.is_npm(path) else "python"
            yield from ((group(image, kind), normal(one.name)) for one in requirement.names(path, data))
        yield group(image, "python"), "python"
