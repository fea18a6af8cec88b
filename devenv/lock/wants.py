"""Manifest and the files it names → what a lock must answer, and what differs from what a lock was made for. Pure."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from devenv.changes import differences
from devenv.model.dist import named
from devenv.model.image import PROJECT
from devenv.model.lock import AptLock, Deb, Dist, Module, NodeLock, PythonLock, Section
from devenv.model.manifest import Manifest, Pairs
from devenv.model.plan import Change

UNKNOWN = "0" * 64
"""The digest of what isn't locked yet."""


class Wants(NamedTuple):
    """`suites`: Debian bases to be made. `images`: (reference, digest) of other bases. None: no such part is wanted."""

    suites: tuple[str, ...] = ()
    images: Pairs = ()
    apt: tuple[str, ...] | None = None
    python: Pairs | None = None
    node: Pairs | None = None


def wants(
    manifest: Manifest, suites: tuple[str, ...], images: Pairs, apt: tuple[str, ...], contents: Mapping[str, bytes]
) -> Wants:
    """What a manifest asks a lock for. `apt`: all Debian packages that must be there. `contents`: the requirements files
    and npm locks it names, by path.
    """
    return Wants(
        tuple(sorted(suites)),
        tuple(sorted(images)),
        apt or None,
        _python(manifest, contents),
        _node(manifest, contents),
    )


def _python(manifest: Manifest, contents: Mapping[str, bytes]) -> Pairs | None:
    python = manifest.python
    if python is None:
        return None
    files = sorted(file for file in contents if manifest.node is None or file != manifest.node.lock)
    asked = (("version", python.version or ""), ("packages", ", ".join(sorted(python.packages))))
    network = (("network", "true" if python.network else ""),)
    return (
        *((name, value) for name, value in (*asked, *network) if value),
        *((file, meaning(file, contents[file])) for file in files),
    )


def _node(manifest: Manifest, contents: Mapping[str, bytes]) -> Pairs | None:
    node = manifest.node
    if node is None:
        return None
    asked = (("version", node.version or ""), ("packages", ", ".join(sorted(node.packages))))
    network = (("network", "true" if node.network else ""),)
    locks = ((file, meaning(file, contents[file])) for file in sorted(contents) if file == node.lock)
    return (*((name, value) for name, value in (*asked, *network) if value), *locks)


def meaning(file: str, content: bytes) -> str:
    """sha256 of what a file says about packages: comments, blank lines, and tables of other tools than uv don't count."""
    name = posixpath.basename(file)
    if name.endswith((".txt", ".in")):
        text = content.decode(errors="replace")
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
        content = "\n".join(line for line in lines if line).encode()
    elif name == "pyproject.toml":
        try:
            document = tomllib.loads(content.decode())
            project, uv = document.get("project", {}), document.get("tool", {}).get("uv")
            # A dependency may name the project's own extras.
            keys = ("dependencies", "optional-dependencies", "requires-python", "dynamic")
            told = {key: project.get(key) for key in keys}
            content = json.dumps((told, uv), sort_keys=True, default=str).encode()
        except (ValueError, AttributeError):
            pass  # uv will say what is wrong with it
    return hashlib.sha256(content).hexdigest()


def differs(wanted: Wants, section: Section | None) -> tuple[Change, ...]:
    """What a lock wasn't made for, in the manifest's words."""
    return differences(_told(_asked(section)), _told(wanted))


def called(image: str, text: str) -> str:
    """What is said of an image, behind the name of the service whose own it is."""
    return text if image == PROJECT else f"services.{image}: {text}"


def group(image: str, name: str) -> str:
    """What packages belong to: `apt`; a service's `db.apt`."""
    return name if image == PROJECT else f"{image}.{name}"


def stale(wanted: Wants, section: Section | None) -> frozenset[str]:
    """The parts that must be resolved anew: `bases`, `apt`, `python`, `node`. All of them over another base."""
    have = _asked(section)
    if section is None or (have.suites, have.images) != (wanted.suites, wanted.images):
        return frozenset(("bases", "apt", "python", "node"))
    return frozenset(
        part for part in ("apt", "python", "node") if _sorted(getattr(have, part)) != _sorted(getattr(wanted, part))
    )


def _sorted(asked: Iterable[object] | None) -> list[str] | None:
    """People may have put them in another order."""
    return None if asked is None else sorted(map(repr, asked))


def _asked(section: Section | None) -> Wants:
    """What a lock was made for."""
    if section is None:
        return Wants()
    return Wants(
        tuple(sorted(base.suite for base in section.bases)),
        tuple(sorted(section.images)),
        section.apt.asked or None if section.apt else None,
        section.python.asked if section.python else None,
        section.node.asked if section.node else None,
    )


def _told(wanted: Wants) -> Pairs:
    found = [("from", f"bootstrap:{suite}") for suite in wanted.suites[:1]]
    found += [(f"bootstrap:{suite}", "wanted") for suite in wanted.suites[1:]]
    found += wanted.images
    if wanted.apt:
        found.append(("apt", ", ".join(wanted.apt)))
    parts = (("python", wanted.python, "virtual environment"), ("node", wanted.node, "Node.js"))
    for part, pairs, what in parts:
        if pairs is not None:
            found.append((part, what))
        for name, value in pairs or ():
            found.append((f"{part}.{name}" if name in ("version", "packages", "network") else name, value))
    return tuple(found)


def provisional(wanted: Wants, section: Section | None, arch: str) -> Section:
    """A lock as far as it is known, to tell what will be built: what isn't resolved yet is there by name only."""
    section = section or Section(arch)
    parts = stale(wanted, section)
    apt, python, node = section.apt, section.python, section.node
    if wanted.apt and "apt" in parts:
        apt = _apt(wanted.apt, apt or AptLock())
    if wanted.python is not None and "python" in parts:
        python = _known(wanted.python, python or PythonLock(version="3"))
    if wanted.node is not None and "node" in parts:
        node = _changed(wanted.node, node or NodeLock())
    return section._replace(
        apt=apt if wanted.apt else None,
        python=None if wanted.python is None else python,
        node=None if wanted.node is None else node,
    )


def _apt(asked: tuple[str, ...], apt: AptLock) -> AptLock:
    added = sorted(set(asked) - set(apt.asked))
    last = max((deb.layer for deb in apt.packages), default=0)
    layer = 1 if set(apt.asked) - set(asked) else last + 1
    unknown = (Deb(name, "?", "all", 0, UNKNOWN, name, layer=layer) for name in added or ("?",))
    return apt._replace(asked=asked, packages=(*apt.packages, *unknown))


def _known(asked: Pairs, python: PythonLock) -> PythonLock:
    last = max((dist.layer for dist in python.packages), default=0)
    known = {dist.name for dist in python.packages} | {one.name for one in python.repositories}
    asking = {named(one) for one in dict(asked).get("packages", "").split(", ") if one}
    # What is edited in a file is more often a version than something new, which would make a layer.
    layer = last + 1 if asking - known or not last else last
    unknown = Dist("unknown", json.dumps(asked), 0, UNKNOWN, "unknown.whl", layer=layer)
    return python._replace(asked=asked, packages=(*python.packages, unknown))


def _changed(asked: Pairs, node: NodeLock) -> NodeLock:
    """Each of the three parts, where what it is asked for isn't what it was."""
    names = {"version": "runtime", "packages": "tools"}
    before, after = dict(node.asked), dict(asked)
    lists = {names.get(name, "project") for name in {*before, *after} if before.get(name) != after.get(name)}
    lists = lists if node.runtime else {*lists, "runtime"}
    wanted = {"runtime", *(names.get(name, "project") for name in after)}
    found: dict[str, tuple[Module, ...]] = {name: getattr(node, name) for name in wanted}
    for name in lists & wanted:
        last = max((module.layer for module in found[name]), default=0)
        unknown = Module("node_modules/unknown", "0", f"sha512-{json.dumps(asked)}", layer=last + 1)
        found[name] = (*found[name], unknown)
    return NodeLock(asked, *(found.get(name, ()) for name in ("runtime", "tools", "project")))
