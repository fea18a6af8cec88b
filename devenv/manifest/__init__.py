"""YAML text → Manifest, all faults at once, each with its place; the JSON Schema; a first manifest for a folder.

Doors: parse, load, declared, alter, rewritten, Altered, AS_WRITTEN, SUITES, json_schema, draft, DETECTED, NESTED.
"""

from typing import TYPE_CHECKING

from .check import Expand
from .load import declared, load
from .parse import AS_WRITTEN, Altered, parse
from .values import SUITES

if TYPE_CHECKING:
    from .altering import alter
    from .detect import DETECTED, NESTED, draft
    from .rewrite import rewritten
    from .schema import json_schema
else:
    _SELDOM = {
        **dict.fromkeys(("DETECTED", "NESTED", "draft"), "detect"),
        "alter": "altering",
        "json_schema": "schema",
        "rewritten": "rewrite",
    }

    def __getattr__(name: str) -> object:
        """Doors that `up` doesn't go through, and that json and tomllib stand behind."""
        if name in _SELDOM:
            from importlib import import_module

            return getattr(import_module(f".{_SELDOM[name]}", __name__), name)
        raise AttributeError(name)


__all__ = [
    "AS_WRITTEN",
    "DETECTED",
    "NESTED",
    "SUITES",
    "Altered",
    "Expand",
    "alter",
    "declared",
    "draft",
    "json_schema",
    "load",
    "parse",
    "rewritten",
]
