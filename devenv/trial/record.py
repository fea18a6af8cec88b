"""A Trial ↔ the JSON that it is kept as. What comes back from disk is checked by the types it is made of. Pure."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from devenv.errors import StoreError
from devenv.model import plain
from devenv.model.trial import Trial

VERSION = 1


def written(trial: Trial) -> str:
    """The text of a trial's file."""
    return json.dumps({"version": VERSION, **plain(trial)}, indent=1) + "\n"


def read(text: str, path: str) -> Trial:
    """The trial of such a text. Raises StoreError for what is none, or of another devenv."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.pop("version", None) != VERSION:
            raise StoreError(f"{path}: was written by another devenv", hint="remove its folder")
        trial: Trial = _made(Trial, data)
        if len(trial.verdicts) != len(trial.variants):
            raise TypeError("it hasn't a verdict on each variant")
        return trial
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{path}: is no trial: {error}", hint="remove its folder") from error


def _made(kind: Any, data: Any) -> Any:
    """The value of a type that JSON stands for. Raises TypeError for anything else."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inner, data)
    if origin is Literal:
        if data not in inner:
            raise TypeError(f"{data!r:.60} is none of {inner}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise TypeError(f"{data!r:.60} is no list")
        if inner[-1] is Ellipsis:
            return tuple(_made(inner[0], one) for one in data)
        return tuple(_made(each, one) for each, one in zip(inner, data, strict=True))
    if hasattr(kind, "_fields"):
        if not isinstance(data, dict):
            raise TypeError(f"{data!r:.60} is no mapping")
        hints = get_type_hints(kind)
        return kind(**{name: _made(hints[name], value) for name, value in data.items() if name in hints})
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise TypeError(f"{data!r:.60} is no {kind.__name__}")
    return data


def _one_of(kinds: tuple[Any, ...], data: Any) -> Any:
    if data is None and NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return _made(kind, data)
        except TypeError:
            continue
    raise TypeError(f"{data!r:.60} is nothing that can stand there")
