"""The verb run: one command in a container of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, kept, options, receipt, secrets, typed
from devenv.cli.known import find_image
from devenv.cli.locking import settled
from devenv.cli.project import (
    BuildOptions,
    builder,
    desire,
    home,
    load,
    observe,
    prepare_all,
    tags,
    told_late,
    warn,
)
from devenv.cli.session import Machine, Session
from devenv.cli.telling import Taken, timed
from devenv.desired import bare, one_shot, without_sources
from devenv.errors import Fault, InputError
from devenv.model.container import ContainerSpec
from devenv.model.image import PROJECT, ImageConfig


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(context_settings=options.TAKES_ALL)(run)


def run(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND…]",
            help="The command and its arguments. Default, of an --image: its own.",
            autocompletion=complete.files,
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option("--image", metavar="REF", help="Another image of the store.", autocompletion=complete.images),
    ] = "",
    entrypoint: Annotated[
        str | None,
        typer.Option("--entrypoint", metavar="PROGRAM", help="Run this with COMMAND; '' for COMMAND alone."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--rm", help="Keep the container afterwards.")] = False,
    no_source: Annotated[bool, typer.Option("--no-source", help="Without the source tree.")] = False,
    publish: Annotated[list[str] | None, typer.Option("--publish", "-p", metavar="PORT", help="As in ports:.")] = None,
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
    no_terminal: options.NoTerminal = False,
    variant: options.Variant = "",
) -> int:
    """Run one command in a container of its own.

    It is made from the project's image, built first if need be, and removed afterwards.

    Example:  devenv run -- pytest -q
    """
    session = options.within(context, variant)
    process = typed.process(session, command or (), user, workdir, environment, no_terminal)
    name = f"run-{os.urandom(3).hex()}"
    ports = options.ports(publish)
    if image and keep:
        raise InputError(Fault("--keep", 0, 0, "can't be with --image", "only a project's `down` could remove it"))
    if not image:
        process = process._replace(argv=_words(ImageConfig(), process.argv, entrypoint))
    machine = session.machine()
    if image:
        found = find_image(machine.engine, image)
        process = process._replace(argv=_words(found.config, process.argv, entrypoint))
        spec = bare(name, found.digest, process, machine.certificates("host"))
    else:
        spec = _project_spec(session, machine, published=bool(ports))
        spec = without_sources(spec) if no_source else spec
        within = typed.folder(session, [(source.path, source.target) for source in spec.sources])
        spec = one_shot(spec, process._replace(workdir=process.workdir or within), name)
    code = machine.engine.run(spec._replace(ports=ports), keep=keep)
    if keep:
        print(f"kept {name}: `devenv shell {name}` enters it, `devenv down {name}` removes it", file=sys.stderr)
    return code


def _project_spec(session: Session, machine: Machine, *, published: bool) -> ContainerSpec:
    """The workspace with its image, built now if it must be. Raises InputError where it is to be `published` and can't be."""
    if side := kept.side(session, machine):
        _publishable(side.wanted.spec.network, published=published)
        return kept.workspace(side, session, machine)
    manifest = load(session)
    _publishable(manifest.network, published=published)
    here = home(machine, manifest)
    chosen = BuildOptions()
    section = settled(session, manifest, machine, chosen)
    prepared = prepare_all(manifest._replace(services=()), section, machine, chosen)
    warn(prepared.values(), session)
    given = secrets.read(manifest, session.env)
    wanted = desire(manifest, prepared, section, here, machine, secrets=given.fingerprints(machine.engine))
    image = observe(machine, wanted).images[PROJECT].digest
    if not image:
        taken: Taken = {}
        with console.progress(sys.stderr, session.env, time.monotonic) as sink:
            build = builder(prepared, machine, chosen, timed(sink, taken), tags(here, prepared))
            image = build(PROJECT).digest
        told_late(prepared, manifest, taken, session)
    machine.engine.register(here)
    if wanted.spec.secrets:
        machine.engine.supply(here.id, given.of(wanted.spec.secrets))
    if not (manifest.services or manifest.variant):  # or only `up` knows all that there is to be
        receipt.write(session, machine, manifest, section, prepared, wanted)
    return wanted.spec._replace(image=image)


def _publishable(network: str, *, published: bool) -> None:
    if published and network == "none":
        cause = "nobody can reach a port of what has no network, as devenv.yml wants it"
        raise InputError(Fault("--publish", 0, 0, cause, "leave it out, or remove `network: none`"))


def _words(config: ImageConfig, command: Sequence[str], entrypoint: str | None) -> tuple[str, ...]:
    """What runs: ENTRYPOINT and COMMAND or CMD (image-spec, config.md). Who says another entrypoint says the rest as well."""
    if entrypoint is None:
        words = (*(config.entrypoint or ()), *(command or config.cmd or ()))
    else:
        words = (*((entrypoint,) if entrypoint else ()), *command)
    if not words:
        raise InputError(Fault("run", 0, 0, "no command to run", "name one: devenv run -- COMMAND"))
    return words
