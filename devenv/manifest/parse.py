"""YAML bytes → Manifest, or every fault at once. Reads nothing itself: what exists is asked through `look`."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from devenv.errors import Fault, InputError
from devenv.model.manifest import UNLOCKABLE, From, Manifest, Port, Source

from . import document
from .check import Check, Expand
from .keys import KEYS
from .values import project_name, show

SHOWN = 100
"""Faults reported; more are counted."""

Purpose = Literal["file", "folder", "source", "certificates"]
Look = Callable[[Purpose, str], tuple[str, str] | None]
"""(what a path is for, absolute path) → (what is wrong with it, hint), or None."""


class Wanted(NamedTuple):
    """A path of the manifest that must exist: who names it (dotted), what for, as written."""

    where: str
    purpose: Purpose
    path: str


def parse(
    text: bytes, path: str, *, facts: Mapping[str, str], expand: Expand, exists: Callable[[str], bool] | None = None
) -> Manifest:
    """The manifest in `text`; `path` is the file's absolute path. `facts`: arch, project (the default name), user.

    `exists` is asked for the absolute path of everything the manifest names; None: not checked.
    Raises InputError with all faults, in file order.
    """

    def look(purpose: Purpose, path: str) -> tuple[str, str] | None:
        return None if exists is None or exists(path) else absent(purpose)

    return read(text, path, path, facts=facts, expand=expand, look=look)


def absent(purpose: Purpose) -> tuple[str, str]:
    """The message for a path that isn't there."""
    fix = "make the folder first" if purpose in ("folder", "source") else "make the file first"
    return "does not exist", f"{fix}, or correct the path"


def read(data: bytes, path: str, shown: str, *, facts: Mapping[str, str], expand: Expand, look: Look) -> Manifest:
    """As `parse`; `shown` is the file's name in messages."""
    folder = posixpath.dirname(path)
    root = document.read(data, shown)
    check = Check(shown, expand, dict(facts))
    name = facts.get("project") or project_name(posixpath.basename(folder))
    for key, node in root.entries:
        if key.text == "name" and isinstance(node, document.Scalar):
            name = node.text
    check.scope["project"] = name
    values = check.fields(root, KEYS, first=("vars", "env"))
    if "source" not in {key.text for key, _ in root.entries}:
        values["source"] = (Source(".", "/workspace"),)
        check.found["source"] = (root.place, values["source"][0])
    for place, message, hint in (*_twice(check.found), *_missing(check.found, folder, look), *_online(check.found)):
        check.fault(place, message, hint)
    if check.faults:
        raise InputError(*_limited(check.faults))
    return _manifest(path, folder, name, values, check.found)


def _manifest(path: str, folder: str, name: str, values: dict[str, Any], found: Found) -> Manifest:
    sources: tuple[Source, ...] = values.pop("source")
    values.setdefault("workdir", sources[0].target if sources else None)
    places = {where: (place.line, place.column) for where, (place, _) in found.items()}
    own = values.pop("name", name)
    return Manifest(path, folder, own, values.pop("from"), sources=sources, places=places, **values)


def _limited(faults: list[Fault]) -> list[Fault]:
    # An aliased node is looked at wherever it is used, and has the same fault each time.
    faults = sorted(set(faults))
    if len(faults) > SHOWN:
        last = faults[SHOWN]
        return [*faults[:SHOWN], last._replace(message=f"and {len(faults) - SHOWN} more faults from here on", hint="")]
    return faults


Found = Mapping[str, tuple[document.Place, Any]]
Trouble = tuple[document.Place, str, str]


def _twice(found: Found) -> Iterator[Trouble]:
    """Ports and targets that get in each other's way."""
    ports: list[tuple[document.Place, Port]] = []
    sources: list[tuple[document.Place, Source]] = []
    for place, value in found.values():
        if isinstance(value, Port):
            for other_place, other in ports:
                if message := _clash(other, value):
                    yield (
                        place,
                        f"`ports`: {message}, first in line {other_place.line}",
                        "choose another host port, or remove one",
                    )
                    break
            ports.append((place, value))
        elif isinstance(value, Source):
            for other_place, other_source in sources:
                if value.target == other_source.target:
                    yield (
                        place,
                        f"`source`: {value.target} is a target twice, first in line {other_place.line}",
                        "choose another target",
                    )
                elif other_source.target.startswith(value.target + "/"):
                    yield (
                        place,
                        f"`source`: {value.target} would hide {other_source.target}",
                        "list the outer folder first",
                    )
            sources.append((place, value))


def _clash(one: Port, two: Port) -> str:
    everywhere = "0.0.0.0" in (one.address, two.address)
    if one.protocol != two.protocol or not (everywhere or one.address == two.address):
        return ""
    if one.host is not None and one.host == two.host:
        return f"host port {two.host} is published twice"
    if one.host == two.host and one.container == two.container:
        return f"port {two.container} is published twice"
    return ""


def _online(found: Found) -> Iterator[Trouble]:
    """Packages that no lock can hold, where nobody allowed them."""
    if found.get("python.network", (None, False))[1]:
        return
    for where, (place, value) in found.items():
        if where.startswith("python.packages[") and "git+" in value.partition(";")[0]:
            name = show(value.partition("@")[0].strip())  # not its address: that may hold a password
            yield place, f"`{where}`: {name} comes from a repository, which can't be locked", UNLOCKABLE


def _missing(found: Found, folder: str, look: Look) -> Iterator[Trouble]:
    """Paths that `look` finds fault with."""
    for where, purpose, path in _wanted(found):
        if trouble := look(purpose, posixpath.normpath(posixpath.join(folder, path))):
            message, hint = trouble
            yield found[where][0], f"`{where}`: {path} {message}", hint


def _wanted(found: Found) -> Iterator[Wanted]:
    for where, (_, value) in found.items():
        if isinstance(value, Source):
            yield Wanted(f"{where}.path" if f"{where}.path" in found else where, "source", value.path)
        elif isinstance(value, From) or (where.startswith("contexts.") and isinstance(value, str)):
            yield from _of_base(where, str(value))
        elif where.startswith("python.requirements["):
            yield Wanted(where, "file", value)
        elif where == "node.lock":
            yield Wanted(where, "file", value)
            yield Wanted(where, "file", posixpath.join(posixpath.dirname(value), "package.json"))
        elif where == "certificates" and value not in ("host", "none"):
            yield Wanted(where, "certificates", value)


def _of_base(where: str, text: str) -> Iterator[Wanted]:
    kind, colon, value = text.partition(":")
    if kind == "file" and colon:
        yield Wanted(where, "file", value)
    elif kind == "oci" and colon:
        directory, _, tag = value.rpartition(":")
        yield Wanted(where, "folder", value if "/" in tag or not directory else directory)
    elif kind != "bootstrap":
        yield Wanted(where, "folder", text)
