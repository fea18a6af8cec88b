"""Verbs that list: ps, port."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, document, listing, options
from devenv.cli.chosen import choose
from devenv.cli.known import known_id, project_folder
from devenv.cli.session import Session
from devenv.desired import MAIN
from devenv.engine import Engine, Observer
from devenv.errors import EngineError, Fault, InputError
from devenv.model.container import Container, Environment, Supervisor
from devenv.model.manifest import Port


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(ps)
    app.command()(port)


def ps(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Of all projects, and those that don't run too.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List containers: how they are, and the addresses where they answer.

    Of the project we are in; outside of any, those that run of all projects.

    Example:  devenv ps --all
    """
    session: Session = context.obj
    engine = session.engine()
    pairs, folder = list(homed(engine)), project_folder(session, engine)
    found = listing.shown(pairs, everything, known_id(session, engine), folder)
    gone = {home.folder for home, _ in found if not os.path.isdir(home.folder)}
    watching = watched(engine, found)
    if as_json:
        console.json(document.containers(found, gone, watching), sys.stdout)
    else:
        listing.containers(found, gone, watching, time.time(), session.env, others=bool(pairs), inside=bool(folder))
    _mend(session, engine, (home for home, _ in found), watching)


def port(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[[ENVIRONMENT/]CONTAINER|SERVICE] [PORT[/udp]]",
            help="Whose, default: the workspace's; and the port inside, default: each.",
            autocompletion=complete.members,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say where a published port answers on this machine, a line for each address. Exit code 1 when it does nowhere.

    Example:  devenv port web 8000
    """
    session: Session = context.obj
    name, wanted = _asked(words or [])
    chosen = choose(session, session.observer(), [name])
    running = [one for one in chosen.containers if one.status == "running"]
    found = [pair for pair in dict.fromkeys(_published(running)) if wanted in ("", _inside(pair))]
    if not found:
        raise _nowhere(name, wanted, chosen.containers)
    if as_json:
        console.json([document.port(one) for one in found], sys.stdout)
    for one in () if as_json else found:
        print(_outside(one) if wanted else f"{_inside(one)} → {_outside(one)}")


def homed(observer: Observer) -> Iterator[tuple[Environment, Container]]:
    """Each container with its environment; one whose environment isn't known stands under its id."""
    homes = {one.id: one for one in observer.environments()}
    for container in observer.containers():
        home = homes.get(container.environment, Environment(container.environment, container.environment or "-", "-"))
        yield home, container


def watched(observer: Observer, found: Iterable[listing.Pair]) -> dict[str, Supervisor]:
    """The supervisors of these environments."""
    asked = {home.id: observer.supervisor(home.id) for home, _ in found if home.id}
    return {home: one for home, one in asked.items() if one is not None}


def _mend(session: Session, engine: Engine, homes: Iterable[Environment], found: dict[str, Supervisor]) -> None:
    """A supervisor that was killed is started again by whoever sees it."""
    for home in dict.fromkeys(homes):
        if home.id in found and not found[home.id].running:
            console.warning(f"the supervisor of {home.name} was killed: it is started again", session.env)
            engine.supervise(home.id)


def _asked(words: list[str]) -> tuple[str, str]:
    """(whose, `8000/tcp` or "") of what was typed. Raises InputError."""
    name = words.pop(0) if words and not words[0].partition("/")[0].isdecimal() else MAIN
    number, _, protocol = (words.pop(0) if words else "").partition("/")
    if words or (number and (not number.isdecimal() or protocol not in ("", "tcp", "udp"))):
        raise InputError(Fault("port", 0, 0, "what is asked for isn't [SERVICE] [PORT]", "as in devenv port web 8000"))
    return name, f"{int(number)}/{protocol or 'tcp'}" if number else ""


def _published(running: Iterable[Container]) -> Iterator[Port]:
    return (published for one in running for published in one.ports)


def _inside(one: Port) -> str:
    return f"{one.container}/{one.protocol}"


def _outside(one: Port) -> str:
    return f"{'127.0.0.1' if one.address == '0.0.0.0' else one.address}:{one.host}"


def _nowhere(name: str, wanted: str, known: Iterable[Container]) -> EngineError:
    ports = sorted({_inside(one) for one in _published(known)})
    what = f"{name}: its port {wanted}" if wanted else name
    if not ports:
        return EngineError(f"{what} isn't published", hint="write it in `ports:`, then `devenv up`")
    if wanted and wanted not in ports:
        return EngineError(f"{what} isn't published", hint=f"those that are: {', '.join(ports)}")
    return EngineError(f"{what} answers nowhere: it doesn't run", hint="devenv up")
