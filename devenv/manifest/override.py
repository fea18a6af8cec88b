"""`NAME=VERSION` as somebody types it → what of a manifest, or of a file that it names, is written another way. Pure.

NAME is anything the manifest names: a variable, a package of any ecosystem, a language (`python=3.13`), the base, a service's own
(`db.apt.postgresql=17`), or the dotted name of any value (`limits.memory=1G`). A Python package that only other packages ask for is
asked for besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv.errors import Fault, InputError
from devenv.model.dist import normal
from devenv.model.plan import Change

from . import requirement
from .document import Node, Scalar, Series, Table
from .values import VARIABLE, nearest, show
from .variants import Edit, Path, at, edited

_FRESH = re.compile(rf"(services\.)?(?:([a-z][a-z0-9-]*)\.)?(env|limits)\.({VARIABLE})")
_LISTED = 12  # names that an error lists


class Override(NamedTuple):
    """What it comes to: values of the manifest, files of the project (path, content), and all of it in words."""

    edits: tuple[Edit, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    changes: tuple[Change, ...] = ()
    npm: tuple[tuple[str, str], ...] = ()
    """What npm must be asked for: the package.json that has it, `NAME@VERSION`."""


class Project(NamedTuple):
    """What names are looked for in. `files` are those the manifest names, by path; `locked` are the Python packages of an image,
    by the service whose own it is, "" for the project's.
    """

    root: Table
    files: Mapping[str, bytes] = {}
    locked: Mapping[str, Collection[str]] = {}


class Target(NamedTuple):
    """Something that can be another. `name` in full, `short` as one would call it; `path` in the manifest, or else `file`.

    `write`: the value asked for → the text that stands there then; `uses` are the variables that its text mentions.
    """

    name: str
    short: str
    before: str
    write: Callable[[str], str]
    path: Path = ()
    file: str = ""
    uses: frozenset[str] = frozenset()


def override(asked: Sequence[str], project: Project) -> Override:
    """All of them, each seeing those before it. Raises InputError: not NAME=VERSION, unknown, or one of several."""
    edits: list[Edit] = []
    files = dict(project.files)
    changes: list[Change] = []
    npm: list[tuple[str, str]] = []
    for text in asked:
        name, sign, value = text.partition("=")
        if not sign or not name or not value.strip() or any(ord(letter) < 32 for letter in text):
            raise InputError(Fault(show(text), 0, 0, "isn't NAME=VERSION", "such as django=6.0, or python=3.13"))
        now = project._replace(root=edited(project.root, tuple(edits)), files=files)
        value = (
            value[1:] if value.startswith("=") and not value.startswith("==") else value
        )  # `django==6.0` is what pip takes
        found = tuple(_targets(now))
        known = {one.name for one in found}
        target = _chosen(name, (*found, *(one for one in _fresh(name) if one.name not in known)))
        written = target.write(value)
        if requirement.is_npm(target.file):
            npm.append((target.file, written))
        elif target.file:
            files = {
                path: data if requirement.is_npm(path) else requirement.rewritten(path, data, target.short, value)
                for path, data in files.items()
            }
        else:
            old = at(now.root, target.path)
            edits.append(Edit(target.path, written, old.text if isinstance(old, Scalar) else ""))
        changes.append(Change(target.name, target.before, value))
    altered = tuple((path, data) for path, data in files.items() if project.files[path] != data)
    return Override(tuple(edits), altered, tuple(changes), tuple(npm))


def _fresh(name: str) -> Iterator[Target]:
    """A variable or a limit that isn't there yet, by its whole name."""
    if match := _FRESH.fullmatch(name):
        own: Path = ("services", match[2]) if match[2] else ()
        yield _plain(name.removeprefix("services."), name, None, (*own, match[3], match[4]))


def _chosen(name: str, targets: Sequence[Target]) -> Target:
    exact = [one for one in targets if name in (one.name, f"services.{one.name}")]
    plain = normal(name)
    found = exact or [one for one in targets if plain == normal(one.short)]
    told = {one.short for one in found if one.name.startswith("vars.")}
    found = [one for one in found if not one.uses & told] if len(found) > 1 else found
    own = [one for one in found if one.path or one.file]
    if len(own) == 1:
        return own[0]
    if own:
        listed = ", ".join(sorted({one.name for one in own}))
        raise InputError(Fault(name, 0, 0, f"could be {len(own)} things", f"say which one: {listed}"))
    known = sorted({one.name for one in targets} | {one.short for one in targets})
    near = nearest(name, known)
    some = ", ".join(sorted({one.name for one in targets})[:_LISTED])
    hint = f"did you mean {near}?" if near else f"it names {some}, …" if some else "it names nothing that has a version"
    raise InputError(Fault(name, 0, 0, "nothing in devenv.yml is called so", hint))


def _targets(project: Project) -> Iterator[Target]:
    """Everything that can be another: of what has one name, what is most to the point."""
    found: dict[str, Target] = {}
    for target in _every(project):
        found.setdefault(target.name, target)
    yield from found.values()


def _every(project: Project) -> Iterator[Target]:
    """The manifest's own first; what only a lock knows comes last."""
    yield from _of_table(project.root, "", ())
    for name, node in _entries(at(project.root, ("services",))):
        if isinstance(node, Table):
            yield from _of_table(node, f"{name}.", ("services", name))
    for path, content in project.files.items():
        yield from (_required(package, path) for package in requirement.names(path, content))
    for service, names in project.locked.items():
        own: Path = ("services", service) if service else ()
        if at(project.root, (*own, "python")) is not None:
            before = f"{service}." if service else ""
            yield from (_besides(package, project.root, before, own) for package in names)


def _of_table(table: Table, before: str, path: Path) -> Iterator[Target]:
    """A project's, or a service's, own keys."""
    for kind in ("python", "node"):
        if at(table, (kind,)) is not None:
            version = at(table, (kind, "version"))
            yield _plain(f"{before}{kind}.version", f"{before}{kind}", version, (*path, kind, "version"))
    yield _plain(f"{before}from", f"{before}from", at(table, ("from",)), (*path, "from"))
    for kind, split in (("python", requirement.python), ("apt", requirement.apt), ("node", requirement.node)):
        inner: Path = ("apt",) if kind == "apt" else (kind, "packages")
        for number, item in enumerate(_items(at(table, inner))):
            if isinstance(item, Scalar) and (parts := split(item.text)):
                name = normal(parts.name) if kind == "python" else parts.name
                yield Target(
                    f"{before}{kind}.{name}",
                    parts.name,
                    "" if "{{" in parts.version else parts.version,
                    parts.write,
                    (*path, *inner, number),
                    uses=_mentioned(item.text),
                )
    for dotted, where, node in _scalars(table):
        if where[0] not in ("services", "variants", "name"):
            called = str(where[-1]) if where[0] in ("vars", "env") and len(where) == 2 else f"{before}{dotted}"
            yield _plain(f"{before}{dotted}", called, node, (*path, *where))


def _plain(name: str, short: str, node: Node | None, path: Path) -> Target:
    before = node.text if isinstance(node, Scalar) and not node.null else ""
    return Target(name, short, before, lambda value: value, path, uses=_mentioned(before))


def _required(package: requirement.Parts, file: str) -> Target:
    name = f"node.{package.name}" if requirement.is_npm(file) else f"python.{normal(package.name)}"
    return Target(name, package.name, package.version, package.write, file=file)


def _besides(name: str, root: Table, before: str, path: Path) -> Target:
    """A package that comes with others: it is asked for itself."""
    number = len(_items(at(root, (*path, "python", "packages"))))
    return Target(f"{before}python.{name}", name, "", requirement.asking(name), (*path, "python", "packages", number))


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Series) else ()


def _entries(node: Node | None) -> Iterable[tuple[str, Node]]:
    return [(key.text, value) for key, value in node.entries] if isinstance(node, Table) else ()


def _scalars(table: Table) -> Iterator[tuple[str, Path, Scalar]]:
    """Every text that stands in mappings only: (dotted name, path, it)."""
    for name, node in _entries(table):
        if isinstance(node, Scalar):
            if not node.null:  # `node:` alone is a mapping, and its keys have names of their own
                yield name, (name,), node
        elif isinstance(node, Table):
            for dotted, path, value in _scalars(node):
                yield f"{name}.{dotted}", (name, *path), value


def _mentioned(text: str) -> frozenset[str]:
    """The names in a text's templates."""
    inside = " ".join(re.findall(r"\{[{%](.*?)[}%]\}", text, re.DOTALL))
    return frozenset(re.findall(VARIABLE, inside))
