"""A manifest's tree → the same with some values changed: by one of its `variants:`, by edits that a command line asks for. Pure.

Mappings are merged, everything else is replaced, `null` takes a key away. Each value keeps the place where it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from devenv.model.plan import Change

from .document import Node, Place, Scalar, Series, Table

Path = tuple[str | int, ...]
"""Where a value stands in a manifest: keys of mappings, numbers of items: `("python", "packages", 1)`."""

KEY = "variants"
_NOWHERE = Place(0, 0)


class Edit(NamedTuple):
    """A value that is to be another. `before` is the text that stands there, "" where nothing does.

    A number beyond a list's end adds an item.
    """

    path: Path
    text: str
    before: str = ""


def declared(root: Table) -> dict[str, Node]:
    """Each variant that a manifest has, by name, unread."""
    found = next((node for key, node in root.entries if key.text == KEY), None)
    return {name.text: node for name, node in found.entries} if isinstance(found, Table) else {}


def varied(root: Table, variant: Node) -> Table:
    """A manifest as one of its variants has it."""
    return merged(without(root, KEY), variant) if isinstance(variant, Table) else without(root, KEY)


def merged(below: Table, above: Table) -> Table:
    """Two mappings as one: what `above` has, it has for both, all the way down."""
    entries = {key.text: (key, node) for key, node in below.entries}
    for key, node in above.entries:
        known = entries.get(key.text)
        if isinstance(node, Scalar) and node.null:
            entries.pop(key.text, None)
        elif known and isinstance(node, Table) and isinstance(known[1], Table):
            entries[key.text] = (key, merged(known[1], node))
        else:
            entries[key.text] = (key, node)
    return _table(below.place, tuple(entries.values()))


def told(root: Table, variant: Node) -> tuple[Change, ...]:
    """What a variant says, by dotted names: before and after, lists as one text."""
    found = []
    for path, node in leaves(variant):
        before, after = _text(at(root, path)), _text(node)
        if before != after:
            found.append(Change(".".join(path), before, after))
    return tuple(found)


def leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Everything a mapping says, all the way down: (path, what is no mapping)."""
    if not isinstance(node, Table):
        yield path, node
        return
    for key, inner in node.entries:
        yield from leaves(inner, (*path, key.text))


def _text(node: Node | None) -> str:
    if isinstance(node, Series):
        return ", ".join(map(_text, node.items))
    if isinstance(node, Table):
        return ", ".join(f"{key.text}: {_text(inner)}" for key, inner in node.entries)
    return node.text if isinstance(node, Scalar) and not node.null else ""


def without(root: Table, name: str) -> Table:
    """A mapping but for one of its keys."""
    return _table(root.place, tuple(entry for entry in root.entries if entry[0].text != name))


def edited(root: Table, edits: tuple[Edit, ...]) -> Table:
    """The tree with each of these values written in."""
    for edit in edits:
        changed = _set(root, edit.path, edit.text)
        assert isinstance(changed, Table)
        root = changed
    return root


def at(root: Node | None, path: Path) -> Node | None:
    """What stands there, None for nothing."""
    for step in path:
        if isinstance(root, Table) and isinstance(step, str):
            root = next((node for key, node in root.entries if key.text == step), None)
        elif isinstance(root, Series) and isinstance(step, int) and step < len(root.items):
            root = root.items[step]
        else:
            return None
    return root


def _set(node: Node | None, path: Path, text: str) -> Node:
    if not path:
        return Scalar(node.place if node else _NOWHERE, text, plain=False)
    step, rest = path[0], path[1:]
    place = node.place if node else _NOWHERE
    if isinstance(step, int):
        items = node.items if isinstance(node, Series) else (node,) if node and not _null(node) else ()
        old = items[step] if step < len(items) else None
        items = (*items[:step], _set(old, rest, text), *items[step + 1 :])
        return Series(place, items, 1 + sum(item.weight for item in items))
    entries = node.entries if isinstance(node, Table) else ()
    known = {key.text: (key, value) for key, value in entries}
    key, old = known.get(step, (Scalar(place, step, plain=True), None))
    known[step] = (key, _set(old, rest, text))
    return _table(place, tuple(known.values()))


def _null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.null


def _table(place: Place, entries: tuple[tuple[Scalar, Node], ...]) -> Table:
    return Table(place, entries, 1 + sum(key.weight + node.weight for key, node in entries))
