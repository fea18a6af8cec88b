"""Verbs about the manifest: init, render, plan, schema. None of them changes a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, document, kept, options, secrets, show
from devenv.cli.asked import Asked, decide
from devenv.cli.foreseen import certain, failures, foresee
from devenv.cli.locking import expected, fetched, settled, standing
from devenv.cli.project import FILE, BuildOptions, load, observe, recipe, say, warn
from devenv.cli.session import Session
from devenv.cli.written import write_new
from devenv.desired import image_of, manifests
from devenv.errors import Fault, InputError
from devenv.lock.parts import part
from devenv.model.image import PROJECT
from devenv.model.plan import Action, Plan

_LARGEST = 4 << 20
_FOLDERS = 50
_PASSED = {"node_modules", "venv", "env", "vendor", "dist", "build", "target", "docs", "tests", "test", "examples"}


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(init)
    app.command()(render)
    app.command()(plan)
    app.command()(schema)


def init(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Replace the devenv.yml that is there.")] = False,
    only_print: Annotated[bool, typer.Option("--print", help="Print it, write nothing.")] = False,
) -> None:
    """Write a devenv.yml from what the folder holds.

    It reads pyproject.toml, requirements files, uv.lock, package.json, a Dockerfile, .python-version and the like.

    Example:  devenv init --print
    """
    from devenv.manifest.detect import unread

    session: Session = context.obj
    files = known_files(session.folder)
    text = first_manifest(files, session.folder)
    for path, why in unread(files):
        console.warning(f"{path}: left out: {why}", session.env)
    if only_print:
        sys.stdout.write(text)
        return
    path = os.path.join(session.folder, FILE)
    write_new(path, text, force=force)
    print(f"wrote {path}\nnext: look it over, then devenv up", file=sys.stderr)


def render(
    context: typer.Context,
    service: Annotated[
        str,
        typer.Argument(
            metavar="[SERVICE]", help="Of the image that this service runs.", autocompletion=complete.services
        ),
    ] = "",
    packages: Annotated[
        str,
        typer.Option("--packages", metavar="FOLDER", help="Write there what other builders need as `devenv-packages`."),
    ] = "",
    variant: options.Variant = "",
) -> None:
    """Print the Containerfile that the manifest and its lock become, or a service's image keys do.

    It is the standard format, so other builders understand it.

    Example:  devenv render --packages packages > Containerfile
    """
    session = options.within(context, variant)
    manifest = load(session)
    image = image_of(manifest.services, service) if service else PROJECT
    if packages:
        machine = session.machine()
        section = part(settled(session, manifest, machine, BuildOptions()), image)
        fetched(machine, section, os.path.join(session.folder, packages))
    else:
        section = part(expected(manifest, session.window(), BuildOptions()), image)
    text, _ = recipe(manifests(manifest)[image], section)
    sys.stdout.write(text)


def plan(
    context: typer.Context,
    diff: Annotated[bool, typer.Option("--diff", help="Each changed input, before and after.")] = False,
    contexts: options.Contexts = None,
    arguments: options.Arguments = None,
    profiles: options.Profiles = None,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> None:
    """Say what `up` would do, and why. It can't act.

    Example:  devenv plan --diff
    """
    session = options.within(context, variant)
    machine = session.window()
    chosen = BuildOptions(
        options.contexts(contexts, session.folder), options.pairs(arguments, "--build-arg", session.env)
    )
    due: tuple[Action, ...] = ()
    warnings: Sequence[str] = ()
    if side := kept.side(session, machine):
        kept.refuse(session.variant, plain=chosen == BuildOptions() and not profiles)
        kept.digests(side, machine)
        wanted, state, given = side.wanted, observe(machine, side.wanted), kept.given(side, session)
        decided = decide(wanted, state, chosen, Asked())
    else:
        manifest, asked = load(session), Asked(profiles=tuple(profiles or ()))
        prepared, wanted, state, decided, given = foresee(session, manifest, machine, chosen, asked)
        due = standing(manifest, machine, chosen).due
        warnings = warn(prepared.values(), session)
    sure = certain(decided, state) if due else decided
    told = (*secrets.unread(given, wanted, decided), *failures(sure, wanted, given, machine.engine))
    decided = decided._replace(actions=(*due, *decided.actions))  # only to be told
    _show(decided, (*warnings, *say(told, session)), session, diff=diff, as_json=as_json)


def _show(decided: Plan, warnings: Sequence[str], session: Session, *, diff: bool, as_json: bool) -> None:
    if as_json:
        console.json({**document.plan(decided), "warnings": [*warnings]}, sys.stdout)
    else:
        show.plan(decided, session.env, diff=diff)


def schema() -> None:
    """Print the JSON Schema of devenv.yml, for editors.

    Example:  devenv schema > devenv.schema.json
    """
    from devenv.manifest import json_schema

    print(json_schema().rstrip("\n"))


def first_manifest(files: Mapping[str, str], folder: str) -> str:
    """A manifest's text for a folder with these files."""
    from devenv.manifest import draft
    from devenv.manifest.values import project_name

    return draft(files, project_name(os.path.basename(folder)))


def known_files(folder: str) -> dict[str, str]:
    """The files of a folder, and of those in it, that say what a project needs: path → content."""
    from devenv.manifest import DETECTED, NESTED

    try:
        with os.scandir(folder) as entries:
            inner = sorted(one.name for one in entries if one.is_dir(follow_symlinks=False) and one.name[0] not in "._")
    except OSError as error:
        raise InputError(Fault(folder, 0, 0, f"can't be read: {error.strerror}")) from error
    names = [*DETECTED, *(f"{one}/{name}" for one in inner[:_FOLDERS] if one not in _PASSED for name in NESTED)]
    files: dict[str, str] = {}
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.path.getsize(path) <= _LARGEST:
            with open(path, encoding="utf-8", errors="replace") as file:
                files[name] = file.read()
    return files
