"""What the engine is asked to run, and what it says it sees."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from .manifest import Limits, Pairs, Port, Source

Status = Literal["created", "running", "stopped"]


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
    """(volume name, target) pairs."""
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


class Environment(NamedTuple):
    """A project folder and a variant. `id` is unique on this host and stable for the folder; `name` is for people."""

    id: str
    name: str
    folder: str
    variant: str = ""


class State(NamedTuple):
    """All that is observed of one environment: its containers, and which of the wanted keys are in the store.

    `built` are (position, inputs) of the last build's steps, for saying what changed since.
    """

    environment: Environment
    containers: tuple[Container, ...] = ()
    cached: frozenset[str] = frozenset()
    image: str = ""
    """Digest of the image for the wanted key, "" when it must be built."""
    built: tuple[tuple[str, Pairs], ...] = ()
    volumes: tuple[str, ...] = ()
    files: Mapping[str, Pairs] = MappingProxyType({})
    """Digest of what a step read of a build context → its files, of the last build; empty when nothing is to be built."""
