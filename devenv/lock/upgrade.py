"""The names that `lock --upgrade` is given → those that `resolve` goes by. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from devenv.errors import Fault, InputError
from devenv.model import npm
from devenv.model.lock import Section


def chosen(names: Iterable[str], section: Section) -> frozenset[str]:
    """What is locked by these names, however they are spelled. Raises InputError for what isn't, or can't be renewed alone."""
    known = frozenset(_known(section))
    found, faults = set(), []
    for name in dict.fromkeys(names):
        spelled = {name, name.rpartition(":")[0] or name, re.sub("[-_.]+", "-", name).lower()}
        if match := sorted(spelled & known, key=lambda one: one != name):
            found.add(match[0])
        else:
            faults.append(Fault("--upgrade", 0, 0, *_refused(name, known, section)))
    if faults:
        raise InputError(*faults)
    return frozenset(found)


def _known(section: Section) -> Iterator[str]:
    if section.apt:
        yield from (deb.name for deb in section.apt.packages)
    if section.python:
        yield from (dist.name for dist in section.python.packages)
        yield from (one.name for one in section.python.repositories)
        yield from ("python",) if section.python.interpreter else ()
    if section.node:
        yield from ("node", "npm")
        yield from map(npm.name, section.node.tools)
    yield from (remote.url for remote in section.files)


def _refused(name: str, known: Iterable[str], section: Section) -> tuple[str, str]:
    if any(deb.name == name for base in section.bases for deb in base.packages):
        return f"{name}: is part of the base", "a base is of one day: `devenv lock --upgrade` renews it, and all else"
    if section.node and any(npm.name(module) == name for module in section.node.project):
        return f"{name}: comes from the project's package-lock.json", f"`npm update {name}` renews it there"
    if section.apt and name in section.apt.asked:
        return f"{name}: is part of what the image starts from", "another version of it comes with another base"
    near = get_close_matches(name, sorted(known), 1)
    return (
        f"{name}: isn't locked",
        f"did you mean {near[0]}?" if near else "`devenv lock` locks what devenv.yml asks for",
    )
