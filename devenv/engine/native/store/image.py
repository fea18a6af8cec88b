"""An ImageConfig and layers → an image in a layout, and back (image-spec: config.md, manifest.md, image-index.md)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from devenv.errors import StoreError
from devenv.model.image import CONFIG, INDEX, MANIFEST, Descriptor, Healthcheck, ImageConfig
from devenv.model.manifest import Pairs

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
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_JSON = 4 << 20
_MAX_BLOB = 64 << 30
_MAX_TEXT = 128 << 10  # bytes of one variable or argument, as execve(2) has it
_MAX_ITEMS = 4096
_MAX_NESTING = 4


class History(NamedTuple):
    """One line of an image's history; `empty` when it made no layer."""

    created_by: str
    empty: bool = False


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


class _Bad(Exception):
    """What is wrong with a piece of JSON."""


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
    return _dump(
        {
            "config": _descriptor_json(config),
            "layers": [_descriptor_json(layer) for layer in layers],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }
    )


def config_json(config: ImageConfig, diff_ids: Sequence[str], history: Sequence[History], created: int | None) -> bytes:
    """An image config (image-spec, config.md, with Docker's Healthcheck, Shell and OnBuild). Unset fields are left out.

    StoreError when `history` has another number of layers than there are: other tools refuse such an image.
    """
    if history and sum(not line.empty for line in history) != len(diff_ids):
        raise StoreError(f"write image config: its history doesn't tell of {len(diff_ids)} layers")
    stamp = {} if created is None else {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))}
    document: dict[str, Any] = {
        **stamp,
        "architecture": config.architecture,
        "os": config.os,
        "config": _execution(config),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [
            {**stamp, "created_by": line.created_by, **({"empty_layer": True} if line.empty else {})}
            for line in history
        ],
    }
    if config.variant:
        document["variant"] = config.variant
    return _dump(document)


def _execution(config: ImageConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "User": config.user,
        "Env": [f"{name}={value}" for name, value in config.env],
        "WorkingDir": config.workdir,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in config.exposed},
        "Volumes": {path: {} for path in config.volumes},
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "OnBuild": list(config.onbuild),
        "Healthcheck": _healthcheck_json(config.healthcheck) if config.healthcheck else None,
    }
    document = {name: value for name, value in fields.items() if value}
    for name, words in (("Entrypoint", config.entrypoint), ("Cmd", config.cmd), ("Shell", config.shell)):
        if words is not None:  # an empty list isn't the same as none
            document[name] = list(words)
    return document


def _healthcheck_json(check: Healthcheck) -> dict[str, Any]:
    fields = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}


def _descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


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
            found = _select(_index(layout.read(found, _MAX_JSON), found.media_type), "", platform)
        where = f"manifest {found.digest}"
        if found.media_type not in _MANIFESTS:
            raise _Bad(f"media type {found.media_type[:100]!r} is not an image manifest's")
        config, layers = _manifest(layout.read(found, _MAX_JSON), found.media_type)
        where = f"image config {config.digest}"
        parsed, diff_ids = _config(layout.read(config, _MAX_JSON))
        if len(diff_ids) != len(layers):
            raise _Bad(f"{len(diff_ids)} diff ids for {len(layers)} layers")
        if not _matches((parsed.os, parsed.architecture, parsed.variant), platform):
            raise _Bad(f"it is for {_shown([f'{parsed.os}/{parsed.architecture}'])}, not for {platform}")
        for layer in layers:
            where = f"layer {layer.digest}"
            if not layout.has(layer):
                raise _Bad(f"it is missing, or not {layer.size} bytes long")
    except _Bad as error:
        raise StoreError(f"read {where}: {error}") from error
    return ImageManifest(found, config, layers, diff_ids, parsed)


def parse_config(data: bytes) -> ImageConfig:
    """The execution parameters in an image config. StoreError naming the field that isn't what the spec says."""
    try:
        return _config(data)[0]
    except _Bad as error:
        raise StoreError(f"read image config: {error}") from error


class _Listed(NamedTuple):
    descriptor: Descriptor
    tag: str
    platform: tuple[str, str, str] | None


def _index(data: bytes, media_type: str = "") -> list[_Listed]:
    document = _load(data)
    _check_kind(document, media_type, _INDEXES, ("config", "layers", "fsLayers"))
    listed = []
    for entry in _list(document.get("manifests"), "manifests"):
        item = _object(entry, "manifests")
        platform = item.get("platform")
        if platform is not None:
            fields = _object(platform, "platform")
            platform = (
                _text(fields.get("os"), "os"),
                _text(fields.get("architecture"), "architecture"),
                _text(fields.get("variant", ""), "variant"),
            )
        tag = _object(item.get("annotations"), "annotations").get(_REF_NAME, "")
        listed.append(_Listed(_descriptor(item, "manifests"), _text(tag, _REF_NAME), platform))
    return listed


def _select(listed: Sequence[_Listed], tag: str, platform: str) -> Descriptor:
    """The one that is meant: by name, then by platform."""
    named = [entry for entry in listed if not tag or entry.tag == tag]
    if not named:
        raise _Bad(f"no image is tagged {tag!r}; there are: {_names(listed)}" if listed else "it lists no image")
    fitting = [entry for entry in named if entry.platform is None or _matches(entry.platform, platform)]
    exact = [entry for entry in fitting if entry.platform is not None] or fitting
    if not exact:
        others = _shown("/".join(filter(None, entry.platform)) for entry in named if entry.platform)
        raise _Bad(f"no image for {platform}; there are: {others}")
    if len({entry.descriptor for entry in exact}) > 1:
        raise _Bad(f"several images, say which by its tag: {_names(exact)}")
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
    document = _load(data)
    _check_kind(document, media_type, _MANIFESTS, ("manifests", "fsLayers"))
    config = _descriptor(_object(document.get("config"), "config"), "config")
    if config.media_type not in _CONFIGS:
        raise _Bad(f"not a container image: its config is {config.media_type[:100]!r}")
    entries = _list(document.get("layers"), "layers")
    if len(entries) > MAX_LAYERS:
        raise _Bad(f"{len(entries)} layers, at most {MAX_LAYERS} are accepted")
    layers = tuple(_descriptor(_object(entry, "layers"), "layers") for entry in entries)
    for layer in layers:
        if not _LAYERS.fullmatch(layer.media_type):
            raise _Bad(f"layer {layer.digest}: media type {layer.media_type[:100]!r} is not known")
    return config, layers


def _check_kind(document: Mapping[str, Any], media_type: str, kinds: Iterable[str], foreign: Sequence[str]) -> None:
    """One document must not be read as a manifest by one and as an index by another (CVE-2021-41190)."""
    if document.get("schemaVersion") != 2:
        raise _Bad(f"schemaVersion {document.get('schemaVersion')!r} is not known")
    own = document.get("mediaType", media_type)
    if (own and own not in kinds) or (media_type and own != media_type):
        raise _Bad(f"it says it is {own!r}")
    for name in foreign:
        if name in document:
            raise _Bad(f"ambiguous: it has {name!r} too")


def _config(data: bytes) -> tuple[ImageConfig, tuple[str, ...]]:
    document = _load(data)
    fields = _object(document.get("config"), "config")
    rootfs = _object(document.get("rootfs"), "rootfs")
    if rootfs.get("type") != "layers":
        raise _Bad(f"rootfs.type {rootfs.get('type')!r} is not known")
    diff_ids = _texts(rootfs.get("diff_ids"), "diff_ids") or ()
    for diff_id in diff_ids:
        if not _DIGEST.fullmatch(diff_id):
            raise _Bad(f"diff id {diff_id[:100]!r} is not a sha256 digest")
    config = ImageConfig(
        env=_env(_texts(fields.get("Env"), "Env") or ()),
        user=_text(fields.get("User", ""), "User"),
        workdir=_text(fields.get("WorkingDir", ""), "WorkingDir"),
        entrypoint=_texts(fields.get("Entrypoint"), "Entrypoint"),
        cmd=_texts(fields.get("Cmd"), "Cmd"),
        exposed=_set(fields.get("ExposedPorts"), "ExposedPorts"),
        volumes=_set(fields.get("Volumes"), "Volumes"),
        labels=_labels(fields.get("Labels")),
        stop_signal=_text(fields.get("StopSignal", ""), "StopSignal"),
        healthcheck=_healthcheck(fields.get("Healthcheck")),
        shell=_texts(fields.get("Shell"), "Shell"),
        onbuild=_texts(fields.get("OnBuild"), "OnBuild") or (),
        architecture=_text(document.get("architecture"), "architecture"),
        os=_text(document.get("os"), "os"),
        variant=_text(document.get("variant", ""), "variant"),
    )
    return config, diff_ids


def _env(entries: Sequence[str]) -> Pairs:
    pairs = tuple((name, value) for name, _, value in (entry.partition("=") for entry in entries))
    if any(not name for name, _ in pairs):
        raise _Bad("Env: a variable without a name")
    return pairs


def _set(value: object, field: str) -> tuple[str, ...]:
    """Go's way to write a set: an object whose values are empty objects."""
    return tuple(sorted(_text(name, field) for name in _object(value, field)))


def _labels(value: object) -> Pairs:
    labels = _object(value, "Labels")
    return tuple(
        sorted((_text(name, "Labels"), _text(text, f"Labels.{name[:100]!r}")) for name, text in labels.items())
    )


def _healthcheck(value: object) -> Healthcheck | None:
    fields = _object(value, "Healthcheck")
    test = _texts(fields.get("Test"), "Healthcheck.Test") or ()
    if not fields:
        return None
    return Healthcheck(
        test,
        *(
            _integer(fields.get(name, 0), f"Healthcheck.{name}", 1 << 62)
            for name in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
        ),
    )


# JSON of unknown making ------------------------------------------------------------------------------------------


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > _MAX_JSON:
        raise _Bad(f"larger than {_MAX_JSON} bytes")
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _Bad("not JSON") from error
    if not isinstance(document, dict):
        raise _Bad("not a JSON object")
    return document


def _descriptor(fields: Mapping[str, Any], field: str) -> Descriptor:
    digest = _text(fields.get("digest"), f"{field}.digest")
    if not _DIGEST.fullmatch(digest):
        raise _Bad(f"{field}: {digest[:100]!r} is not a sha256 digest")
    size = _integer(fields.get("size"), f"{field}.size", _MAX_BLOB)
    return Descriptor(_text(fields.get("mediaType"), f"{field}.mediaType"), digest, size)


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{field}: not a string")
    if len(value) > _MAX_TEXT or "\0" in value:
        raise _Bad(f"{field}: longer than {_MAX_TEXT} characters, or with NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Bad(f"{field}: half a character") from error
    return value


def _texts(value: object, field: str) -> tuple[str, ...] | None:
    return None if value is None else tuple(_text(item, field) for item in _list(value, field))


def _list(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Bad(f"{field}: not a list")
    if len(value) > _MAX_ITEMS:
        raise _Bad(f"{field}: more than {_MAX_ITEMS} items")
    return value


def _object(value: object, field: str) -> dict[str, Any]:
    """A JSON object; {} for null and for what is absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Bad(f"{field}: not an object")
    if len(value) > _MAX_ITEMS:
        raise _Bad(f"{field}: more than {_MAX_ITEMS} items")
    return value


def _integer(value: object, field: str, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise _Bad(f"{field}: not a number from 0 to {limit}")
    return value
