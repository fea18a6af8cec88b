"""What a run printed → as much of it as a page can hold: its beginning and its end, and how much was left out. Pure."""

from __future__ import annotations

from typing import NamedTuple

from devenv.clean import clean

LINE = 2_000
"""Characters of one line that are kept."""


class Log(NamedTuple):
    """`head` and `tail` are clean lines, `left` how many lines between them are left out: 0, and all is in `head`."""

    head: str
    tail: str = ""
    left: int = 0
    lines: int = 0


def bounded(text: str, most: int) -> Log:
    """At most about `most` characters: a third from the beginning, for what was run; two thirds from the end, for how it ended."""
    lines = text.count("\n") + (not text.endswith("\n")) if text else 0
    if len(text) <= most:
        return Log(_clean(text.removesuffix("\n")), lines=lines)
    first = text[: most // 3]
    first = first[: first.rfind("\n") + 1] or first
    last = text[len(text) - (most - most // 3) :]
    last = last[last.find("\n", 0, len(last) - 1) + 1 :]
    # Of one endless line there are two ends, and no line that was left out as a whole.
    left = text.count("\n", len(first), len(text) - len(last))
    return Log(_clean(first.removesuffix("\n")), _clean(last.removesuffix("\n")), max(1, left), lines)


def _clean(text: str) -> str:
    return "\n".join(clean(line if len(line) <= LINE else f"{line[:LINE]}… (cut)") for line in text.split("\n"))
