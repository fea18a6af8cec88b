"""A Lock → the text of `devenv.lock.yml`, and back: an entry a line, sorted, so that a diff shows what changed and no more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from devenv.errors import EngineError, Fault, InputError
from devenv.manifest import document
from devenv.manifest.document import Node, Scalar, Series, Table
from devenv.model.image import PROJECT
from devenv.model.lock import AptLock, BaseLock, Lock, NodeLock, PythonLock, Section, ServiceLock
from devenv.model.manifest import Pairs

from . import entry
from .entry import BUILD, DEB, DIST, MODULE, REMOTE, REPOSITORY, Kind, T

VERSION = 1

_HEAD = """\
# Written by devenv: every byte of the environment that comes from outside. Commit it.
# `devenv lock` adds what devenv.yml asks for, `devenv lock --upgrade [NAME…]` renews it.
"""
_END = "..."  # YAML's own: without it, what was cut off at the end of a line would be just shorter
_ANEW = "take it from git again, or remove the file: `devenv lock` makes it anew"
_SIDES = "keep the lines of one side; `devenv lock` then adds what the other asked for"
_BYTES = 16 << 20
_NODES = 100_000
_CONFLICT = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})(?: |\r?$)", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z_/][\w./+~@^=-]*", re.ASCII)
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff]')
_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION = re.compile(r"3\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*")
_COMMAND = re.compile(r"/[\w./+-]+", re.ASCII)
_LIBC = re.compile(r"[0-9.]*")
_SERVICE = re.compile(rf"(?!{PROJECT}$)[a-z][a-z0-9-]*")
_INSTALLED = ("from", "apt", "python", "node")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


# Writing -----------------------------------------------------------------------------------------


def write(lock: Lock) -> str:
    """The file's text. Raises EngineError for a package that can't be written down."""
    lines = [f"version: {VERSION}"]
    for arch, section in sorted(lock.sections.items()):
        lines += [f"{arch}:", *_indented(_section(section))]
    return _HEAD + "\n".join((*lines, _END)) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"clock: {_time(section.clock)}"
    if section.bases:
        yield "bases:"
        for base in sorted(section.bases):
            yield f"  {base.suite}:"
            yield f"    release: {_time(base.release)}"
            yield f"    clock: {_time(base.clock)}"
            yield from _indented(_entries("packages", DEB, base.packages), 4)
    if section.images:
        yield from _pairs("images", section.images)
    yield from _installed(section)
    yield from _entries("files", REMOTE, section.files)
    if section.services:
        yield "services:"
        for service in sorted(section.services):
            yield f"  {service.name}:"
            yield from _indented(_installed(service), 4)


def _installed(one: Section | ServiceLock) -> Iterator[str]:
    if one.origins is not None:
        yield f"from: {_list(one.origins)}"
    if one.apt:
        yield "apt:"
        yield f"  asked: {_list(one.apt.asked)}"
        yield f"  release: {_time(one.apt.release)}"
        yield from _indented(_entries("packages", DEB, one.apt.packages))
    if one.python:
        yield "python:"
        yield from _indented(_python(one.python))
    if one.node:
        yield "node:"
        yield from _indented(_pairs("asked", one.node.asked))
        for name in ("runtime", "tools", "project"):
            yield from _indented(_entries(name, MODULE, getattr(one.node, name)))


def _python(python: PythonLock) -> Iterator[str]:
    yield from _pairs("asked", python.asked)
    yield f"version: {_text(python.version)}"
    yield f"command: {_text(python.command)}"
    yield f"libc: {_text(python.libc)}"
    if python.needs:
        yield f"needs: {_list(python.needs)}"
    if python.interpreter:
        yield f"interpreter: {_line(REMOTE, python.interpreter)}"
    yield from _entries("packages", DIST, python.packages)
    yield from _entries("build", BUILD, python.build)
    yield from _entries("repositories", REPOSITORY, python.repositories)


def _entries(name: str, kind: Kind[T], values: Iterable[T]) -> Iterator[str]:
    found = sorted(_line(kind, value) for value in values)
    if found:
        yield f"{name}:"
        yield from (f"- {line}" for line in found)


def _line(kind: Kind[T], value: T) -> str:
    try:
        return entry.written(kind, value)
    except ValueError as error:
        name = re.sub(r"//[^/]*@", "//…@", value[0])
        raise EngineError(f"lock {name!r:.80}: {error}", hint="leave it out, or take it from elsewhere") from error


def _pairs(name: str, pairs: Pairs) -> Iterator[str]:
    yield f"{name}:" if pairs else f"{name}: {{}}"
    yield from (f"  {_text(key)}: {_text(value)}" for key, value in pairs)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else f'"{_ESCAPED.sub(_escape, value)}"'


def _escape(found: re.Match[str]) -> str:
    """A letter as double quotes have it (YAML 1.2, 5.7)."""
    return f"\\{found[0]}" if found[0] in '"\\' else f"\\u{ord(found[0]):04x}"


def _time(seconds: int) -> str:
    return f'"{datetime.fromtimestamp(seconds, UTC).strftime(_TIME)}"'


def _indented(lines: Iterable[str], by: int = 2) -> Iterator[str]:
    return (" " * by + line for line in lines)


# Reading -----------------------------------------------------------------------------------------


def read(data: bytes, file: str) -> Lock:
    """The lock in a file. Raises InputError, with one fault, for what `write` doesn't write."""
    if conflict := _CONFLICT.search(data):
        line = data.count(b"\n", 0, conflict.start()) + 1
        raise InputError(Fault(file, line, 1, "here git left two versions to be merged", _SIDES))
    try:
        root = document.read(data, file, size=_BYTES, nodes=_NODES)
    except InputError as error:
        raise InputError(error.faults[0]._replace(hint=_ANEW)) from error
    reader = _Reader(file)
    entries = reader.table(root)
    version = entries.pop("version", None)
    if version is None:
        reader.stop(root, "it doesn't say its `version`")
    if reader.text(version) != str(VERSION):
        message = f"version {reader.text(version)!r:.20}: this devenv reads version {VERSION}"
        reader.stop(version, message, "use a newer devenv")
    if not data.rstrip().endswith(f"\n{_END}".encode()):
        raise InputError(Fault(file, data.count(b"\n") + 1, 1, f"it is cut off: its last line isn't `{_END}`", _ANEW))
    return Lock({arch: reader.section(arch, node) for arch, node in entries.items()})


class _Reader(NamedTuple):
    file: str

    def stop(self, node: Node, message: str, hint: str = _ANEW) -> NoReturn:
        raise InputError(Fault(self.file, *node.place, message, hint))

    def table(self, node: Node, known: Iterable[str] | re.Pattern[str] = ()) -> dict[str, Node]:
        """A mapping, of these keys, or of keys that look like this."""
        if not isinstance(node, Table):
            self.stop(node, "this should be a mapping")
        names = set(known) if not isinstance(known, re.Pattern) else set()
        for key, _ in node.entries:
            if (names and key.text not in names) or (isinstance(known, re.Pattern) and not known.fullmatch(key.text)):
                self.stop(key, f"unknown key {key.text!r:.60}")
        return {key.text: value for key, value in node.entries}

    def section(self, arch: str, node: Node) -> Section:
        if not _ARCH.fullmatch(arch):
            self.stop(node, f"{arch!r:.60} is no architecture")
        found = self.table(node, ("clock", "bases", "images", *_INSTALLED, "files", "services"))
        bases = self.table(found["bases"], _SUITE) if "bases" in found else {}
        services = self.table(found["services"], _SERVICE) if "services" in found else {}
        images = self.pairs(found.get("images"), _DIGEST)
        known = {*(f"bootstrap:{suite}" for suite in bases), *(name for name, _ in images)}
        installed = self._installed("", found, known)
        return Section(
            arch,
            self.time(found, "clock", node),
            tuple(self._base(suite, one) for suite, one in bases.items()),
            images,
            installed.apt,
            installed.python,
            installed.node,
            self.entries(found.get("files"), REMOTE),
            tuple(self._installed(name, self.table(one, _INSTALLED), known) for name, one in services.items()),
            installed.origins,
        )

    def _installed(self, name: str, found: Mapping[str, Node], known: Collection[str]) -> ServiceLock:
        for item in self._items(found.get("from")):
            if self.text(item) not in known:
                self.stop(item, f"{self.text(item)!r:.80} is neither among `bases` nor `images`")
        return ServiceLock(
            name,
            self.texts(found["from"]) if "from" in found else None,
            self._apt(found["apt"]) if "apt" in found else None,
            self._python(found["python"]) if "python" in found else None,
            self._node(found["node"]) if "node" in found else None,
        )

    def _base(self, suite: str, node: Node) -> BaseLock:
        found = self.table(node, ("release", "clock", "packages"))
        release, clock = (self.time(found, name, node) for name in ("release", "clock"))
        return BaseLock(suite, release, self.entries(found.get("packages"), DEB), clock)

    def _apt(self, node: Node) -> AptLock:
        found = self.table(node, ("asked", "release", "packages"))
        release = self.time(found, "release", node)
        return AptLock(self.texts(found.get("asked")), self.entries(found.get("packages"), DEB), release)

    def _python(self, node: Node) -> PythonLock:
        known = ("asked", "version", "command", "libc", "needs", "interpreter", "packages", "build", "repositories")
        found = self.table(node, known)
        if missing := next((name for name in ("version", "command", "libc") if name not in found), None):
            self.stop(node, f"it doesn't say its `{missing}`")
        return PythonLock(
            self.pairs(found.get("asked")),
            self.text(found["version"], _VERSION),
            self.text(found["command"], _COMMAND),
            self.text(found["libc"], _LIBC),
            self.texts(found.get("needs")),
            self.entries(found.get("packages"), DIST),
            self.entries(found.get("build"), BUILD),
            self.entry(found["interpreter"], REMOTE) if "interpreter" in found else None,
            self.entries(found.get("repositories"), REPOSITORY),
        )

    def _node(self, node: Node) -> NodeLock:
        found = self.table(node, ("asked", "runtime", "tools", "project"))
        lists = (self.entries(found.get(name), MODULE) for name in ("runtime", "tools", "project"))
        return NodeLock(self.pairs(found.get("asked")), *lists)

    def entries(self, node: Node | None, kind: Kind[T]) -> tuple[T, ...]:
        """A list of lines, each made into a value."""
        found: dict[str, T] = {}
        for item in self._items(node):
            value = self.entry(item, kind)
            name = kind.unique(value)
            if name in found:
                self.stop(item, f"{name!r:.80} is here twice", _SIDES)
            found[name] = value
        return tuple(found.values())

    def entry(self, node: Node, kind: Kind[T]) -> T:
        text = self.text(node)
        try:
            return entry.read(kind, text)
        except ValueError as error:
            self.stop(node, f"{text!r:.60} is no entry: {error}")

    def _items(self, node: Node | None) -> tuple[Node, ...]:
        if node is None:
            return ()
        if not isinstance(node, Series):
            self.stop(node, "this should be a list")
        return node.items

    def text(self, node: Node, fit: re.Pattern[str] | None = None) -> str:
        if not isinstance(node, Scalar):
            self.stop(node, "this should be text")
        if fit and not fit.fullmatch(node.text):
            self.stop(node, f"{node.text!r:.80} can't stand here")
        return node.text

    def texts(self, node: Node | None) -> tuple[str, ...]:
        return tuple(map(self.text, self._items(node)))

    def pairs(self, node: Node | None, fit: re.Pattern[str] | None = None) -> Pairs:
        return () if node is None else tuple((name, self.text(value, fit)) for name, value in self.table(node).items())

    def time(self, found: Mapping[str, Node], name: str, node: Node) -> int:
        if name not in found:
            self.stop(node, f"it doesn't say its `{name}`")
        try:
            return max(0, int(datetime.strptime(self.text(found[name]), _TIME).replace(tzinfo=UTC).timestamp()))
        except ValueError:
            self.stop(found[name], f"`{name}` should be a time such as 2026-01-31T12:00:00Z")
