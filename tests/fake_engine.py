"""An engine in memory: the same doors as the native one, so that plan → provision is tested without root."""
# ruff: noqa: ARG001, ARG002 - a protocol's arguments are there whether a fake needs them or not

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from types import MappingProxyType
from typing import BinaryIO, Literal

from devenv.cli.session import Machine
from devenv.engine import Engine, Happening, LogLine, Output, Pulse, Source
from devenv.engine.workshop import Bind, Workshop
from devenv.errors import EngineError, NotFound, StepFailed, StoreError
from devenv.lock.parcels import digest
from devenv.model.build import Run, Shared
from devenv.model.container import (
    Container,
    ContainerSpec,
    Environment,
    Health,
    Heard,
    ObservedImage,
    Probe,
    Process,
    State,
    Supervisor,
)
from devenv.model.events import Event, Sink
from devenv.model.host import Check, Garbage
from devenv.model.image import PROJECT, Descriptor, Difference, Image, ImageConfig, Offer, Rootfs
from devenv.model.lock import EPOCH, BaseLock, Deb, Parcel, Remote, Section
from devenv.model.manifest import Healthcheck, Lending, Pairs, Port
from devenv.model.plan import Record
from devenv.model.seen import Copied, Stream, Task, Touched, Usage

Answer = Callable[[str, Process], tuple[int, tuple[str, ...]]]
"""(container id, process) → (exit code, lines it prints)."""


def succeed(container: str, process: Process) -> tuple[int, tuple[str, ...]]:
    """The answer of a command that prints nothing and ends well."""
    return 0, ()


class FakeEngine:
    """Containers as values in a dict. `did` is everything that was asked of it that changes something, in order.

    A test says what becomes of containers, by name: `ends` (started ones that end at once, with this code), `probes` (what
    their next health checks say; healthy where nothing is said), `refuses` (why such a one can't be made).
    """

    def __init__(self, answer: Answer = succeed) -> None:
        self.answer = answer
        self.did: list[tuple[str, ...]] = []
        self.known: dict[str, Environment] = {}
        self.made: dict[str, Container] = {}
        self.specs: dict[str, ContainerSpec] = {}
        self.lines: dict[str, list[str]] = {}
        self.pictures: dict[str, Image] = {}
        self.built: dict[tuple[str, str], tuple[tuple[str, Pairs], ...]] = {}
        self.files: dict[tuple[str, str], dict[str, Pairs]] = {}
        self.told: dict[tuple[str, str], Record] = {}
        self.keys: set[str] = set()
        self.receipts: dict[str, str] = {}
        self.ends: dict[str, int] = {}
        self.probes: dict[str, list[Probe]] = {}
        self.refuses: dict[str, str] = {}
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.happened: list[Happening] = []
        self.hears: dict[tuple[str, int], Heard] = {}
        self.touches: dict[str, tuple[Touched, ...]] = {}
        self.supervisors: dict[str, Supervisor] = {}
        self.copies = Copied()
        self.looks = 0
        self.mended = 0
        self.numbers = itertools.count(1)
        self.committed = itertools.count(1)  # images, of which several may be made at the same time

    # Observer --------------------------------------------------------------------------------------

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        return next((one for one in self.known.values() if (one.folder, one.variant) == (folder, variant)), None)

    def environments(self) -> tuple[Environment, ...]:
        return tuple(sorted(self.known.values(), key=lambda one: (one.name, one.folder)))

    def observe(self, environment: Environment, images: Mapping[str, str], keys: Sequence[str]) -> State:
        digests = {one.key: one.digest for one in self.pictures.values()}
        return State(
            environment=environment,
            containers=self.containers(environment.id),
            cached=frozenset(key for key in keys if key in self.keys),
            images={
                name: ObservedImage(
                    digests.get(key, ""),
                    self.recall(environment.id, name),
                    self.files.get((environment.id, name), {}),
                )
                for name, key in images.items()
            },
        )

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        wanted = [one for one in self.made.values() if environment in ("", one.environment)]
        return tuple(sorted(wanted, key=lambda one: (one.environment, one.name)))

    def images(self) -> tuple[Image, ...]:
        return tuple(sorted(self.pictures.values(), key=lambda one: -one.created))

    def logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, since: float = 0.0
    ) -> Iterator[LogLine]:
        lines = self.lines[self._container(container).id]
        start = 0 if tail is None else max(0, len(lines) - tail)
        told = (LogLine(float(start + at), "stdout", text) for at, text in enumerate(lines[start:]))
        return (line for line in told if line.time >= since)

    def follow(
        self, environment: str, wanted: Callable[[Container], bool], *, tail: int | None = None, since: float = 0.0
    ) -> Iterator[tuple[str, LogLine]]:
        for one in self.containers(environment):
            if wanted(one):
                yield from ((one.name, line) for line in self.logs(one.id, tail=tail, since=since))

    def attach(self, container: str) -> Iterator[tuple[Stream, bytes]]:
        return (("stdout", f"{line}\n".encode()) for line in self.lines[self._container(container).id])

    def usage(self, containers: Sequence[Container]) -> Mapping[str, Usage]:
        self.looks += 1
        return {one.id: Usage(float(self.looks), self.looks * 0.5, *[self.looks] * 8) for one in containers if one.pid}

    def tasks(self, container: str) -> tuple[Task, ...]:
        known = self._container(container)
        return (Task(1, known.pid, "root", 61.0, 1000, "init"),) if known.pid else ()

    def heard(self, container: Container) -> tuple[Heard, ...]:
        return tuple(self.hears.get((container.name, port.container), "all") for port in container.ports)

    def spec(self, container: str) -> ContainerSpec:
        return self.specs[self._container(container).id]

    def touched(self, container: str) -> tuple[Touched, ...]:
        return self.touches.get(self._container(container).name, ())

    def supervisor(self, environment: str) -> Supervisor | None:
        return self.supervisors.get(environment)

    # Engine ----------------------------------------------------------------------------------------

    def turn(self, environment: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def register(self, environment: Environment) -> None:
        if self.known.get(environment.id) != environment:
            self.did.append(("register", environment.id))
            self.known[environment.id] = environment

    def events(self, environment: str, *, follow: bool = False, since: float = 0.0) -> Iterator[Happening]:
        return iter([one for one in self.happened if one.time >= since])

    def fingerprint(self, secret: bytes) -> str:
        return f"print of {sha256(secret).hexdigest()}"

    def check(self, spec: ContainerSpec) -> None:
        if spec.name in self.refuses:
            raise EngineError(self.refuses[spec.name])

    def create(self, specs: Sequence[ContainerSpec]) -> tuple[Container, ...]:
        for spec in specs:
            if spec.image not in self.pictures:
                raise NotFound(f"create {spec.name}: no image {spec.image!r}")
            if any((one.environment, one.name) == (spec.environment, spec.name) for one in self.made.values()):
                raise EngineError(f"create {spec.name}: the name is taken")
        made = tuple(self._made(f"c{next(self.numbers)}", spec) for spec in specs)
        self.did += [("create", spec.name) for spec in specs]
        return made

    def _made(self, identifier: str, spec: ContainerSpec) -> Container:
        container = Container(
            identifier,
            spec.environment,
            spec.name,
            spec.image,
            "created",
            ports=tuple(self._published(spec, at, port) for at, port in enumerate(spec.ports)),
            inputs=spec.inputs,
            service=spec.service,
            index=spec.index,
        )
        self.made[identifier], self.specs[identifier], self.lines[identifier] = container, spec, []
        return container

    def _published(self, spec: ContainerSpec, at: int, port: Port) -> Port:
        return port._replace(host=port.host or 40000 + at)

    def start(self, container: str) -> Container:
        known, spec = self._container(container), self.specs[container]
        self.did.append(("start", container))
        if known.name in self.ends:
            return self._change(container, status="stopped", started=1.0, exit_code=self.ends[known.name])
        health: Health = "starting" if spec.healthcheck else ""
        return self._change(container, status="running", started=1.0, pid=4711, exit_code=None, health=health)

    def connect(self, environment: str) -> None:
        self.did.append(("connect", environment))

    def probe(self, container: str, check: Healthcheck) -> Probe:
        known = self._container(container)
        if known.status != "running":
            return Probe(125)
        said = self.probes.get(known.name)
        if not said:
            return Probe(0)
        return said.pop(0) if len(said) > 1 else said[0]

    def healthy(self, container: str, health: Health) -> None:
        self.did.append((health, container))
        self._change(container, health=health)

    def supply(self, environment: str, secrets: Mapping[str, bytes]) -> None:
        self.secrets.setdefault(environment, {}).update(secrets)

    def cancel(self) -> None:
        self.did.append(("cancel",))

    def resume(self) -> None:
        self.did.append(("resume",))

    def supervise(self, environment: str) -> None:
        self.did.append(("supervise", environment))
        living = {one.id for one in self.containers(environment) if one.status == "running"}
        specs = [self.spec(one) for one in living]
        if any(one.healthcheck or one.restart.policy != "no" for one in specs):
            self.supervisors[environment] = Supervisor(4710, True, 1.0)
        else:
            self.supervisors.pop(environment, None)

    def fetch(
        self, container: str, path: str, target: str | Output, told: Callable[[Copied], None] = lambda _: None
    ) -> Copied:
        self.did.append(("fetch", self._container(container).name, path, target if isinstance(target, str) else "-"))
        return self.copies

    def send(
        self,
        container: str,
        path: str,
        source: str | Source,
        told: Callable[[Copied], None] = lambda _: None,
        *,
        owners: bool = False,
    ) -> Copied:
        self.did.append(("send", self._container(container).name, path, source if isinstance(source, str) else "-"))
        return self.copies

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
        (made,) = self.create([spec])
        code, lines = self.answer(made.id, spec.process)
        self.lines[made.id] += lines
        self._change(made.id, status="stopped", started=1.0, exit_code=code)
        if not keep:
            self.remove(made.id)
        return code

    def stop(self, container: str) -> Container:
        known = self._container(container)
        if known.status != "running":
            return known
        self.did.append(("stop", container))
        return self._change(container, status="stopped", pid=None, exit_code=143, health="")

    def remove(self, container: str) -> None:
        if container in self.made:
            self.did.append(("remove", container))
            del self.made[container], self.specs[container], self.lines[container]

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        if self.containers(environment):
            raise EngineError(f"forget {environment}: it has containers")
        self.did.append(("forget", environment))
        self.known.pop(environment, None)
        self.built = {key: one for key, one in self.built.items() if key[0] != environment}
        self.files = {key: one for key, one in self.files.items() if key[0] != environment}
        self.told = {key: one for key, one in self.told.items() if key[0] != environment}

    def pulse(self, environment: str, name: str) -> Pulse | None:
        return None

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        self.receipts[folder] = receipt

    def recall(self, environment: str, image: str = PROJECT) -> tuple[tuple[str, Pairs], ...]:
        return self.built.get((environment, image), ())

    def remember(
        self,
        environment: str,
        built: Sequence[tuple[str, Pairs]],
        files: Mapping[str, Pairs] = MappingProxyType({}),
        image: str = PROJECT,
    ) -> None:
        self.built[environment, image], self.files[environment, image] = tuple(built), dict(files)

    def retain(self, environment: str, images: Mapping[str, Sequence[str]]) -> None:
        self.built = {key: one for key, one in self.built.items() if key[0] != environment or key[1] in images}

    def records(self, environment: str) -> tuple[Record, ...]:
        return tuple(one for (home, _), one in sorted(self.told.items()) if home == environment)

    def record(self, environment: str, records: Sequence[Record]) -> None:
        self.told.update({(environment, one.object): one for one in records})

    def stored(self, key: str) -> tuple[int, float] | None:
        return (1_200_000, 0.0) if key in self.keys else None

    # For tests -------------------------------------------------------------------------------------

    def crash(self, container: str, code: int | None) -> None:
        """As if its process had ended by itself, or, with None, the host had restarted."""
        self._change(container, status="stopped", pid=None, exit_code=code, health="")

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
        self.given: dict[str, tuple[str, ...]] = {}
        self.exported: list[tuple[str, str, str]] = []
        self.lending = Lending()

    def open(self) -> None:
        """Nothing is mounted here."""

    def lend(self, lending: Lending) -> None:
        self.lending = lending

    def use(self, section: Section) -> None:
        self.section = section

    def apart(self) -> FakeWorkshop:
        return self

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

    def edit(self, key: str, layers: Sequence[int], clock: int = EPOCH) -> AbstractContextManager[str]:
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
        clock: int = EPOCH,
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

    @property
    def unread(self) -> Sequence[str]:
        return ()

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

    def give(self, place: str, shared: Sequence[Shared], images: Mapping[str, str], sink: Sink) -> None:
        self.caches[place] = tuple(one for one in shared if one.key in self.layers)
        self.given[place] = tuple(images)

    def base_again(self, reference: str, sink: Sink) -> int:
        sink(Event("done", reference))
        return self._made(f"{self.peek(reference).key} again")

    def discard(self, layer: int) -> None:
        self.layers = {key: number for key, number in self.layers.items() if number != layer}

    def compare(self, left: int, right: int) -> tuple[Difference, ...]:
        return ()

    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str], clock: int = EPOCH) -> Image:
        known = next((one for one in self.engine.pictures.values() if one.key == key), None)
        number = next(self.engine.committed) if known is None else int(known.digest[7:], 16)
        digest, names = f"sha256:{number:064x}", {*(known.references if known else ()), *references}
        image = Image(digest, tuple(sorted(names)), rootfs.config, rootfs.layers, float(number - 1), 1, key)
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
