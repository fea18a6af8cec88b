"""What an `up`, `run` or `build` looked at, and the answer when all of that stays as it is: written for the quick door."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from devenv.build.observed import ABSENT, fingerprint
from devenv.cli import asking, locking, secrets, show
from devenv.cli.listing import Listening, asked, listening
from devenv.cli.project import observe
from devenv.cli.session import Machine, Session
from devenv.desired import MAIN, manifests
from devenv.engine import Engine, Pulse
from devenv.lives import held, identity
from devenv.model.container import Container, Environment, State
from devenv.model.image import PROJECT
from devenv.model.lock import Section
from devenv.model.manifest import Manifest
from devenv.model.plan import Desired, Report, Result
from devenv.paths import locate
from devenv.plan import plan
from devenv.quick import formats
from devenv.quick.wanted import written

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared

_TICK = 20_000_000
"""ns by which a file's ctime may lie before the change: the kernel's clock tick, and some."""


def write(
    session: Session,
    machine: Machine,
    manifest: Manifest,
    section: Section,
    prepared: Mapping[str, Prepared],
    wanted: Desired,
) -> None:
    """Keep the receipt. None is kept while a file was changed after this command began: it may have been read before; nor
    while nobody can say whether a secret is another one.

    But the lock, `section` of it: this very command may have written that. It is read once more instead.
    """
    given = secrets.read(manifest, session.env)
    if given.faults:
        return
    seen = _happened(session.env, wanted.environment.id)
    state = observe(machine, wanted)
    paths = {
        manifest.path,
        *secrets.files(manifest, session.env),
        *asking.read_of(manifest),
        *_templates(),
        *_ourselves(),
        *machine.watched(manifest.certificates),
    }
    observed = {path: expected for one in prepared.values() for path, expected in one.observed.items()}
    # What a link leads to is read through it, so it is looked at as well.
    links = filter(os.path.islink, (*paths, *observed))
    paths |= {os.path.realpath(path) for path in links}
    files = _settled({**observed, **{path: _fingerprint(path) for path in paths}}, session.begun)
    lock = (locking.path(manifest), _fingerprint(locking.path(manifest)))
    digests = {name: one.digest for name, one in state.images.items()}
    if files is None or not all(digests.values()) or locking.section(manifest) != section:
        return
    layers = {path for digest in digests.values() for path in machine.layers(digest)}
    receipt = {
        "version": formats.VERSION,
        "env": formats.relevant(session.env),
        # What runs is no longer known once somebody moved it aside.
        "database": identity(locate(session.env, os.geteuid()).state),
        # Layers never change, so they needn't have settled: what is damaged is built again.
        "files": [*files, lock, *((path, _fingerprint(path)) for path in sorted(layers))],
        **written(wanted, digests),
        "build": _built(manifest, prepared, digests[PROJECT]),
        # Whoever starts a container that asks for them needs the manifest, and the user's variables.
        "secrets": bool(manifest.secrets),
        "variables": _variables(manifest, given.fingerprints(machine.engine)),
    }
    _keep(session.env, machine.engine, receipt, wanted, state, seen)


def _variables(manifest: Manifest, fingerprints: Mapping[str, str]) -> dict[str, str]:
    """The fingerprints of the variables that secrets come from; of their values nothing else is written down."""
    return {one.from_env: fingerprints[one.name] for one in manifest.secrets if one.from_env}


def renew(env: Mapping[str, str], engine: Engine, receipt: dict[str, object], wanted: Desired) -> None:
    """Keep the same receipt with the answer as it is now."""
    seen = _happened(env, wanted.environment.id)
    state = engine.observe(wanted.environment, {image.name: image.key for image in wanted.images}, ())
    _keep(env, engine, receipt, wanted, state, seen)


def void(engine: Engine, here: Environment) -> None:
    """What `up` would do is to be found out again: containers are as the manifest doesn't say. Entering goes on."""
    pulse = engine.pulse(here.id, MAIN)
    engine.keep_receipt(here.folder, "", _door(engine, here, pulse))


def _built(manifest: Manifest, prepared: Mapping[str, Prepared], digest: str) -> str:
    """What `build` would print; "" when it has images that nobody asked for here."""
    return f"{digest}\n" if prepared.keys() == manifests(manifest).keys() else ""


def _happened(env: Mapping[str, str], environment: str) -> tuple[str, str]:
    """What says that nothing happened to containers since: each death, restart and change of health is written there."""
    path = locate(env, os.geteuid()).events(environment)
    return path, _fingerprint(path)


def _keep(
    env: Mapping[str, str],
    engine: Engine,
    receipt: dict[str, object],
    wanted: Desired,
    state: State,
    seen: tuple[str, str],
) -> None:
    here = wanted.environment
    pulse = engine.pulse(here.id, wanted.spec.name)
    answer = _answer(engine, wanted, state, pulse)
    if answer is not None and wanted.services:
        supervisor = locate(env, os.geteuid()).supervisor(here.id)
        answer |= {"events": [seen], "supervisor": supervisor if held(supervisor) else ""}
    engine.keep_receipt(here.folder, json.dumps({**receipt, "up": answer}), _door(engine, here, pulse))


def _door(engine: Engine, here: Environment, pulse: Pulse | None) -> str:
    services = {one.service for one in engine.containers(here.id) if one.index}
    return formats.door(pulse, services) if pulse else ""


def _answer(engine: Engine, wanted: Desired, state: State, pulse: Pulse | None) -> dict[str, object] | None:
    """What `up` would say now, and whose pulse it needs for that; None when it would do something."""
    decided = plan(wanted, state)
    if not decided.idle or pulse is None:
        return None
    replicas = {spec.name for service in wanted.services for spec in service.specs}
    running = [one for one in state.containers if one.name in replicas and one.status == "running"]
    pulses = [engine.pulse(wanted.environment.id, one.name) for one in running]
    if not all(pulses):
        return None
    report = Report(wanted.environment, tuple(Result(action, 0.0) for action in decided.actions))
    heard = listening(engine, state.containers)
    return {
        "containers": [formats.vital(one) for one in (pulse, *filter(None, pulses))],
        "heard": [_heard(one, heard) for one in state.containers if asked(one)],
        "events": [],
        "supervisor": "",
        "plain": _printed(report, state, {"NO_COLOR": "1"}, heard),
        "coloured": _printed(report, state, {"FORCE_COLOR": "1"}, heard),
    }


def _heard(one: Container, heard: Listening) -> tuple[int | None, list[tuple[int, str]], list[str]]:
    """(pid, ports as listening.heard() takes them, what it said)."""
    return one.pid, [(port.container, port.protocol) for port in one.ports], [heard[one.id, port] for port in one.ports]


def _printed(report: Report, state: State, env: dict[str, str], heard: Listening) -> str:
    with redirect_stdout(io.StringIO()) as text:
        show.report(report, state.containers, env, heard)
    return text.getvalue()


def _settled(observed: dict[str, str], begun: float) -> list[tuple[str, str]] | None:
    limit = int(begun * 1e9) - _TICK
    for path, expected in observed.items():
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if status.st_ctime_ns > limit or fingerprint(status) != expected:
            return None
    return sorted(observed.items())


def _fingerprint(path: str) -> str:
    try:
        return fingerprint(os.lstat(path))
    except OSError:
        return ABSENT


def _ourselves() -> Iterable[str]:
    """Our own files that decide what is wanted: another devenv may want something else."""
    import devenv

    root = os.path.dirname(devenv.__file__)
    for room in ("", "/manifest", "/render", "/build", "/model", "/lock", "/plan"):
        yield from (f"{root}{room}/{name}" for name in os.listdir(root + room) if name.endswith(".py"))


def _templates() -> Iterable[str]:
    from devenv.render.templates import templates_folder

    folder = templates_folder()
    return [folder, *(f"{folder}/{name}" for name in os.listdir(folder))]
