"""Two locked sections → which packages came, went, or have another version. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from devenv.model.image import PROJECT
from devenv.model.lock import Section

from .parts import part
from .wants import group


class Moved(NamedTuple):
    """One package: what it belongs to, its versions before and after, "" for none.

    That is a suite (`bookworm`), `from` (an image), `apt`, `python`, `python (build)`, `node`, `node.packages`, `node.lock`, or
    `files`; of a service's own image `db.apt` and the like.
    """

    group: str
    name: str
    before: str
    after: str


def moved(before: Section, after: Section) -> tuple[Moved, ...]:
    """Every package that isn't the same, by group and name. Bytes that changed under one version count too."""
    old, new = dict(_packages(before)), dict(_packages(after))
    changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return tuple(Moved(*key, old.get(key, ("", ""))[0], new.get(key, ("", ""))[0]) for key in changed)


class Outdated(NamedTuple):
    """One package: as it is locked, as `lock --upgrade` would have it, and the newest there is, "" where nobody looks."""

    group: str
    name: str
    before: str
    after: str
    latest: str


def outdated(
    section: Section,
    allowed: Section,
    latest: Mapping[tuple[str, str], str],
    newer: Callable[[str, str], bool],
) -> tuple[Outdated, ...]:
    """What could be newer, by group and name. `latest`: what `resolve.beyond` found; `newer` compares versions.

    A Debian package has none but what its suite has.
    """
    old, new = dict(_packages(section)), dict(_packages(allowed))
    found = []
    for key in sorted(old.keys() & new.keys()):
        before, after = old[key][0], new[key][0]
        newest = latest.get(key, "")
        if old[key] != new[key] or (newest and newer(newest, before)):
            found.append(Outdated(*key, before, after, newest if newest and not newer(after, newest) else after))
    return tuple(found)


def _packages(section: Section) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """(group, name) → (version, digest)."""
    for base in section.bases:
        yield from (
            ((base.suite, _debian(deb.name, deb.arch, section)), (deb.version, deb.sha256)) for deb in base.packages
        )
    yield from ((("from", reference), (digest[:19], digest)) for reference, digest in section.images)
    yield from ((("files", remote.url), ("fetched", remote.sha256)) for remote in section.files)
    for image in (PROJECT, *(service.name for service in section.services)):
        for (name, package), version in _installed(part(section, image)):
            yield (group(image, name), package), version


def _installed(section: Section) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """What one image has upon what it starts from."""
    if section.apt:
        yield from (
            (("apt", _debian(deb.name, deb.arch, section)), (deb.version, deb.sha256)) for deb in section.apt.packages
        )
    if section.python:
        yield from ((("python", dist.name), (dist.version, dist.sha256)) for dist in section.python.packages)
        yield from ((("python (build)", dist.file), (dist.version, dist.sha256)) for dist in section.python.build)
        yield from ((("python", one.name), (one.commit[:12], one.commit)) for one in section.python.repositories)
        if section.python.interpreter:
            yield ("python", "python"), (section.python.version, section.python.interpreter.sha256)
    if section.node:
        parts = (("node", section.node.runtime), ("node.packages", section.node.tools))
        for kind, modules in (*parts, ("node.lock", section.node.project)):
            for module in modules:
                yield (kind, module.path.removeprefix("node_modules/")), (module.version, module.integrity)


def _debian(name: str, arch: str, section: Section) -> str:
    return name if arch in ("all", section.arch) else f"{name}:{arch}"
