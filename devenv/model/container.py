"""What the engine is asked to run, and what it says it sees."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from .manifest import Healthcheck, Limits, Mount, Pairs, Port, Restart, Source

Status = Literal["created", "running", "restarting", "stopped"]
"""`restarting`: it ended, and its policy has it started again, after its back-off."""

Health = Literal["", "starting", "healthy", "unhealthy"]
"""What the health check says; "" without one, or for what doesn't run."""


Heard = Literal["", "loopback", "all"]
"""Whom something in a container listens to, on a port: nobody, others in there, everybody."""


class Process(NamedTuple):
    """A process in a container (runtime-spec, process). `user` is `name|uid[:group|gid]` as in USER, "" for the image's."""

    argv: tuple[str, ...]
    env: Pairs = ()
    user: str = ""
    workdir: str = ""
    terminal: bool = False


class ContainerSpec(NamedTuple):
    """A container to make. `image` is a digest in the store. Paths of sources and certificates are absolute.

    `inputs` say what it was made from, by name; two specs with equal inputs need no replacement.
    `process.argv` empty: an init that waits (and reaps) until it is told to stop.
    """

    environment: str
    name: str
    hostname: str
    image: str
    process: Process
    sources: tuple[Source, ...] = ()
    volumes: Pairs = ()
    """(volume name, target) pairs, of folders that the image declares as volumes."""
    ports: tuple[Port, ...] = ()
    limits: Limits = Limits()
    network: Literal["bridge", "none"] = "bridge"
    certificates: str = ""
    """Path of the bundle on the host, "" for none."""
    runtime: str = ""
    stop_signal: str = ""
    inputs: Pairs = ()
    mirror: str = ""
    """The manifest's `mirror:`, "" for the host's own: where apt looks for packages inside."""
    service: str = ""
    """The service it is a replica of; the workspace's is itself; "" for what no manifest speaks of (`run --keep`)."""
    index: int = 0  # type: ignore[assignment]  # nobody misses tuple.index
    """Of the replica, from 1; 0 for the workspace."""
    mounts: tuple[Mount, ...] = ()
    """The manifest's own; paths are absolute."""
    secrets: tuple[str, ...] = ()
    """Names of those it is given, each a file beneath /run/secrets."""
    healthcheck: Healthcheck | None = None
    restart: Restart = Restart()
    stop_grace: float = 10.0


class Container(NamedTuple):
    """A container as observed. Times are Unix seconds; `exit_code` None while running or never started."""

    id: str
    environment: str
    name: str
    image: str
    status: Status
    pid: int | None = None
    created: float = 0.0
    started: float | None = None
    exit_code: int | None = None
    address: str = ""
    ports: tuple[Port, ...] = ()
    inputs: Pairs = ()
    hooks_done: bool = False
    """Whether on_create has run to its end."""
    start_hooks_done: bool = True
    """Whether on_start has, since it was last started."""
    lost: str = ""
    """A source folder that isn't the one it was started with: deleted, or made anew. It still sees the old one."""
    service: str = ""
    index: int = 0  # type: ignore[assignment]  # nobody misses tuple.index
    health: Health = ""
    restarts: int = 0
    """How often its supervisor started it again since somebody started it."""
    again: float | None = None
    """When it is to be started again, Unix seconds: while it is `restarting`."""


KEPT = "try:"
"""What the variants of environments begin with that `try --keep` left; no `variants:` can be called so."""

RUN = "run:"
"""What the variants of environments begin with that last for one run of a trial."""


class Environment(NamedTuple):
    """A project folder and a variant. `id` is unique on this host and stable for the folder; `name` is for people."""

    id: str
    name: str
    folder: str
    variant: str = ""


class ObservedImage(NamedTuple):
    """An image that is wanted, as the store has it. `built` are (position, inputs) of its last build's steps, for saying what changed."""

    digest: str = ""
    """Of the image for the wanted key, "" when it must be built."""
    built: tuple[tuple[str, Pairs], ...] = ()
    files: Mapping[str, Pairs] = MappingProxyType({})
    """Digest of what a step read of a build context → its files, of the last build; empty when nothing is to be built."""


class Probe(NamedTuple):
    """A health check that was made once: its exit code (124: it took too long), its last words, seconds taken."""

    code: int
    output: str = ""
    seconds: float = 0.0


class Supervisor(NamedTuple):
    """An environment's supervisor, as observed; `running` False: it was killed, and the next command starts it again."""

    pid: int
    running: bool
    since: float = 0.0


class State(NamedTuple):
    """All that is observed of one environment: its containers, and which of the wanted keys are in the store."""

    environment: Environment
    containers: tuple[Container, ...] = ()
    cached: frozenset[str] = frozenset()
    images: Mapping[str, ObservedImage] = MappingProxyType({})
    """By the name that they are wanted under."""
    volumes: tuple[str, ...] = ()
