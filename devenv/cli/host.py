"""Verbs about this machine: gc, doctor, completion."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, document, options, show
from devenv.cli.known import find_image
from devenv.cli.session import Session
from devenv.engine import Observer


class Shell(StrEnum):
    """The shells there is completion for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(gc)
    app.command()(doctor)
    app.command()(completion)


def gc(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE…", help="Names or digests of images to be removed, too.", autocompletion=complete.images
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All that no container uses, download caches too.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove from the store what nothing needs.

    That is images of environments that were taken down, what was built and not used for 14 days, and what commands
    that were killed left behind. With --all: everything but what containers use; the next build starts from nothing.
    Volumes stay always, images you named unless --all or named here.

    Example:  devenv gc --dry-run
    """
    session: Session = context.obj
    machine = session.machine()
    unwanted = [_canonical(machine.engine, text) for text in images or ()]
    found = machine.collect(unwanted=unwanted, everything=everything, dry_run=dry_run)
    if as_json:
        console.json(document.garbage(found, dry_run=dry_run), sys.stdout)
    else:
        show.garbage(found, session.env, dry_run=dry_run)


def _canonical(engine: Observer, text: str) -> str:
    """A name of an image as it is, digits of a digest as the whole one. Raises NotFound."""
    image = find_image(engine, text)
    return text if text in image.references else image.digest


def doctor(context: typer.Context, as_json: options.Json = False) -> int:
    """Check that this machine has what is needed.

    For what it lacks, the fix is shown. Exit code 1 when something won't do.

    Example:  devenv doctor
    """
    session: Session = context.obj
    found = session.machine().examine()
    if as_json:
        console.json(document.checks(found), sys.stdout)
    else:
        show.checks(found, session.env)
    return 0 if all(check.ok for check in found) else 1


def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the completion script of a shell.

    Example:  devenv completion bash > /etc/bash_completion.d/devenv
    """
    print(complete.script(shell.value))
