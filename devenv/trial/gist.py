"""Why a test failed → the line of it that says the most. Pure."""

from __future__ import annotations

import re

_GIST = 200
"""Characters of the line that says why a test fails."""

_COMPILED = re.compile(r"\S+\.go:\d+:\d+: \S")


def gist(detail: str) -> str:
    """pytest's `E` line, else the last that names an exception, else what a compiler says, else the first."""
    lines = [line.strip() for line in detail.split("\n") if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E ") and line[1:].strip()]
    if marked and marked[0].startswith('File "'):  # where it isn't Python, what is wrong with it is told last
        marked = marked[-1:]
    named = [line for line in reversed(lines) if _names_exception(line)]
    compiled = [line for line in lines if _COMPILED.match(line)]
    return next(iter((*marked, *named, *compiled, *lines)), "")[:_GIST]


def _names_exception(line: str) -> bool:
    word = line.partition(":")[0].partition(" ")[0].rpartition(".")[2]
    return word[:1].isupper() and word.endswith(("Error", "Exception", "Failure", "Warning", "Exit", "Interrupt"))
