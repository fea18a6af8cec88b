"""What all images of a manifest ask of a lock → what differs from it, what is known of it, what is resolved: each image's part by itself.

Images are called as they are wanted: PROJECT, or the service's name; the project's is the first.
"""

from __future__ import annotations

from collections.abc import Mapping

from devenv.changes import brief
from devenv.model.lock import BaseLock, Section

from . import resolve as one
from . import wants
from .desk import EVERYTHING, Desk
from .parts import joined, part
from .wants import Wants

Wanted = Mapping[str, Wants]


def differs(wanted: Wanted, section: Section | None) -> tuple[str, ...]:
    """What a lock wasn't made for, in the manifest's words; that of a service behind its name."""
    found = []
    for image, wish in wanted.items():
        told = ", ".join(map(brief, wants.differs(wish, section and part(section, image))))
        found += [wants.called(image, told)] if told else []
    gone = (service.name for service in (section.services if section else ()) if service.name not in wanted)
    return (*found, *(f"services.{name} removed" for name in gone))


def provisional(wanted: Wanted, section: Section | None, arch: str) -> Section:
    """A lock as far as it is known (wants.provisional)."""
    known = section or Section(arch)
    return joined({image: wants.provisional(wish, part(known, image), arch) for image, wish in wanted.items()})


def resolve(
    wanted: Wanted, section: Section, desks: Mapping[str, Desk], upgrade: Mapping[str, frozenset[str]]
) -> Section:
    """The section with all that is wanted in it, and nothing else; what it has already stays, but for the names in `upgrade`.

    A base is the same for all images, and what is asked for alike upon the same base is answered alike. Raises as
    resolve.resolve does.
    """
    anew = all(upgrade.get(image) == EVERYTHING for image in wanted)
    bases: dict[str, BaseLock] = {} if anew else {base.suite: base for base in section.bases}
    parts: dict[str, Section] = {}
    for image, wish in wanted.items():
        renewed = upgrade.get(image, frozenset())
        alike = [made for other, made in parts.items() if upgrade.get(other, frozenset()) == renewed]
        if not renewed:  # the first to be asked may be the last that is locked
            alike += [part(section, other) for other in wanted if other != image and other not in parts]
        parts[image] = one.resolve(wish, part(section, image), desks[image], renewed, bases, alike)
        bases |= {base.suite: base for base in parts[image].bases}
    return joined(parts)


def latest(wanted: Wanted, section: Section, desks: Mapping[str, Desk]) -> Section:
    """What would be locked were nothing locked yet: each image's upon what is locked now, so that nothing must be built."""
    desk = next(iter(desks.values()))
    bases = {base.suite: desk.workshop.resolve_base(base.suite, desk.sink) for base in section.bases}
    parts: dict[str, Section] = {}
    for image, wish in wanted.items():
        parts[image] = one.latest(wish, part(section, image), desks[image], bases, tuple(parts.values()))
    return joined(parts)


def beyond(section: Section, desks: Mapping[str, Desk]) -> Mapping[tuple[str, str], str]:
    """(group, name) → the newest there is, whatever the manifest allows (resolve.beyond); groups as in compare.Moved."""
    found: dict[tuple[str, str], str] = {}
    for image, desk in desks.items():
        newest = one.beyond(part(section, image), desk)
        found |= {(wants.group(image, name), package): version for (name, package), version in newest.items()}
    return found
