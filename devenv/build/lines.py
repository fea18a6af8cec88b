"""A Containerfile's text, cut into lines → its logical lines, each with its places, and the contents of heredocs."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from devenv.errors import Fault
from devenv.model.build import Heredoc

from .words import Malformed

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")


class Logical(NamedTuple):
    """A line with its continuations joined. `starts`: (offset in text, line, column) of each piece."""

    text: str
    starts: tuple[tuple[int, int, int], ...]

    def place(self, offset: int) -> tuple[int, int]:
        start, line, column = self.starts[bisect_right(self.starts, (offset, 1 << 30, 0)) - 1]
        return line, column + offset - start


def directives(lines: list[str], file: str, faults: list[Fault]) -> tuple[str, int]:
    """The escape character and the index of the first line that isn't a parser directive."""
    seen: dict[str, str] = {}
    for index, line in enumerate(lines):
        match = _DIRECTIVE.match(line.strip())
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape", "check"):
            break
        if name in seen:
            faults.append(Fault(file, index + 1, 1, f"the parser directive {name} is given twice", "keep one of them"))
        seen[name] = match[2]
        if name == "escape" and match[2] not in ("\\", "`"):
            faults.append(Fault(file, index + 1, 1, f"escape can't be {match[2]!r}", "it is \\ or `"))
            seen[name] = "\\"
    else:
        index = len(lines)
    return seen.get("escape", "\\"), index


def join(lines: list[str], index: int, escape: str) -> tuple[Logical | None, int]:
    """The next line that says something, with its continuations; None at the end. Comments and blanks are skipped."""
    pieces: list[str] = []
    starts: list[tuple[int, int, int]] = []
    length = 0
    while index < len(lines):
        line = lines[index].rstrip("\r")
        index += 1
        stripped = line.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        if not pieces:
            column = len(line) - len(stripped) + 1
            line = stripped
        else:
            column = 1
        piece, goes_on = _continued(line, escape)
        pieces.append(piece)
        starts.append((length, index, column))
        length += len(piece)
        if not goes_on:
            break
    joined = "".join(pieces)
    if not joined.strip():  # only at the end: whatever doesn't go on isn't blank
        return None, index
    return Logical(joined, tuple(starts)), index


def _continued(line: str, escape: str) -> tuple[str, bool]:
    """A line without its continuation character, and whether it had one; a doubled one is text."""
    trimmed = line.rstrip(" \t")
    if trimmed.endswith(escape) and not trimmed.endswith(escape * 2):
        return trimmed[:-1], True
    return line, False


class Heredocs:
    """Reads heredocs' contents from the lines below an instruction, `index` being the next one."""

    def __init__(self, lines: list[str], index: int) -> None:
        self.lines = lines
        self.index = index

    def read(self, name: str, chomp: bool, expand: bool) -> Heredoc:
        content: list[str] = []
        for index in range(self.index, len(self.lines)):
            line = self.lines[index].lstrip("\t") if chomp else self.lines[index]
            if line.rstrip("\r") == name:
                self.index = index + 1
                return Heredoc(name, "".join(f"{line}\n" for line in content), expand)
            content.append(line)
        self.index = len(self.lines)
        raise Malformed(f"the heredoc <<{name} has no end", f"a line that is just {name}")
