"""What package managers say of a name → the versions there are, oldest first, and those from one to another. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Literal

from devenv.errors import EngineError, Fault, InputError

Ecosystem = Literal["python", "node", "apt"]

COMMANDS: dict[Ecosystem, str] = {
    "python": 'python -m pip index versions --disable-pip-version-check --pre "$0"',
    "node": 'said=$(mktemp); npm view --json "$0" versions 2> "$said" || { cat "$said"; exit 1; }',
    "apt": 'apt-get update -qq >&2 && apt-cache madison "$0"',
}
"""Shell commands that list all versions of the name they are given as $0."""

Newer = Callable[[str, str], bool]

# PEP 440, and Semantic Versioning 2.0, 9; Debian's versions have a hyphen that means something else.
_PRE = {
    "python": re.compile(r".*\d[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)[._-]?\d*", re.IGNORECASE),
    "node": re.compile(r"\d+\.\d+\.\d+-.*"),
}
_NEAR = 6


def listed(ecosystem: Ecosystem, name: str, text: str, newer: Newer) -> tuple[str, ...]:
    """The versions in such a command's output. Raises EngineError where there are none."""
    if ecosystem == "python":
        found = re.findall(r"^\s*Available versions:\s*(.+)$", text, re.MULTILINE)
        versions = [one.strip() for line in found for one in line.split(",")]
    elif ecosystem == "node":
        versions = _of_npm(text)
    else:
        versions = [parts[1].strip() for line in text.splitlines() if len(parts := line.split("|")) == 3]
    if not versions:
        raise EngineError(
            f"list the versions of {name}: none is known", hint="is the name right, and is there network?"
        )
    if ecosystem == "apt":  # the newest first, by rules of their own
        return tuple(reversed(dict.fromkeys(versions)))

    def order(one: str, other: str) -> int:
        return int(newer(one, other)) - int(newer(other, one))

    return tuple(sorted(dict.fromkeys(versions), key=cmp_to_key(order)))


def _of_npm(text: str) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return (
        [found]
        if isinstance(found, str)
        else [one for one in found if isinstance(one, str)]
        if isinstance(found, list)
        else []
    )


def between(name: str, good: str, bad: str, versions: Sequence[str], ecosystem: str = "") -> tuple[str, ...]:
    """From `good` to `bad`, both of them too, in that direction. Of an ecosystem's pre-releases only those two, if they are any.

    Raises InputError when one of them isn't there.
    """
    for one in (good, bad):
        if one not in versions:
            near = ", ".join(_near(one, versions))
            raise InputError(Fault(f"{name}={good}..{bad}", 0, 0, f"there is no {name} {one}", f"near it: {near}"))
    first, last = versions.index(good), versions.index(bad)
    chosen = versions[first : last + 1] if first <= last else versions[last : first + 1][::-1]
    pre = _PRE.get(ecosystem)
    return tuple(one for one in chosen if one in (good, bad) or not (pre and pre.fullmatch(one)))


def _near(version: str, versions: Sequence[str]) -> Sequence[str]:
    """Those that begin alike, or else the newest."""
    parts = version.split(".")
    while parts:
        start = ".".join(parts)
        found = [one for one in versions if one == start or one.startswith(f"{start}.")]
        if found:
            return found[-_NEAR:]
        parts.pop()
    return versions[-_NEAR:]
