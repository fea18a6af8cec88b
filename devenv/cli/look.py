"""Verbs that list: ps, port."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import typer

from devenv import console
from devenv.cli import complete, document, listing, options
from devenv.cli.chosen import Chosen, choose
from devenv.cli.known import known_id, project_folder, up, variant_id
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
    variant: options.Variant = "",
) -> None:
    """List containers: how they are, and the addresses where they answer.

    Of the project we are in; outside of any, those that run of all projects.

    Example:  devenv ps --all
    """
    session = options.within(context, variant)
    engine = session.engine()
    pairs, folder = list(homed(engine)), project_folder(session, engine)
    if session.variant:
        only = variant_id(session, engine)
        pairs = [pair for pair in pairs if pair[0].id == only]
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
            help="Whose, and the port inside; default: each.",
            autocompletion=complete.members,
        ),
    ] = None,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> None:
    """Say where a published port answers on this machine, a line for each address. Exit code 1 when it does nowhere.

    Without a name: the workspace's or, where it has none, those of all services.

    Example:  devenv port web 8000
    """
    session = options.within(context, variant)
    observer = session.observer()
    name, wanted = _asked(words or [])
    whose = name or MAIN
    chosen = choose(session, observer, [whose])
    if not name and not any(one.ports for one in chosen.containers):
        chosen = choose(session, observer, [])
        whose = chosen.home.name
    found = [one for one in _published(chosen.containers) if wanted in ("", _inside(one.port))]
    if not found:
        raise _nowhere(whose, wanted, chosen, up(session))
    if as_json:
        console.json([{"name": one.name, **document.port(one.port)} for one in found], sys.stdout)
        return
    for one in found:
        inside = _inside(one.port) if name or one.name == MAIN else f"{one.name} {_inside(one.port)}"
        print(_outside(one.port) if wanted else f"{console.clean(inside)} → {_outside(one.port)}")


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
    """(whose or "", `8000/tcp` or "") of what was typed. Raises InputError."""
    name = words.pop(0) if words and not words[0].partition("/")[0].isdecimal() else ""
    number, _, protocol = (words.pop(0) if words else "").partition("/")
    if words or (number and (not number.isdecimal() or protocol not in ("", "tcp", "udp"))):
        raise InputError(Fault("port", 0, 0, "what is asked for isn't [SERVICE] [PORT]", "as in devenv port web 8000"))
    return name, f"{int(number)}/{protocol or 'tcp'}" if number else ""


class _Published(NamedTuple):
    """A port, and the container it leads to; the service, when to several of its replicas."""

    name: str
    port: Port


def _published(containers: Iterable[Container]) -> tuple[_Published, ...]:
    """Those that are answered, each once."""
    found: dict[tuple[str, Port], list[str]] = {}
    for one in containers:
        for port in one.ports if one.status == "running" else ():
            found.setdefault((one.service, port), []).append(one.name)
    return tuple(_Published(names[0] if len(names) == 1 else service, port) for (service, port), names in found.items())


def _inside(one: Port) -> str:
    return f"{one.container}/{one.protocol}"


def _outside(one: Port) -> str:
    return f"{'127.0.0.1' if one.address == '0.0.0.0' else one.address}:{one.host}"


def _nowhere(whose: str, wanted: str, chosen: Chosen, up: str) -> EngineError:
    ports = sorted({_inside(port) for one in chosen.containers for port in one.ports})
    what = f"{whose}: its port {wanted}" if wanted else whose
    if not ports and not wanted and not chosen.names:
        return EngineError(f"{whose}: no port of it is published", hint="write it in `ports:`, then `devenv up`")
    if not ports:
        return EngineError(f"{what} isn't published", hint="write it in `ports:`, then `devenv up`")
    if wanted and wanted not in ports:
        return EngineError(f"{what} isn't published", hint=f"those that are: {', '.join(ports)}")
    return EngineError(f"{what} answers nowhere: it doesn't run", hint=up)
