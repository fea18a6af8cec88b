"""What an `up` or `run` looked at, and the answer when all of that stays as it is: written for the quick door."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from devenv import quick
from devenv.build.observed import ABSENT, fingerprint
from devenv.cli import locking, show
from devenv.cli.session import Machine, Session
from devenv.engine import Engine, Pulse
from devenv.model import plain
from devenv.model.container import State
from devenv.model.lock import Section
from devenv.model.manifest import Manifest
from devenv.model.plan import Desired, Report, Result
from devenv.plan import plan

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared

_TICK = 20_000_000
"""ns by which a file's ctime may lie before the change: the kernel's clock tick, and some."""


def write(
    session: Session, machine: Machine, manifest: Manifest, section: Section, prepared: Prepared, wanted: Desired
) -> None:
    """Keep the receipt. None is kept while a file was changed after this command began: it may have been read before.

    But the lock, `section` of it: this very command may have written that. It is read once more instead.
    """
    state = machine.engine.observe(wanted.environment, wanted.image_key, [keyed.key for _, keyed in wanted.steps])
    paths = {
        manifest.path,
        *locking.read_of(manifest),
        *_templates(),
        *_ourselves(),
        *machine.watched(manifest.certificates),
    }
    # What a link leads to is read through it, so it is looked at as well.
    links = filter(os.path.islink, (*paths, *prepared.observed))
    paths |= {os.path.realpath(path) for path in links}
    files = _settled({**prepared.observed, **{path: _fingerprint(path) for path in paths}}, session.begun)
    lock = (locking.path(manifest), _fingerprint(locking.path(manifest)))
    if files is None or not state.image or locking.section(manifest) != section:
        return
    receipt = {
        "version": quick.VERSION,
        "env": quick.relevant(session.env),
        # Layers never change, so they needn't have settled: what is damaged is built again.
        "files": [*files, lock, *((path, _fingerprint(path)) for path in machine.layers(state.image))],
        "environment": plain(wanted.environment),
        "key": wanted.image_key,
        "spec": plain(wanted.spec._replace(image=state.image)),
        "hooks": plain(wanted.hooks),
        "built": wanted.built,
    }
    _keep(machine.engine, receipt, wanted, state)


def renew(engine: Engine, receipt: dict[str, object], wanted: Desired) -> None:
    """Keep the same receipt with the answer as it is now."""
    _keep(engine, receipt, wanted, engine.observe(wanted.environment, wanted.image_key, ()))


def _keep(engine: Engine, receipt: dict[str, object], wanted: Desired, state: State) -> None:
    pulse = engine.pulse(wanted.environment.id, wanted.spec.name)
    text = json.dumps({**receipt, "up": _answer(wanted, state, pulse)})
    engine.keep_receipt(wanted.environment.folder, text, quick.door(pulse) if pulse else "")


def _answer(wanted: Desired, state: State, pulse: Pulse | None) -> dict[str, object] | None:
    """What `up` would say now; None when it would do something."""
    decided = plan(wanted, state)
    if not decided.idle or pulse is None:
        return None
    report = Report(wanted.environment, tuple(Result(action, 0.0) for action in decided.actions))
    return {
        **pulse._asdict(),
        "plain": _printed(report, state, {"NO_COLOR": "1"}),
        "coloured": _printed(report, state, {"FORCE_COLOR": "1"}),
    }


def _printed(report: Report, state: State, env: dict[str, str]) -> str:
    with redirect_stdout(io.StringIO()) as text:
        show.report(report, state.containers, env)
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
    for room in ("", "/manifest", "/render", "/build", "/model", "/lock"):
        yield from (f"{root}{room}/{name}" for name in os.listdir(root + room) if name.endswith(".py"))


def _templates() -> Iterable[str]:
    from devenv.render.containerfile import templates_folder

    folder = templates_folder()
    return [folder, *(f"{folder}/{name}" for name in os.listdir(folder))]
