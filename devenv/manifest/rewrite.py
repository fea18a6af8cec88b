"""A manifest's text → the same with some values another way; comments, quotes and layout stay as they are. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from devenv.errors import Fault, InputError

from . import document
from .document import Node, Scalar, Series, Span, Table
from .parse import Altered
from .variants import Edit, Path, at, declared, edited, leaves

_PLAIN = re.compile(r"[A-Za-z0-9_./^~<=+][A-Za-z0-9_./^~<>=+*!:@;,()-]*( [A-Za-z0-9_./^~<>=+*!@;,()-]+)*")
_FLOW = re.compile(r"[,\[\]{}]")


def rewritten(data: bytes, altered: Altered, file: str) -> bytes:
    """The text as a variant has it, and with edits. Raises InputError for what only a person can write: a block of text, an
    alias, a list, what a variant takes away.
    """
    root = document.read(data, file)
    chosen = declared(root)[altered.variant] if altered.variant else None
    for edit in (*(_of_variant(root, chosen, file) if chosen else ()), *altered.edits):
        data = _edited(data, edit, file)
    return data


def _of_variant(root: Table, variant: Node, file: str) -> Iterator[Edit]:
    """What a variant says, a text at a time."""
    for path, node in leaves(variant):
        if not isinstance(node, Scalar) or node.null:
            hint = "write it by hand, or try it as NAME=VERSION"
            raise InputError(Fault(file, *node.place, f"`{'.'.join(path)}` of a variant can't be written above", hint))
        old = at(root, path)
        yield Edit(path, node.text, old.text if isinstance(old, Scalar) else "")


def _edited(data: bytes, edit: Edit, file: str) -> bytes:
    text = data.decode("utf-8-sig")
    root = document.read(data, file)
    made = _made(text, root, edit)
    wanted = edited(root, (edit,))
    if made is None or _read(made, file) != _values(wanted):
        dotted = ".".join(map(str, edit.path))
        place = _place(root, edit.path)
        raise InputError(Fault(file, *place, f"`{dotted}` can't be written there", f"write {edit.text!r} by hand"))
    return (b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b"") + made.encode()


def _read(text: str, file: str) -> object:
    """What a text says; None where it is no manifest any more."""
    try:
        return _values(document.read(text.encode(), file))
    except InputError:
        return None


def _made(text: str, root: Table, edit: Edit) -> str | None:
    spans = document.spans(text)
    node = at(root, edit.path)
    if isinstance(node, Scalar):
        span = spans.get((node.place.line, node.place.column))
        if span is None or span.style in "|>" or (node.null and not node.text):
            return None
        return text[: span.start] + _quoted(edit.text, span.style) + text[span.end :]
    return _added(text, root, edit, spans)


def _added(text: str, root: Table, edit: Edit, spans: dict[tuple[int, int], Span]) -> str | None:
    """Put what isn't there yet behind the last of what it belongs to."""
    depth = next(count for count in range(len(edit.path) - 1, -1, -1) if at(root, edit.path[:count]) is not None)
    parent, step, rest = at(root, edit.path[:depth]), edit.path[depth], edit.path[depth + 1 :]
    value = _inner(rest, edit.text)
    if isinstance(parent, Table) and isinstance(step, str) and parent.entries:
        key, _ = parent.entries[0]
        return _behind(text, parent, key, f"{step}: {value}", spans, top=parent is root)
    if isinstance(parent, Series) and isinstance(step, int) and parent.items:
        return _behind(text, parent, parent.items[0], f"- {value}", spans, top=False)
    return None


def _inner(path: Path, text: str) -> str:
    """A value as it stands in one line."""
    if not path:
        return _quoted(text, "plain")
    return f"{{{path[0]}: {_inner(path[1:], text)}}}" if isinstance(path[0], str) else f"[{_inner(path[1:], text)}]"


def _behind(
    text: str, parent: Node, first: Node, line: str, spans: dict[tuple[int, int], Span], *, top: bool
) -> str | None:
    opening = text[_index(text, parent.place.line, parent.place.column) :][:1]
    if opening in "[{" and not top:
        span = spans.get((parent.place.line, parent.place.column))
        if span is None:
            return None
        inside = text[span.start + 1 : span.end - 1].rstrip()
        comma = "" if inside.endswith(",") or not inside else ","
        return f"{text[: span.start + 1]}{inside}{comma} {line.removeprefix('- ')}{text[span.end - 1 :]}"
    column = first.place.column - (3 if isinstance(parent, Series) else 1)
    end = _end(text, parent, spans)
    before = text[:end].rstrip(" ")
    newline = "" if before.endswith("\n") else "\n"
    return (
        f"{before}{newline}{' ' * max(column, 0)}{line}\n{text[end:].removeprefix(chr(10)) if newline else text[end:]}"
    )


def _end(text: str, node: Node, spans: dict[tuple[int, int], Span]) -> int:
    """Where the line ends in which the last of a node is."""
    last = node
    while isinstance(last, (Table, Series)):
        inner = [value for _, value in last.entries] if isinstance(last, Table) else list(last.items)
        span = spans.get((last.place.line, last.place.column))
        if not inner or (span and span.style == "flow" and text[span.start] in "[{"):
            break
        last = inner[-1]
    span = spans.get((last.place.line, last.place.column))
    at = span.end if span else _index(text, last.place.line, last.place.column)
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline + 1


def _index(text: str, line: int, column: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.index("\n", at) + 1
    return at + column - 1


def _quoted(text: str, style: str) -> str:
    """A text as it stands in YAML, in the quotes that were there if it needs none others (YAML 1.2, 7.3)."""
    if style == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    if style == "plain" and _PLAIN.fullmatch(text) and not _FLOW.search(text) and not re.search(r":( |$)| #", text):
        return text if text not in ("~", "null", "Null", "NULL") else f'"{text}"'
    return json.dumps(text, ensure_ascii=False)


def _place(root: Table, path: Path) -> tuple[int, int]:
    for count in range(len(path), -1, -1):
        if (node := at(root, path[:count])) is not None:
            return node.place.line, node.place.column
    return 0, 0


def _values(node: Node) -> object:
    """What a tree says, without where."""
    if isinstance(node, Scalar):
        return None if node.null else node.text
    if isinstance(node, Series):
        return [_values(item) for item in node.items]
    return {key.text: _values(value) for key, value in node.entries}
