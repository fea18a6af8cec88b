"""Containers with a row: made, started, stopped, removed; and what is written down of one that ended by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from devenv.beneath import remove_tree
from devenv.engine import Happening, Kind
from devenv.errors import DevenvError, EngineError, NotFound
from devenv.lives import alive, process_start, watched
from devenv.model.container import Container, ContainerSpec, Health
from devenv.paths import Paths

from ..container import bundle, defaults, log, monitor, owning, snapshot
from ..records import journal, observe, record
from ..records.state import this_process
from ..slot import pool
from ..supervisor import policy
from . import draining, footing, joining, publishing
from .ground import Ground

_CREATED = observe.HOOKS["on_create"]


def check(ground: Ground, spec: ContainerSpec) -> None:
    publishing.check(ground.state, spec)
    for source in spec.sources:
        snapshot.source_owner(source)
    for mount in spec.mounts:
        if mount.path:
            snapshot.mount_owner(mount)


def create(ground: Ground, specs: Sequence[ContainerSpec]) -> tuple[Container, ...]:
    """Rows of all, each with a slot of its own, or of none."""
    if not specs:
        return ()
    with ground.using():
        images = {digest: ground.image(digest) for digest in {spec.image for spec in specs}}
        ready = []
        for spec in publishing.chosen(ground.state, specs):
            image = images[spec.image]
            volumes = (*spec.volumes, *defaults.volumes(image, spec))
            ready.append(spec._replace(volumes=volumes, stop_signal=spec.stop_signal or image.config.stop_signal))
        names = {f"{spec.environment}-{spec.name}": spec for spec in ready}
        there = ground.host_namespace
        slots = pool.claim_many(ground.paths, ground.state, this_process(), len(ready), mount_namespace=there)
        try:
            _write(ground, names, slots)
        except BaseException:
            for slot in slots:
                ground.state.release_slot(slot)
            raise
    ground.hold.release()
    now = time.time()
    for environment in {spec.environment for spec in ready}:
        ours = [Happening(now, spec.name, "create") for spec in ready if spec.environment == environment]
        journal.tell(ground.paths, environment, *ours)
    return tuple(ground.container(identifier) for identifier in names)


def _write(ground: Ground, specs: dict[str, ContainerSpec], slots: Sequence[int]) -> None:
    for identifier in specs:
        remove_tree(ground.paths.container(identifier))
    with ground.state.transaction(durable=True) as db:
        for (identifier, spec), slot in zip(specs.items(), slots, strict=True):
            if db.execute("SELECT 1 FROM container WHERE id = ?", (identifier,)).fetchone():
                raise EngineError(f"create {spec.name}: there is one already", hint="devenv ps --all")
            db.execute(
                "INSERT INTO container (id, environment, name, image, slot, spec, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (identifier, spec.environment, spec.name, spec.image, slot, record.spec_text(spec), time.time()),
            )
            ground.state.give_slot(slot, identifier)


def start(ground: Ground, container: str, *, again: int = 0) -> Container:
    """`again`: it is its supervisor who does so, so many times in a row."""
    found = ground.container(container)
    if observe.rooted(observe.Stored(ground.state, ground.paths), found).status == "running":
        return found
    with ground.using():
        note_end(ground, container)
        spec, slot = ground.spec(container)
        footing.clear(ground, container, slot, spec)
        footing.wire(ground, container, slot)
        with _wanted(ground, container):
            pid = _launch(ground, container, spec, slot)
        health: Health = "starting" if spec.healthcheck else ""
        ground.state.db.execute(
            "UPDATE container SET pid = ?, pid_start = ?, boot = ?, started = ?, exit_code = NULL, again = NULL, health = ?,"
            " restarts = CASE WHEN ? THEN restarts + 1 ELSE 0 END, tries = ?, hooks_done = MIN(hooks_done, ?)"
            " WHERE id = ?",
            (
                *(pid, process_start(pid) or 0, ground.state.boot, time.time(), health),
                *(again > 0, again, _CREATED, container),
            ),
        )
    ground.hold.release()
    _tell(ground, spec.environment, spec.name, "restart" if again else "start")
    return ground.container(container)


@contextmanager
def _wanted(ground: Ground, container: str) -> Iterator[None]:
    """Nobody wants it stopped any more, unless it can't be started: what is lent to it is opened meanwhile, and stays open."""
    db = ground.state.db
    (stopped,) = db.execute("SELECT stopped FROM container WHERE id = ?", (container,)).fetchone()
    db.execute("UPDATE container SET stopped = 0 WHERE id = ?", (container,))
    try:
        yield
    except BaseException:
        db.execute("UPDATE container SET stopped = ? WHERE id = ?", (stopped, container))
        raise


def _launch(ground: Ground, container: str, spec: ContainerSpec, slot: int) -> int:
    """Its root, its bundle, its process: running. The pid of its init."""
    image = ground.image(spec.image)
    place, loans = footing.place(ground, container, spec, slot)
    engine = ground.runtime(container, spec)
    # What it stands on isn't removed, even if its image has other layers one day.
    os.close(owning.own(ground.paths.bundle(container), owning.Owner(engine.path, image.layers)))
    with ground.stage().staging() as staging:
        folder = bundle.write(ground.paths, staging, spec, place, image.config, image.layers)
        own = ground.paths.container(container)
        log.begin(own, monitor.LOG_SIZE)
        pid = monitor.launch(engine, container, bundle=folder, folder=own)
        log.keep(own)
    try:
        footing.open_doors(ground, spec, slot, loans)
        _note_traffic(ground.paths, container, pid)
        engine.start(container)
    except BaseException:
        engine.delete(container)
        raise
    return pid


def _note_traffic(paths: Paths, container: str, pid: int) -> None:
    """Keep what its network devices counted before it, for whoever had the slot: a build step, another container."""
    with suppress(OSError), open(f"/proc/{pid}/net/dev", "rb") as counted:
        text = counted.read()
        with open(paths.traffic(container), "wb") as file:
            file.write(text)


def watch(ground: Ground, container: str, seconds: float) -> Container:
    found, (spec, _) = ground.container(container), ground.spec(container)
    # An init that waits has nothing that could go wrong at once.
    least, cancelling = seconds if spec.process.argv else 0, ground.cancellation.descriptor
    if found.pid is not None and monitor.wait_exit(found.pid, least, cancelling):
        monitor.wait_monitor(ground.paths.bundle(container), 2.0)
    note_end(ground, container)
    return ground.container(container)


def stop(ground: Ground, container: str) -> Container:
    found = ground.container(container)
    spec, slot = ground.spec(container)
    note_end(ground, container)
    if found.pid is not None:
        _withdraw(ground, container, spec)
        begun = time.monotonic()
        if spec.service and spec.ports:
            draining.drain(ground, found.pid, spec.stop_grace)
        _signal(ground, container, defaults.stop_signal(spec.stop_signal))
        left = max(0.0, begun + spec.stop_grace - time.monotonic())
        if not monitor.wait_exit(found.pid, left, ground.cancellation.descriptor):
            if ground.cancellation.asked:
                raise EngineError(f"stop {spec.name}: interrupted; it was told to end", hint="devenv ps")
            _signal(ground, container, signal.SIGKILL)
            monitor.wait_exit(found.pid, 5.0)
    monitor.wait_monitor(ground.paths.bundle(container), 2.0)
    footing.clear(ground, container, slot, spec)
    code = monitor.exit_code(ground.paths.container(container), container)
    ground.state.db.execute(
        "UPDATE container SET pid = NULL, stopped = MAX(stopped, 1), health = '', exit_code = COALESCE(?, exit_code),"
        " again = NULL WHERE id = ?",
        (code, container),
    )
    if found.pid is not None:
        _tell(ground, spec.environment, spec.name, "stop", "" if code is None else f"exit code {code}")
    return ground.container(container)


def remove(ground: Ground, container: str) -> None:
    try:
        found = ground.container(container)
    except NotFound:
        return
    spec, slot = ground.spec(container)
    if found.pid is not None and spec.process.argv:
        # A command of the user's may have something to write down, or to say: it is among the others until it has ended.
        found = stop(ground, container)
    # From here on nobody counts it among its environment's: its slot may be somebody else's soon.
    ground.state.db.execute("UPDATE container SET stopped = 2 WHERE id = ?", (container,))
    if found.pid is not None:
        _withdraw(ground, container, spec)
        _signal(ground, container, signal.SIGKILL)
        monitor.wait_exit(found.pid, 5.0)
    footing.clear(ground, container, slot, spec)
    footing.close_doors(ground, slot)
    footing.leave(ground, container)
    with ground.state.transaction(durable=True) as db:
        db.execute("DELETE FROM container WHERE id = ?", (container,))
        ground.state.release_slot(slot)
    _tell(ground, spec.environment, spec.name, "remove")
    footing.tend(ground)


def healthy(ground: Ground, container: str, health: Health) -> None:
    changed = ground.state.db.execute(
        "UPDATE container SET health = ? WHERE id = ? AND health != ? AND pid IS NOT NULL RETURNING environment, name",
        (health, container, health),
    ).fetchall()  # all, or it isn't written
    for environment, name in changed:
        _tell(ground, environment, name, "health", health)


def note_end(ground: Ground, container: str) -> None:
    """Write down that a container ended by itself, the first time that it is seen."""
    row = ground.state.db.execute(
        "SELECT pid, pid_start, slot, boot, spec, started, tries FROM container WHERE id = ?", (container,)
    ).fetchone()
    if ground.container(container).status != "stopped":
        return
    pid, start, slot, boot, text, started, tries = row
    footing.give_back(ground, container, slot, pid, start)
    folder, own = ground.paths.bundle(container), ground.paths.container(container)
    if watched(folder):  # it ended just now: its monitor is about to say how
        monitor.wait_monitor(folder, 2.0)
    code, when = monitor.exit_code(own, container), monitor.ended(own, container) or time.time()
    spec, tries = record.spec_value(text), 0 if started <= when - policy.LASTING else tries
    again = _due(spec, code, tries, when) if boot == ground.state.boot else None
    ended = ground.state.db.execute(
        "UPDATE container SET pid = NULL, health = '', exit_code = COALESCE(?, exit_code), tries = ?, again = ?"
        # Somebody else may have started it meanwhile.
        " WHERE id = ? AND pid = ? AND pid_start = ? RETURNING environment",
        (code, tries, again, container, pid, start),
    ).fetchall()
    for (environment,) in ended:
        if monitor.out_of_memory(folder):
            _tell(ground, environment, spec.name, "oom")
        unseen = "its monitor was killed" if boot == ground.state.boot else "the host was restarted"
        how = unseen if code is None else f"exit code {code}"
        given_up = f", after {tries} restarts in a row" if policy.given_up(spec.restart, code, tries) else ""
        _tell(ground, environment, spec.name, "die", how + given_up)


def _due(spec: ContainerSpec, code: int | None, tries: int, now: float) -> float | None:
    """When its policy has it started again; None for never."""
    pause = policy.delay(spec.restart, code, tries)
    return None if pause is None else now + pause


def bury(ground: Ground, container: str) -> None:
    """The same, at once. Without its monitor nobody takes its output or learns how it ends: such a one is ended."""
    pid, start, boot = ground.state.db.execute(
        "SELECT pid, pid_start, boot FROM container WHERE id = ?", (container,)
    ).fetchone()
    if alive(pid, start, boot, ground.state.boot) and not watched(ground.paths.bundle(container)):
        _signal(ground, container, signal.SIGKILL)
        monitor.wait_exit(pid, 5.0)
    note_end(ground, container)


def start_again(ground: Ground, container: str) -> None:
    """Do what the policy of a container that ended asks for; the caller has its environment's turn."""
    db = ground.state.db
    row = db.execute(
        "SELECT name, environment, spec, exit_code, tries FROM container"
        " WHERE id = ? AND pid IS NULL AND stopped = 0 AND started IS NOT NULL AND boot = ?",
        (container, ground.state.boot),
    ).fetchone()
    if row is None:
        return  # somebody else was quicker
    name, environment, text, code, tries = row
    spec = record.spec_value(text)
    if policy.delay(spec.restart, code, tries) is None:
        return
    try:
        start(ground, container, again=tries + 1)
    except DevenvError as error:
        again = _due(spec, code, tries + 1, time.time())
        db.execute(
            "UPDATE container SET tries = ?, again = ? WHERE id = ? AND pid IS NULL", (tries + 1, again, container)
        )
        _tell(ground, environment, name, "restart", f"failed: {str(error).splitlines()[0]}")
        raise


def _withdraw(ground: Ground, container: str, spec: ContainerSpec) -> None:
    """Nobody is led to it any more, and no policy starts it again, while it ends."""
    ground.state.db.execute("UPDATE container SET stopped = MAX(stopped, 1) WHERE id = ?", (container,))
    if spec.service:
        with suppress(EngineError):  # a firewall in trouble must not keep anybody from stopping
            joining.connect(ground, spec.environment)


def _signal(ground: Ground, container: str, number: int) -> None:
    """Send a signal to the init; that it is gone already is fine. No runtime is started for that."""
    pid, start = ground.state.db.execute("SELECT pid, pid_start FROM container WHERE id = ?", (container,)).fetchone()
    if pid is None:
        return
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


def _tell(ground: Ground, environment: str, name: str, kind: Kind, detail: str = "") -> None:
    journal.tell(ground.paths, environment, Happening(time.time(), name, kind, detail))
