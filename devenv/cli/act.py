"""What up, stop and down do, without the command line's own parser: the quick door comes here too.

The parser (typer, and the pydantic it brings) takes 60 ms to import, a quarter of an `up` whose image is there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from devenv import console
from devenv.cli import caches, receipt, show, telling
from devenv.cli.locking import settled
from devenv.cli.project import (
    BuildOptions,
    builder,
    desire,
    find_container,
    home,
    known_home,
    load,
    look,
    observe,
    prepare,
    tag,
    told_late,
    untouched,
    warn,
)
from devenv.cli.session import Machine, Session, here
from devenv.desired import MAIN
from devenv.engine import Observer
from devenv.errors import DevenvError, NotFound
from devenv.model.container import Container, Environment
from devenv.model.image import Image
from devenv.model.plan import Plan, Report
from devenv.plan import halt, plan, removal, takedown
from devenv.provision import provision


def plain(verb: str, session: Session) -> int:
    """A verb without options, in the current folder."""
    located = session._replace(folder=here())
    if verb == "up":
        return bring_up(located, BuildOptions())
    return halt_all(located) if verb == "stop" else take_down(located)


def bring_up(
    session: Session,
    options: BuildOptions,
    *,
    recreate: bool = False,
    as_json: bool = False,
    verbose: bool = False,
) -> int:
    """Build what changed, replace what must be, start it, run the hooks; the exit code."""
    manifest, machine = load(session), session.machine()
    here = home(machine, manifest)
    chosen = replace(options, tags=(tag(here),))
    section = settled(session, manifest, machine, chosen)
    prepared = prepare(manifest, section, machine, chosen)
    warn(prepared, session)
    wanted = desire(manifest, prepared, section, here, machine)
    taken: telling.Taken = {}
    with machine.engine.turn(here.id, console.waiting):
        with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as sink:
            caches.take(prepared, machine, session, chosen, sink)
        decided = plan(wanted, observe(machine, wanted), rebuild=chosen.no_cache, recreate=recreate)
        decided = telling.placed(decided, manifest, wanted)
        with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
            sink = telling.timed(shown, taken)
            report = provision(decided, machine.engine, builder(prepared, machine, chosen, sink), sink, time.monotonic)
            # Even if a hook failed: the image is what the others wait for.
            caches.give(prepared, machine, chosen, observe(machine, wanted).image if chosen.cache_to else "", sink)
        telling.keep(machine.engine, report, taken)
        if report.ok and not (chosen.contexts or chosen.arguments):
            receipt.write(session, machine, manifest, section, prepared, wanted)
    late = told_late(prepared, manifest, taken, session)
    return told(report, machine, session, as_json, (*prepared.warnings, *late))


def halt_all(session: Session, name: str = "", *, as_json: bool = False) -> int:
    """Stop the containers of the environment we are in, or of that name or id; the exit code."""
    machine = session.machine()
    here = known_home(session, machine.engine, name)
    with machine.engine.turn(here.id, console.waiting):
        report = _carry_out(halt(look(machine, here)), machine, session)
    return told(report, machine, session, as_json)


def take_down(session: Session, name: str = "", *, volumes: bool = False, as_json: bool = False) -> int:
    """Remove containers and network of the environment we are in, or of that name or id; the exit code."""
    machine = session.machine()
    if not name and untouched(session, machine.engine):  # again, or before the first `up`: a script may say it anyway
        if not as_json:
            print("nothing to take down")
        return told(Report(home(machine, load(session)), ()), machine, session, as_json)
    alone = _alone(session, machine.engine, name) if name else None
    here = alone[0] if alone else known_home(session, machine.engine, name)
    with machine.engine.turn(here.id, console.waiting):
        decided = removal(*alone) if alone else takedown(look(machine, here), volumes=volumes)
        report = _carry_out(decided, machine, session)
    return told(report, machine, session, as_json)


def _alone(session: Session, engine: Observer, text: str) -> tuple[Environment, Container] | None:
    """A single container, as `run --keep` leaves it, by `[ENVIRONMENT/]CONTAINER`; None for an environment's name."""
    try:
        found = find_container(session, engine, text)
    except NotFound:
        return None
    if found.name == MAIN:
        return None
    return next(one for one in engine.environments() if one.id == found.environment), found


def _carry_out(decided: Plan, machine: Machine, session: Session) -> Report:
    """Provision a plan that builds nothing."""
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        return provision(decided, machine.engine, _nothing_to_build, sink, time.monotonic)


def told(report: Report, machine: Machine, session: Session, as_json: bool, warnings: Sequence[str] = ()) -> int:
    """Print the report; its exit code."""
    containers = machine.engine.containers(report.environment.id)
    if as_json:
        from devenv.cli import document

        gone = not os.path.isdir(report.environment.folder)
        console.json({**document.report(report, containers, gone=gone), "warnings": [*warnings]}, sys.stdout)
    else:
        show.report(report, containers, session.env)
    return report.code


def _nothing_to_build() -> Image:
    raise DevenvError("build: nothing was to be built")
