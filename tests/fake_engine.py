"""An engine in memory: the same doors as the native one, so that plan → provision is tested without root."""
# ruff: noqa: ARG001, ARG002 - a protocol's arguments are there whether a fake needs them or not

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO, Literal

from devenv.cli.session import Machine
from devenv.engine import Bind, Engine, LogLine, Pulse, Workshop
from devenv.errors import EngineError, NotFound, StepFailed
from devenv.model.build import Run
from devenv.model.container import Container, ContainerSpec, Environment, Process, State
from devenv.model.events import Event, Sink
from devenv.model.host import Check, Garbage
from devenv.model.image import Image, ImageConfig, Rootfs
from devenv.model.manifest import Lending, Pairs

Answer = Callable[[str, Process], tuple[int, tuple[str, ...]]]
"""(container id, process) → (exit code, lines it prints)."""


def succeed(container: str, process: Process) -> tuple[int, tuple[str, ...]]:
    """The answer of a command that prints nothing and ends well."""
    return 0, ()


class FakeEngine:
    """Containers as values in a dict. `did` is everything that was asked of it that changes something, in order."""

    def __init__(self, answer: Answer = succeed) -> None:
        self.answer = answer
        self.did: list[tuple[str, ...]] = []
        self.known: dict[str, Environment] = {}
        self.made: dict[str, Container] = {}
        self.specs: dict[str, ContainerSpec] = {}
        self.lines: dict[str, list[str]] = {}
        self.pictures: dict[str, Image] = {}
        self.built: dict[str, tuple[tuple[str, Pairs], ...]] = {}
        self.keys: set[str] = set()
        self.receipts: dict[str, str] = {}
        self.ends_at_once: int | None = None
        self.mended = 0

    # Observer --------------------------------------------------------------------------------------

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        return next((one for one in self.known.values() if (one.folder, one.variant) == (folder, variant)), None)

    def environments(self) -> tuple[Environment, ...]:
        return tuple(sorted(self.known.values(), key=lambda one: (one.name, one.folder)))

    def observe(self, environment: Environment, image_key: str, keys: Sequence[str]) -> State:
        image = next((one.digest for one in self.pictures.values() if one.key == image_key), "")
        return State(
            environment=environment,
            containers=self.containers(environment.id),
            cached=frozenset(key for key in keys if key in self.keys),
            image=image,
            built=self.recall(environment.id),
        )

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        wanted = [one for one in self.made.values() if environment in ("", one.environment)]
        return tuple(sorted(wanted, key=lambda one: (one.environment, one.name)))

    def images(self) -> tuple[Image, ...]:
        return tuple(sorted(self.pictures.values(), key=lambda one: -one.created))

    def logs(self, container: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        lines = self.lines[self._container(container).id]
        start = 0 if tail is None else max(0, len(lines) - tail)
        return iter([LogLine(float(start + at), "stdout", text) for at, text in enumerate(lines[start:])])

    # Engine ----------------------------------------------------------------------------------------

    def turn(self, environment: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def register(self, environment: Environment) -> None:
        if self.known.get(environment.id) != environment:
            self.did.append(("register", environment.id))
            self.known[environment.id] = environment

    def check(self, spec: ContainerSpec) -> None:
        """Everything can be made."""

    def create(self, spec: ContainerSpec) -> Container:
        if spec.image not in self.pictures:
            raise NotFound(f"create {spec.name}: no image {spec.image!r}")
        if any((one.environment, one.name) == (spec.environment, spec.name) for one in self.made.values()):
            raise EngineError(f"create {spec.name}: the name is taken")
        identifier = f"c{len(self.did)}"
        ports = tuple(port._replace(host=port.host or 40000 + at) for at, port in enumerate(spec.ports))
        container = Container(
            identifier, spec.environment, spec.name, spec.image, "created", ports=ports, inputs=spec.inputs
        )
        self.did.append(("create", spec.name))
        self.made[identifier], self.specs[identifier], self.lines[identifier] = container, spec, []
        return container

    def start(self, container: str) -> Container:
        self._container(container)
        self.did.append(("start", container))
        if self.ends_at_once is not None:
            return self._change(container, status="stopped", started=1.0, exit_code=self.ends_at_once)
        return self._change(container, status="running", started=1.0, pid=4711, exit_code=None)

    def mend(self) -> None:
        self.mended += 1

    def hooks_done(self, container: str, which: Literal["on_create", "on_start"]) -> None:
        self._change(container, hooks_done=True, start_hooks_done=which == "on_start")

    def watch(self, container: str, seconds: float) -> Container:
        return self._container(container)

    def execute(self, container: str, process: Process, output: Callable[[str], None] | None = None) -> int:
        if self._container(container).status != "running":
            raise EngineError(f"execute in {container}: it isn't running")
        self.did.append(("execute", container, *process.argv))
        code, lines = self.answer(container, process)
        for line in lines:
            (output or print)(line)
        return code

    def run(self, spec: ContainerSpec, *, keep: bool = False) -> int:
        made = self.create(spec)
        code, lines = self.answer(made.id, spec.process)
        self.lines[made.id] += lines
        self._change(made.id, status="stopped", started=1.0, exit_code=code)
        if not keep:
            self.remove(made.id)
        return code

    def stop(self, container: str, timeout: float = 10.0) -> Container:
        self.did.append(("stop", container))
        return self._change(container, status="stopped", pid=None, exit_code=143)

    def remove(self, container: str) -> None:
        if container in self.made:
            self.did.append(("remove", container))
            del self.made[container], self.specs[container], self.lines[container]

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        if self.containers(environment):
            raise EngineError(f"forget {environment}: it has containers")
        self.did.append(("forget", environment))
        self.known.pop(environment, None)
        self.built.pop(environment, None)

    def pulse(self, environment: str, name: str) -> Pulse | None:
        return None

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        self.receipts[folder] = receipt

    def recall(self, environment: str) -> tuple[tuple[str, Pairs], ...]:
        return self.built.get(environment, ())

    def remember(self, environment: str, built: Sequence[tuple[str, Pairs]]) -> None:
        if environment not in self.known:
            raise NotFound(f"remember {environment}: no such environment")
        self.built[environment] = tuple(built)

    # For tests -------------------------------------------------------------------------------------

    def crash(self, container: str, code: int | None) -> None:
        """As if its process had ended by itself, or, with None, the host had restarted."""
        self._change(container, status="stopped", pid=None, exit_code=code)

    def _container(self, identifier: str) -> Container:
        if identifier not in self.made:
            raise NotFound(f"container {identifier!r}: there is none")
        return self.made[identifier]

    def _change(self, identifier: str, **values: object) -> Container:
        changed: Container = self._container(identifier)._replace(**values)  # type: ignore[arg-type]
        self.made[identifier] = changed
        return changed


class FakeWorkshop:
    """Layers as numbered folders under `place`; a RUN's argv is looked up in `codes`, 0 when it isn't there."""

    def __init__(self, engine: FakeEngine, place: str, codes: Mapping[tuple[str, ...], int] | None = None) -> None:
        self.engine = engine
        self.place = place
        self.codes = codes or {}
        self.layers: dict[str, int] = {}
        self.ran: list[tuple[str, ...]] = []
        self.lending = Lending()

    def open(self) -> None:
        """Nothing is mounted here."""

    def lend(self, lending: Lending) -> None:
        self.lending = lending

    def layer(self, key: str) -> int | None:
        return self.layers.get(key)

    def base(self, reference: str, sink: Sink) -> Rootfs:
        sink(Event("cached", reference))
        rootfs = self.peek(reference)
        return rootfs._replace(layers=(self._made(rootfs.key),))

    def peek(self, reference: str) -> Rootfs:
        return Rootfs(key=f"base {reference}", config=ImageConfig(env=(("PATH", "/usr/bin:/bin"),)))

    @contextmanager
    def _folder_of(self, folder: str) -> Iterator[str]:
        yield folder

    def view(self, layers: Sequence[int]) -> AbstractContextManager[str]:
        return self._folder_of(self.folder(layers[-1]))

    def folder(self, layer: int) -> str:
        return f"{self.place}/{layer}"

    def edit(self, key: str, layers: Sequence[int]) -> AbstractContextManager[str]:
        return self._folder_of(self.folder(self._made(key)))

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
    ) -> int:
        self.ran.append(run.argv)
        output(f"running {run.argv[-1]}")
        code = self.codes.get(run.argv, 0)
        if code:
            raise StepFailed(f"run {run.argv[-1]}: exit code {code}", code=code)
        return self._made(key)

    def cancel(self) -> None:
        """Nothing runs beside its caller."""

    def forget(self, key: str) -> None:
        self.layers.pop(key, None)

    def unpack(self, archive: BinaryIO, folder: int) -> None:
        raise NotImplementedError

    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
        folder = f"{self.place}/cache-{identifier}"
        os.makedirs(folder, exist_ok=True)
        return folder

    def memory(self, folder: str) -> str:
        return f"{self.place}/memory"

    def reaches(self, address: str) -> bool:
        return True

    def tool(self, name: str) -> str:
        return f"{self.cache('tools', 0o755, (0, 0))}/{name}"

    def pack(self, layer: int) -> None:
        """A fake's layers have no blobs."""

    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str]) -> Image:
        made = len(self.engine.pictures)
        digest = f"sha256:{made + 1:064x}"
        image = Image(digest, tuple(references), rootfs.config, rootfs.layers, float(made), 1, key)
        self.engine.pictures[digest] = image
        return image

    def _made(self, key: str) -> int:
        number = self.layers.setdefault(key, len(self.layers) + 1)
        self.engine.keys.add(key)
        os.makedirs(self.folder(number), exist_ok=True)
        return number


class FakeMachine:
    """All the doors of a fake, for the CLI."""

    def __init__(self, place: str, answer: Answer = succeed) -> None:
        self.engine = FakeEngine(answer)
        self.workshop = FakeWorkshop(self.engine, place)
        self.garbage: tuple[Garbage, ...] = ()
        self.checks: tuple[Check, ...] = (Check("kernel", True, "6.1"),)

    def certificates(self, choice: str) -> str:
        return {"host": "/etc/bundle.pem", "none": ""}.get(choice, choice)

    def layers(self, image: str) -> tuple[str, ...]:
        return ()

    def watched(self, certificates: str) -> tuple[str, ...]:
        return ()

    def collect(self, *, unwanted: Sequence[str], everything: bool, dry_run: bool) -> tuple[Garbage, ...]:
        found = self.garbage if everything else tuple(one for one in self.garbage if one.kind != "cache")
        if not dry_run:
            self.garbage = tuple(one for one in self.garbage if one not in found)
        return found

    def examine(self) -> tuple[Check, ...]:
        return self.checks


def conforms(machine: FakeMachine) -> tuple[Machine, Engine, Workshop]:
    """What mypy checks the fakes against."""
    return machine, machine.engine, machine.workshop
