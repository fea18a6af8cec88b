"""What up, stop, restart and down do, without the command line's own parser: the quick door comes here too.

The parser (typer, and the pydantic it brings) takes 60 ms to import, a quarter of an `up` whose image is there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from devenv import console
from devenv.cli import caches, kept, receipt, secrets, show, telling
from devenv.cli.asked import Asked, chosen_services, decide
from devenv.cli.carrying import carry_out
from devenv.cli.chosen import Chosen, choose
from devenv.cli.foreseen import certain, foresee
from devenv.cli.known import find_container, known_home, untouched
from devenv.cli.listing import listening, rank
from devenv.cli.locking import locked, standing
from devenv.cli.project import (
    BuildOptions,
    builder,
    desire,
    home,
    load,
    look,
    observe,
    prepare_all,
    say,
    tags,
    told_late,
    warn,
)
from devenv.cli.session import Machine, Session, here
from devenv.desired import manifests, remembered_hooks
from devenv.engine import Observer
from devenv.errors import Fault, InputError, NotFound
from devenv.model.container import KEPT, Container, Environment
from devenv.model.image import PROJECT
from devenv.model.manifest import Manifest
from devenv.model.plan import Plan, Report
from devenv.plan import halt, removal, restart, takedown
from devenv.provision import refusal


def plain(verb: str, session: Session) -> int:
    """A verb without options, in the current folder."""
    located = session._replace(folder=here())
    if verb == "up":
        return bring_up(located, BuildOptions())
    return halt_all(located) if verb == "stop" else take_down(located)


def bring_up(
    session: Session,
    options: BuildOptions,
    asked: Asked | None = None,
    *,
    as_json: bool = False,
    verbose: bool = False,
) -> int:
    """Build what changed, replace what must be, start it, wait for it, run the hooks; the exit code."""
    asked = asked or Asked()
    machine = session.machine()
    if side := kept.side(session, machine):
        kept.refuse(session.variant, plain=options == BuildOptions() and asked.plain)
        return _again(side, session, machine, asked, as_json=as_json, verbose=verbose)
    manifest = load(session, asked.scale)
    here = home(machine, manifest)
    services = chosen_services(session, manifest, asked)
    lock = standing(manifest, machine, options)
    if lock.due and not options.locked:
        refused = _in_vain(session, manifest, machine, options, asked)
        if refused is not None:
            return told(refused, machine, session, as_json)
    section, lockings = locked(session, manifest, machine, options, lock)
    prepared = prepare_all(manifest._replace(services=services), section, machine, options)
    called = tags(here, prepared)
    warnings = warn(prepared.values(), session)
    given = secrets.read(manifest, session.env)
    wanted = desire(manifest, prepared, section, here, machine, services, given.fingerprints(machine.engine))
    taken: telling.Taken = {}
    with machine.engine.turn(here.id, console.waiting):
        with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as sink:
            for one in prepared.values():
                caches.take(one, machine, session, options, sink)
        decided = telling.placed(decide(wanted, observe(machine, wanted), options, asked), manifest, wanted)
        secrets.supply(machine.engine, wanted, decided, lambda: given)
        warnings = (*warnings, *say(secrets.unread(given, wanted, decided), session))
        with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
            sink = telling.timed(shown, taken)
            due = {one.image: prepared[one.image] for one in decided.actions if one.verb == "build"}
            build = builder(due, machine, options, sink, called)
            report = carry_out(decided, machine.engine, sink, build, taken)
            # Even if a hook failed: the images are what the others wait for.
            made = observe(machine, wanted).images if options.cache_to else {}
            caches.give(prepared, called, machine, options, {name: one.digest for name, one in made.items()}, sink)
        machine.engine.retain(here.id, tags(here, manifests(manifest)))
        if manifest.variant:
            pass  # receipts are of what is written there
        elif not asked.plain:
            receipt.void(machine.engine, here)
        elif report.ok and not (options.contexts or options.arguments):
            receipt.write(session, machine, manifest, section, prepared, wanted)
    late = told_late(prepared, manifest, taken, session)
    report = report._replace(results=(*lockings, *report.results))  # the user waited for that, too
    return told(report, machine, session, as_json, (*warnings, *late))


def _in_vain(
    session: Session, manifest: Manifest, machine: Machine, options: BuildOptions, asked: Asked
) -> Report | None:
    """What `up` would fail with after minutes of resolving and building, if anything. Raises InputError for secrets."""
    seen = foresee(session, manifest, machine, options, asked)
    sure = certain(seen.decided, seen.state)
    seen.given.of(secrets.asked(seen.wanted, sure))
    return refusal(sure, machine.engine)


def _again(side: kept.Side, session: Session, machine: Machine, asked: Asked, *, as_json: bool, verbose: bool) -> int:
    """Start what `try --keep` left, as it was tried; the exit code."""
    kept.digests(side, machine)
    with machine.engine.turn(side.wanted.environment.id, console.waiting):
        decided = decide(side.wanted, observe(machine, side.wanted), BuildOptions(), asked)
        secrets.supply(machine.engine, side.wanted, decided, lambda: kept.given(side, session))
        report = _carried_out(decided, machine, session, verbose=verbose)
    return told(report, machine, session, as_json)


def halt_all(session: Session, names: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Stop the containers of the environment we are in, those of these names, or of another environment; the exit code."""
    machine = session.machine()
    chosen = choose(session, machine.engine, names) if names else Chosen(known_home(session, machine.engine), ())
    with machine.engine.turn(chosen.home.id, console.waiting):
        state = look(machine, chosen.home)
        some = state._replace(containers=tuple(filter(chosen.wants, state.containers)))
        report = _carried_out(halt(some), machine, session)
    return told(report, machine, session, as_json)


def start_over(session: Session, names: Sequence[str] = (), *, as_json: bool = False, verbose: bool = False) -> int:
    """Stop and start what runs of the environment we are in, or what has these names, as it is; the exit code."""
    machine = session.machine()
    engine = machine.engine
    chosen = choose(session, engine, names)
    with engine.turn(chosen.home.id, console.waiting):
        state = look(machine, chosen.home)
        due = [one for one in state.containers if one.service and chosen.wants(one)]
        if not chosen.names:
            due = [one for one in due if one.status in ("running", "restarting")]
        if not due and chosen.names:
            listed = ", ".join(sorted(chosen.names))
            raise NotFound(
                f"{listed}: left by run --keep, it has nothing to start again",
                hint="`devenv run` runs its command anew",
            )
        if not due:
            raise NotFound(f"{chosen.home.name}: nothing of it runs", hint="`devenv up` starts it")
        specs = {one.id: engine.spec(one.id) for one in due}
        hooks = remembered_hooks(engine.recall(chosen.home.id, PROJECT))
        report = _carried_out(restart(state, specs.keys(), specs, hooks), machine, session, verbose=verbose)
    return told(report, machine, session, as_json)


def take_down(session: Session, name: str = "", *, volumes: bool = False, as_json: bool = False) -> int:
    """Remove containers and network of the environment we are in, or of that name or id; the exit code."""
    machine = session.machine()
    if not name and untouched(session, machine.engine):  # again, or before the first `up`: a script may say it anyway
        report = Report(home(machine, load(session)), ())
        if not as_json:
            print("nothing to take down")
    else:
        alone = _alone(session, machine.engine, name) if name else None
        here = alone[0] if alone else known_home(session, machine.engine, name)
        with machine.engine.turn(here.id, console.waiting):
            decided = removal(*alone) if alone else takedown(look(machine, here), volumes=volumes)
            report = _carried_out(decided, machine, session)
    code = told(report, machine, session, as_json)
    _say_kept(machine.engine, report.environment)
    return code


def _say_kept(engine: Observer, gone: Environment) -> None:
    """What `try --keep` left of the same project is environments of their own."""
    known = engine.environments()
    found = [
        one for one in known if (one.folder, one.variant[: len(KEPT)]) == (gone.folder, KEPT) and one.id != gone.id
    ]
    names = [one.name for one in known]
    left = [console.clean(one.name if names.count(one.name) == 1 else one.id) for one in found]
    if left:
        be, which = ("is", left[0]) if len(left) == 1 else ("are", "NAME")
        told = f"{', '.join(left)} {be} still there, left by try --keep: devenv down --volumes {which}"
        print(told, file=sys.stderr)


def _alone(session: Session, engine: Observer, text: str) -> tuple[Environment, Container] | None:
    """A single container, as `run --keep` leaves it, by `[ENVIRONMENT/]CONTAINER`; None for an environment's name."""
    try:
        found = find_container(session, engine, text)
    except NotFound:
        return None
    if found.index and not any(text in (one.name, one.id) for one in engine.environments()):
        fix = f"`devenv scale {found.service}=0` has none of them, `devenv down` none of all"
        raise InputError(Fault("down", 0, 0, f"{text}: belongs to the service {found.service}", fix))
    if found.service:
        return None
    return next(one for one in engine.environments() if one.id == found.environment), found


def _carried_out(decided: Plan, machine: Machine, session: Session, *, verbose: bool = False) -> Report:
    """A plan that builds nothing."""
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as sink:
        return carry_out(decided, machine.engine, sink)


def told(report: Report, machine: Machine, session: Session, as_json: bool, warnings: Sequence[str] = ()) -> int:
    """Print the report; its exit code."""
    containers = sorted(machine.engine.containers(report.environment.id), key=rank)
    if as_json:
        from devenv.cli import document

        gone = not os.path.isdir(report.environment.folder)
        watching = machine.engine.supervisor(report.environment.id)
        told = document.report(report, containers, gone=gone, watching=watching)
        console.json({**told, "warnings": [*warnings]}, sys.stdout)
    else:
        show.report(report, containers, session.env, listening(machine.engine, containers, report))
    return report.code
