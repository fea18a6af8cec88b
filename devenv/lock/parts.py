"""A section for all images ↔ a section for each: what is locked for the project's own, and for that of a service. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devenv.model.image import PROJECT
from devenv.model.lock import EPOCH, BaseLock, Section, ServiceLock


def part(section: Section, image: str) -> Section:
    """What is locked for one image, as if there were no other: PROJECT's, or a service's by its name.

    Of a service that nothing is locked for: nothing, upon what the project starts from.
    """
    chosen = origins(section) if section.origins is None else section.origins
    project = _of(section, chosen)._replace(clock=section.clock)
    if image == PROJECT:
        return project
    own = next((one for one in section.services if one.name == image), ServiceLock(image))
    found = project if own.origins is None else _of(section, own.origins)
    return found._replace(apt=own.apt, python=own.python, node=own.node)


def joined(parts: Mapping[str, Section]) -> Section:
    """One section for all, by image; the project's is the first. What two of them start from is the same in both."""
    project, *_ = parts.values()
    every = project._replace(
        bases=tuple({base.suite: base for one in parts.values() for base in one.bases}.values()),
        images=tuple({name: digest for one in parts.values() for name, digest in one.images}.items()),
    )
    own = origins(project)
    found = (
        ServiceLock(name, None if origins(one) == own else origins(one), one.apt, one.python, one.node)
        for name, one in parts.items()
        if name != PROJECT
    )
    services = tuple(sorted(one for one in found if one != ServiceLock(one.name)))
    return every._replace(services=services, origins=None if origins(every) == own else own)


def origins(section: Section) -> tuple[str, ...]:
    """What its images start from, in the manifest's words."""
    return tuple(
        sorted((*(f"bootstrap:{base.suite}" for base in section.bases), *(name for name, _ in section.images)))
    )


def clock(bases: tuple[BaseLock, ...]) -> int:
    """SOURCE_DATE_EPOCH of an image that starts from these: a base's, as it moves with that only."""
    return max((base.clock for base in bases), default=EPOCH)


def _of(section: Section, chosen: tuple[str, ...]) -> Section:
    """With these of its bases and images only."""
    bases = tuple(base for base in section.bases if f"bootstrap:{base.suite}" in chosen)
    images = tuple(pair for pair in section.images if pair[0] in chosen)
    return section._replace(clock=clock(bases), bases=bases, images=images, services=(), origins=None)
