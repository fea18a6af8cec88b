"""Processes in containers: in one that runs, in one made for it; health checks."""

from __future__ import annotations

import json
import os
import time
from _thread import get_native_id
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from devenv import command
from devenv.errors import EngineError
from devenv.lives import alive, watched
from devenv.model.container import ContainerSpec, Probe, Process
from devenv.model.image import Image
from devenv.model.manifest import Healthcheck

from .. import Json, process
from ..container import bundle, defaults, owning
from ..records import record
from ..records.state import this_process
from ..slot import pool
from . import footing, publishing, sessions, sweep
from .ground import Ground

_OUTPUT = 4096
"""Bytes of a health check's output that are kept."""

_MARK = "DEVENV_CHECK"

LATE, GONE = 124, 125
"""Codes of a check that took too long (as timeout(1) says it), and of one whose container doesn't run."""


def execute(ground: Ground, container: str, wanted: Process, output: Callable[[str], None] | None) -> int:
    found = ground.container(container)
    if found.pid is None:
        raise EngineError(f"exec in {container}: it is {found.status}", hint="devenv up")
    spec, _ = ground.spec(container)
    base, root = bundle.process_of(ground.paths.bundle(container)), f"/proc/{found.pid}/root"
    who = bundle.find_identity(root, wanted.user) if wanted.user else None
    described = bundle.further_process(base, wanted, who)
    command.check(root, wanted.argv, bundle.search_path(described), described["cwd"], where=spec.name)
    path = _described(ground, container, described)
    try:
        engine = ground.runtime(container, spec)
        argv = engine.execute(container, path)
        if output is not None:
            return _told(argv, output, path, found.pid)
        return engine.attend(argv, terminal=wanted.terminal, folder=ground.paths.bundle(container))
    finally:
        _undescribe(path)


def probe(ground: Ground, container: str, check: Healthcheck) -> Probe:
    begun = time.monotonic()
    row = ground.state.db.execute(
        "SELECT pid, pid_start, boot, spec FROM container WHERE id = ?", (container,)
    ).fetchone()
    folder = ground.paths.bundle(container)
    if row is None or not alive(row[0], row[1], row[2], ground.state.boot) or not watched(folder):
        return Probe(GONE)
    pid, start, boot, text = row
    mark = f"{_MARK}={os.urandom(8).hex()}"
    base = bundle.process_of(folder)
    described = {**base, "args": ["/bin/sh", "-c", check.test], "terminal": False, "env": [*base["env"], mark]}
    path = _described(ground, container, described)
    traces = _Traces(container, pid, path, mark, frozenset(sweep.members(container)))
    try:
        argv = ground.runtime(container, record.spec_value(text)).execute(container, path)
        code, said = process.attempt(
            argv, check.timeout, _OUTPUT, partial(_end, traces), ground.cancellation.descriptor
        )
        if code and not os.path.exists(f"{path}.pid") and not alive(pid, start, boot, ground.state.boot):
            code = GONE  # it ended before the check began
    finally:
        _undescribe(path)
    return Probe(LATE if code is None else code, said.decode(errors="replace"), time.monotonic() - begun)


def run(ground: Ground, spec: ContainerSpec, *, keep: bool = False) -> int:
    ground.begin()
    image = ground.image(spec.image)
    slot = pool.claim(ground.paths, ground.state, this_process(), mount_namespace=ground.host_namespace)
    identifier = f"{spec.environment or 'image'}-run-{slot}"
    (spec,) = publishing.chosen(ground.state, [spec._replace(service="", index=0)])
    spec = spec._replace(volumes=(*spec.volumes, *defaults.volumes(image, spec)))
    engine = ground.runtime(identifier, spec)
    lock = owning.own(ground.paths.bundle(identifier), owning.Owner(engine.path, image.layers))
    ground.hold.release()
    code = None
    try:
        place, loans = footing.place(ground, identifier, spec, slot)
        with ground.stage().staging() as staging:
            folder = bundle.write(ground.paths, staging, spec, place, image.config, image.layers, lasting=keep)
            footing.open_doors(ground, spec, slot, loans)
            engine = ground.runtime(identifier, spec)
            code = engine.attend(
                engine.run(identifier, folder),
                terminal=spec.process.terminal,
                folder=folder,
                orphaned=partial(sweep.remove_orphan, ground.paths, identifier),
            )
        return code
    finally:
        footing.clear(ground, identifier, slot, spec)
        if keep and code is not None:
            _keep(ground, identifier, spec, slot, image, code)
        else:
            footing.leave(ground, identifier)
            ground.state.release_slot(slot)
        os.close(lock)
        footing.tend(ground)


def _keep(ground: Ground, identifier: str, spec: ContainerSpec, slot: int, image: Image, code: int) -> None:
    """A one-shot container that stays: stopped, with what it wrote. Started again, it only waits to be entered."""
    now, idle = time.time(), spec._replace(process=spec.process._replace(argv=(), terminal=False))
    row = (identifier, spec.environment, spec.name, image.digest, slot, record.spec_text(idle), now, now, code)
    with ground.state.transaction(durable=True) as db:
        db.execute(
            "INSERT OR REPLACE INTO container (id, environment, name, image, slot, spec, created, started, exit_code)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        ground.state.give_slot(slot, identifier)


def _described(ground: Ground, container: str, described: Json) -> str:
    """The path of a file with a process for the runtime. Its name says whose it is: sweep.notes."""
    name = f"exec-{os.getpid()}-{get_native_id()}-{time.monotonic_ns()}.json"
    path = f"{ground.paths.bundle(container)}/{name}"
    with open(path, "w", encoding="utf-8", opener=owning.private) as file:
        file.write(json.dumps(described))
    return path


def _undescribe(path: str) -> None:
    for name in (path, f"{path}.pid"):
        with suppress(FileNotFoundError):  # it never began; or the container was removed meanwhile
            os.unlink(name)


class _Traces(NamedTuple):
    """What a check leaves in its container is known by: its description's path, its mark, the processes there were before."""

    container: str
    init: int
    path: str
    mark: str
    before: frozenset[str]


def _end(traces: _Traces) -> None:
    """Kill what a check has started. Its shell may be gone, and what it left may be a session of its own."""
    begun = sessions.marked(set(sweep.members(traces.container)) - traces.before, traces.mark)
    with suppress(OSError, ValueError), open(f"{traces.path}.pid", encoding="ascii") as file:
        begun.add(os.getsid(int(file.read())))
    for session in begun:
        sessions.end(session, traces.init, partial(sweep.members, traces.container))


def _told(argv: list[str], output: Callable[[str], None], path: str, init: int) -> int:
    """A command whose output is ours to show. When we are ended, all that it started ends, not only its shell."""
    session: list[int] = []
    try:
        return process.lines(argv, output, started=lambda _: session.append(sessions.of(f"{path}.pid")))
    except BaseException:
        if any(session):
            sessions.end(session[0], init)
        raise
