"""Named inputs before and after → what differs, in words: `apt +curl`, `env.DEBUG 1 → 2`, `requirements.txt edited`. Pure.

Nothing is shown of a secret, nor of what a variable holds whose name says that it is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from devenv.model.manifest import FROM_LOCK, FROM_MANIFEST, Pairs
from devenv.model.plan import Change

HIDDEN = "(not shown)"

PACKAGES = "context devenv-packages "
"""How the inputs begin that are digests of what the lock names."""

_LISTS = {"apt", "python", "python.requirements", "python.packages", "node", "node.packages", "ports", "sources"}
_SECRET = re.compile(r"(?:^|\.)secrets\.|(?:^|\.)env\..*(TOKEN|SECRET|PASS|PWD|KEY|CREDENTIAL|AUTH|DSN)", re.IGNORECASE)
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
_CUT = re.compile(r"… \(sha256 [0-9a-f]{12}\)$")
_MOUNT = ("target", "source", "from", "id", "readonly", "required", "sharing", "mode", "uid", "gid", "size", "env")
_FILE = re.compile(r"([0-7]+) ([0-9a-f]{12}|folder|→ .*)", re.DOTALL)
_SHORT = 30
_WIDE = 100
_MOST = 4


def differences(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """The names whose values differ, in the order they stand in `after`, then those that went."""
    old, new = dict(before), dict(after)
    names = [name for name in dict.fromkeys((*new, *old)) if old.get(name) != new.get(name)]
    return tuple(Change(name, shown(name, old.get(name, "")), shown(name, new.get(name, ""))) for name in names)


def own(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """What changed in a build step itself; what came before it, or from another stage, is another step's reason.

    Of a step rendered from the manifest, the manifest's words, the files it reads and the lock's packages say more than
    the command; the clock, which every step is told, says the least.
    """
    found = [one for one in differences(before, after) if one.name != "parent" and not one.name.startswith("stage ")]
    if any(name.startswith(FROM_MANIFEST) for name, _ in before):
        said = [one for one in found if one.name.startswith((FROM_MANIFEST, FROM_LOCK, "context "))]
        told = [one for one in said if not one.name.startswith(PACKAGES)]
        found = told or said or found
    else:  # a Containerfile's own step, or one remembered by a devenv that had no such words
        found = [one for one in found if not one.name.startswith((FROM_MANIFEST, FROM_LOCK))]
    found = [one for one in found if one.name != "clock"] or found
    return tuple(_renamed(one) for one in found)


def files(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Which files of a context differ, by path; the values are `listed` ones."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return tuple(Change(name, before.get(name, ""), after.get(name, "")) for name in names)


def items(name: str, value: str) -> list[str] | None:
    """What an input lists, None when it is no list."""
    if name != FROM_LOCK and name not in _LISTS:
        return None
    return value.split(", ") if value else []


def told(found: Iterable[Change], most: int = _MOST) -> str:
    """Several changes in a few words, each thing once.

    Packages that came or went because the manifest's list changed are in the list's words already.
    """
    known = tuple(dict.fromkeys(found))
    listed = any(one.name in _LISTS or _is_content(one) for one in known)
    parts = [
        part for one in known for part in _parts(one) if not (listed and one.name == FROM_LOCK and part[0] in "+-")
    ]
    return shortened(parts or [brief(one) for one in known], most)


def shortened(parts: Sequence[str], most: int = _MOST) -> str:
    """`a, b, c and 2 more`."""
    parts = list(dict.fromkeys(parts))
    more = len(parts) - (most - 1)
    return ", ".join(parts) if len(parts) <= most else f"{', '.join(parts[: most - 1])} and {more} more"


def brief(change: Change) -> str:
    """A change in a few words, for a reason."""
    name, before, after = change.name, change.before, change.after
    if name == "image":
        return "another image"
    if name == FROM_LOCK and not _is_content(change):
        return shortened(_parts(change)) or f"{name} changed"
    if is_file(change):
        return _file(change)
    if _is_content(change):
        return f"{name} {_verb(change)}"
    if before == after:  # what differs isn't shown
        return f"{name} changed"
    if name in _LISTS:
        added, removed = _items(change)
        signed = [f"+{item}" for item in added] + [f"-{item}" for item in removed]
        more = f" and {len(signed) - 3} more" if len(signed) > 4 else ""
        return f"{name} {' '.join(signed[: 3 if more else 4])}{more}" if signed else f"{name} in another order"
    if HIDDEN in (before, after) or (max(len(before), len(after)) > _SHORT and name != "from"):
        return f"{name} {_verb(change, 'changed')}"
    if not after or (not before and name.startswith("env.")):
        return f"{name} {'added' if after else 'removed'}"
    return f"{name} {before} → {after}".replace("  ", " ")


def lines(change: Change) -> tuple[tuple[str, str], ...]:
    """A change in full: (`-`, what was), (`+`, what will be), or (`~`, that it changed) where values say nothing."""
    name, before, after = change.name, change.before, change.after
    if name == "image":
        return (("~", "image: another one"),)
    if name == FROM_LOCK and not _is_content(change):
        parts = [(part[0] if part[0] in "+-" else "~", part.lstrip("+-")) for part in _parts(change)]
        return tuple(parts) or (("~", f"{name}: changed"),)
    if is_file(change):
        return (("~", f"{name}: {_file(change).removeprefix(name).lstrip()}"),)
    if _is_content(change):
        return (("~", f"{name}: {_verb(change)}"),)
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


def _parts(change: Change) -> list[str]:
    """A change's words, one by one: of the lock's packages, those with another version come first."""
    if change.name != FROM_LOCK or _is_content(change):
        return [brief(change)]
    before, after = _versions(change.before), _versions(change.after)
    moved = [f"{name} {before[name]} → {after[name]}" for name in after if before.get(name, after[name]) != after[name]]
    added = [f"+{name} {after[name]}".removesuffix(" ?") for name in after if name not in before]
    return [*moved, *added, *(f"-{name} {before[name]}" for name in before if name not in after)]


def is_digest(value: str) -> bool:
    """Whether it is a sha256."""
    return _DIGEST.fullmatch(value) is not None


def _versions(value: str) -> dict[str, str]:
    """`curl 7, jq 1.6` → name → version; several of one name stand together."""
    found: dict[str, list[str]] = {}
    for item in value.split(", ") if value else ():
        name, _, version = item.rpartition(" ")
        found.setdefault(name, []).append(version)
    return {name: "/".join(sorted(set(versions))) for name, versions in found.items()}


def _verb(change: Change, both: str = "edited") -> str:
    both = "changed" if change.name.startswith("from ") else both  # what a build starts from nobody edits
    return both if change.before and change.after else "added" if change.after else "removed"


def is_file(change: Change) -> bool:
    """Whether it is a file of a build context."""
    values = [value for value in (change.before, change.after) if value]
    return bool(values) and all(_FILE.fullmatch(value) for value in values)


def _file(change: Change) -> str:
    """`app.py edited`, `run.sh mode 644 → 755`."""
    before, after = change.before.partition(" "), change.after.partition(" ")
    if change.before and change.after and before[2] == after[2]:
        return f"{change.name} mode {before[0]} → {after[0]}"
    return f"{change.name} {_verb(change)}"


def _renamed(change: Change) -> Change:
    """As people call it: a key of the manifest, a file."""
    name = change.name.removeprefix(FROM_MANIFEST)
    if name.startswith(PACKAGES):
        name = FROM_LOCK
    elif name.startswith("context "):
        name = name.removeprefix("context ").lstrip("/") or "the build context"
    return Change(name, change.before, change.after)


def concealed(text: str) -> str:
    """`NAME=VALUE` as it may be shown and kept; a name in capitals is a variable's."""
    name, sign, value = text.partition("=")
    dotted = f"env.{name}" if name.isupper() else name
    return f"{name}={HIDDEN}" if sign and shown(dotted, value) == HIDDEN else text


def shown(name: str, value: str) -> str:
    """A value as it may be shown."""
    if value and _SECRET.search(name):
        return HIDDEN
    if name == "clock" and value.isascii() and value.isdecimal():
        from datetime import UTC, datetime  # rarely told, and `up` shouldn't wait for it

        return datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%d %H:%M")
    if name == "limits.memory" and value.isascii() and value.isdecimal():
        return _memory(int(value))
    if name.startswith("mount ") and value.startswith("["):
        fields = zip(_MOUNT, json.loads(value), strict=False)
        value = ", ".join(f"{field}={told}" for field, told in fields if told not in ("", False, None, 0))
    if name == "sources" and value.startswith("[") and value.endswith("]"):
        value = ", ".join(json.loads(value))
    if name.startswith("hooks.") and value.startswith('["'):  # an earlier devenv wrote them as they are shown
        value = "; ".join(json.loads(value))
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
