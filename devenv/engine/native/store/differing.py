"""Two files and the first byte that isn't the same -> what it is about: the lines of texts, the part of other files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

_LINES = 20  # that are told of a difference
_TEXT = 1 << 20  # bytes: longer texts are shown where they begin to differ only
_COMPARED = 400  # lines that are held against each other: difflib takes their square
_CONTEXT = 2
_WIDEST = 200
_BYTES = 8

_MAGIC = (
    (b"\x7fELF", "ELF program"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip archive"),
    (b"!<arch>\n", "ar archive"),
    (b"SQLite format 3\0", "SQLite database"),
)


def explain(left: bytes, right: bytes, at: int) -> tuple[str, str, tuple[str, ...]]:
    """How it is before, how after, and at most 20 lines that show it: of two paths of files, `at` the offset in both."""
    texts = _text(left), _text(right)
    if texts[0] is not None and texts[1] is not None:
        lines = _diff(texts[0], texts[1])
        return _few(lines, "-"), _few(lines, "+"), lines
    head = _read(left, 0, 20)
    before, after = (_hex(_read(path, at, _BYTES)) for path in (left, right))
    return before, after, (f"{_what(os.fsdecode(left), head, at)}: from byte {at}: {before} → {after}",)


def _what(path: str, head: bytes, at: int) -> str:
    """What a file is, and which part of it byte `at` is in, where that says why."""
    if path.endswith(".pyc"):  # PEP 552: magic, flags, then the source's time and size or its hash
        if at >= 16:
            return "compiled Python, the code"
        parts = ("the version", "how it is checked", "the source's time", "the source's size")
        return f"compiled Python, {parts[at // 4]}"
    kind = next((words for magic, words in _MAGIC if head.startswith(magic)), "binary")
    if kind == "gzip" and 4 <= at < 8:  # RFC 1952, 2.3
        return "gzip, the time in its header"
    if kind == "zip archive" and 10 <= at < 14:  # local file header, of the first file
        return "zip archive, a file's time"
    if kind == "ELF program" and at < 64:
        return "ELF program, its header"
    return kind


def _text(path: bytes) -> str | None:
    """A file as text; None when it isn't one, or a long one."""
    data = _read(path, 0, _TEXT + 1)
    if len(data) > _TEXT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _diff(left: str, right: str) -> tuple[str, ...]:
    """A unified diff without its first two lines, cut to what can be read."""
    one, other = left.splitlines(keepends=True), right.splitlines(keepends=True)
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    first = max(0, start - _CONTEXT)
    parts = [
        [_line(line) for line in lines[first : min(len(lines) - end + _CONTEXT, first + _COMPARED)]]
        for lines in (one, other)
    ]
    found = list(difflib.unified_diff(parts[0], parts[1], lineterm="", n=_CONTEXT))[2:]
    found = [_moved(line, first) if line.startswith("@@ ") else line for line in found]
    rest = len(found) - _LINES
    return tuple(found) if rest <= 0 else (*found[: _LINES - 1], f"… and {rest + 1} more lines")


def _moved(line: str, by: int) -> str:
    """A hunk's line numbers as those of the whole file."""
    words = line.split(" ")
    for index in (1, 2):
        number, comma, count = words[index][1:].partition(",")
        words[index] = f"{words[index][0]}{int(number) + by}{comma}{count}"
    return " ".join(words)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    return next(
        (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _line(line: str) -> str:
    text = line.removesuffix("\n")
    mark = "" if line.endswith("\n") else " (without a newline)"
    return (text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…") + mark


def _few(lines: Sequence[str], sign: str) -> str:
    """The first line of one side."""
    return next((line[1:] for line in lines if line.startswith(sign)), "")


def _hex(data: bytes) -> str:
    return data.hex(" ") or "the end"


def _read(path: bytes, at: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, at)
    finally:
        os.close(fd)
