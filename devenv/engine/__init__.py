"""The doors to whatever makes containers. `native` is ours; a fake ships with the tests.

Three doors, so that each room holds only what it needs: `plan` sees an Observer and cannot act,
`provision` sees an Engine, the build executor a Workshop (workshop.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # nothing here runs, and the hot verbs must not wait for the models
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from devenv.model.container import (
        Container,
        ContainerSpec,
        Environment,
        Health,
        Heard,
        Probe,
        Process,
        State,
        Supervisor,
    )
    from devenv.model.image import Image
    from devenv.model.manifest import Healthcheck, Pairs
    from devenv.model.plan import Built, Record
    from devenv.model.seen import Copied, Stream, Task, Touched, Usage


class Output(Protocol):
    """Where bytes go; all of them are taken."""

    def write(self, data: bytes, /) -> int: ...


class Source(Protocol):
    """Where bytes come from; b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class LogLine(NamedTuple):
    """A line a container printed: Unix seconds, `stdout` or `stderr`, the text without its newline."""

    time: float
    stream: str
    text: str


Kind = Literal["create", "start", "die", "restart", "stop", "remove", "health", "oom"]


class Happening(NamedTuple):
    """What happened to a container: Unix seconds, its name, what, and more in words (`exit code 1`, `healthy`)."""

    time: float
    object: str
    kind: Kind
    detail: str = ""


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


class Observer(Protocol):
    """What exists. Nothing here changes anything."""

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        """The environment of a project folder (absolute, resolved), None if never brought up."""

    def environments(self) -> tuple[Environment, ...]:
        """All environments, by name then folder."""

    def observe(self, environment: Environment, images: Mapping[str, str], keys: Sequence[str]) -> State:
        """One environment's state, which of the step keys are in the store, and which of the images (name → key)."""

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        """Containers of one environment (by id), or of all; by environment, then name."""

    def images(self) -> tuple[Image, ...]:
        """All images of the store, newest first."""

    def records(self, environment: str) -> tuple[Record, ...]:
        """What was last done to each thing of an environment, and why; by object."""

    def stored(self, key: str) -> tuple[int, float] | None:
        """Bytes of the layer with this key, and when it was made (Unix seconds); None when it isn't in the store."""

    def logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, since: float = 0.0
    ) -> Iterator[LogLine]:
        """A container's output in order, the last lines of it, or those since a moment; `follow` goes on until it stops."""

    def follow(
        self,
        environment: str,
        wanted: Callable[[Container], bool],
        *,
        tail: int | None = None,
        since: float = 0.0,
    ) -> Iterator[tuple[str, LogLine]]:
        """The output of all containers of an environment that are wanted, those too that come later, as it comes: (name, line).

        It goes on until there is no such container any more.
        """

    def attach(self, container: str) -> Iterator[tuple[Stream, bytes]]:
        """What a running container prints from now on, in pieces, as they come, until it ends."""

    def usage(self, containers: Sequence[Container]) -> Mapping[str, Usage]:
        """What each of these that run has used up to now, by id."""

    def tasks(self, container: str) -> tuple[Task, ...]:
        """The processes of a container, by their pids inside; none when it doesn't run."""

    def heard(self, container: Container) -> tuple[Heard, ...]:
        """Whom it listens to on each of its `ports`; "all" of one that doesn't run."""

    def spec(self, container: str) -> ContainerSpec:
        """What a container was made from."""

    def touched(self, container: str) -> tuple[Touched, ...]:
        """Files and folders of its image that a container has changed or removed, by path."""

    def supervisor(self, environment: str) -> Supervisor | None:
        """Who watches over an environment's containers; None where nothing asks for it."""

    def events(self, environment: str, *, follow: bool = False, since: float = 0.0) -> Iterator[Happening]:
        """What happened to an environment's containers since a moment; `follow` goes on until it is forgotten."""

    def check(self, spec: ContainerSpec) -> None:
        """Raise what making this container, in place of the one of its name, would fail with: a port taken, a source missing."""

    def fingerprint(self, secret: bytes) -> str:
        """The same for the same secret, and for nobody else of any use: what inputs say of it."""


class Engine(Observer, Protocol):
    """What can be done. Each is whole or not at all, and can be repeated. Raises EngineError, NotFound."""

    def turn(self, environment: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """One command at a time acts on an environment: others wait here, and say so by `waiting`.

        It ends with its owner, however that ends.
        """

    def register(self, environment: Environment) -> None:
        """Remember an environment (again: renames it)."""

    def create(self, specs: Sequence[ContainerSpec]) -> tuple[Container, ...]:
        """Make containers (status created), all or none. Host ports are chosen and reserved here: one for all replicas of a
        service, or, of a range, one for each.
        """

    def start(self, container: str) -> Container:
        """Run its process detached. Starting a running container is nothing. From any thread."""

    def connect(self, environment: str) -> None:
        """Names, ways between containers and published ports of an environment as its containers are now.

        Each finds the others by name; a port of a service leads to its replicas that run and aren't unhealthy, or still starting.
        """

    def probe(self, container: str, check: Healthcheck) -> Probe:
        """Make a health check once, in the running container; one that doesn't run has code 125. From any thread."""

    def healthy(self, container: str, health: Health) -> None:
        """Write down what a container's health is. From any thread."""

    def supply(self, environment: str, secrets: Mapping[str, bytes]) -> None:
        """Keep these secrets, in memory and for this boot only, for the containers of the environment that ask for them."""

    def cancel(self) -> None:
        """Whatever other threads wait for in here ends soon: a check is killed, a stop no longer waited for. From any thread.

        It lasts until `resume`, also for what begins meanwhile.
        """

    def resume(self) -> None:
        """What was cancelled has ended: from now on everybody waits as long as it takes."""

    def fetch(self, container: str, path: str, target: str | Output, told: Callable[[Copied], None] = ...) -> Copied:
        """Copy what is at a path of a container, running or stopped, to an absolute path of the host, or as a tar.

        As cp(1) and docker-cp(1) do: into a folder that is there, else under that name; `PATH/.` is what is in a folder. No
        link is followed at the end of a path, none at all in a folder that containers write to. What is made is ours.
        """

    def send(
        self,
        container: str,
        path: str,
        source: str | Source,
        told: Callable[[Copied], None] = ...,
        *,
        owners: bool = False,
    ) -> Copied:
        """The same the other way; of a tar, with `owners`, whose files are whose. Else it is theirs whose folder it goes to.

        For a container that doesn't run the caller has the environment's turn.
        """

    def supervise(self, environment: str) -> None:
        """See to it that somebody does what health checks and restart policies ask for, if any of its containers does."""

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

    def stop(self, container: str) -> Container:
        """Its stop signal, then SIGKILL after its stop_grace. From any thread."""

    def remove(self, container: str) -> None:
        """Stop and remove it with its writable layer, log, ports and network. Removing what isn't there is nothing.

        From any thread.
        """

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        """Forget an environment without containers; with `volumes` its volumes go too."""

    def pulse(self, environment: str, name: str) -> Pulse | None:
        """How to tell, later and without asking us, that a container runs as it does now; None when it doesn't run."""

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        """Keep two texts for a project folder until the next ones, for the command line's own use (quick/).

        `receipt` survives `forget`, `door` ends with this boot.
        """

    def recall(self, environment: str, image: str = ...) -> tuple[tuple[str, Pairs], ...]:
        """(position, inputs) of the steps of an image's last build."""

    def remember(self, environment: str, built: Built, files: Mapping[str, Pairs] = ..., image: str = ...) -> None:
        """Keep the inputs of the steps of this image's build, by position, to say next time what changed.

        `files`: digest of what a step read of a folder → (path, content) of its files.
        """

    def retain(self, environment: str, images: Mapping[str, Sequence[str]]) -> None:
        """Forget the builds of an environment's other images: it has these only, so called in the store."""

    def record(self, environment: str, records: Sequence[Record]) -> None:
        """Keep what was done to things of an environment, in place of what was known of these; until it is forgotten."""
