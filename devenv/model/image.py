"""OCI images as values, in the spec's own words (image-spec 1.0: descriptor, image manifest, image config)."""

from typing import Literal, NamedTuple

from .manifest import Pairs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

PROJECT = "image"
"""What the project's own image is called in plans and events; a service's is `image SERVICE`."""

OURS = "devenv/"
"""What the names we give begin with. A user can't give such a one, so no name of theirs is ever taken for ours."""


def environment_tag(name: str, identifier: str) -> str:
    """The name of an environment's image: for people, and unlike that of any other checkout."""
    return f"{OURS}{name}:{identifier}"


def failed_tag(key: str) -> str:
    """The name of what `--keep-failed` keeps of the build with this key. An environment's name has no slash."""
    return f"{OURS}failed/{key[:12]}"


def tagged_for(reference: str) -> str | None:
    """Whose a name is: an environment's id, "" for what is kept of a failed step, None for a user's own."""
    if not reference.startswith(OURS):
        return None
    return "" if reference.startswith(f"{OURS}failed/") else reference.rpartition(":")[2]


class Descriptor(NamedTuple):
    """A blob's media type, digest (`sha256:<64 hex>`) and size in bytes (image-spec, descriptor.md)."""

    media_type: str
    digest: str
    size: int


class Offer(NamedTuple):
    """A layer that a cache has: where that is, and its blob there."""

    place: str
    blob: Descriptor


class Healthcheck(NamedTuple):
    """HEALTHCHECK: `test` as in the config (`["CMD", …]`, `["CMD-SHELL", …]`, `["NONE"]`); times in nanoseconds, 0 unset."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ImageConfig(NamedTuple):
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


class Rootfs(NamedTuple):
    """What a build step starts from or ends with: layer ids of the store, bottom first, and the config so far.

    `key` identifies the whole content: equal keys, equal files.
    """

    key: str
    layers: tuple[int, ...] = ()
    config: ImageConfig = ImageConfig()


class Image(NamedTuple):
    """An image in the store: its manifest's digest, its names, its config, its layers (store ids, bottom first)."""

    digest: str
    references: tuple[str, ...]
    config: ImageConfig
    layers: tuple[int, ...]
    created: float = 0.0
    size: int = 0
    key: str = ""


class Difference(NamedTuple):
    """Something that isn't the same in two layers: the path (from /), in what, how it is in the first and in the second.

    `lines` show more of it, for people: a unified diff of texts, what is known of other files.
    """

    path: str
    kind: Literal[
        "only in the first", "only in the second", "mode", "owner", "time", "link", "size", "content", "attributes"
    ]
    before: str = ""
    after: str = ""
    lines: tuple[str, ...] = ()


class Unlike(NamedTuple):
    """A build step, as messages name it, that gave two different results, and in what they differ."""

    step: str
    differences: tuple[Difference, ...]
