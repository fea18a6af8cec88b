"""YAML text → Manifest, all faults at once, each with its place; the JSON Schema; a first manifest for a folder.

Doors: parse, load, json_schema, draft, DETECTED, NESTED.
"""

from typing import TYPE_CHECKING

from .check import Expand
from .load import load
from .parse import parse

if TYPE_CHECKING:
    from .detect import DETECTED, NESTED, draft
    from .schema import json_schema
else:

    def __getattr__(name: str) -> object:
        """Doors that `up` doesn't go through, and that json and tomllib stand behind."""
        if name in ("DETECTED", "NESTED", "draft"):
            from . import detect

            return getattr(detect, name)
        if name == "json_schema":
            from .schema import json_schema

            return json_schema
        raise AttributeError(name)


__all__ = ["DETECTED", "NESTED", "Expand", "draft", "json_schema", "load", "parse"]
