"""An ImageConfig and layers → an image in a layout, and back (image-spec: manifest.md, image-index.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from devenv.errors import StoreError
from devenv.model.image import CONFIG, INDEX, MANIFEST, Descriptor, ImageConfig

from . import untrusted
from .config import History, config_json, parse

MAX_LAYERS = 500

_DOCKER = "application/vnd.docker."
_MANIFESTS = (MANIFEST, f"{_DOCKER}distribution.manifest.v2+json")
_INDEXES = (INDEX, f"{_DOCKER}distribution.manifest.list.v2+json")
_CONFIGS = (CONFIG, f"{_DOCKER}container.image.v1+json")
_LAYERS = re.compile(
    r"application/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?"
)
_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_NESTING = 4


class ImageManifest(NamedTuple):
    """An image found in a layout: its manifest, config and layers (bottom first) as descriptors, the config read."""

    descriptor: Descriptor
    config_descriptor: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    config: ImageConfig


class Layout(Protocol):
    """What is asked of an image layout; native/store.py has it."""

    def put(self, data: bytes, media_type: str) -> Descriptor: ...
    def read(self, descriptor: Descriptor, limit: int) -> bytes: ...
    def has(self, descriptor: Descriptor) -> bool: ...
    def index(self) -> bytes: ...


# Writing ---------------------------------------------------------------------------------------------------------


def write(
    layout: Layout, config: ImageConfig, layers: Sequence[Descriptor], epoch: int, history: Sequence[History] = ()
) -> Descriptor:
    """Store config and image manifest over uncompressed layers (their digest is their diff id), bottom first.

    `history` says how each layer came to be, empty ones between; `epoch` is the time it was made, in Unix seconds.
    """
    diff_ids = [layer.digest for layer in layers]
    document = config_json(config, diff_ids, history or [History("devenv")] * len(layers), epoch)
    return layout.put(manifest_json(layout.put(document, CONFIG), layers), MANIFEST)


def manifest_json(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An image manifest (image-spec, manifest.md)."""
    return untrusted.dump(
        {
            "config": _descriptor_json(config),
            "layers": [_descriptor_json(layer) for layer in layers],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }
    )


def _descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


# Reading ---------------------------------------------------------------------------------------------------------


def read(layout: Layout, tag: str, platform: str) -> ImageManifest:
    """Find an image in a layout: by tag ("" when there is just one), for a platform (`linux/amd64`, `linux/arm/v7`).

    All is checked but the layers' bytes, which are when they are unpacked. StoreError naming what is missing or wrong.
    """
    where = "index.json"
    try:
        found = _select(_index(layout.index()), tag, platform)
        for _ in range(_MAX_NESTING):
            if found.media_type not in _INDEXES:
                break
            where = f"index {found.digest}"
            found = _select(_index(layout.read(found, untrusted.MAX_JSON), found.media_type), "", platform)
        where = f"manifest {found.digest}"
        if found.media_type not in _MANIFESTS:
            raise untrusted.Bad(f"media type {found.media_type[:100]!r} is not an image manifest's")
        config, layers = _manifest(layout.read(found, untrusted.MAX_JSON), found.media_type)
        where = f"image config {config.digest}"
        parsed, diff_ids = parse(layout.read(config, untrusted.MAX_JSON))
        if len(diff_ids) != len(layers):
            raise untrusted.Bad(f"{len(diff_ids)} diff ids for {len(layers)} layers")
        if not _matches((parsed.os, parsed.architecture, parsed.variant), platform):
            raise untrusted.Bad(f"it is for {_shown([f'{parsed.os}/{parsed.architecture}'])}, not for {platform}")
        for layer in layers:
            where = f"layer {layer.digest}"
            if not layout.has(layer):
                raise untrusted.Bad(f"it is missing, or not {layer.size} bytes long")
    except untrusted.Bad as error:
        raise StoreError(f"read {where}: {error}") from error
    return ImageManifest(found, config, layers, diff_ids, parsed)


def parts(layout: Layout, manifest: Descriptor) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """Config and layers of an image manifest, bottom first. StoreError."""
    try:
        return _manifest(layout.read(manifest, untrusted.MAX_JSON), manifest.media_type)
    except untrusted.Bad as error:
        raise StoreError(f"read manifest {manifest.digest}: {error}") from error


class _Listed(NamedTuple):
    descriptor: Descriptor
    tag: str
    platform: tuple[str, str, str] | None


def _index(data: bytes, media_type: str = "") -> list[_Listed]:
    document = untrusted.load(data)
    _check_kind(document, media_type, _INDEXES, ("config", "layers", "fsLayers"))
    listed = []
    for entry in untrusted.items(document.get("manifests"), "manifests"):
        item = untrusted.mapping(entry, "manifests")
        if untrusted.text(item.get("artifactType", ""), "artifactType") not in ("", *_CONFIGS):
            continue  # no image (image-spec, descriptor.md): a cache of ours, a signature
        platform = item.get("platform")
        if platform is not None:
            fields = untrusted.mapping(platform, "platform")
            platform = (
                untrusted.text(fields.get("os"), "os"),
                untrusted.text(fields.get("architecture"), "architecture"),
                untrusted.text(fields.get("variant", ""), "variant"),
            )
        tag = untrusted.mapping(item.get("annotations"), "annotations").get(_REF_NAME, "")
        listed.append(_Listed(untrusted.descriptor(item, "manifests"), untrusted.text(tag, _REF_NAME), platform))
    return listed


def _select(listed: Sequence[_Listed], tag: str, platform: str) -> Descriptor:
    """The one that is meant: by name, then by platform."""
    named = [entry for entry in listed if not tag or entry.tag == tag]
    if not named:
        raise untrusted.Bad(
            f"no image is tagged {tag!r}; there are: {_names(listed)}" if listed else "it lists no image"
        )
    fitting = [entry for entry in named if entry.platform is None or _matches(entry.platform, platform)]
    exact = [entry for entry in fitting if entry.platform is not None] or fitting
    if not exact:
        others = _shown("/".join(filter(None, entry.platform)) for entry in named if entry.platform)
        raise untrusted.Bad(f"no image for {platform}; there are: {others}")
    if len({entry.descriptor for entry in exact}) > 1:
        raise untrusted.Bad(f"several images, say which by its tag: {_names(exact)}")
    return exact[0].descriptor


def _names(listed: Sequence[_Listed]) -> str:
    return _shown(entry.tag for entry in listed if entry.tag) or "none with a tag"


def _shown(names: Iterable[str]) -> str:
    """For a message: without anything a terminal would obey."""
    return ", ".join(repr(name[:100])[1:-1] for name in sorted(set(names)))


def _matches(platform: tuple[str, str, str], wanted: str) -> bool:
    system, architecture, variant = (*wanted.split("/"), "", "")[:3]
    return (system, architecture) == platform[:2] and (not variant or not platform[2] or variant == platform[2])


def _manifest(data: bytes, media_type: str) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    document = untrusted.load(data)
    _check_kind(document, media_type, _MANIFESTS, ("manifests", "fsLayers"))
    config = untrusted.descriptor(untrusted.mapping(document.get("config"), "config"), "config")
    if config.media_type not in _CONFIGS:
        raise untrusted.Bad(f"not a container image: its config is {config.media_type[:100]!r}")
    entries = untrusted.items(document.get("layers"), "layers")
    if len(entries) > MAX_LAYERS:
        raise untrusted.Bad(f"{len(entries)} layers, at most {MAX_LAYERS} are accepted")
    layers = tuple(untrusted.descriptor(untrusted.mapping(entry, "layers"), "layers") for entry in entries)
    for layer in layers:
        if not _LAYERS.fullmatch(layer.media_type):
            raise untrusted.Bad(f"layer {layer.digest}: media type {layer.media_type[:100]!r} is not known")
    return config, layers


def _check_kind(document: Mapping[str, Any], media_type: str, kinds: Iterable[str], foreign: Sequence[str]) -> None:
    """One document must not be read as a manifest by one and as an index by another (CVE-2021-41190)."""
    if document.get("schemaVersion") != 2:
        raise untrusted.Bad(f"schemaVersion {document.get('schemaVersion')!r} is not known")
    own = document.get("mediaType", media_type)
    if (own and own not in kinds) or (media_type and own != media_type):
        raise untrusted.Bad(f"it says it is {own!r}")
    for name in foreign:
        if name in document:
            raise untrusted.Bad(f"ambiguous: it has {name!r} too")
