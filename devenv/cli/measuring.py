"""Verbs that measure: stats, top."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from devenv import console
from devenv.cli import options, seen
from devenv.cli.chosen import Chosen, choose
from devenv.cli.listing import rank
from devenv.cli.said import Names
from devenv.cli.seen import Measured
from devenv.cli.session import Session
from devenv.engine import Observer
from devenv.model.container import Container

_APART = 0.5
"""Seconds between the two looks of a single answer."""

_EVERY = 1.0


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(stats)
    app.command()(top)


def stats(
    context: typer.Context,
    names: Names = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Say it once, though at a terminal.")] = False,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> int:
    """Show what running containers use: CPU in percent of one core, memory, network, disk, processes.

    On a terminal it goes on, each second, until Ctrl-C; elsewhere it is said once.

    Example:  devenv stats web --no-stream
    """
    session = options.within(context, variant)
    observer = session.observer()
    chosen = choose(session, observer, names or ())
    if as_json:
        console.json([seen.measured(one) for one in next(_looks(observer, chosen, _APART))], sys.stdout)
    elif no_stream or not console.live(sys.stdout, session.env):
        colour = console.colours(sys.stdout, session.env)
        seen.usage(next(_looks(observer, chosen, _APART)), sys.stdout, colour=colour)
    else:
        _live(observer, chosen, session)
    return 0


def top(
    context: typer.Context, names: Names = None, as_json: options.Json = False, variant: options.Variant = ""
) -> None:
    """List the processes of running containers: pids inside and outside, users inside, CPU time, memory, commands.

    Example:  devenv top web-1
    """
    session = options.within(context, variant)
    observer = session.observer()
    chosen = choose(session, observer, names or ())
    found = [(one, task) for one in chosen.containers for task in observer.tasks(one.id)]
    if as_json:
        console.json([seen.task(chosen.home, one, task) for one, task in found], sys.stdout)
    else:
        seen.tasks(found, session.env)


def _live(observer: Observer, chosen: Chosen, session: Session) -> None:
    try:
        with console.redrawn(sys.stdout, session.env) as draw:
            for found in _looks(observer, chosen, _APART):
                text = io.StringIO()
                seen.usage(found, text)
                draw(text.getvalue())
    except KeyboardInterrupt:
        pass  # how it is meant to end


def _looks(observer: Observer, chosen: Chosen, apart: float) -> Iterator[list[Measured]]:
    """What was used since the look before, again and again; replicas that come, too."""
    before = observer.usage(_running(observer, chosen))
    while True:
        time.sleep(apart)
        running, apart = _running(observer, chosen), _EVERY
        after = observer.usage(running)
        yield [
            Measured(chosen.home, one, before.get(one.id, after[one.id]), after[one.id])
            for one in running
            if one.id in after
        ]
        before = after


def _running(observer: Observer, chosen: Chosen) -> list[Container]:
    known = observer.containers(chosen.home.id)
    return sorted((one for one in known if one.status == "running" and chosen.wants(one)), key=rank)
