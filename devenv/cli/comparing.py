"""Verbs that make sure: verify."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import typer

from devenv import console
from devenv.changes import differences
from devenv.cli import complete, options
from devenv.cli.chosen import choose
from devenv.cli.session import Session
from devenv.console import clean, paint
from devenv.desired import PROMPT
from devenv.engine import Observer
from devenv.errors import NotFound
from devenv.model import plain
from devenv.model.container import Container, ContainerSpec
from devenv.model.plan import Change
from devenv.model.seen import Touched

DIFFERENT = 4
"""The exit code."""

_OWN = ("image", "ports")
_SHOWN = 100


class Replica(NamedTuple):
    """A replica, what it was made from, what of its image it has touched."""

    container: Container
    spec: ContainerSpec
    touched: tuple[Touched, ...]


class Unlike(NamedTuple):
    """Something that isn't as it should be: of which replica, what (`image`, `configuration`, `file`), how it is.

    `instead` is how the first replica has it; of a file, which should be as the image has it, "".
    """

    replica: str
    what: str
    name: str
    found: str
    instead: str = ""


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(verify)


def verify(
    context: typer.Context,
    identical: Annotated[
        str,
        typer.Option(
            "--identical",
            metavar="SERVICE",
            help="Whose replicas are to be the same.",
            autocompletion=complete.services,
        ),
    ],
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> int:
    """Prove that the replicas of a service are identical, or say where they differ (exit code 4).

    They run the same image, with the same configuration, and none has changed or removed a file of the image.

    Example:  devenv verify --identical web
    """
    session = options.within(context, variant)
    replicas = _replicas(session, session.observer(), identical)
    found = tuple(unlike(replicas))
    if as_json:
        console.json(_document(identical, replicas, found), sys.stdout)
    else:
        _show(identical, replicas, found, session)
    return DIFFERENT if found else 0


def _replicas(session: Session, observer: Observer, service: str) -> tuple[Replica, ...]:
    chosen = choose(session, observer, [service])
    found = [one for one in chosen.containers if one.index]
    if not found:
        raise NotFound(f"{service}: is no service", hint="`devenv ps` lists them")
    return tuple(Replica(one, observer.spec(one.id), observer.touched(one.id)) for one in found)


def unlike(replicas: Sequence[Replica]) -> Iterator[Unlike]:
    """Where replicas aren't what the first one is, or their image was."""
    first = replicas[0]
    for one in replicas:
        name = one.container.name
        if one.container.image != first.container.image:
            yield Unlike(name, "image", "image", one.container.image, first.container.image)
        for change in _configured(first.spec, one.spec):
            yield Unlike(name, "configuration", change.name, change.after, change.before)
        for touched in one.touched:
            yield Unlike(name, "file", touched.path, touched.how)


def _configured(first: ContainerSpec, other: ContainerSpec) -> tuple[Change, ...]:
    """In the manifest's words; a name, a number and ports of its own each replica has."""
    found = differences(*(tuple(pair for pair in spec.inputs if pair[0] not in _OWN) for spec in (first, other)))
    if found:
        return found
    # What has no name there is no less of a difference.
    one, another = _fields(first), _fields(other)
    return tuple(Change(name, repr(one[name]), repr(another[name])) for name in one if one[name] != another[name])


def _fields(spec: ContainerSpec) -> dict[str, object]:
    """All but what each replica has of its own, the name in its prompt among it."""
    process = spec.process._replace(env=tuple(pair for pair in spec.process.env if pair[0] != PROMPT))
    own = spec._replace(name="", hostname="", index=0, image="", ports=(), inputs=(), process=process)
    return own._asdict() | {f"process.{name}": value for name, value in process._asdict().items()} | {"process": None}


def _show(service: str, replicas: Sequence[Replica], found: Sequence[Unlike], session: Session) -> None:
    colour = console.colours(sys.stdout, session.env)
    image = replicas[0].container.image
    if not found:
        count = "its one replica is" if len(replicas) == 1 else f"{len(replicas)} replicas are identical,"
        print(f"{paint('identical', 'green', colour)}  {clean(service)}: {count} as the image has it: {image}")
        return
    print(f"{paint('differs', 'red', colour)}  {clean(service)}, of {len(replicas)}")
    for one in found[:_SHOWN]:
        instead = (
            f", {clean(replicas[0].container.name)} has {clean(one.instead) or 'none'}" if one.what != "file" else ""
        )
        print(f"  {clean(one.replica)}  {clean(one.name)}: {clean(one.found) or 'none'}{instead}")
    if len(found) > _SHOWN:
        print(f"  and {len(found) - _SHOWN} more: --json lists them")


def _document(service: str, replicas: Sequence[Replica], found: Sequence[Unlike]) -> dict[str, object]:
    return {
        "service": service,
        "identical": not found,
        "image": replicas[0].container.image,
        "replicas": [one.container.name for one in replicas],
        "differences": [plain(one) for one in found],
    }
