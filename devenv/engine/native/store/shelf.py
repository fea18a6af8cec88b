"""Which layer each step's key made ↔ a cache manifest and its config in an image layout. A place for others to take from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from devenv.errors import StoreError
from devenv.model.image import LAYER, MANIFEST, Descriptor

from . import untrusted

NAME = "devenv-cache"
"""What a layout's index calls its cache."""

KIND = "application/vnd.devenv.cache.v1"
CONFIG = "application/vnd.devenv.cache.config.v1+json"

LIMIT = 2000
"""Layers of a cache that many write to: the newest ones."""

_KEY = re.compile(r"[0-9a-f]{64}")


class Writing(Protocol):
    def put(self, data: bytes, media_type: str) -> Descriptor: ...


class Reading(Protocol):
    def read(self, descriptor: Descriptor, limit: int) -> bytes: ...


def write(layout: Writing, layers: Mapping[str, Descriptor]) -> Descriptor:
    """Store a cache of these layers, by key, the newest first."""
    kept = dict(list(layers.items())[:LIMIT])
    listed = [{"key": key, "digest": layer.digest, "size": layer.size} for key, layer in kept.items()]
    config = layout.put(untrusted.dump({"version": 1, "layers": listed}), CONFIG)
    manifest = {
        "artifactType": KIND,
        "config": _json(config),
        "layers": [_json(layer) for layer in dict.fromkeys(kept.values())],
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    }
    return layout.put(untrusted.dump(manifest), MANIFEST)


def read(layout: Reading, manifest: Descriptor) -> dict[str, Descriptor]:
    """The layers of a cache by key, the newest first; none of their bytes is looked at. StoreError saying what is wrong."""
    where = f"cache manifest {manifest.digest[:71]}"
    try:
        if manifest.media_type != MANIFEST:
            raise untrusted.Bad(f"its media type is {manifest.media_type[:100]!r}")
        config, blobs = _manifest(untrusted.load(layout.read(manifest, untrusted.MAX_JSON)))
        where = f"cache config {config.digest}"
        document = untrusted.load(layout.read(config, untrusted.MAX_JSON))
        if document.get("version") != 1:
            raise untrusted.Bad(f"its version {document.get('version')!r} is not known to this devenv")
        found: dict[str, Descriptor] = {}
        for item in untrusted.items(document.get("layers"), "layers"):
            fields = untrusted.mapping(item, "layers")
            key = untrusted.text(fields.get("key"), "layers.key")
            layer = untrusted.descriptor({**fields, "mediaType": LAYER}, "layers")
            if not _KEY.fullmatch(key):
                raise untrusted.Bad(f"{key[:100]!r} is no key of a step")
            if key in found:
                raise untrusted.Bad(f"the key {key} is in it twice")
            if layer not in blobs:
                raise untrusted.Bad(f"layer {layer.digest} of {layer.size} bytes isn't in the cache manifest")
            found[key] = layer
    except untrusted.Bad as error:
        raise StoreError(f"read {where}: {error}") from error
    return found


def _manifest(document: Mapping[str, Any]) -> tuple[Descriptor, set[Descriptor]]:
    if document.get("schemaVersion") != 2 or document.get("mediaType") != MANIFEST or "manifests" in document:
        raise untrusted.Bad("not an image manifest")
    if document.get("artifactType") != KIND:
        raise untrusted.Bad(f"it is {str(document.get('artifactType'))[:100]!r}, not {KIND!r}")
    config = untrusted.descriptor(untrusted.mapping(document.get("config"), "config"), "config")
    if config.media_type != CONFIG:
        raise untrusted.Bad(f"its config is {config.media_type[:100]!r}")
    layers = untrusted.items(document.get("layers"), "layers")
    blobs = {untrusted.descriptor(untrusted.mapping(layer, "layers"), "layers") for layer in layers}
    for blob in blobs:
        if blob.media_type != LAYER:
            raise untrusted.Bad(f"layer {blob.digest}: its media type is {blob.media_type[:100]!r}")
    return config, blobs


def _json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
