"""The verb build: an image from the project's manifest, or from any Containerfile."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from devenv import console
from devenv.cli import caches, complete, document, online, options, show, telling
from devenv.cli.locking import settled
from devenv.cli.project import (
    BuildOptions,
    builder,
    desire,
    home,
    load,
    prepare,
    prepare_file,
    read,
    rebuilt,
    told_late,
    warn,
)
from devenv.cli.project import tag as named
from devenv.cli.session import Machine, Session
from devenv.errors import NotFound
from devenv.model import plain
from devenv.model.events import Sink
from devenv.model.image import Image
from devenv.model.manifest import Manifest
from devenv.model.plan import Desired

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared


UNLIKE = 4
"""Exit code: a step gave another result when it was done again."""


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(build)
    app.command()(digest)


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
    locked: options.Locked = False,
    cache_from: options.CacheFrom = None,
    cache_to: options.CacheTo = "",
    as_json: options.Json = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Do every step again, and compare: exit code 4 when one gives another result."),
    ] = False,
    verbose: options.Verbose = False,
) -> int:
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
        locked=locked,
        cache_from=options.caches(cache_from, session.folder, no_cache=no_cache),
        cache_to=options.cache("--cache-to", cache_to, session.folder),
    )
    prepared, chosen, project = _prepared(session, machine, folder, file, chosen)
    warn(prepared, session)
    taken: telling.Taken = {}
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
        sink = telling.timed(shown, taken)
        caches.take(prepared, machine, session, chosen, sink)
        image = _built(prepared, machine, chosen, project, sink)
        unlike = rebuilt(prepared, machine, chosen, sink) if check else ()
        if not unlike:
            caches.give(prepared, machine, chosen, image.digest, sink)
    late = () if check else told_late(prepared, project[0] if project else None, taken, session)
    if as_json:
        found = {"unlike": plain(unlike), "network": [*online.titles(prepared)]} if check else {}
        console.json({**document.image(image), **found, "warnings": [*prepared.warnings, *late]}, sys.stdout)
    else:
        print(image.digest)
        if check:
            show.unlike(unlike, online.told(prepared, project[0] if project else None), session.env)
    return UNLIKE if unlike else 0


def digest(
    context: typer.Context,
    locked: options.Locked = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the digest of the project's image, which is built if it isn't there.

    It is the same on every machine for the same devenv.yml, devenv.lock.yml and files.

    Example:  devenv digest
    """
    session: Session = context.obj
    machine = session.machine()
    prepared, chosen, project = _prepared(session, machine, "", "", BuildOptions(locked=locked))
    taken: telling.Taken = {}
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
        image = _built(prepared, machine, chosen, project, telling.timed(shown, taken))
    told_late(prepared, project[0] if project else None, taken, session)
    if as_json:
        console.json(document.image(image), sys.stdout)
    else:
        print(image.digest)


def _built(
    prepared: Prepared, machine: Machine, chosen: BuildOptions, project: tuple[Manifest, Desired] | None, sink: Sink
) -> Image:
    """The image; of the project's own, why it was made is kept for `explain`."""
    if project is None or chosen.target:
        return builder(prepared, machine, chosen, sink)()
    manifest, wanted = project

    def make(heard: Sink) -> Image:
        return builder(prepared, machine, chosen, heard)()

    return telling.build(machine, wanted, manifest, make, sink, anew=chosen.no_cache)


def _prepared(
    session: Session, machine: Machine, folder: str, file: str, chosen: BuildOptions
) -> tuple[Prepared, BuildOptions, tuple[Manifest, Desired] | None]:
    """The build, its options, and what project it is of; the project's own image has its usual name when none is given."""
    if not folder and not file:
        manifest = load(session)
        here = home(machine, manifest)
        chosen = replace(chosen, tags=chosen.tags or (named(here),))
        section = settled(session, manifest, machine, chosen)
        prepared = prepare(manifest, section, machine, chosen)
        return prepared, chosen, (manifest, desire(manifest, prepared, section, here, machine))
    place = os.path.realpath(os.path.join(session.folder, folder or "."))
    path = os.path.join(session.folder, file) if file else _containerfile(place)
    return prepare_file(read(path), os.path.abspath(path), place, machine, chosen), chosen, None


def _containerfile(folder: str) -> str:
    for name in ("Containerfile", "Dockerfile"):
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise NotFound(f"{folder}: has neither Containerfile nor Dockerfile", hint="name the file with --file")
