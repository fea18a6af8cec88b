"""The doors to whatever makes containers. `native` is ours; a fake ships with the tests.

Three doors, so that each room holds only what it needs: `plan` sees an Observer and cannot act,
`provision` sees an Engine, the build executor a Workshop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # nothing here runs, and the hot verbs must not wait for the models
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from devenv.model.build import Run, Shared
    from devenv.model.container import Container, ContainerSpec, Environment, Process, State
    from devenv.model.events import Sink
    from devenv.model.image import Difference, Image, Offer, Rootfs
    from devenv.model.lock import BaseLock, Parcel, Remote, Section
    from devenv.model.manifest import Lending, Pairs
    from devenv.model.plan import Built, Record


class LogLine(NamedTuple):
    """A line a container printed: Unix seconds, `stdout` or `stderr`, the text without its newline."""

    time: float
    stream: str
    text: str


class Pulse(NamedTuple):
    """A running container: its init's pid and start time, the boot, its runtime, the bridge it is on ("" for none).

    `sources` are (path, device, inode) of its source folders as they were when it was started, `targets` (path, target).
    `path` is its PATH, `workdir` where its processes start.
    """

    container: str
    pid: int
    start: int
    boot: str
    runtime: str
    bridge: str
    sources: tuple[tuple[str, int, int], ...] = ()
    targets: Pairs = ()
    path: str = ""
    workdir: str = "/"
    process: str = "{}"
    """Its process as the runtime was told it, JSON (runtime-spec, process)."""


class Bind(NamedTuple):
    """A build step's mount, its source found.

    `source` is a host path or, with `layers`, a path beneath their merged root; cache folders come from `Workshop.cache`.
    tmpfs has a `size` (bytes), a secret its `content`; `mode` and `owner` are those inside. `locked`: one step at a time.
    Instead of a source, Debian packages have their `parcel`: the root that they are for decides how they are given.
    """

    kind: Literal["bind", "cache", "tmpfs", "secret"]
    target: str
    source: str = ""
    layers: tuple[int, ...] = ()
    readonly: bool = True
    content: bytes = b""
    size: int | None = None
    mode: int | None = None
    owner: tuple[int, int] = (0, 0)
    locked: bool = False
    parcel: Parcel | None = None


class Observer(Protocol):
    """What exists. Nothing here changes anything."""

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        """The environment of a project folder (absolute, resolved), None if never brought up."""

    def environments(self) -> tuple[Environment, ...]:
        """All environments, by name then folder."""

    def observe(self, environment: Environment, image_key: str, keys: Sequence[str]) -> State:
        """One environment's state, and which of the step keys and the image key are in the store."""

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        """Containers of one environment (by id), or of all; by environment, then name."""

    def images(self) -> tuple[Image, ...]:
        """All images of the store, newest first."""

    def records(self, environment: str) -> tuple[Record, ...]:
        """What was last done to each thing of an environment, and why; by object."""

    def stored(self, key: str) -> tuple[int, float] | None:
        """Bytes of the layer with this key, and when it was made (Unix seconds); None when it isn't in the store."""

    def logs(self, container: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """A container's output in order; `follow` goes on until it stops."""


class Engine(Observer, Protocol):
    """What can be done. Each is whole or not at all, and can be repeated. Raises EngineError, NotFound."""

    def turn(self, environment: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """One command at a time acts on an environment: others wait here, and say so by `waiting`.

        It ends with its owner, however that ends.
        """

    def register(self, environment: Environment) -> None:
        """Remember an environment (again: renames it)."""

    def check(self, spec: ContainerSpec) -> None:
        """Raise what making this container, in place of the one of its name, would fail with: a port taken, a source missing."""

    def create(self, spec: ContainerSpec) -> Container:
        """Make a container (status created). Host ports are chosen and reserved here."""

    def start(self, container: str) -> Container:
        """Run its process detached. Starting a running container is nothing."""

    def mend(self) -> None:
        """Put back what others took away around running containers: bridge, firewall. Costs nothing when all is there."""

    def hooks_done(self, container: str, which: Literal["on_create", "on_start"]) -> None:
        """Remember that these hooks ran to their end; on_start counts until the next start."""

    def watch(self, container: str, seconds: float) -> Container:
        """Wait until it ends, at most so long."""

    def execute(self, container: str, process: Process, output: Callable[[str], None] | None = None) -> int:
        """Run a process in a running container and wait; its exit code.

        Its stdio is ours or, with `output`, each line it prints is given to that. What `process` leaves empty is as the
        container's own process has it; its `env` comes on top.
        """

    def run(self, spec: ContainerSpec, *, keep: bool = False) -> int:
        """One process in the foreground in a container of its own, removed afterwards unless `keep`; its exit code."""

    def stop(self, container: str, timeout: float = 10.0) -> Container:
        """stop_signal, then SIGKILL after `timeout` seconds."""

    def remove(self, container: str) -> None:
        """Stop and remove it with its writable layer, log, ports and network. Removing what isn't there is nothing."""

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        """Forget an environment without containers; with `volumes` its volumes go too."""

    def pulse(self, environment: str, name: str) -> Pulse | None:
        """How to tell, later and without asking us, that a container runs as it does now; None when it doesn't run."""

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        """Keep two texts for a project folder until the next ones, for the command line's own use (quick/).

        `receipt` survives `forget`, `door` ends with this boot.
        """

    def recall(self, environment: str) -> tuple[tuple[str, Pairs], ...]:
        """(position, inputs) of the last build's steps."""

    def remember(self, environment: str, built: Built, files: Mapping[str, Pairs] = ...) -> None:
        """Keep the inputs of this build's steps, by position, to say next time what changed.

        `files`: digest of what a step read of a folder → (path, content) of its files.
        """

    def record(self, environment: str, records: Sequence[Record]) -> None:
        """Keep what was done to things of an environment, in place of what was known of these; until it is forgotten."""


class Workshop(Protocol):
    """What the build executor works with: layers by key, and places to make new ones."""

    def open(self) -> None:
        """Get ready. Called once, by the thread that starts all others, before it does: mounts are seen by its children."""

    def lend(self, lending: Lending) -> None:
        """What later bases and steps are lent, and where packages are fetched from and looked for."""

    def use(self, section: Section) -> None:
        """Later bases are made of what this part of the lock names."""

    def layer(self, key: str) -> int | None:
        """The id of the layer a step with this key made, if it is in the store and whole."""

    def base(self, reference: str, sink: Sink) -> Rootfs:
        """Bring in a base: `bootstrap:SUITE` or `oci:DIR[:TAG]`; its layers are in the store afterwards."""

    def peek(self, reference: str) -> Rootfs:
        """The same base's key and config without bringing it in (its layers stay empty).

        A suite that no lock names is resolved, at its first use in this store.
        """

    def resolve_base(self, suite: str, sink: Sink) -> BaseLock:
        """What a suite's base is made of today: asks the archives. Raises EngineError."""

    def view(self, layers: Sequence[int]) -> AbstractContextManager[str]:
        """A read-only merged root of these layers, with the image's own ids, for as long as the context lasts."""

    def folder(self, layer: int) -> str:
        """The folder of one layer, in overlayfs form, with the image's own ids. Never to be written."""

    def edit(self, key: str, layers: Sequence[int]) -> AbstractContextManager[str]:
        """A writable merged root over these layers; when left without an exception, what was written is the layer `key`."""

    def run(
        self,
        key: str,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: Sequence[Bind],
        output: Callable[[str], None],
        keep_failed: str = "",
        parent: str = "",
    ) -> int:
        """Run a step's process over these layers and keep what it wrote as the layer `key`; returns the layer's id.

        What it wrote is normalised: times since it began are the clock's, logs, locks and the like go (docs/store.md).
        `parent` is the key of the root it runs on: layers with the same one share equal files.
        Raises StepFailed with the code; nothing is kept then, except, with `keep_failed`, an image of that name.
        """

    def ask(
        self,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        binds: Sequence[Bind],
        output: Callable[[str], None],
        answer: str,
    ) -> str:
        """Run a process, as root and with network, over these layers; the text it wrote to the file `answer` ("" for none).

        Nothing else of it stays. Raises StepFailed with the code.
        """

    def image_digest(self, reference: str) -> str:
        """The digest (sha256:…) of the image that `oci:DIR[:TAG]` names now. Raises StoreError."""

    def remote(self, url: str, sha256: str = "") -> Remote:
        """What a project's URL leads to: fetched from where a step could, and measured. `sha256`: that must be its digest.

        Raises InputError for an address that no step could reach, EngineError for all else.
        """

    def kept(self, remote: Remote) -> str:
        """The path of a file that is locked, fetched if it isn't there, verified. Never to be written."""

    def interpreter(self, version: str) -> tuple[str, Remote]:
        """The newest Python of a version (`3.12`) that uv could bring: its full version, and its archive, measured."""

    def registry(self) -> str:
        """The npm registry that npm asks where the host's configuration names none."""

    def archives(self) -> tuple[str, ...]:
        """URIs of the Debian archives of the host, or of the manifest, that packages come from."""

    def parcel(self, parcel: Parcel) -> AbstractContextManager[str]:
        """A folder with what a parcel holds, fetched and verified, for a step to mount while the context lasts."""

    def place(self, parcel: Parcel, root: str, target: str) -> None:
        """Put the tree that a parcel holds, fetched and verified, into a new root, at `target`. It may be hard links."""

    def cancel(self) -> None:
        """Kill the steps that run in this workshop: their run() fails."""

    def forget(self, key: str) -> None:
        """No longer offer the layer of this key; images made of it keep it."""

    def unpack(self, archive: BinaryIO, folder: int) -> None:
        """Unpack a plain tar into an open folder, beneath it only. Raises StoreError."""

    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
        """The folder of a cache mount, made at first use, kept between builds, shared by all projects."""

    def memory(self, folder: str) -> str:
        """The path of a file in which something about a build context can be kept. It may be gone at any time."""

    def tool(self, name: str) -> str:
        """The path of a program lent to build steps (`uv`, `node`: context `devenv-tools`); fetched at first use."""

    def pack(self, layer: int) -> None:
        """Compute the digest of a layer now; commit() computes those that are missing."""

    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str]) -> Image:
        """Write config and image manifest into the store's OCI layout, durably, and name it. Layers stay folders.

        `key` is what `Observer.observe` finds the image by.
        """

    def export(self, digest: str, target: str, name: str) -> None:
        """Write an image, its layers packed anew and checked, to an OCI layout, where it has this name.

        `target`: a file that ends in .tar, which is replaced, or a folder: a new one, or a layout, which is added to.
        Whole and on disk when this returns; after an error the image isn't there. Raises StoreError, naming the layer, when
        one was changed; InputError, NotFound, EngineError.
        """

    def offered(self, place: str) -> Mapping[str, Offer]:
        """The layers that the cache at an absolute path has, by key; their bytes are looked at when they are taken.

        A cache is an OCI image layout that `give` wrote, a folder or a tar. Raises NotFound when there is none yet, StoreError
        when it is damaged or something else.
        """

    def take(self, wanted: Sequence[tuple[Shared, Offer]], sink: Sink) -> None:
        """Have these layers in the store, as if their steps had been done, each verified. Raises StoreError, EngineError."""

    def give(self, place: str, shared: Sequence[Shared], digest: str, name: str, sink: Sink) -> None:
        """Write an image, so named, and those of these layers that the store has to a cache.

        `place`: a file that ends in .tar, which is replaced, or a folder: new, or a layout, which is added to, whoever else
        does so. Whole and on disk when this returns. Raises InputError, NotFound, StoreError, EngineError.
        """

    def base_again(self, reference: str, sink: Sink) -> int:
        """Make the base `bootstrap:SUITE` once more, beside the one that is there; its layer, which no key leads to."""

    def discard(self, layer: int) -> None:
        """Remove a layer that nothing was made of."""

    def compare(self, left: int, right: int) -> tuple[Difference, ...]:
        """What isn't the same in two layers, by path; () when their digests are the same."""
