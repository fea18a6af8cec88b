"""The table of keys → JSON Schema (draft 2020-12), for editors."""

from __future__ import annotations

import json
from typing import Any

from .keys import KEYS
from .kinds import Again, Key, Kind, ListOf, MapOf, Text

_TEMPLATE = r"\{\{|\{%"


def json_schema() -> str:
    """The schema of a manifest as indented JSON text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "devenv.yml",
        "description": "A project's development environment",
        **_record(KEYS),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _record(keys: tuple[Key, ...]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {key.name: _key(key) for key in keys},
        "additionalProperties": False,
    }
    required = [key.name for key in keys if key.required]
    return {**schema, "required": required} if required else schema


def _key(key: Key) -> dict[str, Any]:
    if key.later:
        return {"description": f"{key.doc} Not supported yet.", "not": {}}
    return {"description": key.doc, **_kind(key.kind)}


def _kind(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Text):
        return _text(kind)
    if isinstance(kind, ListOf):
        item = _kind(kind.item)
        several = {"type": ["array", "null"], "items": item}
        return {"anyOf": [item, several]} if kind.alone else several
    if isinstance(kind, MapOf):
        names = {"propertyNames": {"pattern": f"^(?:{kind.key.pattern})$"}} if kind.key.pattern else {}
        mapping = {"type": ["object", "null"], "additionalProperties": _kind(kind.value), **names}
        return {"anyOf": [mapping, {"type": "array", "items": _kind(kind.key)}]} if kind.listed else mapping
    if isinstance(kind, Again):
        keys = (key.name for key in KEYS if not key.later and key.name not in kind.never)
        same = {name: {"anyOf": [{"type": "null"}, {"$ref": f"#/properties/{name}"}]} for name in keys}
        return {"type": ["object", "null"], "properties": same, "additionalProperties": False}
    whole = {**_record(kind.keys), "type": ["object", "null"]}
    if not kind.short:
        return whole
    return {"anyOf": [next(_kind(key.kind) for key in kind.keys if key.name == kind.short), whole]}


def _text(kind: Text) -> dict[str, Any]:
    # An editor's YAML makes numbers and booleans of plain text, which we take as written.
    if kind.words:
        booleans = [word == "true" for word in kind.words if word in ("true", "false")]
        return {"enum": [*kind.words, *booleans]}
    schema: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    if kind.pattern:
        schema["pattern"] = f"^(?:{kind.pattern})$" if kind.literal else f"{_TEMPLATE}|^(?:{kind.pattern})$"
    return schema
