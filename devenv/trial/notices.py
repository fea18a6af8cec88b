"""What a command printed → the warnings in it, told so that the same one is the same in every run and on both sides. Pure.

A warning is known by its category and its text. Where it was given is left out: the line of a library moves with every
version, and one that is given by forty tests is one. Addresses, process ids, times and temporary names are taken out of texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from devenv.model.trial import Notice

MOST = 500
"""How many are kept."""
LONG = 300
"""Characters kept of a text."""
_LINE = 4_000  # a longer line is looked at so far only

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# Python: `path:12: DeprecationWarning: text` (Lib/warnings.py, formatwarning), the source line below it; in pytest's summary
# the same, further in, below the tests that gave it.
_PYTHON = re.compile(r"^\s{0,8}(?:\S.{0,500}?:\d+: )((?:\w+\.){0,6}\w*Warning): (.+)$")
# Node.js: `(node:71) [DEP0040] DeprecationWarning: text`
_NODE = re.compile(r"^\(node:\d+\) ((?:\[\w+\] )?)(\w*Warning): (.+)$")
# npm: `npm WARN deprecated glob@7.2.3: text`, in small letters since npm 10
_NPM = re.compile(r"^npm (?:WARN|warn) (\S+) (\S.*)$")
_PHP = re.compile(r"^(?:PHP )?(Deprecated|Warning|Notice):\s{1,4}(.+) in \S+ on line \d+$")
# GCC, Clang, Ruby, Rust and whoever follows them: `cart.c:12:3: warning: text [-Wunused]`, `warning: text`
_PLAIN = re.compile(r"^(?:\S{1,500}:\d+:(?:\d+:)? )?[Ww]arning: (.+?)(?: \[(-W[\w=+-]{1,60})\])?$")
# go vet: `# package`, then `./cart.go:12:2: text`
_VET_HEAD = re.compile(r"^# (?:\[\S+\]|\S+)$")
_VET = re.compile(r"^(?:vet: )?\S{1,500}\.go:\d+:\d+: (.+)$")

_UNSTEADY: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (
            r"(?<![\w./@+-])(?:[\w./@+-]{0,500}/)?(?:site-packages|dist-packages|node_modules)/",
            "",
        ),  # as if from its own root
        (r"(?<![\w.])/(?:var/)?tmp/[^\s'\"),;]+", "/tmp/…"),
        (r"\btmp[a-z0-9_]{8}\b", "tmp…"),
        (r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "…"),  # UUID
        (r"\b0x[0-9a-fA-F]+\b", "0x…"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", "…"),  # ISO 8601
        (r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b", "…"),
        (r"(?<=[\w)>]):\d+(?::\d+)?(?=[\s:,)'\"]|$)", ""),  # a line of a file, a port
        (r"\b(line|pid|PID|port|thread|process)([ =:#]{1,3})\d+\b", r"\1\2…"),
        (r"(?<![\w.])\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|sec|secs|seconds?|minutes?)\b", "…"),
        (r"\s+", " "),
    )
)


def read(lines: Iterable[str]) -> tuple[Notice, ...]:
    """Each warning once, by category and text; the first `MOST` of them."""
    found: dict[Notice, None] = {}
    vetted = False
    for line in lines:
        line = _ESCAPES.sub("", line[:_LINE]).rstrip()
        vet = _VET.match(line) if vetted else None
        vetted = vet is not None or _VET_HEAD.match(line) is not None
        notice = _notice("go vet", vet[1]) if vet else _told(line)
        if notice is not None:
            found[notice] = None
        if len(found) == MOST:
            break
    return tuple(sorted(found))


def _told(line: str) -> Notice | None:
    """The warning that a line gives, if it gives one."""
    if "arn" not in line and "WARN" not in line and "Deprecated" not in line and "Notice" not in line:
        return None  # nearly every line
    for pattern, taken in _FORMS:
        if match := pattern.match(line):
            return _notice(*taken(match))
    return None


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[str, str]]], ...] = (
    (_NODE, lambda match: (match[2], match[1] + match[3])),
    (_NPM, lambda match: (f"npm warn {match[1]}", match[2])),
    (_PYTHON, lambda match: (match[1].rpartition(".")[2], match[2])),
    (_PHP, lambda match: (match[1], match[2])),
    (_PLAIN, lambda match: (match[2] or "warning", match[1])),
)


def _notice(category: str, text: str) -> Notice:
    return Notice(category, steady(text)[:LONG])


def steady(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, by in _UNSTEADY:
        text = pattern.sub(by, text)
    return text.strip()
