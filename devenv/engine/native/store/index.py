"""A layout's own documents: oci-layout, and index.json, which says what has which name (image-spec, image-layout.md)."""

from __future__ import annotations

import json
from typing import Any

from devenv.errors import StoreError
from devenv.model.image import INDEX, Descriptor

REF_NAME = "org.opencontainers.image.ref.name"
VERSION = b'{"imageLayoutVersion":"1.0.0"}'
"""What a layout's `oci-layout` says."""


def check_version(text: bytes, layout: str) -> None:
    """StoreError for an `oci-layout` of another kind."""
    version = _json(text, f"{layout}/oci-layout").get("imageLayoutVersion")
    if version != "1.0.0":
        raise StoreError(f"read {layout}: image layout version {version!r} is not known")


def named(index: bytes, path: str) -> dict[str, Descriptor]:
    """What an index.json names, by name. StoreError with its path."""
    return tags(listed(index, path))


def index_json(entries: list[dict[str, Any]]) -> bytes:
    """The index.json of a layout with these entries."""
    index = {
        "manifests": sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True)),
        "mediaType": INDEX,
        "schemaVersion": 2,
    }
    return json.dumps(index, sort_keys=True, separators=(",", ":")).encode()


def entry(reference: str, descriptor: Descriptor, artifact: str = "") -> dict[str, Any]:
    """What an index.json says of something with this name."""
    return {
        "annotations": {REF_NAME: reference},
        "digest": descriptor.digest,
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        **({"artifactType": artifact} if artifact else {}),
    }


def tags(entries: list[dict[str, Any]]) -> dict[str, Descriptor]:
    """Entries by their names."""
    return {
        str(entry["annotations"][REF_NAME]): Descriptor(entry["mediaType"], entry["digest"], entry["size"])
        for entry in entries
        if REF_NAME in entry.get("annotations", {})
    }


def listed(index: bytes, path: str) -> list[dict[str, Any]]:
    """An index.json's entries. StoreError with its path when they aren't what they should be."""
    entries = _json(index, path).get("manifests")
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise StoreError(f"read {path}: its list of manifests is damaged")
    return entries


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("digest"), str)
        and isinstance(entry.get("mediaType"), str)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("annotations", {}), dict)
    )


def is_named(entry: dict[str, Any], reference: str) -> bool:
    """Whether an entry has this name."""
    return bool(entry.get("annotations", {}).get(REF_NAME) == reference)


def _json(data: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"read {path}: not JSON") from error
    if not isinstance(value, dict):
        raise StoreError(f"read {path}: not a JSON object")
    return value
