"""The packages of an npm lock file → those that aren't installed on a platform: optional ones that don't suit it, and theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from devenv.model.npm import FOLDER, names

Packages: TypeAlias = Mapping[str, Mapping[str, object]]
"""A lock's `packages`: path → entry. "" is the project itself."""

Edges: TypeAlias = dict[str, set[str]]


def unwanted(packages: Packages, suits: Callable[[str], bool]) -> set[str]:
    """Paths that npm leaves out. When an optional package doesn't suit, those that can't do without it go too, up to
    whoever needs them optionally, and then what nobody else needs (arborist's optional-set.js).
    """
    failed = {path for path in packages if path and not suits(path) and packages[path].get("optional") is True}
    if not failed:
        return failed
    needs, needed = _edges(packages)
    gone: set[str] = set()
    for path in sorted(failed):
        gone |= _section(path, packages, needs, needed)
    return gone


def needs(packages: Packages) -> Edges:
    """Each outermost package → the outermost ones that it, or a package inside of it, needs in whatever way."""
    found: Edges = {}
    for path, below in _edges(packages)[0].items():
        if outer := outermost(path):
            found.setdefault(outer, set()).update(filter(None, map(outermost, below)))
    return found


def outermost(path: str) -> str:
    """The package whose folder a path is in, or is itself; "" for the project itself, and for what isn't in a folder."""
    return next(iter(names(path)), "")


def _section(path: str, packages: Packages, needs: Edges, needed: Edges) -> set[str]:
    failed, waiting = {path}, [path]
    while waiting:
        for above in needed.get(waiting.pop(), ()):  # those that need it for sure
            if above not in failed and packages[above].get("optional") is True:
                failed.add(above)
                waiting.append(above)
    gone, waiting = set(failed), list(failed)
    while waiting:
        for below in needs.get(waiting.pop(), ()):
            if below not in gone:
                gone.add(below)
                waiting.append(below)
    # Whatever somebody outside needs stays, and what that needs in turn.
    users = _turned(needs)
    kept = [one for one in gone - failed if users.get(one, set()) - gone]
    while kept:
        one = kept.pop()
        if one in gone:
            gone.discard(one)
            kept += [below for below in needs.get(one, ()) if below in gone and below not in failed]
    return gone


def _edges(packages: Packages) -> tuple[Edges, Edges]:
    """Who needs whom in whatever way; and whom it is that can't do without a package."""
    needs: Edges = {}
    needed: Edges = {}
    for path, entry in packages.items():
        for name, optional in _dependencies(path, entry):
            below = _found(packages, path, name)
            if below:
                needs.setdefault(path, set()).add(below)
                if not optional:
                    needed.setdefault(below, set()).add(path)
    return needs, needed


def _turned(edges: Edges) -> Edges:
    found: Edges = {}
    for above, all_below in edges.items():
        for below in all_below:
            found.setdefault(below, set()).add(above)
    return found


def _dependencies(path: str, entry: Mapping[str, object]) -> Iterator[tuple[str, bool]]:
    """(name, whether it may be missing)."""
    optional = _names(entry.get("optionalDependencies"))
    yield from ((name, True) for name in optional)
    for key in ("dependencies", "devDependencies") if path == "" else ("dependencies",):
        yield from ((name, False) for name in _names(entry.get(key)) if name not in optional)
    meta = entry.get("peerDependenciesMeta")
    for name in _names(entry.get("peerDependencies")):
        said = meta.get(name) if isinstance(meta, dict) else None
        yield name, isinstance(said, dict) and said.get("optional") is True


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, dict) else ()


def _found(packages: Packages, path: str, name: str) -> str:
    """The package that `require(name)` finds from a package's folder; "" for none."""
    while True:
        candidate = f"{path}/{FOLDER}/{name}" if path else f"{FOLDER}/{name}"
        if candidate in packages:
            return candidate
        if not path:
            return ""
        path = path.rpartition(f"/{FOLDER}/")[0] if f"/{FOLDER}/" in path else ""
