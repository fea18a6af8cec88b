"""The names that `lock --upgrade` is given → those that `resolve` goes by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from devenv.errors import Fault, InputError
from devenv.model import npm
from devenv.model.dist import normal
from devenv.model.lock import Section, ServiceLock


def chosen(names: Iterable[str], section: Section) -> frozenset[str]:
    """What is locked by these names, for whichever image, however they are spelled.

    Raises InputError for what isn't, or can't be renewed alone.
    """
    known = frozenset(name for one in _every(section) for name in _known(one))
    known |= {remote.url for remote in section.files}
    found, faults = set(), []
    for name in dict.fromkeys(names):
        spelled = {name, name.rpartition(":")[0] or name, normal(name)}
        if match := sorted(spelled & known, key=lambda one: one != name):
            found.add(match[0])
        else:
            faults.append(Fault("--upgrade", 0, 0, *_refused(name, known, section)))
    if faults:
        raise InputError(*faults)
    return frozenset(found)


def _every(section: Section) -> tuple[Section | ServiceLock, ...]:
    """The locks of all images."""
    return (section, *section.services)


def _known(one: Section | ServiceLock) -> Iterator[str]:
    if one.apt:
        yield from (deb.name for deb in one.apt.packages)
    if one.python:
        yield from (dist.name for dist in one.python.packages)
        yield from (repository.name for repository in one.python.repositories)
        yield from ("python",) if one.python.interpreter else ()
    if one.node:
        yield from ("node", "npm")
        yield from map(npm.name, one.node.tools)


def _refused(name: str, known: Iterable[str], section: Section) -> tuple[str, str]:
    if any(deb.name == name for base in section.bases for deb in base.packages):
        return f"{name}: is part of the base", "a base is of one day: `devenv lock --upgrade` renews it, and all else"
    if any(npm.name(module) == name for one in _every(section) if one.node for module in one.node.project):
        return f"{name}: comes from the project's package-lock.json", f"`npm update {name}` renews it there"
    if any(name in one.apt.asked for one in _every(section) if one.apt):
        return f"{name}: is part of what the image starts from", "another version of it comes with another base"
    near = get_close_matches(name, sorted(known), 1)
    return (
        f"{name}: isn't locked",
        f"did you mean {near[0]}?" if near else "`devenv lock` locks what devenv.yml asks for",
    )
