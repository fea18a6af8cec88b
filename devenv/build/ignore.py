"""Patterns of an ignore file, an --exclude or a source → what they match, with the meaning moby/patternmatcher has."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from .words import Malformed

MAX_PATTERNS = 10_000
_MAX_DOUBLE_STARS = 4  # in one pattern: each multiplies the ways a path can be tried

_STAR, _ANYWHERE, _REST = "*", "**", "**$"


def read(text: str) -> tuple[str, ...]:
    """The patterns of an ignore file: comments and blanks left out, paths cleaned, `!` kept in front."""
    found: list[str] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        negated = pattern.startswith("!")
        pattern = pattern[1:].strip() if negated else pattern
        if pattern:
            pattern = posixpath.normpath(pattern)
            pattern = pattern.lstrip("/") or "/"
        found.append("!" + pattern if negated else pattern)
    return tuple(found)


class Matcher:
    """Patterns in order, `!` taking back; a path below a matched folder is matched with it; the last match decides.

    Raises Malformed for a pattern that is none.
    """

    __slots__ = ("_negated", "_patterns", "_reopening")

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) > MAX_PATTERNS:
            raise Malformed(f"more than {MAX_PATTERNS} patterns")
        self._patterns: list[tuple[int, re.Pattern[str]]] = []
        self._reopening: list[tuple[str, bool]] = []
        self._negated = 0
        for place, pattern in enumerate(patterns):
            negated = pattern.startswith("!")
            plain = pattern.removeprefix("!").strip()
            if not plain:
                raise Malformed('the pattern "!" takes nothing back', "! and a pattern")
            plain = posixpath.normpath(plain).lstrip("/") or "."
            self._patterns.append((1 << place, compile_pattern(plain)))
            if negated:
                self._negated |= 1 << place
                self._reopening.append(_literal(plain))

    def match(self, path: str, above: int = 0) -> tuple[bool, int]:
        """Whether `path` is matched, given the bits its folder's match gave; and the bits for what lies below it."""
        bits = above
        for bit, pattern in self._patterns:
            if not bits & bit and pattern.match(path):
                bits |= bit
        return bits != 0 and not self._negated >> (bits.bit_length() - 1) & 1, bits

    def matches(self, path: str) -> tuple[bool, int]:
        """match() of a path alone: the folders it lies in are tried first."""
        parts = path.split("/")
        matched, bits = False, 0
        for end in range(1, len(parts) + 1):
            matched, bits = self.match("/".join(parts[:end]), bits)
        return matched, bits

    def reopens(self, folder: str) -> bool:
        """Whether something below a matched folder may be taken back by a `!`; False: nothing below needs a look."""
        for literal, is_whole in self._reopening:
            if not literal or literal.startswith(folder + "/"):
                return True
            if not is_whole and f"{folder}/".startswith(f"{literal}/"):
                return True
        return False


def _literal(pattern: str) -> tuple[str, bool]:
    """The leading components without wildcards, and whether that is all of the pattern."""
    parts = pattern.split("/")
    plain = [part for part in parts if not is_wildcard(part)]
    if len(plain) == len(parts):
        return pattern, True
    first = next(place for place, part in enumerate(parts) if is_wildcard(part))
    return "/".join(parts[:first]), False


def is_wildcard(text: str) -> bool:
    """Whether a pattern has `*`, `?`, `[` or an escape."""
    return any(char in text for char in "*?[\\")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A cleaned pattern as a regular expression over a whole path: Go's filepath.Match, and `**` for any folders."""
    tokens = _tokens(pattern)
    if tokens.count(_ANYWHERE) > _MAX_DOUBLE_STARS:
        raise Malformed(f"the pattern {pattern} has more than {_MAX_DOUBLE_STARS} **")
    out: list[str] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if token == _ANYWHERE:
            out.append("(?:.*/)?")
        elif token == _REST:
            out.append(".*")
        elif token != _STAR:
            out.append(token)
        else:
            end = place
            while end < len(tokens) and tokens[end] not in (_STAR, _ANYWHERE, _REST, "/"):
                end += 1
            fixed = "".join(tokens[place:end])
            # Before another * the first place that fits is as good as any: no way back (atomic), no explosion.
            again = end < len(tokens) and tokens[end] == _STAR
            out.append(f"(?>[^/]*?{fixed})" if again else f"[^/]*{fixed}")
            place = end
    try:
        return re.compile("".join(out) + r"\Z", re.DOTALL)
    except re.error as error:
        raise Malformed(f"the pattern {pattern} is malformed: {error}") from error


def _tokens(pattern: str) -> list[str]:
    """Wildcards by name; everything else as a regular expression for one character."""
    found: list[str] = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        place += 1
        if char == "*" and pattern.startswith("*", place):
            place += 1
            place += pattern.startswith("/", place)
            found.append(_ANYWHERE if place < len(pattern) else _REST)
        elif char == "*":
            found.append(_STAR)
        elif char == "?":
            found.append("[^/]")
        elif char == "[":
            token, place = _class(pattern, place)
            found.append(token)
        elif char == "\\":
            if place == len(pattern):
                raise Malformed(f"the pattern {pattern} ends in a \\", "write \\\\ for a backslash")
            found.append(re.escape(pattern[place]))
            place += 1
        else:
            found.append("/" if char == "/" else re.escape(char))
    return found


def _class(pattern: str, place: int) -> tuple[str, int]:
    """`[…]` from behind its bracket: `^` negates, `a-z` ranges, `\\` escapes; never matches a slash."""
    negated = pattern.startswith("^", place)
    place += negated
    ranges: list[str] = []
    while not pattern.startswith("]", place) or not ranges:
        low, place = _class_char(pattern, place)
        high = low
        if pattern.startswith("-", place):
            high, place = _class_char(pattern, place + 1)
        if low > high:
            raise Malformed(f"the pattern {pattern} has a range that runs backwards: {low}-{high}")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?:(?!/)[{'^' if negated else ''}{''.join(ranges)}])", place + 1


def _class_char(pattern: str, place: int) -> tuple[str, int]:
    char = pattern[place : place + 1]
    if char == "\\":
        place += 1
        char = pattern[place : place + 1]
    elif char in ("-", "]"):
        char = ""
    if not char:
        raise Malformed(f"the pattern {pattern} has a [ that isn't a class", "close it, or write \\[ for a bracket")
    return char, place + 1
