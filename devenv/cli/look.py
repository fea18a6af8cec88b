"""Verbs that only look: ps, logs."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, document, options, show
from devenv.cli.project import find_container, known_id
from devenv.cli.session import Session
from devenv.engine import LogLine, Observer
from devenv.model.container import Container, Environment

_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(ps)
    app.command()(logs)


def ps(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that don't run too.")] = False,
    as_json: options.Json = False,
) -> None:
    """List containers and the addresses where they answer.

    Those that run, of all your environments, and this folder's own.

    Example:  devenv ps --all
    """
    session: Session = context.obj
    observer = session.observer()
    here = known_id(session, observer)
    found = [pair for pair in homed(observer) if everything or pair[1].status == "running" or pair[0].id == here]
    gone = {home.folder for home, _ in found if not os.path.isdir(home.folder)}
    if as_json:
        console.json(document.containers(found, gone), sys.stdout)
    else:
        show.containers(found, gone, time.time(), session.env)


def logs(
    context: typer.Context,
    container: Annotated[
        str,
        typer.Argument(
            metavar="[ENVIRONMENT/]CONTAINER",
            help="As `ps` shows them. An ENVIRONMENT alone: its main one.",
            autocompletion=complete.containers,
        ),
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it stops.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="The last N lines only.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Each line's time, in UTC.")] = False,
) -> None:
    """Print what a container has printed: the main one of this environment, or another.

    Its stdout goes to ours, its stderr to ours.

    Example:  devenv logs -f --tail 20
    """
    session: Session = context.obj
    observer = session.observer()
    known = find_container(session, observer, container)
    print_lines(observer.logs(known.id, follow=follow, tail=tail), timestamps=timestamps)


def homed(observer: Observer) -> Iterator[tuple[Environment, Container]]:
    """Each container with its environment; one whose environment isn't known stands under its id."""
    homes = {one.id: one for one in observer.environments()}
    for container in observer.containers():
        home = homes.get(container.environment, Environment(container.environment, container.environment or "-", "-"))
        yield home, container


def print_lines(lines: Iterator[LogLine], *, timestamps: bool) -> None:
    """Each to its own stream. A terminal gets colours and nothing else that would act on it; a file the very bytes."""
    for line in lines:
        out = sys.stderr if line.stream == "stderr" else sys.stdout
        text = only_colours(line.text) if out.isatty() else line.text
        when = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds") if timestamps else ""
        print(f"{when} {text}" if when else text, file=out, flush=True)


def only_colours(text: str) -> str:
    """Clean but for its colours (ECMA-48, SGR), which end with the line."""
    parts = _COLOUR.split(text)
    kept = "".join(part if number % 2 else console.clean(part) for number, part in enumerate(parts))
    return f"{kept}\x1b[0m" if len(parts) > 1 else kept
