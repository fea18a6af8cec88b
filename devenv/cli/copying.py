"""Files into containers and out of them: cp."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, NamedTuple

import typer

from devenv import console
from devenv.cli import complete, options
from devenv.cli.known import find_container
from devenv.cli.session import Session
from devenv.engine import Engine
from devenv.errors import Fault, InputError
from devenv.model.container import Container
from devenv.model.events import Event, ignore
from devenv.model.seen import Copied

_SHOWN = 10
"""Things left out that are told one by one."""


class Place(NamedTuple):
    """One end of a copy: a path, in a container of this name or, with "", on the host; `-` there is a tar."""

    container: str
    path: str

    @property
    def archive(self) -> bool:
        return not self.container and self.path == "-"


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command(name="cp")(copy)


def copy(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="[CONTAINER:]PATH|-",
            help="What is copied; PATH/. is what is in a folder, - a tar on stdin.",
            autocompletion=complete.ends,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="[CONTAINER:]PATH|-",
            help="Where to: into a folder that is there, else under that name; - writes a tar.",
            autocompletion=complete.ends,
        ),
    ],
    owners: Annotated[
        bool, typer.Option("--archive", "-a", help="Of a tar: files belong inside to whom they belong in it.")
    ] = False,
    variant: options.Variant = "",
) -> None:
    """Copy files out of a container or into it, running or stopped.

    What comes out belongs to you, what goes in to whoever owns the folder it goes to. A link is copied as a link. A path of
    the host that has a colon begins with ./ or /.

    Example:  devenv cp web-1:/var/log/app.log .

    Example:  devenv cp dump.sql db:/tmp/ && devenv cp db:/var/lib/postgresql - > backup.tar
    """
    session = options.within(context, variant)
    ends = place(source), place(target)
    _check(ends, owners=owners)
    engine = session.engine()
    known = find_container(session, engine, ends[0].container or ends[1].container)
    done = _copied(session, engine, known, ends, owners=owners)
    _left(done, session)


def place(text: str) -> Place:
    """`CONTAINER:PATH`, or a path of the host. Raises InputError."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/", "~")):
        return Place("", text)
    if not name or not path:
        raise InputError(Fault("cp", 0, 0, f"{text!r} isn't CONTAINER:PATH", "as in web-1:/var/log"))
    return Place(name, path)


def _check(ends: tuple[Place, Place], *, owners: bool) -> None:
    inside = sum(bool(one.container) for one in ends)
    if inside != 1:
        what = "both are in containers" if inside else "neither is in a container"
        raise InputError(Fault("cp", 0, 0, what, "one is CONTAINER:PATH, the other a path here, or - for a tar"))
    if any("\0" in one.path or not one.path for one in ends):
        raise InputError(Fault("cp", 0, 0, "an empty path"))
    if owners and not ends[0].archive:
        raise InputError(Fault("--archive", 0, 0, "is for a tar on stdin", "devenv cp -a - CONTAINER:PATH"))
    if ends[1].archive and sys.stdout.isatty():
        raise InputError(Fault("cp", 0, 0, "a tar on a terminal", "send it on: devenv cp … - > FILE.tar"))


def _copied(session: Session, engine: Engine, known: Container, ends: tuple[Place, Place], *, owners: bool) -> Copied:
    # What is mounted anew of one that doesn't run must be nobody else's meanwhile; and what is written is to stay.
    alone = known.status != "running" or ends[1].container
    turn = engine.turn(known.environment, console.waiting) if alone else nullcontext()
    here = [os.path.join(session.folder, one.path) for one in ends]
    with turn, _progress(session, f"copy {ends[0].path}") as told:
        if ends[0].container:
            return engine.fetch(known.id, ends[0].path, sys.stdout.buffer if ends[1].archive else here[1], told)
        source = sys.stdin.buffer if ends[0].archive else here[0]
        return engine.send(known.id, ends[1].path, source, told, owners=owners)


@contextmanager
def _progress(session: Session, name: str) -> Iterator[Callable[[Copied], None]]:
    """At a terminal, how far it is, when it takes long."""
    begun = time.monotonic()
    with console.progress(sys.stderr, session.env, time.monotonic) as shown:
        sink = shown if sys.stderr.isatty() else ignore
        sink(Event("started", name))
        yield lambda now: sink(Event("state", name, f"{now.files} files, {console.size(now.size)}"))
        sink(Event("done", name, seconds=time.monotonic() - begun))


def _left(done: Copied, session: Session) -> None:
    for path, why in done.left[:_SHOWN]:
        console.warning(f"left out {path or 'all of it'}: {why}", session.env)
    if len(done.left) > _SHOWN:
        console.warning(f"left out {len(done.left) - _SHOWN} more", session.env)
