"""The engine: containers made, started, entered, stopped and removed, on top of the siblings, which don't know each other."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import MappingProxyType
from typing import Literal

from devenv import command
from devenv.beneath import remove_tree
from devenv.engine import LogLine, Pulse
from devenv.errors import EngineError, NotFound, StoreError
from devenv.lives import alive, process_start, watched
from devenv.model.container import Container, ContainerSpec, Environment, Process
from devenv.model.container import State as Observed
from devenv.model.image import Image
from devenv.model.manifest import Pairs
from devenv.model.plan import Built, Record
from devenv.paths import Paths

from . import ledger, mount, observe, process, record, sweep
from .container import bundle, defaults, monitor, runtime, snapshot
from .container.snapshot import Stage
from .host import lent
from .slot import doors, namespace, pool
from .slot.address import Network
from .state import State, this_process
from .store.hold import Hold
from .trouble import trouble


class Native:
    """Observer and Engine on this host. One per command; nothing is made before it is needed."""

    def __init__(self, paths: Paths, env: Mapping[str, str]) -> None:
        self.paths = paths
        self.env = env
        # A container's init walks to its root as another user; and no user's habits may show in an image.
        os.umask(0o022)
        with trouble("make the store"):
            _make_home(paths)
        self.state = State(paths.state)
        self.hold = Hold(f"{paths.locks}/store")
        self._stage: Stage | None = None
        self._swept = False

    def close(self) -> None:
        self.state.close()
        self.hold.close()

    def begin(self, state: State | None = None) -> None:
        """Whoever makes or uses something says so first: gc waits, and what killed commands left is removed.

        From any thread, with its own `state`.
        """
        self.hold.share()
        if not self._swept:
            self._swept = True
            sweep.sweep(self.paths, state or self.state, mount_namespace=self._host_namespace())

    # Observer ------------------------------------------------------------------------------------

    def environment(self, folder: str, variant: str = "") -> Environment | None:
        return observe.environment(self.state, folder, variant)

    def environments(self) -> tuple[Environment, ...]:
        return observe.environments(self.state)

    def observe(self, environment: Environment, image_key: str, keys: Sequence[str]) -> Observed:
        if image_key:
            self.hold.share()  # what is seen now must still be there when it is used
        return observe.observed(self.state, self.paths, self._network(), environment, image_key, keys)

    def containers(self, environment: str = "") -> tuple[Container, ...]:
        return observe.containers(self.state, self.paths, self._network(), environment)

    def images(self) -> tuple[Image, ...]:
        return observe.images(self.state)

    def recall(self, environment: str) -> tuple[tuple[str, Pairs], ...]:
        return observe.recall(self.state, environment)

    def records(self, environment: str) -> tuple[Record, ...]:
        return observe.records(self.state, environment)

    def stored(self, key: str) -> tuple[int, float] | None:
        return observe.stored(self.state, key)

    def logs(self, container: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        self._container(container)
        going = (lambda: self._container(container).status == "running") if follow else None
        return monitor.read_log(f"{self.paths.container(container)}/log", tail=tail, follow=going)

    # Environments --------------------------------------------------------------------------------

    def turn(self, environment: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        return ledger.turn(self.paths, environment, waiting)

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
        if not watched(self.paths.bundle(identifier)):
            return None  # nor is its bundle there for certain
        spec = record.spec_value(text)
        network = self._network() if spec.network == "bridge" else None
        folder = self.paths.bundle(identifier)
        base = bundle.process_of(folder)
        return Pulse(
            *(identifier, pid, start, boot, self._runtime(identifier, spec).path, network.bridge if network else ""),
            sources=bundle.sources(folder),
            targets=tuple((source.path, source.target) for source in spec.sources),
            path=bundle.search_path(base),
            workdir=base["cwd"],
            process=json.dumps(base),
        )

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        ledger.keep_receipt(self.paths, folder, receipt, door)

    def remember(self, environment: str, built: Built, files: Mapping[str, Pairs] = MappingProxyType({})) -> None:
        ledger.remember(self.state, environment, built, files)

    def record(self, environment: str, records: Sequence[Record]) -> None:
        ledger.record(self.state, environment, records)

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        if self.containers(environment):
            raise EngineError(f"forget environment {environment}: it still has containers", hint="devenv down")
        ledger.forget(self.state, self.paths, environment, volumes=volumes)

    # Containers ----------------------------------------------------------------------------------

    @trouble("check a container")
    def check(self, spec: ContainerSpec) -> None:
        self.begin()  # or the ports of killed commands would still be theirs
        for port in spec.ports:
            doors.choose(self.state, port, f"{spec.environment}-{spec.name}")
        for source in spec.sources:
            snapshot.source_owner(source)

    @trouble("create a container")
    def create(self, spec: ContainerSpec) -> Container:
        self.begin()
        image = self._image(spec.image)
        spec = spec._replace(
            ports=tuple(doors.choose(self.state, port) for port in spec.ports),
            volumes=(*spec.volumes, *defaults.volumes(image, spec)),
            stop_signal=spec.stop_signal or image.config.stop_signal,
        )
        identifier = f"{spec.environment}-{spec.name}"
        slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self._host_namespace())
        remove_tree(self.paths.container(identifier))
        with self.state.transaction(durable=True) as db:
            db.execute(
                "INSERT INTO container (id, environment, name, image, slot, spec, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (identifier, spec.environment, spec.name, image.digest, slot, record.spec_text(spec), time.time()),
            )
            self.state.give_slot(slot, identifier)
        self.hold.release()
        return self._container(identifier)

    @trouble("start a container")
    def start(self, container: str) -> Container:
        found = self._container(container)
        if observe.rooted(self.state, self.paths, found).status == "running":
            return found
        self.begin()
        spec, slot = self._spec(container)
        self._clear(container, slot, spec)
        if not self.state.slot_wired(slot) or not namespace.is_pinned(self.paths.slot(slot)):
            pool.rewire(self.paths, slot, mount_namespace=self._host_namespace())
        image = self._image(spec.image)
        place, loans = self._place(container, spec, slot)
        engine = self._runtime(container, spec)
        # What it stands on isn't removed, even if its image has other layers one day.
        os.close(bundle.own(self.paths.bundle(container), bundle.Owner(engine.path, image.layers)))
        with self.stage().staging() as staging:
            folder = bundle.write(self.paths, staging, spec, place, image.config, image.layers)
            pid = monitor.launch(engine, container, bundle=folder, folder=self.paths.container(container))
        try:
            self._open(spec, slot, loans)
            engine.start(container)
        except BaseException:
            engine.delete(container)
            raise
        phase = observe.HOOKS["on_create"]
        started = (pid, process_start(pid) or 0, self.state.boot, time.time(), phase, container)
        self.state.db.execute(
            "UPDATE container SET pid = ?, pid_start = ?, boot = ?, started = ?, exit_code = NULL,"
            " hooks_done = MIN(hooks_done, ?) WHERE id = ?",
            started,
        )
        self.hold.release()
        return self._container(container)

    def hooks_done(self, container: str, which: Literal["on_create", "on_start"]) -> None:
        phase = observe.HOOKS[which]
        self.state.db.execute("UPDATE container SET hooks_done = ? WHERE id = ?", (phase, container))

    def watch(self, container: str, seconds: float) -> Container:
        found, (spec, _) = self._container(container), self._spec(container)
        # An init that waits has nothing that could go wrong at once.
        if found.pid is not None and monitor.wait_exit(found.pid, seconds if spec.process.argv else 0):
            monitor.wait_monitor(self.paths.bundle(container), 2.0)
        return self._container(container)

    def execute(self, container: str, process_: Process, output: Callable[[str], None] | None = None) -> int:
        found = self._container(container)
        if found.pid is None:
            raise EngineError(f"exec in {container}: it is {found.status}", hint="devenv up")
        spec, _ = self._spec(container)
        base, root = bundle.process_of(self.paths.bundle(container)), f"/proc/{found.pid}/root"
        who = bundle.find_identity(root, process_.user) if process_.user else None
        described = bundle.further_process(base, process_, who)
        command.check(root, process_.argv, bundle.search_path(described), described["cwd"])
        path = f"{self.paths.bundle(container)}/exec-{os.getpid()}-{time.monotonic_ns()}.json"
        with open(path, "w", encoding="utf-8", opener=bundle.private) as file:
            json.dump(described, file)
        try:
            engine = self._runtime(container, spec)
            argv = engine.execute(container, path)
            if output is not None:
                return self._told(argv, output, path, found.pid)
            return engine.attend(argv, terminal=process_.terminal, folder=self.paths.bundle(container))
        finally:
            os.unlink(path)
            with suppress(FileNotFoundError):  # it never began
                os.unlink(f"{path}.pid")

    @trouble("run a container")
    def run(self, spec: ContainerSpec, *, keep: bool = False) -> int:
        self.begin()
        image = self._image(spec.image)
        slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self._host_namespace())
        identifier = f"{spec.environment or 'image'}-run-{slot}"
        spec = spec._replace(
            ports=tuple(doors.choose(self.state, port) for port in spec.ports),
            volumes=(*spec.volumes, *defaults.volumes(image, spec)),
        )
        lock = bundle.own(
            self.paths.bundle(identifier), bundle.Owner(self._runtime(identifier, spec).path, image.layers)
        )
        self.hold.release()
        code = None
        try:
            place, loans = self._place(identifier, spec, slot)
            with self.stage().staging() as staging:
                folder = bundle.write(self.paths, staging, spec, place, image.config, image.layers, lasting=keep)
                self._open(spec, slot, loans)
                engine = self._runtime(identifier, spec)
                code = engine.attend(
                    engine.run(identifier, folder),
                    terminal=spec.process.terminal,
                    folder=folder,
                    orphaned=partial(sweep.remove_orphan, self.paths, identifier),
                )
            return code
        finally:
            self._clear(identifier, slot, spec)
            if keep and code is not None:
                self._keep(identifier, spec, slot, image, code)
            else:
                self._leave(identifier)
                self.state.release_slot(slot)
            os.close(lock)
            self._tend()

    @trouble("stop a container")
    def stop(self, container: str, timeout: float = 10.0) -> Container:
        found = self._container(container)
        spec, slot = self._spec(container)
        if found.pid is not None:
            self._signal(container, defaults.stop_signal(spec.stop_signal))
            if not monitor.wait_exit(found.pid, timeout):
                self._signal(container, signal.SIGKILL)
                monitor.wait_exit(found.pid, 5.0)
        monitor.wait_monitor(self.paths.bundle(container), 2.0)
        self._clear(container, slot, spec)
        code = monitor.exit_code(self.paths.container(container), container)
        self.state.db.execute("UPDATE container SET pid = NULL, exit_code = ? WHERE id = ?", (code, container))
        return self._container(container)

    @trouble("remove a container")
    def remove(self, container: str) -> None:
        try:
            found = self._container(container)
        except NotFound:
            return
        spec, slot = self._spec(container)
        if found.pid is not None and spec.process.argv:
            self.stop(container)  # a command of the user's may have something to write down
        elif found.pid is not None:
            self._signal(container, signal.SIGKILL)
            monitor.wait_exit(found.pid, 5.0)
        self._clear(container, slot, spec)
        self._leave(container)
        with self.state.transaction(durable=True) as db:
            db.execute("DELETE FROM container WHERE id = ?", (container,))
            self.state.release_slot(slot)
        self._tend()

    def mend(self) -> None:
        network = self._network()
        if network and not pool.standing(network) and any(wired for _, wired, _ in self.state.known_slots()):
            pool.heal(self.paths, mount_namespace=self._host_namespace())

    # Inside --------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        """The place for mounts. The first call takes this process into a mount namespace of its own."""
        if self._stage is None:
            snapshot.make_init_layer(self.paths.layers)
            # Shared before we leave, or slots pinned later on the host would not be seen from here.
            namespace.prepare(self.paths.slots)
            self._stage = Stage(self.paths.mounts, self.paths.copies, idmap=self.env.get("DEVENV_IDMAP") != "off")
            runtime.admit()
        return self._stage

    def _host_namespace(self) -> int | None:
        return None if self._stage is None else self._stage.host_namespace

    def _keep(self, identifier: str, spec: ContainerSpec, slot: int, image: Image, code: int) -> None:
        """A one-shot container that stays: stopped, with what it wrote. Started again, it only waits to be entered."""
        now, idle = time.time(), spec._replace(process=spec.process._replace(argv=(), terminal=False))
        row = (identifier, spec.environment, spec.name, image.digest, slot, record.spec_text(idle), now, now, code)
        with self.state.transaction(durable=True) as db:
            db.execute(
                "INSERT OR REPLACE INTO container (id, environment, name, image, slot, spec, created, started, exit_code)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self.state.give_slot(slot, identifier)

    def _told(self, argv: list[str], output: Callable[[str], None], path: str, init: int) -> int:
        """A command whose output is ours to show. When we are ended, all that it started ends, not only its shell."""
        session: list[int] = []
        try:
            return process.lines(argv, output, started=lambda _: session.append(process.session_of(f"{path}.pid")))
        except BaseException:
            if any(session):
                process.end_session(session[0], init)
            raise

    def _signal(self, container: str, number: int) -> None:
        """Send a signal to the init; that it is gone already is fine. No runtime is started for that."""
        pid, start = self.state.db.execute("SELECT pid, pid_start FROM container WHERE id = ?", (container,)).fetchone()
        try:
            init = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if process_start(pid) == start:  # after the fd: now the number can't become another process's
                signal.pidfd_send_signal(init, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(init)

    def _clear(self, identifier: str, slot: int, spec: ContainerSpec) -> None:
        """What a run of the container leaves in runtime, firewall and staging is gone."""
        self._runtime(identifier, spec).delete(identifier)
        sweep.remove_cgroups(identifier)  # with what lives of a container that the runtime was made to forget
        doors.close(self.paths, self.state, slot)

    def _leave(self, identifier: str) -> None:
        remove_tree(self.paths.container(identifier))
        remove_tree(self.paths.bundle(identifier))

    def _container(self, identifier: str) -> Container:
        found = observe.container(self.state, self.paths, self._network(), identifier)
        if found is None:
            raise NotFound(f"find container {identifier}: there is none", hint="devenv ps --all")
        return found

    def _image(self, digest: str) -> Image:
        found = observe.image(self.state, digest)
        if found is None:
            raise NotFound(f"find image {digest}: not in the store", hint="devenv images shows those that are")
        if damaged := [number for number in found.layers if not observe.whole(self.state, self.paths, number)]:
            remove_tree(f"{self.paths.home}/receipts")  # or `up` would believe in it
            raise StoreError(
                f"use image {digest}: its layer {damaged[0]} isn't whole any more", hint="`devenv up` builds it again"
            )
        return found

    def _spec(self, container: str) -> tuple[ContainerSpec, int]:
        text, slot = self.state.db.execute("SELECT spec, slot FROM container WHERE id = ?", (container,)).fetchone()
        return record.spec_value(text), slot

    def _runtime(self, identifier: str, spec: ContainerSpec) -> runtime.Runtime:
        return runtime.having(identifier, spec.runtime, self.paths.runtime)

    def _network(self) -> Network | None:
        """This store's network, None before the first container had one."""
        return pool.network(self.paths, self.state) if self.state.setting("subnet") else None

    def _place(self, identifier: str, spec: ContainerSpec, slot: int) -> tuple[bundle.Place, lent.Services]:
        """Where it is made, and what of the host's loopback it is lent while it runs: no more than it will be told of."""
        network = self._network()
        if network is None or spec.network == "none":
            return bundle.Place(identifier, slot, ""), ()
        own = dict(spec.process.env)  # also the empty ones of `proxy: none`
        found = tuple(pair for pair in lent.proxy_variables(self.env) if pair[0] not in own)
        proxies, loans = lent.through(found, network.gateway)
        return bundle.Place(identifier, slot, network.address(slot), proxies, network.gateway), loans

    def _open(self, spec: ContainerSpec, slot: int, loans: lent.Services) -> None:
        there = self._host_namespace()
        doors.open_doors(self.paths, self.state, slot, spec.ports, loans, mount_namespace=there)

    def _tend(self) -> None:
        pool.tend(self.paths, self.state, mount_namespace=self._host_namespace())


def _make_home(paths: Paths) -> None:
    """The folders that must be there. The store is for its owner alone; run-time folders can be walked through."""
    for folder in (paths.home, paths.layers, paths.drafts, paths.locks, f"{paths.home}/containers"):
        os.makedirs(folder, 0o700, exist_ok=True)
    mount.spread(paths.drafts)
    if os.stat(paths.home).st_mode & 0o077:  # the user's own folder, made beforehand
        os.chmod(paths.home, 0o700)
    # A container's init walks to its root in its bundle as its own user; what is in there is 0600.
    for folder in (paths.run, f"{paths.run}/bundles"):
        os.makedirs(folder, 0o711, exist_ok=True)
