"""What a table of keys is made of: the kinds of values, and how a key is described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Text(NamedTuple):
    """A value of text. `what` completes "is not …"; `read` gives its meaning and raises Wrong.

    `pattern` is both Python and ECMA, and matches the whole; without `what` it is only for editors, and `read` has the
    better message. `words` are the only ones allowed. `shape`: `line` has no
    control characters, `lines` may have newlines and tabs, `any` all but NUL. `literal`: no template.
    """

    what: str
    pattern: str = ""
    read: Callable[[str], Any] = str
    words: tuple[str, ...] = ()
    shape: Literal["line", "lines", "any"] = "line"
    limit: int = 4096
    literal: bool = False
    empty: bool = False


class ListOf(NamedTuple):
    """A list → a tuple. `alone`: one item may stand without the list."""

    item: Kind
    alone: bool = False


class MapOf(NamedTuple):
    """Names of the user's choice → (name, value) pairs. `scope`: templates see them.

    `listed`: a list of names may stand instead, each of them with this value.
    """

    key: Text
    value: Text | Record | Again
    scope: bool = False
    listed: str = ""


class Record(NamedTuple):
    """A mapping with keys of its own, made into a value by `make`, which may raise Wrong. `short`: the key that text
    alone stands for.

    `each`: keys that are read once for each of the record's `replicas`, templates in them see `index`. Variables among
    them are unknown outside the record. `make` is given (name → value) of the first replica, and of each one.
    """

    keys: tuple[Key, ...]
    make: Callable[..., Any]
    short: str = ""
    each: tuple[str, ...] = ()


class Again(NamedTuple):
    """A mapping of the manifest's own keys, none of which must be there but these never. It is read when it is laid over the manifest."""

    never: tuple[str, ...]


Kind = Text | ListOf | MapOf | Record | Again


class Key(NamedTuple):
    """A key. `also` are names people try for it; `required`: it can't be left out, this is an example of it; `later`:
    known, and refused.
    """

    name: str
    kind: Kind
    doc: str
    also: tuple[str, ...] = ()
    required: str = ""
    later: bool = False


A_COMMAND = Text("a command", shape="lines", limit=65536)


def words(*words: str) -> Text:
    """Text that is one of these."""
    return Text(f"one of: {', '.join(words)}", words=words)


def later(name: str, doc: str) -> Key:
    """A key that is known, and refused until it works."""
    return Key(name, Text(""), doc, later=True)
