"""The verb build: an image from the project's manifest, or from any Containerfile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from devenv import console
from devenv.cli import caches, complete, document, online, options, receipt, show, telling
from devenv.cli.locking import settled
from devenv.cli.project import (
    BuildOptions,
    builder,
    desire,
    home,
    load,
    prepare,
    prepare_all,
    prepare_file,
    read,
    rebuilt,
    tags,
    told_late,
    warn,
)
from devenv.cli.secrets import read as secret_values
from devenv.cli.session import Machine, Session
from devenv.desired import image_of, manifests
from devenv.errors import Fault, InputError, NotFound
from devenv.lock.parts import part
from devenv.model import plain
from devenv.model.events import Sink
from devenv.model.image import PROJECT, Image
from devenv.model.lock import Section
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
    service: Annotated[
        str,
        typer.Option(
            "--service",
            "-s",
            metavar="SERVICE",
            help="Only the image that this service runs.",
            autocompletion=complete.services,
        ),
    ] = "",
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
    variant: options.Variant = "",
) -> int:
    """Build the project's images, and print the digest of its own.

    With --service that of a service, with FOLDER or --file that of any Containerfile: no manifest is needed for that.

    Example:  devenv build

    Example:  devenv build -t shop:dev -f Dockerfile --build-context debian:bookworm-slim=bootstrap:bookworm .
    """
    session = options.within(context, variant)
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
    task = _task(session, machine, folder, file, service or None, chosen)
    warn(task.prepared.values(), session)
    taken: telling.Taken = {}
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
        sink = telling.timed(shown, taken)
        for one in task.prepared.values():
            caches.take(one, machine, session, chosen, sink)
        images = _built(task, machine, chosen, sink)
        unlike = rebuilt(task.prepared, machine, chosen, sink) if check else ()
        if not unlike:
            digests = {name: image.digest for name, image in images.items()}
            caches.give(task.prepared, task.names, machine, chosen, digests, sink)
    own = task.manifest
    # Receipts are of what is written there; and with services only `up` knows all that there is to be.
    if task.wanted and own and not (own.services or own.variant or chosen.contexts or chosen.arguments):
        receipt.write(session, machine, own, task.section, task.prepared, task.wanted)
    late = () if check else told_late(task.prepared, task.manifest, taken, session)
    first, *others = images.values()
    if as_json:
        found = {"unlike": plain(unlike), "network": [*online.titles(task.prepared)]} if check else {}
        warned = [text for one in task.prepared.values() for text in one.warnings]
        services = {name: document.image(image) for name, image in zip([*images][1:], others, strict=True)}
        console.json({**document.image(first), "services": services, **found, "warnings": [*warned, *late]}, sys.stdout)
    else:
        print(first.digest)
        if check:
            show.unlike(unlike, online.told(task.prepared, task.manifest), session.env)
    return UNLIKE if unlike else 0


def digest(
    context: typer.Context,
    service: Annotated[
        str,
        typer.Argument(metavar="[SERVICE]", help="Of the image of this service.", autocompletion=complete.services),
    ] = "",
    locked: options.Locked = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    variant: options.Variant = "",
) -> None:
    """Print the digest of the project's image, or of a service's, which is built if it isn't there.

    It is the same on every machine for the same devenv.yml, devenv.lock.yml and files.

    Example:  devenv digest
    """
    session = options.within(context, variant)
    machine = session.machine()
    chosen = BuildOptions(locked=locked)
    task = _task(session, machine, "", "", service or PROJECT, chosen)
    taken: telling.Taken = {}
    with console.progress(sys.stderr, session.env, time.monotonic, verbose=verbose) as shown:
        (image,) = _built(task, machine, chosen, telling.timed(shown, taken)).values()
    told_late(task.prepared, task.manifest, taken, session)
    if as_json:
        console.json(document.image(image), sys.stdout)
    else:
        print(image.digest)


class _Task(NamedTuple):
    """What is to be built, by the name it is wanted under, what it is called in the store, and of which project it is."""

    prepared: Mapping[str, Prepared]
    names: Mapping[str, Sequence[str]]
    manifest: Manifest | None = None
    wanted: Desired | None = None
    section: Section = Section("")


def _task(session: Session, machine: Machine, folder: str, file: str, image: str | None, chosen: BuildOptions) -> _Task:
    """All images of the project (None), the one of a service (or PROJECT), or that of a Containerfile."""
    if folder or file:
        if image is not None or session.variant:
            option, whose = ("--service", "service's") if image is not None else ("--variant", "variant's")
            raise InputError(Fault(option, 0, 0, "can't be with FOLDER or --file", f"that is no {whose} image"))
        place = os.path.realpath(os.path.join(session.folder, folder or "."))
        path = os.path.join(session.folder, file) if file else _containerfile(place)
        prepared = prepare_file(read(path), os.path.abspath(path), place, machine, chosen)
        return _Task({PROJECT: prepared}, {PROJECT: chosen.tags})
    manifest = load(session)
    here = home(machine, manifest)
    section = settled(session, manifest, machine, chosen)
    own = PROJECT if image in (None, PROJECT) else image_of(manifest.services, image or "")
    named = {**tags(here, manifests(manifest)), **({own: chosen.tags} if chosen.tags else {})}
    if chosen.target:  # a stage of one image; nobody asks for its containers
        staged = prepare(manifests(manifest)[own], part(section, own), machine, chosen)
        return _Task({own: staged}, named, manifest)
    every = prepare_all(manifest, section, machine, chosen)
    given = secret_values(manifest, session.env).fingerprints(machine.engine)
    wanted = desire(manifest, every, section, here, machine, manifest.services, given)
    chosen_ones = every if image is None else {own: every[own]}
    return _Task(chosen_ones, named, manifest, wanted, section)


def _built(task: _Task, machine: Machine, chosen: BuildOptions, sink: Sink) -> dict[str, Image]:
    """The images; of the project's own, why they were made is kept for `explain`."""

    def make(heard: Sink) -> Callable[[str], Image]:
        return builder(task.prepared, machine, chosen, heard, task.names)

    if task.manifest is None or task.wanted is None:
        each = make(sink)
        return {name: each(name) for name in task.prepared}
    return telling.build(machine, task.wanted, task.manifest, task.prepared, make, sink, anew=chosen.no_cache)


def _containerfile(folder: str) -> str:
    for name in ("Containerfile", "Dockerfile"):
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise NotFound(f"{folder}: has neither Containerfile nor Dockerfile", hint="name the file with --file")
