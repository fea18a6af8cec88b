"""A tree of text and the table of keys → values, with every fault on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from devenv.errors import DevenvError, Fault, InputError

from . import keys_compose, replicas
from .document import Node, Place, Scalar, Series, Table
from .keys import KEYS, walk
from .kinds import Again, Key, Kind, ListOf, MapOf, Record, Text
from .values import Wrong, nearest, show

Expand = Callable[[str, Mapping[str, str]], str]
"""(template, variables) → text; raises DevenvError with a hint. Called only for texts with `{{`, `{%` or `{#`."""

TEMPLATES = 5_000
"""Templates rendered for one manifest, those of each replica counted."""
READ = 64 * 1024 * 1024
"""Characters of all values together, those of each replica counted; each value is taken for 256 more."""

_REFUSED: Any = object()
"""Stands for a value that has a fault."""


class Tally:
    """What one manifest has cost so far. `rendered`: (template, what it saw) → text, for that of other replicas is the same."""

    def __init__(self) -> None:
        self.replicas = 0
        self.read = 0
        self.rendered: dict[tuple[str, tuple[str | None, ...]], str] = {}


class Check:
    """Checks nodes one by one. `scope` is what templates see; `found` all values by dotted name, with their places.

    `scale` are numbers of replicas that count instead of those written down.
    """

    def __init__(
        self, file: str, expand: Expand, scope: dict[str, str], scale: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.file = file
        self.expand = expand
        self.scope = scope
        self.scale = scale
        self.broken: set[str] = set()
        self.varying: frozenset[str] = frozenset()
        self.faults: list[Fault] = []
        self.found: dict[str, tuple[Place, Any]] = {}
        self.tally = Tally()

    def within(
        self, scope: dict[str, str], broken: set[str] | None = None, varying: frozenset[str] = frozenset()
    ) -> Check:
        """One that finds for this one, in a scope of its own. `varying`: names that it doesn't know, but replicas do."""
        inner = Check(self.file, self.expand, scope, self.scale)
        inner.broken, inner.varying = set(self.broken if broken is None else broken), varying
        inner.faults, inner.found, inner.tally = self.faults, self.found, self.tally
        return inner

    def fault(self, place: Place, message: str, hint: str = "") -> None:
        self.faults.append(Fault(self.file, *place, message, hint))

    def stop(self, place: Place, message: str, hint: str) -> NoReturn:
        """Go no further: checking the rest would take too long."""
        raise InputError(Fault(self.file, *place, message, hint))

    def fields(
        self, table: Table, keys: tuple[Key, ...], where: str = "", first: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The values of a mapping's known keys; those named `first` are looked at before the others."""
        known = {key.name: key for key in keys}
        rank = {name: position for position, name in enumerate(first)}
        values: dict[str, Any] = {}
        for name, node in sorted(table.entries, key=lambda entry: rank.get(entry[0].text, len(rank))):
            key = known.get(name.text)
            if key is None:
                self.fault(name.place, f"unknown key {show(name.text)}" + _of(where), _unknown(name.text, keys))
            elif key.later:
                self.fault(name.place, f"`{key.name}` is not supported yet", "remove it for now")
            else:
                value = self.value(node, key.kind, f"{where}.{key.name}" if where else key.name)
                if value is not _REFUSED:
                    values[key.name] = value
        for key in keys:
            if key.required and key.name not in {name.text for name, _ in table.entries}:
                dotted = f"{where}.{key.name}" if where else key.name
                self.fault(table.place, f"`{dotted}` is missing", f"add it, such as `{key.name}: {key.required}`")
        return values

    def value(self, node: Node, kind: Kind, where: str) -> Any:
        """What a node means as this kind, or _REFUSED after a fault."""
        if isinstance(kind, Text):
            value = self.text(node, kind, where)
        elif isinstance(kind, ListOf):
            value = self.list(node, kind, where)
        elif isinstance(kind, MapOf):
            value = self.map(node, kind, where)
        elif isinstance(kind, Again):
            value = self.again(node, kind, where)
        else:
            value = self.record(node, kind, where)
        if value is not _REFUSED:
            self.found[where] = (node.place, value)
        return value

    def list(self, node: Node, kind: ListOf, where: str) -> Any:
        if isinstance(node, Scalar) and node.null:
            return ()
        if not isinstance(node, Series):
            if kind.alone:
                item = self.value(node, kind.item, f"{where}[0]")
                return item if item is _REFUSED else (item,)
            self.fault(
                node.place, f"`{where}` must be a list", f"write `{_last(where)}: [{_as_items(node, kind.item)}]`"
            )
            return _REFUSED
        items = [self.value(item, kind.item, f"{where}[{index}]") for index, item in enumerate(node.items)]
        return tuple(item for item in items if item is not _REFUSED)

    def map(self, node: Node, kind: MapOf, where: str) -> Any:
        if isinstance(node, Scalar) and node.null:
            return ()
        if isinstance(node, Series) and kind.listed:
            return self.listed(node, kind, where)
        if not isinstance(node, Table):
            what = "a list or a mapping" if kind.listed else "a mapping"
            shown = f"[{_as_items(node, kind.key)}]" if kind.listed else _example(kind)
            self.fault(node.place, f"`{where}` must be {what}", f"write `{_last(where)}: {shown}`")
            return _REFUSED
        pairs: list[tuple[str, Any]] = []
        for name, item in node.entries:
            key = self.text(name, kind.key, where)
            value = self.value(item, kind.value, f"{where}.{show(name.text) if key is _REFUSED else name.text}")
            if key is _REFUSED or value is _REFUSED:
                self.broken.update({name.text} if kind.scope else ())
                continue
            pairs.append((key, value))
            if kind.scope:
                self.scope[key] = value
        return tuple(pairs)

    def listed(self, node: Series, kind: MapOf, where: str) -> Any:
        """A list of names that stands for a mapping."""
        names: dict[str, str] = {}
        for index, item in enumerate(node.items):
            name = self.text(item, kind.key, f"{where}[{index}]")
            if name is not _REFUSED:
                names[name] = kind.listed
                self.found.setdefault(f"{where}.{name}", (item.place, kind.listed))
        return tuple(names.items())

    def record(self, node: Node, kind: Record, where: str) -> Any:
        if isinstance(node, Scalar) and node.null:
            node = Table(node.place, (), 1)
        if isinstance(node, Scalar) and kind.short:
            short = next(key for key in kind.keys if key.name == kind.short)
            value = self.text(node, short.kind, where) if isinstance(short.kind, Text) else _REFUSED
            return value if value is _REFUSED else kind.make(**{short.name: value})
        if not isinstance(node, Table):
            names = ", ".join(key.name for key in kind.keys)
            hint = f"its keys are: {names}" if names else f"write `{_last(where)}: {{}}`"
            self.fault(node.place, f"`{where}` must be a mapping", hint)
            return _REFUSED
        before = len(self.faults)
        values = replicas.read(self, node, kind, where) if kind.each else self.fields(node, kind.keys, where)
        if values is None or len(self.faults) > before:
            return _REFUSED
        try:
            return kind.make(**values)
        except Wrong as wrong:
            self.fault(node.place, f"`{where}`: {wrong.message}", wrong.hint)
            return _REFUSED

    def again(self, node: Node, kind: Again, where: str) -> Any:
        """Whether the keys are the manifest's; what they hold shows when it is laid over that."""
        if isinstance(node, Scalar) and node.null:
            return ()
        if not isinstance(node, Table):
            self.fault(node.place, f"`{where}` must be a mapping", "write the keys that are another way in it")
            return _REFUSED
        keys = tuple(key for key in KEYS if not key.later and key.name not in kind.never)
        for name, _ in node.entries:
            if name.text in kind.never:
                self.fault(name.place, f"`{where}`: no variant has `{name.text}` of its own", "remove it")
            elif name.text not in {key.name for key in keys}:
                self.fault(name.place, f"unknown key {show(name.text)}" + _of(where), _unknown(name.text, keys))
        return ()

    def text(self, node: Node, kind: Text, where: str) -> Any:
        if not isinstance(node, Scalar):
            is_list = isinstance(node, Series)
            self.fault(node.place, f"`{where}` must be text, not a {'list' if is_list else 'mapping'}", _to_text(kind))
            return _REFUSED
        if node.null or (not node.text and not kind.empty):
            hint = 'write "" for an empty one' if kind.empty else "give it one, or remove the key"
            self.fault(node.place, f"`{where}` has no value", hint)
            return _REFUSED
        text = self.expanded(node, kind, where)
        if text is None:
            return _REFUSED
        self.tally.read += len(text) + 256
        if self.tally.read > READ:
            message = f"`{where}`: with it, all values together are too much"
            self.stop(
                node.place, message, "those of each replica are counted: have fewer replicas, or less `index` in them"
            )
        try:
            _shape(text, kind)
            return kind.read(text)
        except Wrong as wrong:
            self.fault(node.place, f"`{where}`: {wrong.message}", wrong.hint)
            return _REFUSED

    def expanded(self, node: Scalar, kind: Text, where: str) -> str | None:
        """The text with its template rendered, once. None after a fault, here or in a variable it uses."""
        if kind.literal or not any(mark in node.text for mark in ("{{", "{%", "{#")):
            return node.text
        if any(re.search(rf"\b{re.escape(name)}\b", node.text) for name in self.broken):
            return None
        seen = tuple(self.scope.get(word) for word in sorted(set(re.findall(r"\w+", node.text))))
        try:
            text = self.tally.rendered.get((node.text, seen))
            if text is None:
                text = self.tally.rendered[node.text, seen] = self.expand(node.text, self.scope)
        except DevenvError as error:
            differs = any(f"{name!r} is " in error.message for name in self.varying)
            self.fault(node.place, f"`{where}`: {error.message}", _SHARED if differs else error.hint)
            return None
        if len(self.tally.rendered) > TEMPLATES:
            hint = "one that has `index` in it counts once for each replica"
            self.stop(node.place, f"`{where}`: with it, more than {TEMPLATES:,} templates are to be rendered", hint)
        return text


_SHARED = "replicas share this: only `env`, `command`, `user`, `workdir`, `volumes` and `healthcheck` may have `index` in them"


def _shape(text: str, kind: Text) -> None:
    """Whether text is what its kind allows, before it is read. Raises Wrong."""
    if len(text) > kind.limit:
        raise Wrong(f"{show(text)} has {len(text):,} characters", f"{kind.limit:,} are allowed")
    if not text.strip() and not kind.empty:
        raise Wrong("it has no value", "give it one, or remove the key")
    if bad := sorted(character for character in set(text) if _control(character, kind.shape)):
        raise Wrong(f"{show(text)} contains the control character U+{ord(bad[0]):04X}", "remove it")
    if kind.words and text not in kind.words:
        near = nearest(text, kind.words)
        raise Wrong(f"{show(text)} is not {kind.what}", f"did you mean {near!r}?" if near else "write one of them")
    if kind.what and kind.pattern and not re.fullmatch(kind.pattern, text):
        what, _, hint = kind.what.partition(": ")
        raise Wrong(f"{show(text)} is not {what}", _nearly(text, kind.pattern) or hint)


def _control(character: str, shape: str) -> bool:
    """Whether text of this shape can't have the character: what ends a line or a C string, or drives a terminal."""
    if shape == "any":
        return character == "\0"
    if shape == "lines" and character in "\n\t":
        return False
    return character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029"


def _nearly(text: str, pattern: str) -> str:
    """A hint when only a slip separates the text from a right one."""
    for meant in (text.lower(), text.strip(), text.removeprefix("v"), re.sub("(?<![=<>!~])=(?!=)", "==", text)):
        if meant != text and re.fullmatch(pattern, meant):
            return f"did you mean {meant!r}?"
    words = text.split()
    if len(words) > 1 and all(re.fullmatch(pattern, word) for word in words):
        return f"write each as an item of its own: [{', '.join(words)}]"
    return ""


def _unknown(name: str, keys: tuple[Key, ...]) -> str:
    """Which key was meant: one like it here, one of that name elsewhere, or any."""
    here = {key.name for key in keys}
    if "from" in here:
        hints = keys_compose.SERVICE if "replicas" in here else keys_compose.PROJECT
        if name in hints:
            return hints[name]
    for key in keys:
        if name in key.also:
            return f"did you mean `{key.name}`?"
    if near := nearest(name, (key.name for key in keys if not key.later)):
        return f"did you mean `{near}`?"
    for dotted, key in sorted(walk(), key=lambda one: one[0].count(".")):
        if key.name == name:
            parent = dotted.rpartition(".")[0]
            return f"it belongs in `{parent}`: `{_nested(dotted)}`" if parent else f"`{name}` belongs at the top level"
    known = ", ".join(key.name for key in keys if not key.later)
    return f"the keys here are: {known}" if known else "write `{}`: it has no keys"


def _nested(dotted: str) -> str:
    """A key where it belongs: `a: {b: {c: …}}` for `a.b.c`."""
    first, *inner = dotted.split(".")
    return f"{first}: " + "".join(f"{{{name}: " for name in inner) + "…" + "}" * len(inner)


def _example(kind: MapOf) -> str:
    if isinstance(kind.value, Text):
        return "{NAME: value}"
    return "{NAME: {…}}" if isinstance(kind.value, Again) or kind.value.keys else "{NAME: {}}"


def _of(where: str) -> str:
    return f" in `{where}`" if where else ""


def _last(where: str) -> str:
    return where.rpartition(".")[2].partition("[")[0]


def _as_items(node: Node, kind: Kind) -> str:
    """What stands where a list should, as the inside of one; `…` when that would be long or need quotes."""
    if not isinstance(node, Scalar) or len(node.text) > 60 or not re.fullmatch("[A-Za-z0-9._/@=+ -]+", node.text):
        return "…"
    words = node.text.split()
    if (
        isinstance(kind, Text)
        and kind.what
        and kind.pattern
        and all(re.fullmatch(kind.pattern, word) for word in words)
    ):
        return ", ".join(words)
    return node.text


def _to_text(kind: Text) -> str:
    if kind.shape == "lines":
        return "write one text; several commands are joined with ` && `, or stand on lines of their own after `|`"
    if kind.words:
        return "write one of: " + ", ".join(kind.words)
    return "quote it, if it begins with `{` or `[`"
