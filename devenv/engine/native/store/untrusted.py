"""JSON of unknown making, field by field: what is there and as it should be, or Bad, which says what isn't."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from devenv.model.image import Descriptor

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_JSON = 4 << 20
_MAX_BLOB = 64 << 30
_MAX_TEXT = 128 << 10  # bytes of one variable or argument, as execve(2) has it
_MAX_ITEMS = 4096


class Bad(Exception):
    """What is wrong with a piece of JSON."""


def load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_JSON:
        raise Bad(f"larger than {MAX_JSON} bytes")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Bad("not JSON") from error
    if not isinstance(document, dict):
        raise Bad("not a JSON object")
    return document


def descriptor(fields: Mapping[str, Any], field: str) -> Descriptor:
    digest = text(fields.get("digest"), f"{field}.digest")
    if not DIGEST.fullmatch(digest):
        raise Bad(f"{field}: {digest[:100]!r} is not a sha256 digest")
    size = number(fields.get("size"), f"{field}.size", _MAX_BLOB)
    return Descriptor(text(fields.get("mediaType"), f"{field}.mediaType"), digest, size)


def text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise Bad(f"{field}: not a string")
    if len(value) > _MAX_TEXT or "\0" in value:
        raise Bad(f"{field}: longer than {_MAX_TEXT} characters, or with NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Bad(f"{field}: half a character") from error
    return value


def texts(value: object, field: str) -> tuple[str, ...] | None:
    return None if value is None else tuple(text(item, field) for item in items(value, field))


def items(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise Bad(f"{field}: not a list")
    if len(value) > _MAX_ITEMS:
        raise Bad(f"{field}: more than {_MAX_ITEMS} items")
    return value


def mapping(value: object, field: str) -> dict[str, Any]:
    """A JSON object; {} for null and for what is absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Bad(f"{field}: not an object")
    if len(value) > _MAX_ITEMS:
        raise Bad(f"{field}: more than {_MAX_ITEMS} items")
    return value


def number(value: object, field: str, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise Bad(f"{field}: not a number from 0 to {limit}")
    return value


def dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
