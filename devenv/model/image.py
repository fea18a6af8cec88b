"""OCI images as values, in the spec's own words (image-spec 1.0: descriptor, image manifest, image config)."""

from __future__ import annotations

from dataclasses import dataclass, field

from .manifest import Pairs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's media type, digest (`sha256:<64 hex>`) and size in bytes (image-spec, descriptor.md)."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """HEALTHCHECK: `test` as in the config (`["CMD", …]`, `["CMD-SHELL", …]`, `["NONE"]`); times in nanoseconds, 0 unset."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The execution parameters of an image (image-spec, config.md). None: not set; () an empty list."""

    env: Pairs = ()
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    exposed: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Pairs = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    onbuild: tuple[str, ...] = ()
    architecture: str = "amd64"
    os: str = "linux"
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Rootfs:
    """What a build step starts from or ends with: layer ids of the store, bottom first, and the config so far.

    `key` identifies the whole content: equal keys, equal files.
    """

    key: str
    layers: tuple[int, ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store: its manifest's digest, its names, its config, its layers (store ids, bottom first)."""

    digest: str
    references: tuple[str, ...]
    config: ImageConfig
    layers: tuple[int, ...]
    created: float = 0.0
    size: int = 0
    key: str = ""
