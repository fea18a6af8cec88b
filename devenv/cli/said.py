"""Verbs about what containers say and what happens to them: logs, attach, events."""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, options, seen, voices
from devenv.cli.chosen import Chosen, choose
from devenv.cli.known import find_container, known_home, named
from devenv.cli.session import Session
from devenv.cli.since import instant
from devenv.engine import Happening, LogLine, Observer
from devenv.errors import Fault, InputError, NotFound
from devenv.model.container import Environment

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ENVIRONMENT/]CONTAINER|SERVICE…",
        help="As `ps` shows them. Default: all of this environment.",
        autocompletion=complete.members,
    ),
]
Since = Annotated[
    str,
    typer.Option("--since", metavar="10m|TIME", help="Only from then on: so long ago, or 2026-01-31T12:00[Z]."),
]
_INTERRUPTED = 130
_PATIENCE = 2.0  # seconds until a container that ended is seen to have


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(logs)
    app.command()(attach)
    app.command()(events)


def logs(
    context: typer.Context,
    names: Names = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, with replicas that come later.")] = False,
    since: Since = "",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="The last N lines of each only.")
    ] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Each line's time, in UTC.")] = False,
    variant: options.Variant = "",
) -> int:
    """Print what containers have printed.

    Stdout goes to stdout, stderr to stderr; of several, each line with its container's name, in the order of time.

    Example:  devenv logs -f --tail 20 web db-1
    """
    session = options.within(context, variant)
    observer, begun = session.observer(), instant(since, time.time())
    chosen = choose(session, observer, names or ())
    names_of = [one.name for one in chosen.containers]
    speaking = voices.Voices(names_of, session.env, timestamps=timestamps, live=follow)
    try:
        for name, line in _lines(observer, chosen, follow=follow, tail=tail, since=begun):
            speaking.say(name, line)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def attach(
    context: typer.Context,
    container: Annotated[
        str,
        typer.Argument(
            metavar="[ENVIRONMENT/]CONTAINER",
            help="As `ps` shows them. Default: the workspace.",
            autocompletion=complete.members,
        ),
    ] = "",
    variant: options.Variant = "",
) -> int:
    """See what a container prints, as it prints it, until it ends; its exit code is ours.

    Ctrl-C leaves it running.

    Example:  devenv attach web-1
    """
    session = options.within(context, variant)
    observer = session.observer()
    known = find_container(session, observer, container)
    try:
        voices.copy(observer.attach(known.id))
    except KeyboardInterrupt:
        print(f"\ndetached: {known.name} goes on", file=sys.stderr)
        return 0
    return _code(observer, known.environment, known.id)


def events(
    context: typer.Context,
    names: Names = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, until the environment is gone.")] = False,
    since: Since = "",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON document on stdout; with --follow one for each, on a line of its own."),
    ] = False,
    variant: options.Variant = "",
) -> int:
    """Say what happened to this environment's containers.

    Made, started, stopped, ended, healthy or not, started again, removed.

    Example:  devenv events --follow --since 10m
    """
    session = options.within(context, variant)
    observer, begun = session.observer(), instant(since, time.time())
    home, wanted = _told_of(session, observer, names or ())
    found = (one for one in observer.events(home.id, follow=follow, since=begun) if not wanted or _names(one) & wanted)
    if as_json and not follow:
        console.json([seen.happening(one) for one in found], sys.stdout)
        return 0
    width = max((len(one.name) for one in observer.containers(home.id)), default=0)
    try:
        for one in found:
            seen.tell(one, session.env, width=width, as_json=as_json)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _lines(
    observer: Observer, chosen: Chosen, *, follow: bool, tail: int | None, since: float
) -> Iterator[tuple[str, LogLine]]:
    alone = chosen.alone
    if follow and alone is None:
        return observer.follow(chosen.home.id, chosen.wants, tail=tail, since=since)

    def named(name: str, lines: Iterator[LogLine]) -> Iterator[tuple[str, LogLine]]:
        return ((name, line) for line in lines)

    found = [named(one.name, observer.logs(one.id, follow=follow, tail=tail, since=since)) for one in chosen.containers]
    return heapq.merge(*found, key=lambda one: one[1].time)


def _told_of(session: Session, observer: Observer, texts: Sequence[str]) -> tuple[Environment, frozenset[str]]:
    """The environment and the names that are asked for: of what is gone, too. Raises NotFound for those nothing is known of."""
    homes = {home for home, slash, _ in (text.partition("/") for text in texts) if slash}
    if len(homes) > 1:
        raise InputError(Fault("names", 0, 0, "of several environments", "name those of one at a time"))
    here = named(observer, homes.pop()) if homes else known_home(session, observer)
    names = frozenset(text.rpartition("/")[2] for text in texts) - {""}
    known = set().union(*map(_names, observer.events(here.id))) if names else set()
    known |= {name for one in observer.containers(here.id) for name in (one.name, one.service)}
    if unknown := sorted(names - known):
        raise NotFound(f"{here.name}: nothing happened to {', '.join(unknown)}", hint="devenv ps --all")
    return here, names


def _names(one: Happening) -> set[str]:
    """What it happened to: a container and, of a replica, its service."""
    service, _, index = one.object.rpartition("-")
    return {one.object, service} if index.isdecimal() else {one.object}


def _code(observer: Observer, environment: str, identifier: str) -> int:
    """What a container ended with; 0 of one that is gone, or runs again."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        known = next((one for one in observer.containers(environment) if one.id == identifier), None)
        if known is None:
            return 0
        if known.status != "running" and known.exit_code is not None:
            return known.exit_code
        time.sleep(0.05)
    return 0
