"""The engine's doors, Observer and Engine: each leads to the room that does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from devenv.engine import Happening, LogLine, Output, Pulse, Source
from devenv.errors import DevenvError, EngineError
from devenv.lives import alive, watched
from devenv.model.container import Container, ContainerSpec, Environment, Health, Heard, Probe, Process, Supervisor
from devenv.model.container import State as Observed
from devenv.model.image import PROJECT, Image
from devenv.model.manifest import Healthcheck, Pairs
from devenv.paths import Paths

from .container import bundle, owning
from .container.snapshot import Stage
from .insight import seeing
from .records import journal, ledger, observe, record, vault
from .records.state import State
from .running import entering, joining, lifecycle, supervision
from .running.ground import Ground
from .slot import pool
from .store.hold import Hold
from .trouble import trouble

if TYPE_CHECKING:  # the quick door must not wait for what is only spoken of here
    from devenv.model.plan import Built, Record
    from devenv.model.seen import Copied, Stream, Task, Touched, Usage


def _unheard(_: Copied) -> None:
    """Nobody asks how far a copy is."""


class Native:
    """Observer and Engine on this host. One per command; nothing is made before it is needed."""

    def __init__(self, paths: Paths, env: Mapping[str, str]) -> None:
        self.ground = Ground(paths, env)
        self.paths = paths

    @property
    def state(self) -> State:
        """The calling thread's own."""
        return self.ground.state

    @property
    def hold(self) -> Hold:
        return self.ground.hold

    def close(self) -> None:
        self.ground.close()

    def cancel(self) -> None:
        self.ground.cancellation.ask()

    def resume(self) -> None:
        self.ground.cancellation.end()

    def begin(self) -> None:
        """Whoever makes or uses something says so first: gc waits, and what killed commands left is removed."""
        self.ground.begin()
        self._attend()

    @trouble("supervise containers")
    def _attend(self) -> None:
        """Whoever looks at an environment sees that its supervisor was killed, and starts it again."""
        supervision.attend(self.ground)

    def stage(self) -> Stage:
        """The place for mounts."""
        return self.ground.stage()

    # Observer ------------------------------------------------------------------------------------

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        return observe.environment(self.state, folder, variant)

    def environments(self) -> tuple[Environment, ...]:
        return observe.environments(self.state)

    def observe(self, environment: Environment, images: Mapping[str, str], keys: Sequence[str]) -> Observed:
        if images:
            self.hold.share()  # what is seen now must still be there when it is used
        return observe.observed(self.state, self.paths, self.ground.network(), environment, images, keys)

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        if environment:  # who asks for all looks after them itself: `ps`
            self._attend()
        return observe.containers(self.state, self.paths, self.ground.network(), environment)

    def images(self) -> tuple[Image, ...]:
        return observe.images(self.state)

    def recall(self, environment: str, image: str = PROJECT) -> tuple[tuple[str, Pairs], ...]:
        return observe.recall(self.state, environment, image)

    def records(self, environment: str) -> tuple[Record, ...]:
        return observe.records(self.state, environment)

    def stored(self, key: str) -> tuple[int, float] | None:
        return observe.stored(self.state, key)

    def logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, since: float = 0.0
    ) -> Iterator[LogLine]:
        return seeing.logs(self.ground, container, follow=follow, tail=tail, since=since)

    def follow(
        self,
        environment: str,
        wanted: Callable[[Container], bool],
        *,
        tail: int | None = None,
        since: float = 0.0,
    ) -> Iterator[tuple[str, LogLine]]:
        return seeing.follow(self.ground, environment, wanted, tail=tail, since=since)

    def attach(self, container: str) -> Iterator[tuple[Stream, bytes]]:
        return seeing.attach(self.ground, container)

    def usage(self, containers: Sequence[Container]) -> Mapping[str, Usage]:
        return seeing.usages(self.ground, containers)

    def tasks(self, container: str) -> tuple[Task, ...]:
        return seeing.tasks_of(self.ground, container)

    def heard(self, container: Container) -> tuple[Heard, ...]:
        return seeing.heard(container)

    def spec(self, container: str) -> ContainerSpec:
        self.ground.container(container)
        return self.ground.spec(container)[0]

    @trouble("look at what a container touched")
    def touched(self, container: str) -> tuple[Touched, ...]:
        return seeing.touched_by(self.ground, container)

    def supervisor(self, environment: str) -> Supervisor | None:
        return seeing.supervisor(self.ground, environment)

    def events(self, environment: str, *, follow: bool = False, since: float = 0.0) -> Iterator[Happening]:
        return journal.read(self.paths, environment, follow=follow, since=since)

    @trouble("check a container")
    def check(self, spec: ContainerSpec) -> None:
        lifecycle.check(self.ground, spec)

    def fingerprint(self, secret: bytes) -> str:
        return vault.fingerprint(self.paths, secret)

    # Environments --------------------------------------------------------------------------------

    @contextmanager
    def turn(self, environment: str, waiting: Callable[[], None]) -> Iterator[None]:
        with ledger.turn(self.paths, environment, waiting):
            try:
                yield
            finally:
                # However it ended: what was started is watched, what was stopped isn't any more.
                with suppress(DevenvError):
                    self.supervise(environment)

    def register(self, environment: Environment) -> None:
        ledger.register(self.state, environment)

    def has_image(self, digest: str) -> bool:
        """Whether the store has this very image."""
        return self.state.db.execute("SELECT 1 FROM image WHERE digest = ?", (digest,)).fetchone() is not None

    def pulse(self, environment: str, name: str) -> Pulse | None:
        row = self.state.db.execute(
            "SELECT id, pid, pid_start, boot, spec FROM container WHERE environment = ? AND name = ?",
            (environment, name),
        ).fetchone()
        if row is None or not alive(row[1], row[2], row[3], self.state.boot):
            return None
        identifier, pid, start, boot, text = row
        folder = self.paths.bundle(identifier)
        if not watched(folder):
            return None  # nor is its bundle there for certain
        spec = record.spec_value(text)
        network = self.ground.network() if spec.network == "bridge" else None
        base = bundle.process_of(folder)
        runtime = self.ground.runtime(identifier, spec).path
        return Pulse(
            *(identifier, pid, start, boot, runtime, network.bridge if network else ""),
            sources=owning.sources(folder),
            targets=tuple((source.path, source.target) for source in spec.sources),
            path=bundle.search_path(base),
            workdir=base["cwd"],
            process=json.dumps(base),
        )

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        ledger.keep_receipt(self.paths, folder, receipt, door)

    def remember(
        self,
        environment: str,
        built: Built,
        files: Mapping[str, Pairs] = MappingProxyType({}),
        image: str = PROJECT,
    ) -> None:
        ledger.remember(self.state, environment, image, built, files)

    def retain(self, environment: str, images: Mapping[str, Sequence[str]]) -> None:
        ledger.retain(self.state, self.paths, environment, images)

    def record(self, environment: str, records: Sequence[Record]) -> None:
        ledger.record(self.state, environment, records)

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        if self.containers(environment):
            raise EngineError(f"forget environment {environment}: it still has containers", hint="devenv down")
        supervision.end(self.paths, environment)  # or it would write to what is removed
        ledger.forget(self.state, self.paths, environment, volumes=volumes)

    @trouble("keep secrets")
    def supply(self, environment: str, secrets: Mapping[str, bytes]) -> None:
        vault.supply(self.paths, environment, secrets)

    @trouble("connect containers")
    def connect(self, environment: str) -> None:
        joining.connect(self.ground, environment)

    def fetch(
        self, container: str, path: str, target: str | Output, told: Callable[[Copied], None] = _unheard
    ) -> Copied:
        from .copy import copying  # seldom: not on the hot path

        return copying.fetch(self.ground, container, path, target, told)

    def send(
        self,
        container: str,
        path: str,
        source: str | Source,
        told: Callable[[Copied], None] = _unheard,
        *,
        owners: bool = False,
    ) -> Copied:
        from .copy import copying

        return copying.send(self.ground, container, path, source, told, owners=owners)

    @trouble("supervise containers")
    def supervise(self, environment: str) -> None:
        supervision.supervise(self.ground, environment)

    def mend(self) -> None:
        network = self.ground.network()
        if network and not pool.standing(network) and any(wired for _, wired, _ in self.state.known_slots()):
            pool.heal(self.paths, mount_namespace=self.ground.host_namespace)

    # Containers ----------------------------------------------------------------------------------

    @trouble("create containers")
    def create(self, specs: Sequence[ContainerSpec]) -> tuple[Container, ...]:
        return lifecycle.create(self.ground, specs)

    @trouble("start a container")
    def start(self, container: str) -> Container:
        return lifecycle.start(self.ground, container)

    def hooks_done(self, container: str, which: Literal["on_create", "on_start"]) -> None:
        phase = observe.HOOKS[which]
        self.state.db.execute("UPDATE container SET hooks_done = ? WHERE id = ?", (phase, container))

    def watch(self, container: str, seconds: float) -> Container:
        return lifecycle.watch(self.ground, container, seconds)

    def execute(self, container: str, process: Process, output: Callable[[str], None] | None = None) -> int:
        return entering.execute(self.ground, container, process, output)

    @trouble("check the health of a container")
    def probe(self, container: str, check: Healthcheck) -> Probe:
        return entering.probe(self.ground, container, check)

    @trouble("write down a container's health")
    def healthy(self, container: str, health: Health) -> None:
        lifecycle.healthy(self.ground, container, health)

    @trouble("run a container")
    def run(self, spec: ContainerSpec, *, keep: bool = False) -> int:
        return entering.run(self.ground, spec, keep=keep)

    @trouble("stop a container")
    def stop(self, container: str) -> Container:
        return lifecycle.stop(self.ground, container)

    @trouble("remove a container")
    def remove(self, container: str) -> None:
        lifecycle.remove(self.ground, container)
