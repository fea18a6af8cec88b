"""An engine in memory: the same doors as the native one, so that plan → provision is tested without root."""
# ruff: noqa: ARG001, ARG002 - a protocol's arguments are there whether a fake needs them or not

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import BinaryIO, Literal

from devenv.cli.session import Machine
from devenv.engine import Bind, Engine, LogLine, Pulse, Workshop
from devenv.errors import EngineError, NotFound, StepFailed, StoreError
from devenv.lock.parcels import digest
from devenv.model.build import Run, Shared
from devenv.model.container import Container, ContainerSpec, Environment, Process, State
from devenv.model.events import Event, Sink
from devenv.model.host import Check, Garbage
from devenv.model.image import Descriptor, Difference, Image, ImageConfig, Offer, Rootfs
from devenv.model.lock import BaseLock, Deb, Parcel, Remote, Section
from devenv.model.manifest import Lending, Pairs
from devenv.model.plan import Record

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
        self.files: dict[str, dict[str, Pairs]] = {}
        self.told: dict[tuple[str, str], Record] = {}
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
            files=self.files.get(environment.id, {}),
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
        self.files.pop(environment, None)
        self.told = {key: one for key, one in self.told.items() if key[0] != environment}

    def pulse(self, environment: str, name: str) -> Pulse | None:
        return None

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        self.receipts[folder] = receipt

    def recall(self, environment: str) -> tuple[tuple[str, Pairs], ...]:
        return self.built.get(environment, ())

    def remember(
        self, environment: str, built: Sequence[tuple[str, Pairs]], files: Mapping[str, Pairs] = MappingProxyType({})
    ) -> None:
        self.built[environment], self.files[environment] = tuple(built), dict(files)

    def records(self, environment: str) -> tuple[Record, ...]:
        return tuple(one for (home, _), one in sorted(self.told.items()) if home == environment)

    def record(self, environment: str, records: Sequence[Record]) -> None:
        self.told.update({(environment, one.object): one for one in records})

    def stored(self, key: str) -> tuple[int, float] | None:
        return (1_200_000, 0.0) if key in self.keys else None

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
    """Layers as numbered folders under `folders`; a RUN's argv is looked up in `codes`, 0 when it isn't there.

    A test says what the world outside answers: `answers` (words of a command that is asked → what it writes), `suites`
    (→ their bases), `digests` (image references → digests), `remotes` (URLs and Python versions → files). Anything else
    isn't to be had.
    """

    def __init__(self, engine: FakeEngine, place: str, codes: Mapping[tuple[str, ...], int] | None = None) -> None:
        self.engine = engine
        self.folders = place
        self.codes = codes or {}
        self.answers: dict[str, str] = {}
        self.suites: dict[str, BaseLock] = {}
        self.digests: dict[str, str] = {}
        self.remotes: dict[str, Remote] = {}
        self.asked: list[tuple[str, ...]] = []
        self.put: list[tuple[Parcel, str]] = []
        self.section = Section("amd64")
        self.layers: dict[str, int] = {}
        self.ran: list[tuple[str, ...]] = []
        self.caches: dict[str, tuple[Shared, ...]] = {}
        self.exported: list[tuple[str, str, str]] = []
        self.lending = Lending()

    def open(self) -> None:
        """Nothing is mounted here."""

    def lend(self, lending: Lending) -> None:
        self.lending = lending

    def use(self, section: Section) -> None:
        self.section = section

    def resolve_base(self, suite: str, sink: Sink) -> BaseLock:
        sink(Event("done", f"resolve bootstrap:{suite}"))
        files = Deb("base-files", "1", "all", 1, "1" * 64, "pool/main/b/base-files_1_all.deb")
        return self.suites.get(suite) or BaseLock(suite, 1_700_000_000, (files,), 1_700_000_000)

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
        self.asked.append(run.argv)
        command = " ".join(run.argv)
        for words, text in self.answers.items():
            if words in command:
                return text
        raise StepFailed(f"ask {command:.80}: exit code 1", code=1)

    def image_digest(self, reference: str) -> str:
        if reference not in self.digests:
            raise StoreError(f"read {reference}: there is no such image")
        return self.digests[reference]

    def kept(self, remote: Remote) -> str:
        path = f"{self.folders}/{remote.sha256}"
        open(path, "wb").close()
        return path

    def remote(self, url: str, sha256: str = "") -> Remote:
        if url not in self.remotes:
            raise EngineError(f"fetch {url}: not found")
        return self.remotes[url]

    def interpreter(self, version: str) -> tuple[str, Remote]:
        found = next((name for name in self.remotes if f"{name}.".startswith(f"{version}.")), "")
        if not found:
            raise EngineError(f"find Python {version}: there is none")
        return found, self.remotes[found]

    def registry(self) -> str:
        return "https://registry.example"

    def archives(self) -> tuple[str, ...]:
        return ("http://mirror.example/debian/",)

    @contextmanager
    def parcel(self, parcel: Parcel) -> Iterator[str]:
        yield self.cache(f"parcel-{digest(parcel)}", 0o755, (0, 0))

    def place(self, parcel: Parcel, root: str, target: str) -> None:
        self.put.append((parcel, target))
        os.makedirs(f"{root}/{target}", exist_ok=True)

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
        return f"{self.folders}/{layer}"

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
        parent: str = "",
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
        folder = f"{self.folders}/cache-{identifier}"
        os.makedirs(folder, exist_ok=True)
        return folder

    def memory(self, folder: str) -> str:
        return f"{self.folders}/memory"

    def tool(self, name: str) -> str:
        return f"{self.cache('tools', 0o755, (0, 0))}/{name}"

    def pack(self, layer: int) -> None:
        """A fake's layers have no digests."""

    def export(self, digest: str, target: str, name: str) -> None:
        if digest not in self.engine.pictures:
            raise NotFound(f"image {digest}: isn't in the store")
        self.exported.append((digest, target, name))

    def offered(self, place: str) -> Mapping[str, Offer]:
        if place not in self.caches:
            raise NotFound(f"cache {place}: isn't there yet")
        blob = Descriptor("", "sha256:" + "0" * 64, 0)
        return {one.key: Offer(place, blob) for one in self.caches[place]}

    def take(self, wanted: Sequence[tuple[Shared, Offer]], sink: Sink) -> None:
        for one, _ in wanted:
            sink(Event("done", f"from cache  {one.title}"))
            self._made(one.key)

    def give(self, place: str, shared: Sequence[Shared], digest: str, name: str, sink: Sink) -> None:
        self.caches[place] = tuple(one for one in shared if one.key in self.layers)

    def base_again(self, reference: str, sink: Sink) -> int:
        sink(Event("done", reference))
        return self._made(f"{self.peek(reference).key} again")

    def discard(self, layer: int) -> None:
        self.layers = {key: number for key, number in self.layers.items() if number != layer}

    def compare(self, left: int, right: int) -> tuple[Difference, ...]:
        return ()

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
