"""A word of a Containerfile and the values in force → the word with variables, quotes and escapes done, as BuildKit."""

from __future__ import annotations

from collections.abc import Mapping

from devenv.model.manifest import Pairs

from .words import Malformed

MAX_VALUE = 131072  # characters; the kernel takes no longer string of an environment either (MAX_ARG_STRLEN)
_MAX_DEPTH = 50
_SPECIAL = frozenset("@*#?-$!0")

PROXIES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Build arguments every RUN sees without an ARG, and which change no key."""


def platform_arguments(platform: str) -> dict[str, str]:
    """The automatic platform arguments of a build for, and on, `platform` (os/architecture[/variant])."""
    system, architecture, variant = [*platform.split("/"), "", ""][:3]
    return {
        f"{side}{name}": value
        for side in ("BUILD", "TARGET")
        for name, value in (("PLATFORM", platform), ("OS", system), ("ARCH", architecture), ("VARIANT", variant))
    }


def expand(text: str, values: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> str:
    """`text` with its variables filled in; quotes and escapes are taken away. `quotes` False: quotes are plain text.

    Knows $A ${A} ${A:-d} ${A-d} ${A:+x} ${A+x} ${A:?msg} ${A?msg}. Raises Malformed.
    """
    if "$" not in text and escape not in text and "'" not in text and '"' not in text:
        return text
    return _Expansion(text, values, escape, quotes).until("")


def pairs(words: tuple[str, ...], values: Mapping[str, str], escape: str) -> Pairs:
    """`NAME=value` words, each side expanded with the same values: an instruction doesn't see what it sets itself."""
    split = (word.partition("=") for word in words)
    return tuple((expand(name, values, escape), expand(value, values, escape)) for name, _, value in split)


class _Expansion:
    """A reader over one word."""

    def __init__(self, text: str, values: Mapping[str, str], escape: str, quotes: bool) -> None:
        self.text = text
        self.values = values
        self.escape = escape
        self.quotes = quotes
        self.at = 0
        self.length = 0
        self.depth = 0

    def until(self, stop: str) -> str:
        """Everything up to `stop` ("": the end), which is consumed."""
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == stop:
                self.at += 1
                return "".join(out)
            if char == "$":
                out.append(self.dollar())
            elif self.quotes and char == "'":
                out.append(self.single())
            elif self.quotes and char == '"':
                out.append(self.double())
            else:
                out.append(self.plain())
        if stop:
            raise Malformed("a variable's ${ has no }", "close it, or write \\$ for a plain dollar")
        return "".join(out)

    def plain(self) -> str:
        char = self.text[self.at]
        self.at += 1
        if char != self.escape:
            return char
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise Malformed("a ' has no second one", "quote it, escape it, or use the JSON form")
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        return inside

    def double(self) -> str:
        out: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return "".join(out)
            if char == "$":
                out.append(self.dollar())
                continue
            self.at += 1
            if char == self.escape:
                following = self.text[self.at : self.at + 1]
                if following and following in f'"${self.escape}':
                    char = following
                    self.at += 1
            out.append(char)
        raise Malformed('a " has no second one', "quote it, escape it, or use the JSON form")

    def dollar(self) -> str:
        self.at += 1
        if not self.text.startswith("{", self.at):
            name = self.name()
            return self.grown(self.values.get(name, "")) if name else "$"
        self.at += 1
        name = self.name()
        operator = self.text[self.at : self.at + 1]
        if not name or not operator:
            raise Malformed("a variable's ${ has no name or no }", "${NAME}; write \\$ for a plain dollar")
        self.at += 1
        if operator == "}":
            return self.grown(self.values.get(name, ""))
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator = self.text[self.at : self.at + 1]
            self.at += 1
        if operator not in ("-", "+", "?"):
            shown = f"${{{name}{':' if empty_is_unset else ''}{operator}…}}"
            raise Malformed(f"{shown} is not supported", "there are ${A:-d} ${A-d} ${A:+x} ${A+x} ${A:?m} ${A?m}")
        return self.chosen(name, operator, empty_is_unset)

    def chosen(self, name: str, operator: str, empty_is_unset: bool) -> str:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Malformed(f"variables are nested more than {_MAX_DEPTH} deep")
        word = self.until("}")
        self.depth -= 1
        value = self.values.get(name)
        is_set = value is not None and not (empty_is_unset and not value)
        if operator == "+":
            return word if is_set else ""
        if is_set:
            return self.grown(value or "")
        if operator == "?":
            raise Malformed(f"{name}: {word or ('is empty' if value == '' else 'is not set')}", f"--build-arg {name}=…")
        return word

    def name(self) -> str:
        begin = self.at
        first = self.text[begin : begin + 1]
        if first in _SPECIAL and first:
            self.at += 1
            return first
        numeric = first.isdigit()
        while self.at < len(self.text):
            char = self.text[self.at]
            if not (char.isdigit() if numeric else char.isalnum() or char == "_"):
                break
            self.at += 1
        return self.text[begin : self.at]

    def grown(self, value: str) -> str:
        # Each value may be as long as allowed and be named thousands of times: stop before the memory is filled.
        self.length += len(value)
        if self.length > MAX_VALUE:
            raise Malformed(f"grows beyond {MAX_VALUE} characters when its variables are filled in")
        return value
