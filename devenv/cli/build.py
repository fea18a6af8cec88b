"""The verb build: an image from the project's manifest, or from any Containerfile."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from devenv import console
from devenv.cli import complete, document, options
from devenv.cli.project import BuildOptions, builder, home, load, prepare, prepare_file, read, warn
from devenv.cli.project import tag as named
from devenv.cli.session import Machine, Session
from devenv.errors import NotFound

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(build)


def build(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="The build context of a Containerfile.", autocompletion=complete.files),
    ] = "",
    file: Annotated[
        str,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Default: FOLDER's Containerfile or Dockerfile.",
            autocompletion=complete.files,
        ),
    ] = "",
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image.", autocompletion=complete.images),
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="STAGE", help="Build this stage only.")] = "",
    arguments: options.Arguments = None,
    contexts: options.Contexts = None,
    secrets: options.Secrets = None,
    no_cache: options.NoCache = False,
    keep_failed: options.KeepFailed = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Build an image and print its digest.

    Without FOLDER and --file the project's own, else that of any Containerfile: no manifest is needed.

    Example:  devenv build

    Example:  devenv build -t shop:dev -f Dockerfile --build-context debian:bookworm-slim=bootstrap:bookworm .
    """
    session: Session = context.obj
    machine = session.machine()
    chosen = BuildOptions(
        contexts=options.contexts(contexts, session.folder),
        arguments=options.pairs(arguments, "--build-arg", session.env),
        secrets=options.secrets(secrets, session.env, session.folder),
        target=target,
        tags=options.tags(tag),
        no_cache=no_cache,
        keep_failed=keep_failed,
    )
    prepared, chosen = _prepared(session, machine, folder, file, chosen)
    warn(prepared, session)
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as sink:
        image = builder(prepared, machine, chosen, sink)()
    if as_json:
        console.json({**document.image(image), "warnings": [*prepared.warnings]}, sys.stdout)
    else:
        print(image.digest)


def _prepared(
    session: Session, machine: Machine, folder: str, file: str, chosen: BuildOptions
) -> tuple[Prepared, BuildOptions]:
    """The build and its options; the project's own image has its usual name when none is given."""
    if not folder and not file:
        manifest = load(session)
        chosen = replace(chosen, tags=chosen.tags or (named(home(machine, manifest)),))
        return prepare(manifest, machine, chosen), chosen
    place = os.path.realpath(os.path.join(session.folder, folder or "."))
    path = os.path.join(session.folder, file) if file else _containerfile(place)
    return prepare_file(read(path), os.path.abspath(path), place, machine, chosen), chosen


def _containerfile(folder: str) -> str:
    for name in ("Containerfile", "Dockerfile"):
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise NotFound(f"{folder}: has neither Containerfile nor Dockerfile", hint="name the file with --file")
