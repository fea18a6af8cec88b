"""The text of `RUN --mount=…` → its fields, and those, expanded, → a Mount."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Literal, cast

from devenv.model.build import Mount

from .words import Malformed

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_COMMON = frozenset(("type", "target"))
_KEYS = {
    "bind": _COMMON | {"source", "from", "readonly", "readwrite"},
    "cache": _COMMON | {"id", "sharing", "readonly", "readwrite", "mode", "uid", "gid"},
    "tmpfs": _COMMON | {"size"},
    "secret": _COMMON | {"id", "required", "mode", "uid", "gid", "env"},
}
_FLAGS = frozenset(("readonly", "readwrite", "required"))
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MAX_ID = 65535


def fields(text: str) -> dict[str, str]:
    """The fields of a mount (comma separated, CSV quotes), aliases resolved, flags as "true". Raises Malformed."""
    row = next(csv.reader([text]), [])
    found: dict[str, str] = {}
    for part in row:
        key, equals, value = part.partition("=")
        key = _ALIASES.get(key.strip().lower(), key.strip().lower())
        if not equals and key not in _FLAGS:
            raise Malformed(f"--mount: {part!r} has no value", f"{key}=…")
        if key in found:
            raise Malformed(f"--mount: {key} is given twice")
        found[key] = value if equals else "true"
    kind = found.setdefault("type", "bind")
    _check(kind, found)
    return found


def _check(kind: str, found: Mapping[str, str]) -> None:
    if kind == "ssh":
        raise Malformed("--mount=type=ssh is not supported", "pass a deploy key with --mount=type=secret")
    if kind not in _KEYS:
        near = get_close_matches(kind, _KEYS, 1)
        raise Malformed(f"--mount: unknown type {kind!r}", f"did you mean {near[0]}?" if near else ", ".join(_KEYS))
    for key in found:
        if key not in _KEYS[kind]:
            near = get_close_matches(key, sorted(_KEYS[kind]), 1)
            hint = f"did you mean {near[0]}?" if near else "it takes " + ", ".join(sorted(_KEYS[kind]))
            raise Malformed(f"--mount=type={kind} takes no {key!r}", hint)
    if kind in ("bind", "cache", "tmpfs") and not found.get("target"):
        raise Malformed(f"--mount=type={kind} needs a target", "target=/path/in/the/container")
    if kind == "secret" and not (found.get("id") or found.get("target")):
        raise Malformed("--mount=type=secret needs an id", "id=NAME")
    if "$" in found.get("from", ""):
        raise Malformed("--mount: from can't hold a variable", "give it a stage of its own: FROM $NAME AS name")


def mount(found: Mapping[str, str], expand: Callable[[str], str], workdir: str) -> Mount:
    """A Mount of checked fields; id, source and target are expanded, a relative target stands in `workdir`."""
    kind = cast(Literal["bind", "cache", "tmpfs", "secret"], found["type"])
    target = expand(found.get("target", ""))
    identifier = expand(found.get("id", ""))
    env = found.get("env", "")
    if kind == "secret":
        identifier = identifier or posixpath.basename(target)
        if not identifier:
            raise Malformed("--mount=type=secret needs an id", "id=NAME")
        if not target and not env:
            target = f"/run/secrets/{identifier}"
    if target or kind != "secret":
        target = posixpath.normpath(posixpath.join(workdir, target))
        target = "/" + target.lstrip("/")
        if target == "/":
            raise Malformed("--mount: the target can't be /", "name a folder below it")
    return Mount(
        kind,
        target,
        source=posixpath.normpath("/" + expand(found.get("source", "")).lstrip("/")),
        source_from=found.get("from", ""),
        id=identifier or (target if kind == "cache" else ""),
        readonly=_readonly(kind, found),
        required=boolean("required", found.get("required", "false")),
        sharing=_sharing(found.get("sharing", "shared")),
        mode=octal("mode", found["mode"]) if "mode" in found else None,
        uid=_number("uid", found.get("uid", "0")),
        gid=_number("gid", found.get("gid", "0")),
        size=_size(found["size"]) if "size" in found else None,
        env=env,
    )


def _readonly(kind: str, found: Mapping[str, str]) -> bool:
    if "readonly" in found:
        return boolean("readonly", found["readonly"])
    if "readwrite" in found:
        return not boolean("readwrite", found["readwrite"])
    return kind in ("bind", "secret")


def _sharing(value: str) -> Literal["shared", "private", "locked"]:
    if value not in ("shared", "private", "locked"):
        raise Malformed(f"--mount: unknown sharing {value!r}", "shared, private or locked")
    return cast(Literal["shared", "private", "locked"], value)


def boolean(name: str, value: str) -> bool:
    """A flag's value: nothing, true or 1; false or 0."""
    if value.lower() in ("", "true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise Malformed(f"{name}: {value!r} is neither true nor false")


def octal(name: str, value: str) -> int:
    """Permission bits, 0 to 07777."""
    digits = value.removeprefix("0o")
    if not digits or len(digits) > 5 or digits.strip("01234567") or int(digits, 8) > 0o7777:
        raise Malformed(f"{name}: {value!r} isn't an octal mode", "for example 0644")
    return int(digits, 8)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 5 or int(value) > _MAX_ID:
        raise Malformed(f"--mount: {name} {value!r} isn't a number from 0 to {_MAX_ID}")
    return int(value)


def _size(value: str) -> int:
    text = value.lower().removesuffix("ib") if value.lower().endswith("ib") else value.lower()
    if text[-2:-1] in ("k", "m", "g", "t") and text.endswith("b"):
        text = text[:-1]
    digits = text.rstrip("bkmgt")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15 or text[len(digits) :] not in _UNITS:
        raise Malformed(f"--mount: size {value!r} isn't a size", "bytes, or with k, m or g: 64m")
    return int(digits) * _UNITS[text[len(digits) :]]
