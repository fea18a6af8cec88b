"""A tree of text and the table of keys → values, with every fault on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from devenv.errors import DevenvError, Fault

from .document import Node, Place, Scalar, Series, Table
from .keys import KEYS, Key, Kind, ListOf, MapOf, Record, Text, walk
from .values import Wrong, nearest, show

Expand = Callable[[str, Mapping[str, str]], str]
"""(template, variables) → text; raises DevenvError with a hint. Called only for texts with `{{`, `{%` or `{#`."""

_REFUSED: Any = object()
"""Stands for a value that has a fault."""


class Check:
    """Checks nodes one by one. `scope` is what templates see; `found` all values by dotted name, with their places."""

    def __init__(self, file: str, expand: Expand, scope: dict[str, str]) -> None:
        self.file = file
        self.expand = expand
        self.scope = scope
        self.broken: set[str] = set()
        self.faults: list[Fault] = []
        self.found: dict[str, tuple[Place, Any]] = {}

    def fault(self, place: Place, message: str, hint: str = "") -> None:
        self.faults.append(Fault(self.file, *place, message, hint))

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
                self.fault(table.place, f"`{key.name}` is missing", f"add it, such as `{key.name}: bootstrap:bookworm`")
        return values

    def value(self, node: Node, kind: Kind, where: str) -> Any:
        """What a node means as this kind, or _REFUSED after a fault."""
        if isinstance(kind, Text):
            value = self.text(node, kind, where)
        elif isinstance(kind, ListOf):
            value = self.list(node, kind, where)
        elif isinstance(kind, MapOf):
            value = self.map(node, kind, where)
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
        if not isinstance(node, Table):
            self.fault(node.place, f"`{where}` must be a mapping", f"write `{_last(where)}: {{NAME: value}}`")
            return _REFUSED
        pairs: list[tuple[str, str]] = []
        for name, item in node.entries:
            key = self.text(name, kind.key, where)
            value = self.value(item, kind.value, f"{where}.{name.text}")
            if key is _REFUSED or value is _REFUSED:
                self.broken.update({name.text} if kind.scope else ())
                continue
            pairs.append((key, value))
            if kind.scope:
                self.scope[key] = value
        return tuple(pairs)

    def record(self, node: Node, kind: Record, where: str) -> Any:
        if isinstance(node, Scalar) and node.null:
            return kind.make()
        if isinstance(node, Scalar) and kind.short:
            short = next(key for key in kind.keys if key.name == kind.short)
            value = self.text(node, short.kind, where) if isinstance(short.kind, Text) else _REFUSED
            return value if value is _REFUSED else kind.make(**{short.name: value})
        if not isinstance(node, Table):
            names = ", ".join(key.name for key in kind.keys)
            self.fault(node.place, f"`{where}` must be a mapping", f"its keys are: {names}")
            return _REFUSED
        before = len(self.faults)
        values = self.fields(node, kind.keys, where)
        return kind.make(**values) if len(self.faults) == before else _REFUSED

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
        try:
            return self.expand(node.text, self.scope)
        except DevenvError as error:
            self.fault(node.place, f"`{where}`: {error.message}", error.hint)
            return None


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
    for key in keys:
        if name in key.also:
            return f"did you mean `{key.name}`?"
    if near := nearest(name, (key.name for key in keys if not key.later)):
        return f"did you mean `{near}`?"
    for dotted, key in walk(KEYS):
        if key.name == name:
            parent, _, last = dotted.rpartition(".")
            return (
                f"it belongs in `{parent}`: `{parent}: {{{last}: …}}`"
                if parent
                else f"`{name}` belongs at the top level"
            )
    return "the keys here are: " + ", ".join(key.name for key in keys if not key.later)


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
    return "quote it, if it begins with `{` or `[`"
