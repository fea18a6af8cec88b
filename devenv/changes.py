"""Named inputs before and after → what differs, in words: `apt +curl`, `env.DEBUG 1 → 2`, `requirements.txt edited`. Pure.

Nothing is shown of what a variable holds whose name says that it is a secret.
"""

from __future__ import annotations

import json
import re

from devenv.model.manifest import FROM_MANIFEST, Pairs
from devenv.model.plan import Change

HIDDEN = "(not shown)"

_LISTS = {"apt", "python", "python.requirements", "python.packages", "node", "node.packages", "ports", "sources"}
_SECRET = re.compile(r"env\..*(TOKEN|SECRET|PASS|PWD|KEY|CREDENTIAL|AUTH|DSN)", re.IGNORECASE)
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
_CUT = re.compile(r"… \(sha256 [0-9a-f]{12}\)$")
_MOUNT = ("target", "source", "from", "id", "readonly", "required", "sharing", "mode", "uid", "gid", "size", "env")
_SHORT = 30
_WIDE = 100


def differences(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """The names whose values differ, in the order they stand in `after`, then those that went."""
    old, new = dict(before), dict(after)
    names = [name for name in dict.fromkeys((*new, *old)) if old.get(name) != new.get(name)]
    return tuple(Change(name, _told(name, old.get(name, "")), _told(name, new.get(name, ""))) for name in names)


def own(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """What changed in a build step itself; what came before it, or from another stage, is another step's reason.

    Of a step rendered from the manifest, the manifest's words and the files it reads say more than the command.
    """
    found = [one for one in differences(before, after) if one.name != "parent" and not one.name.startswith("stage ")]
    if any(name.startswith(FROM_MANIFEST) for name, _ in before):
        found = [one for one in found if one.name.startswith((FROM_MANIFEST, "context "))] or found
    else:  # remembered by a devenv that had no such words
        found = [one for one in found if not one.name.startswith(FROM_MANIFEST)]
    return tuple(_renamed(one) for one in found)


def alike(before: Pairs, after: Pairs) -> bool:
    """Whether both are inputs of one kind of step: a RUN has a command, a COPY a target, a WORKDIR neither."""
    kinds = {"command", "target"}
    return kinds & {name for name, _ in before} == kinds & {name for name, _ in after}


def brief(change: Change) -> str:
    """A change in a few words, for a reason."""
    name, before, after = change.name, change.before, change.after
    if name == "image":
        return "another image"
    if _is_content(change):
        return f"{name} {'edited' if before and after else 'added' if after else 'removed'}"
    if before == after:  # what differs isn't shown
        return f"{name} changed"
    if name in _LISTS:
        added, removed = _items(change)
        signed = [f"+{item}" for item in added] + [f"-{item}" for item in removed]
        more = f" and {len(signed) - 3} more" if len(signed) > 4 else ""
        return f"{name} {' '.join(signed[: 3 if more else 4])}{more}" if signed else f"{name} in another order"
    if HIDDEN in (before, after) or max(len(before), len(after)) > _SHORT:
        return f"{name} {'changed' if before and after else 'added' if after else 'removed'}"
    if not after or (not before and name.startswith("env.")):
        return f"{name} {'added' if after else 'removed'}"
    return f"{name} {before} → {after}".replace("  ", " ")


def lines(change: Change) -> tuple[tuple[str, str], ...]:
    """A change in full: (`-`, what was), (`+`, what will be), or (`~`, that it changed) where values say nothing."""
    name, before, after = change.name, change.before, change.after
    if name == "image":
        return (("~", "image: another one"),)
    if _is_content(change):
        return (("~", f"{name}: {'edited' if before and after else 'added' if after else 'removed'}"),)
    if before == after:
        return (("~", f"{name}: another value, not shown"),)
    if name in _LISTS:
        added, removed = _items(change)
        signed = (*(("-", item) for item in removed), *(("+", item) for item in added))
        return tuple((sign, f"{name}: {item}") for sign, item in signed) or (("~", f"{name}: in another order"),)
    old, new = _apart(before, after)
    if old == new:
        return (("~", f"{name}: changed further on"),)
    shown = zip("-+", (old, new), strict=True)
    return tuple((sign, f"{name}: {value}") for sign, value in shown if value)


def _renamed(change: Change) -> Change:
    """As people call it: a key of the manifest, a file."""
    name = change.name.removeprefix(FROM_MANIFEST)
    if name.startswith("context "):
        name = name.removeprefix("context ").lstrip("/") or "the build context"
    return Change(name, change.before, change.after)


def _told(name: str, value: str) -> str:
    """A value as it may be shown."""
    if value and _SECRET.match(name):
        return HIDDEN
    if name == "limits.memory" and value.isascii() and value.isdecimal():
        return _memory(int(value))
    if name.startswith("mount ") and value.startswith("["):
        fields = zip(_MOUNT, json.loads(value), strict=False)
        value = ", ".join(f"{field}={told}" for field, told in fields if told not in ("", False, None, 0))
    if name == "sources" and value.startswith("[") and value.endswith("]"):
        value = ", ".join(json.loads(value))
    return re.sub(r"(\w://)[^/\s]*@", r"\1…@", value)  # up to the last @: a password may have some itself


def _memory(value: int) -> str:
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _is_content(change: Change) -> bool:
    return any(_DIGEST.fullmatch(value) for value in (change.before, change.after))


def _items(change: Change) -> tuple[list[str], list[str]]:
    """What a list has more, and what it has no longer."""
    before, after = (value.split(", ") if value else [] for value in (change.before, change.after))
    return [item for item in after if item not in before], [item for item in before if item not in after]


def _apart(before: str, after: str) -> tuple[str, str]:
    """Two texts around the place where they differ."""
    old, new = (_CUT.sub("…", value) for value in (before, after))
    if len(old) <= _WIDE and len(new) <= _WIDE:
        return old, new
    same = next(
        (at for at, (one, two) in enumerate(zip(old, new, strict=False)) if one != two), min(len(old), len(new))
    )
    start = max(0, old.rfind(" ", 0, same) - _SHORT)
    head = "…" if start else ""
    return old and head + old[start : start + _WIDE], new and head + new[start : start + _WIDE]
