"""YAML bytes → Manifest, or every fault at once. Reads nothing itself: what exists is asked through `look`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from devenv.errors import Fault, InputError
from devenv.model.manifest import From, Manifest, Mount, Source

from . import cross, document, variants
from .check import Check, Expand
from .cross import Found, Trouble, Whole
from .keys import KEYS
from .services import Drawn, at_home, services
from .values import did_you_mean, project_name, show
from .values_service import MOST
from .variants import Edit

SHOWN = 100
"""Faults reported; more are counted."""

Purpose = Literal["file", "folder", "source", "mount", "certificates"]
Look = Callable[[Purpose, str], tuple[str, str] | None]
"""(what a path is for, absolute path) → (what is wrong with it, hint), or None."""


class Altered(NamedTuple):
    """As what a manifest is read: as one of its variants, with some values edited.

    `files` are those of the project that read otherwise than they stand there: (path, content). `called`: what it is then,
    where no variant has a name.
    """

    variant: str = ""
    edits: tuple[Edit, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    called: str = ""


AS_WRITTEN = Altered()


class Wanted(NamedTuple):
    """A path of the manifest that must exist: who names it (dotted), what for, as written."""

    where: str
    purpose: Purpose
    path: str


def parse(
    text: bytes,
    path: str,
    *,
    facts: Mapping[str, str],
    expand: Expand,
    exists: Callable[[str], bool] | None = None,
    scale: Mapping[str, int] = MappingProxyType({}),
    home: str = "",
    altered: Altered = AS_WRITTEN,
) -> Manifest:
    """The manifest in `text`; `path` is the file's absolute path. `facts`: arch, project (the default name), user.

    `exists` is asked for the absolute path of everything the manifest names; None: not checked. `scale`: service → replicas,
    whatever the manifest says. `home`: what `~` stands for; without it, it is refused. `altered`: as what it is read.
    Raises InputError with all faults, in file order.
    """

    def look(purpose: Purpose, path: str) -> tuple[str, str] | None:
        return None if exists is None or exists(path) else absent(purpose)

    return read(text, path, path, facts=facts, expand=expand, look=look, scale=scale, home=home, altered=altered)


def absent(purpose: Purpose) -> tuple[str, str]:
    """The message for a path that isn't there."""
    kind = {"folder": "folder", "source": "folder", "mount": "folder or file"}.get(purpose, "file")
    return "does not exist", f"make the {kind} first, or correct the path"


def read(
    data: bytes,
    path: str,
    shown: str,
    *,
    facts: Mapping[str, str],
    expand: Expand,
    look: Look,
    scale: Mapping[str, int] = MappingProxyType({}),
    home: str = "",
    altered: Altered = AS_WRITTEN,
) -> Manifest:
    """As `parse`; `shown` is the file's name in messages."""
    root = document.read(data, shown)
    known = variants.declared(root)
    if altered.variant and altered.variant not in known:
        listed = did_you_mean(altered.variant, known) if known else "it has no `variants:`"
        raise InputError(Fault(shown, 0, 0, f"there is no variant {show(altered.variant)}", listed))

    def whole(tree: document.Table) -> tuple[Manifest | None, list[Fault]]:
        check = Check(shown, expand, dict(facts), scale)
        return _read(tree, path, check, facts, look, home), check.faults

    chosen = variants.varied(root, known[altered.variant]) if altered.variant else root
    found, faults = whole(variants.edited(chosen, altered.edits))
    if found is not None and altered == AS_WRITTEN:
        for name, node in known.items():
            told = whole(variants.varied(root, node))[1]
            faults += [one._replace(message=f"variant {name}: {one.message}") for one in told]
    if found is None or faults:
        raise InputError(*_limited(faults))
    own = found._replace(variants=tuple(known), variant=altered.variant or altered.called)
    return _with_files(own, altered.files) if altered.files else own


def _with_files(manifest: Manifest, files: tuple[tuple[str, bytes], ...]) -> Manifest:
    """A manifest for whose images these files read otherwise than they stand there."""
    own = ((one, one.image._replace(edited=files) if one.image else None) for one in manifest.services)
    return manifest._replace(edited=files, services=tuple(one._replace(image=image) for one, image in own))


def _read(
    root: document.Table, path: str, check: Check, facts: Mapping[str, str], look: Look, home: str
) -> Manifest | None:
    """The manifest that a tree is, None when that has faults: `check` has them."""
    folder = posixpath.dirname(path)
    name = facts.get("project") or project_name(posixpath.basename(folder))
    for key, node in root.entries:
        if key.text == "name" and isinstance(node, document.Scalar):
            name = node.text
    check.scope["project"] = name
    declared = {key: _names(root, key) for key in ("services", "volumes", "secrets")}
    for message, hint in _scaled(check.scale, declared["services"]):
        check.fault(document.Place(0, 0), message, hint)
    values = check.fields(root, KEYS, first=("vars", "env"))
    if "source" not in {key.text for key, _ in root.entries}:
        values["source"] = (Source(".", "/workspace"),)
        check.found["source"] = (root.place, values["source"][0])
    drawn: dict[str, Drawn] = dict(values.pop("services", ()))
    whole = Whole(check.found, values.get("from"), values.get("source", ()), drawn, declared)
    for place, message, hint in (*cross.troubles(whole), *_missing(whole, folder, home, look)):
        check.fault(place, message, hint)
    if check.faults:
        return None
    project = _manifest(path, folder, name, values, check.found)
    return project._replace(services=services(drawn.items(), project, home))


def _names(root: document.Table, key: str) -> tuple[str, ...]:
    """The names that stand under a key, right or wrong."""
    for name, node in root.entries:
        if name.text == key and isinstance(node, document.Table):
            return tuple(one.text for one, _ in node.entries)
    return ()


def _scaled(scale: Mapping[str, int], known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is wrong with numbers of replicas that were not read from the file."""
    for name, count in scale.items():
        if name not in known:
            yield (
                f"scale {show(name)}: there is no such service",
                did_you_mean(name, known) if known else "the manifest has no services",
            )
        elif not 0 <= count <= MOST:
            yield f"scale {name}: there can't be {count:,} replicas", f"choose between 0 and {MOST:,}"


def _manifest(path: str, folder: str, name: str, values: dict[str, Any], found: Found) -> Manifest:
    sources: tuple[Source, ...] = values.pop("source")
    values.setdefault("workdir", sources[0].target if sources else None)
    places = {where: (place.line, place.column) for where, (place, _) in found.items()}
    own = values.pop("name", name)
    volumes = tuple(volume for volume, _ in values.pop("volumes", ()))
    secrets = tuple(secret._replace(name=one) for one, secret in values.pop("secrets", ()))
    values.pop(variants.KEY, ())  # which were laid over it, or aren't wanted
    return Manifest(
        path,
        folder,
        own,
        values.pop("from"),
        sources=sources,
        volumes=volumes,
        secrets=secrets,
        places=places,
        **values,
    )


def _limited(faults: list[Fault]) -> list[Fault]:
    # An aliased node is looked at wherever it is used, and has the same fault each time.
    faults = sorted(set(faults))
    if len(faults) > SHOWN:
        last = faults[SHOWN]
        return [*faults[:SHOWN], last._replace(message=f"and {len(faults) - SHOWN} more faults from here on", hint="")]
    return faults


def _missing(whole: Whole, folder: str, home: str, look: Look) -> Iterator[Trouble]:
    """Paths that `look` finds fault with."""

    def trouble(wanted: Wanted) -> Iterable[Trouble]:
        if wanted.path.startswith("~") and wanted.purpose == "mount" and not home:
            found: tuple[str, str] | None = ("can't be found: nobody's home is known here", "write the absolute path")
        else:
            found = look(wanted.purpose, posixpath.normpath(posixpath.join(folder, at_home(wanted.path, home))))
        place = whole.found[wanted.where][0]
        return [(place, f"`{wanted.where}`: {wanted.path} {found[0]}", found[1])] if found else ()

    for wanted in _wanted(whole.found):
        yield from trouble(wanted)
    for where, (_, mount) in whole.found.items():
        if isinstance(mount, Mount):
            paths = (one.path for one in cross.mounts(whole, where, mount) if one.path)
            yield from next(filter(None, (trouble(Wanted(where, "mount", path)) for path in paths)), ())


def _wanted(found: Found) -> Iterator[Wanted]:
    for where, (_, value) in found.items():
        key = re.sub(r"^services\.[^.]*\.", "", where)
        if isinstance(value, Source):
            yield Wanted(f"{where}.path" if f"{where}.path" in found else where, "source", value.path)
        elif isinstance(value, From) or (key.startswith("contexts.") and isinstance(value, str)):
            yield from _of_base(where, str(value))
        elif key.startswith("python.requirements["):
            yield Wanted(where, "file", value)
        elif key == "node.lock":
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
