"""YAML bytes → a tree of text, each piece with its place, within limits.

Everything stays text as written: `3.10` is no float, `22:22` no number in base 60, `no` no boolean. What a value means
is for the table of keys to say. Built on the parser's events: depth, size and aliases are bounded before all else.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import yaml

from devenv.errors import Fault, InputError

BYTES = 1 << 20
DEPTH = 50
NODES = 10_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it: ten times faster


class Place(NamedTuple):
    """1-based line and column."""

    line: int
    column: int


class Scalar(NamedTuple):
    """Text. `plain` when it was written without quotes and not as a block."""

    place: Place
    text: str
    plain: bool
    weight: int = 1

    @property
    def null(self) -> bool:
        """Whether YAML means "nothing" by it."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


class Series(NamedTuple):
    """A list. `weight` counts the nodes in it, aliases expanded."""

    place: Place
    items: tuple[Node, ...]
    weight: int


class Table(NamedTuple):
    """A mapping, in file order, its keys unique."""

    place: Place
    entries: tuple[tuple[Scalar, Node], ...]
    weight: int


Node = Scalar | Series | Table


class _Open(NamedTuple):
    """A list or mapping whose end has not been read."""

    place: Place
    mapping: bool
    anchor: str | None
    children: list[Node]


_TOO_DEEP = f"nested deeper than {DEPTH} levels"
_SHALLOW = "a manifest needs four or so"


class Span(NamedTuple):
    """Where a node is in its text, in characters, and how it is written: `plain`, `'`, `"`, `|`, `>`; of a list or mapping `flow`
    or `block`.
    """

    start: int
    end: int
    style: str


def spans(text: str) -> dict[tuple[int, int], Span]:
    """Of every node of a text that is read already, by its line and column; of those that begin in one place, the innermost."""
    found: dict[tuple[int, int], Span] = {}
    opened: list[Any] = []
    loader: Any = yaml.SafeLoader(text)  # whose marks count characters, as libyaml's don't
    try:
        while loader.check_event():
            event: Any = loader.get_event()
            kind = type(event)
            start = opened.pop() if kind in (yaml.SequenceEndEvent, yaml.MappingEndEvent) else event
            if kind in (yaml.SequenceStartEvent, yaml.MappingStartEvent):
                opened.append(event)
            elif kind is yaml.ScalarEvent:
                found[_place(start)] = Span(start.start_mark.index, event.end_mark.index, event.style or "plain")
            elif start is not event:
                style = "flow" if start.flow_style else "block"
                found.setdefault(_place(start), Span(start.start_mark.index, event.end_mark.index, style))
    finally:
        loader.dispose()
    return found


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def read(data: bytes, file: str, *, size: int = BYTES, nodes: int = NODES) -> Table:
    """The mapping a YAML file holds, of at most so many bytes and values. Raises InputError."""
    reader = _Reader(file, size, nodes)
    text = reader.decode(data)
    loader = _LOADER(text)
    try:
        while loader.check_event():
            reader.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        reader.stop(*_explain(error, text))
    except yaml.YAMLError as error:  # the reader's own, without a mark
        reader.stop(Place(1, 1), f"this is not YAML: {error}")
    finally:
        loader.dispose()
    return reader.result()


class _Reader:
    """Takes events, keeps the faults that let it go on, stops at the others."""

    def __init__(self, file: str, size: int, nodes: int) -> None:
        self.file = file
        self.size = size
        self.nodes = nodes
        self.faults: list[Fault] = []
        self.anchors: dict[str, Node | None] = {}
        self.stack: list[_Open] = []
        self.root: Node | None = None
        self.weight = 0
        self.documents = 0

    def fault(self, place: Place, message: str, hint: str = "") -> None:
        self.faults.append(Fault(self.file, *place, message, hint))

    def stop(self, place: Place, message: str, hint: str = "") -> NoReturn:
        self.fault(place, message, hint)
        raise InputError(*sorted(self.faults))

    def decode(self, data: bytes) -> str:
        """The bytes as text: UTF-8, with or without a byte order mark, without control characters."""
        if len(data) > self.size:
            self.stop(
                Place(1, 1), f"the file is larger than {self.size:,} bytes", "a manifest is a short text; is this it?"
            )
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.stop(Place(1, 1), "the file is UTF-16", "save it as UTF-8")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
            self.stop(place, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        if bad := [character for character in set(text) if not _allowed(character)]:
            start = min(text.index(character) for character in bad)
            place = Place(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))
            self.stop(place, f"the file contains the control character U+{ord(text[start]):04X}", "remove it")
        return text

    def take(self, event: Any) -> None:
        """One event of the YAML parser (YAML 1.1, 4.2: node, alias, document and collection ends)."""
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.stop(place, "a second document starts here", "keep one; remove the line `---`")
        elif isinstance(event, yaml.AliasEvent):
            self.add(place, self.alias(place, event.anchor))
        elif isinstance(event, yaml.ScalarEvent):
            self.refuse_tag(place, event.tag)
            node = Scalar(place, event.value, not event.style)
            self.add(place, node)
            self.name(event.anchor, node)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self.refuse_tag(place, event.tag)
            if len(self.stack) >= DEPTH:
                self.stop(place, _TOO_DEEP, _SHALLOW)
            self.name(event.anchor, None)
            self.stack.append(_Open(place, isinstance(event, yaml.MappingStartEvent), event.anchor, []))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            opened = self.stack.pop()
            made = self.mapping(opened) if opened.mapping else self.series(opened)
            self.add(opened.place, made)
            self.name(opened.anchor, made)

    def refuse_tag(self, place: Place, tag: str | None) -> None:
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.fault(place, f"tags are not allowed: {shown!r:.80}", "remove it; every value here is text as written")

    def name(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node

    def alias(self, place: Place, anchor: str | None) -> Node:
        if anchor is None or anchor not in self.anchors:
            self.stop(
                place, f"`*{anchor}` refers to nothing before it", f"define `&{anchor}` first, or quote the value"
            )
        node = self.anchors[anchor]
        if node is None:
            self.stop(place, f"`*{anchor}` contains itself", "remove the alias")
        return node

    def add(self, place: Place, node: Node) -> None:
        """A node is complete: count it (an alias as all it stands for) and put it where it belongs."""
        self.weight += 1 if isinstance(node, Scalar) or node.place == place else node.weight
        if self.weight > self.nodes:
            self.stop(
                place, f"more than {self.nodes:,} values, aliases expanded", "a manifest is a short text; is this it?"
            )
        if self.stack:
            self.stack[-1].children.append(node)
        else:
            self.root = node

    def series(self, opened: _Open) -> Series:
        return Series(opened.place, tuple(opened.children), 1 + sum(child.weight for child in opened.children))

    def mapping(self, opened: _Open) -> Table:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(opened.children[::2], opened.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.fault(key.place, "a key must be text", "quote a value that starts with `{`, like '{{ name }}'")
            elif key.text == "<<" and key.plain:
                self.fault(key.place, "merge keys (`<<`) are not supported", "repeat the keys, or use `vars`")
            elif key.text in entries:
                first = entries[key.text][0].place
                message = f"key {key.text!r:.80} is given twice, first in line {first.line}"
                self.fault(key.place, message, f"keep one of lines {first.line} and {key.place.line}")
            else:
                if isinstance(value, Scalar) and value.null:
                    value = value._replace(place=key.place)  # its own place is where the next token happens to be
                entries[key.text] = (key, value)
        weight = 1 + sum(child.weight for child in opened.children)
        return Table(opened.place, tuple(entries.values()), weight)

    def result(self) -> Table:
        root = self.root
        if root is None or (isinstance(root, Scalar) and root.null):
            self.stop(Place(1, 1), "the file is empty", "the shortest manifest is `from: bootstrap:bookworm`")
        if not isinstance(root, Table):
            self.stop(root.place, "this should be a mapping of keys", "start with `from: bootstrap:bookworm`")
        if self.faults:
            raise InputError(*sorted(self.faults))
        return root


def _allowed(character: str) -> bool:
    """Whether YAML has this character (YAML 1.2, 5.1; no surrogate comes out of UTF-8)."""
    if character < "\xa0":
        return " " <= character <= "~" or character in "\t\n\r\x85"
    return character not in "\ufeff\ufffe\uffff"


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[Place, str, str]:
    """Where and why this is no YAML, with the usual way out."""
    context = error.context or ""
    # An unfinished quote or alias is best seen from its beginning.
    begun = error.context_mark if context.endswith(("alias", "anchor", "quoted scalar")) else None
    mark = begun or error.problem_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    line = text.splitlines()[place.line - 1] if place.line <= len(text.splitlines()) else ""
    rest = line[place.column - 1 :]
    problem = error.problem or "it can't be read"
    if "nesting depth" in problem:  # libyaml's own limit (PyYAML 6.0.4): it scans ahead of what we have counted
        return place, _TOO_DEEP, _SHALLOW
    if "\t" in line[: place.column]:
        hint = "a tab is in the indentation: use spaces"
    elif rest[:1] in ("@", "`", "%", "*", "&", "!"):
        hint = f"quote a value that starts with `{rest[0]}`"
    elif context.endswith("quoted scalar"):
        hint = "close the quote"
    elif "mapping values" in problem:
        hint = "quote a value that contains `: `, or check the indentation of the line"
    else:
        hint = "check the indentation, brackets and quotes of this line and the one before"
    if "flow" in context and error.context_mark:
        context += f" begun in line {error.context_mark.line + 1}"
    return place, f"this is not YAML: {problem} {context}".rstrip(), hint
