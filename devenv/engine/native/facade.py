"""The engine: containers made, started, entered, stopped and removed, on top of the siblings, which don't know each other."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from devenv.beneath import remove_tree
from devenv.engine import LogLine, Pulse
from devenv.errors import EngineError, NotFound, StoreError
from devenv.model.container import Container, ContainerSpec, Environment, Process
from devenv.model.container import State as Observed
from devenv.model.image import Image
from devenv.model.manifest import Pairs, Port
from devenv.paths import Paths

from . import Json, observe, process, record, sweep
from .container import bundle, defaults, monitor, runtime, snapshot
from .container.snapshot import Stage
from .host import lent
from .slot import firewall, lending, namespace, pool
from .slot.address import Network
from .state import State, alive, process_start, this_process
from .store.hold import Hold
from .trouble import trouble


class Native:
    """Observer and Engine on this host. One per command; nothing is made before it is needed."""

    def __init__(self, paths: Paths, env: Mapping[str, str]) -> None:
        self.paths = paths
        self.env = env
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

    def logs(self, container: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        self._container(container)
        going = (lambda: self._container(container).status == "running") if follow else None
        return monitor.read_log(f"{self.paths.container(container)}/log", tail=tail, follow=going)

    # Environments --------------------------------------------------------------------------------

    @contextmanager
    def turn(self, environment: str, waiting: Callable[[], None]) -> Iterator[None]:
        lock = os.open(f"{self.paths.locks}/environment-{environment}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def register(self, environment: Environment) -> None:
        self.state.db.execute(
            "INSERT INTO environment (id, name, folder, variant) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (folder, variant) DO UPDATE SET name = excluded.name",
            (environment.id, environment.name, environment.folder, environment.variant),
        )

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
        spec = record.spec_value(text)
        network = self._network() if spec.network == "bridge" else None
        return Pulse(identifier, pid, start, boot, self._runtime(spec).path, network.bridge if network else "")

    def keep_receipt(self, folder: str, receipt: str, door: str) -> None:
        for path, text in ((self.paths.receipt(folder), receipt), (self.paths.door(folder), door)):
            if path:
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                _replace(path, text)

    def remember(self, environment: str, built: Sequence[tuple[str, Pairs]]) -> None:
        with self.state.transaction() as db:
            db.execute("DELETE FROM built WHERE environment = ?", (environment,))
            rows = [(environment, position, json.dumps(inputs)) for position, inputs in built]
            db.executemany("INSERT INTO built VALUES (?, ?, ?)", rows)

    def forget(self, environment: str, *, volumes: bool = False) -> None:
        if self.containers(environment):
            raise EngineError(f"forget environment {environment}: it still has containers", hint="devenv down")
        if volumes:
            remove_tree(self.paths.volume(environment, ""))
        elif observe.volumes(self.paths, environment):
            return  # its volumes are found again by this row
        with self.state.transaction() as db:
            db.execute("DELETE FROM built WHERE environment = ?", (environment,))
            db.execute("DELETE FROM environment WHERE id = ?", (environment,))

    # Containers ----------------------------------------------------------------------------------

    def check(self, spec: ContainerSpec) -> None:
        for port in spec.ports:
            self._chosen(port, f"{spec.environment}-{spec.name}")
        for source in spec.sources:
            snapshot.source_owner(source)

    @trouble("create a container")
    def create(self, spec: ContainerSpec) -> Container:
        self.begin()
        image = self._image(spec.image)
        spec = replace(
            spec,
            ports=tuple(self._chosen(port) for port in spec.ports),
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
        if found.status == "running":
            return found
        self.begin()
        spec, slot = self._spec(container)
        self._clear(container, slot, spec)
        if not self.state.slot_wired(slot) or not namespace.is_pinned(self.paths.slot(slot)):
            pool.rewire(self.paths, slot, mount_namespace=self._host_namespace())
        image = self._image(spec.image)
        place = self._place(container, spec, slot)
        engine = self._runtime(spec)
        with self.stage().staging() as staging:
            folder = bundle.write(self.paths, staging, spec, place, image.config, image.layers)
            pid = monitor.launch(engine, container, bundle=folder, folder=self.paths.container(container))
        try:
            self._publish(spec, slot)
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
        found = self._container(container)
        if found.pid is not None and monitor.wait_exit(found.pid, seconds):
            monitor.wait_monitor(self.paths.bundle(container), 2.0)
        return self._container(container)

    def execute(self, container: str, process_: Process, output: Callable[[str], None] | None = None) -> int:
        found = self._container(container)
        if found.pid is None:
            raise EngineError(f"exec in {container}: it is {found.status}", hint="devenv up")
        spec, _ = self._spec(container)
        with open(f"{self.paths.bundle(container)}/config.json", encoding="utf-8") as file:
            base: Json = json.load(file)["process"]
        who = bundle.find_identity(f"/proc/{found.pid}/root", process_.user) if process_.user else None
        described = bundle.further_process(base, process_, who)
        path = f"{self.paths.bundle(container)}/exec-{os.getpid()}-{time.monotonic_ns()}.json"
        with open(path, "w", encoding="utf-8", opener=bundle.private) as file:
            json.dump(described, file)
        try:
            argv = self._runtime(spec).execute(container, path)
            return process.lines(argv, output) if output is not None else process.foreground(argv)
        finally:
            os.unlink(path)

    @trouble("run a container")
    def run(self, spec: ContainerSpec, *, keep: bool = False) -> int:
        self.begin()
        image = self._image(spec.image)
        slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self._host_namespace())
        identifier = f"{spec.environment or 'image'}-run-{slot}"
        spec = replace(
            spec,
            ports=tuple(self._chosen(port) for port in spec.ports),
            volumes=(*spec.volumes, *defaults.volumes(image, spec)),
        )
        lock = bundle.own(self.paths.bundle(identifier), bundle.Owner(self._runtime(spec).path, image.layers))
        self.hold.release()
        code = None
        try:
            place = self._place(identifier, spec, slot)
            with self.stage().staging() as staging:
                folder = bundle.write(self.paths, staging, spec, place, image.config, image.layers)
                self._publish(spec, slot)
                code = process.foreground(self._runtime(spec).run(identifier, folder))
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
            engine = self._runtime(spec)
            engine.kill(container, defaults.stop_signal(spec.stop_signal))
            if not monitor.wait_exit(found.pid, timeout):
                engine.kill(container, signal.SIGKILL)
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
            self._runtime(spec).kill(container, signal.SIGKILL)
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
        return self._stage

    def _host_namespace(self) -> int | None:
        return None if self._stage is None else self._stage.host_namespace

    def _keep(self, identifier: str, spec: ContainerSpec, slot: int, image: Image, code: int) -> None:
        """A one-shot container that stays: stopped, with what it wrote."""
        now = time.time()
        row = (identifier, spec.environment, f"run-{slot}", image.digest, slot, record.spec_text(spec), now, now, code)
        with self.state.transaction(durable=True) as db:
            db.execute(
                "INSERT OR REPLACE INTO container (id, environment, name, image, slot, spec, created, started, exit_code)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self.state.give_slot(slot, identifier)

    def _clear(self, identifier: str, slot: int, spec: ContainerSpec) -> None:
        """What a run of the container leaves in runtime, firewall and staging is gone."""
        self._runtime(spec).delete(identifier)
        pool.unpublish(self.paths, self.state, slot)

    def _leave(self, identifier: str) -> None:
        sweep.remove_cgroups(identifier)
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

    def _runtime(self, spec: ContainerSpec) -> runtime.Runtime:
        return runtime.choose(spec.runtime, self.paths.runtime)

    def _network(self) -> Network | None:
        """This store's network, None before the first container had one."""
        return pool.network(self.paths, self.state) if self.state.setting("subnet") else None

    def _place(self, identifier: str, spec: ContainerSpec, slot: int) -> bundle.Place:
        network = self._network()
        if network is None or spec.network == "none":
            return bundle.Place(identifier, slot, "")
        found = lent.proxy_variables(self.env)
        proxies = lending.reachable(self.paths, self.state, found, mount_namespace=self._host_namespace())
        return bundle.Place(identifier, slot, network.address(slot), proxies, network.gateway)

    def _chosen(self, port: Port, own: str = "") -> Port:
        """The port with a host port: the one asked for, if nobody has it but the container `own`, or any free one."""
        if port.host is None:
            chosen = port
            while chosen is port or pool.publisher(self.state, chosen):  # published ones aren't bound: they look free
                chosen = replace(port, host=firewall.free_port(port.address, port.protocol))
            return chosen
        owner = firewall.port_owner(port.address, port.host, port.protocol) or pool.publisher(self.state, port)
        if owner and owner != own:
            raise EngineError(
                f"publish port {port.address}:{port.host}: {self._called(owner)} has it",
                hint=f'end it, or let one be chosen: `ports: ["{port.container}"]`',
            )
        return port

    def _called(self, owner: str) -> str:
        """A container of ours as people know it: by its environment and folder."""
        row = self.state.db.execute(
            "SELECT environment.name, folder FROM container JOIN environment ON environment.id = environment"
            " WHERE container.id = ?",
            (owner,),
        ).fetchone()
        return f"{row[0]} ({row[1]})" if row else owner

    def _publish(self, spec: ContainerSpec, slot: int) -> None:
        pool.publish(self.paths, self.state, slot, spec.ports, mount_namespace=self._host_namespace())

    def _tend(self) -> None:
        pool.tend(self.paths, self.state, mount_namespace=self._host_namespace())


def _replace(path: str, text: str) -> None:
    """Write a file whole or not at all; it only saves time, so it isn't synced."""
    draft = f"{path[:-1]}~{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(draft, path)


def _make_home(paths: Paths) -> None:
    """The folders that must be there. The store is for its owner alone; run-time folders can be walked through."""
    for folder in (paths.home, paths.layers, paths.drafts, paths.locks, f"{paths.home}/containers"):
        os.makedirs(folder, 0o700, exist_ok=True)
    if os.stat(paths.home).st_mode & 0o077:  # the user's own folder, made beforehand
        os.chmod(paths.home, 0o700)
    # A container's init walks to its root in its bundle as its own user; what is in there is 0600.
    for folder in (paths.run, f"{paths.run}/bundles"):
        os.makedirs(folder, 0o711, exist_ok=True)
