"""The user's manifest, parsed and checked: what `manifest` gives and `render`, `plan` and the CLI read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Pairs = tuple[tuple[str, str], ...]
"""An ordered mapping of strings, hashable: `(("A", "1"), ("B", "2"))`."""


FROM_MANIFEST = "devenv.yml: "
"""What the name of a step's input starts with that is no part of its key, but says in the manifest's words what changed."""


FROM_LOCK = "devenv.lock.yml"
"""The name of the input that says in words what a step takes of the lock; its key has the digest."""


UNLOCKABLE = (
    "name a release of it; or write `network: true` under `{}:`, and it is installed with network, its build not promised"
    " to give the same twice"
)
"""The way out where a repository is to be installed, for `python` or `node`."""


class From(NamedTuple):
    """Where the image starts: `bootstrap:SUITE`, `file:CONTAINERFILE`, `oci:DIRECTORY[:TAG]` (`image:` comes later)."""

    kind: Literal["bootstrap", "file", "oci"]
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class Python(NamedTuple):
    """`python:`. `version` None: the base's own. Paths are relative to the project folder.

    `network`: what can't be locked is installed all the same, by a step that has network.
    """

    version: str | None = None
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    build_on: Literal["auto", "base", "apt"] = "auto"
    network: bool = False


class Node(NamedTuple):
    """`node:`. `version` None: the newest long-term one; `lock` a package-lock.json beside its package.json.

    `network`: install scripts have it, and so what comes from a git repository is installed too.
    """

    version: str | None = None
    lock: str | None = None
    packages: tuple[str, ...] = ()
    network: bool = False


class Source(NamedTuple):
    """A folder of the host seen inside. `path` is relative to the project folder or absolute; `target` absolute."""

    path: str
    target: str
    mode: Literal["rw", "ro", "copy-on-write"] = "rw"


class Port(NamedTuple):
    """A published port. `host` None: any free one, chosen at `up`. `address` is an IPv4 address.

    Replicas of a service share it, unless `last` ends a range of host ports: then each has one of its own.
    """

    container: int
    host: int | None = None
    address: str = "127.0.0.1"
    protocol: Literal["tcp", "udp"] = "tcp"
    last: int | None = None


class Limits(NamedTuple):
    """`limits:`. Memory in bytes, cpus in cores, None for no limit; pids always has one."""

    memory: int | None = None
    cpus: float | None = None
    pids: int = 4096


class Hooks(NamedTuple):
    """Shell commands run inside: once after the container is made, and at every start."""

    on_create: tuple[str, ...] = ()
    on_start: tuple[str, ...] = ()


class Secret(NamedTuple):
    """`secrets:`, a value that reaches containers and never an image: of a variable of whoever says `up`, or of a file."""

    name: str
    from_env: str = ""
    from_file: str = ""
    """Relative to the project folder, absolute, or from `~/` on."""


class Mount(NamedTuple):
    """Something that outlives a service's container, seen at `target`: the volume of this name, or a folder or file of the host."""

    target: str
    volume: str = ""
    path: str = ""
    readonly: bool = False


class Healthcheck(NamedTuple):
    """`healthcheck:`. `test` is a shell command, exit code 0 means healthy; times in seconds.

    `start_period` is time given on top of `interval` × `retries` for the first success.
    """

    test: str
    interval: float = 10.0
    timeout: float = 10.0
    retries: int = 3
    start_period: float = 0.0


class Restart(NamedTuple):
    """`restart:`. `most` is how often at most in a row, None for no end (`on-failure:5`)."""

    policy: Literal["no", "on-failure", "always"] = "no"
    most: int | None = None


Condition = Literal["started", "healthy", "completed"]
"""What is waited for: it runs · its health check succeeded · it ended with exit code 0."""


class Dependency(NamedTuple):
    """A service that is waited for before another starts."""

    service: str
    condition: Condition = "started"


class Replica(NamedTuple):
    """One container of a service, its strings rendered with its `index` (from 1). None: as the image has it."""

    index: int  # type: ignore[assignment]  # nobody misses tuple.index
    command: str | None = None
    env: Pairs = ()
    user: str | None = None
    workdir: str | None = None
    mounts: tuple[Mount, ...] = ()
    healthcheck: Healthcheck | None = None


class Service(NamedTuple):
    """One of `services:`. `image` None: it runs the project's image and sees the project's sources.

    `image` is a manifest of its own for what builds it (base, apt, python, node, contexts; its name `PROJECT-SERVICE`, its
    places as they would be at the top level), so that it is locked, rendered and built in the same way.
    """

    name: str
    image: "Manifest | None" = None
    replicas: tuple[Replica, ...] = (Replica(1),)
    ports: tuple[Port, ...] = ()
    secrets: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    restart: Restart = Restart()
    limits: Limits = Limits()
    stop_signal: str = ""
    stop_grace: float = 10.0
    """Seconds between the stop signal and SIGKILL."""
    profiles: tuple[str, ...] = ()


class Lending(NamedTuple):
    """What a build is lent of the host, by the manifest's `certificates:` and `proxy:`, and whose packages bases are made of."""

    certificates: str = "host"
    proxy: Literal["host", "none"] = "host"
    mirror: str | None = None
    snapshot: str | None = None


class Manifest(NamedTuple):
    """A whole `devenv.yml` (docs/manifest.md). `path` is the file's absolute path, `folder` the project's."""

    path: str
    folder: str
    name: str
    base: From
    vars: Pairs = ()
    apt: tuple[str, ...] = ()
    python: Python | None = None
    node: Node | None = None
    sources: tuple[Source, ...] = ()
    contexts: Pairs = ()
    workdir: str | None = None
    env: Pairs = ()
    user: str | None = None
    command: str | None = None
    ports: tuple[Port, ...] = ()
    limits: Limits = Limits()
    network: Literal["bridge", "none"] = "bridge"
    hooks: Hooks = Hooks()
    test: str | None = None
    certificates: str = "host"
    """`host`, `none`, or the path of a bundle."""
    proxy: Literal["host", "none"] = "host"
    mirror: str | None = None
    snapshot: str | None = None
    """Archives as they were: an address with `{time}` (and `{archive}`) in it."""
    runtime: str | None = None
    services: tuple[Service, ...] = ()
    volumes: tuple[str, ...] = ()
    """Names of those that services may mount."""
    secrets: tuple[Secret, ...] = ()
    """All of them; the workspace gets each."""
    variants: tuple[str, ...] = ()
    """Names of those it has."""
    variant: str = ""
    """As which of them it was read, or what it is called with the values that were edited; "" as it is written."""
    edited: tuple[tuple[str, bytes], ...] = ()
    """Files of the project that a variant has another way: (path from its folder, content)."""
    lock: str = ""
    """The file that its lock is written to (an absolute path), "" for the project's own, or its variant's, beside it."""
    service: str = ""
    """The service whose own image it is all about, "" for a project's: then keys are as they would be at the top level."""
    places: Mapping[str, tuple[int, int]] = MappingProxyType({})
    """Where each value stands in the file, 1-based line and column, by dotted name: `apt`, `apt[1]`, `python.version`."""
