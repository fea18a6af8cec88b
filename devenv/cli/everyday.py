"""Verbs of every day: up, stop, down."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from devenv import console
from devenv.cli import document, options, receipt, show
from devenv.cli.project import BuildOptions, builder, desire, home, known_home, load, look, observe, prepare, tag
from devenv.cli.session import Machine, Session
from devenv.errors import DevenvError
from devenv.model.image import Image
from devenv.model.plan import Plan, Report
from devenv.plan import halt, plan, takedown
from devenv.provision import provision


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(up)
    app.command()(stop)
    app.command()(down)


def up(
    context: typer.Context,
    contexts: options.Contexts = None,
    arguments: options.Arguments = None,
    secrets: options.Secrets = None,
    no_cache: options.NoCache = False,
    keep_failed: options.KeepFailed = False,
    recreate: Annotated[bool, typer.Option("--recreate", help="Replace the container though nothing changed.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Bring the environment up.

    Builds what changed, replaces what must be, starts it, runs the hooks. A second run keeps everything, and says so.

    Example:  devenv up && devenv shell
    """
    session: Session = context.obj
    manifest, machine = load(session), session.machine()
    here = home(machine, manifest)
    chosen = BuildOptions(
        contexts=options.contexts(contexts),
        arguments=options.pairs(arguments, "--build-arg", session.env),
        secrets=options.secrets(secrets, session.env),
        tags=(tag(here),),
        no_cache=no_cache,
        keep_failed=keep_failed,
    )
    prepared = prepare(manifest, machine, chosen)
    wanted = desire(manifest, prepared, here, machine)
    decided = plan(wanted, observe(machine, wanted), rebuild=no_cache, recreate=recreate)
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as sink:
        report = provision(decided, machine.engine, builder(prepared, machine, chosen, sink), sink, time.monotonic)
    if report.ok and not (contexts or arguments):
        receipt.write(session, machine, manifest, prepared, wanted)
    return told(report, machine, session, as_json)


def stop(context: typer.Context, as_json: options.Json = False) -> int:
    """Stop the environment's containers.

    `devenv up` starts them again as they were.

    Example:  devenv stop
    """
    session: Session = context.obj
    machine = session.machine()
    state = look(machine, known_home(session, machine.engine))
    return told(carry_out(halt(state), machine, session), machine, session, as_json)


def down(
    context: typer.Context,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove its volumes too.")] = False,
    as_json: options.Json = False,
) -> int:
    """Remove the environment's containers and network.

    Its images stay (see gc), your source tree always does.

    Example:  devenv down --volumes
    """
    session: Session = context.obj
    machine = session.machine()
    state = look(machine, known_home(session, machine.engine))
    return told(carry_out(takedown(state, volumes=volumes), machine, session), machine, session, as_json)


def carry_out(decided: Plan, machine: Machine, session: Session) -> Report:
    """Provision a plan that builds nothing."""
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        return provision(decided, machine.engine, _nothing_to_build, sink, time.monotonic)


def told(report: Report, machine: Machine, session: Session, as_json: bool) -> int:
    """Print the report; its exit code."""
    containers = machine.engine.containers(report.environment.id)
    if as_json:
        console.json(document.report(report, containers), sys.stdout)
    else:
        show.report(report, containers, session.env)
    return report.code


def _nothing_to_build() -> Image:
    raise DevenvError("build: nothing was to be built")
