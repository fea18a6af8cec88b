"""The verb explain: what the last build and `up` did and why, and what `up` would do now; or all there is to say of one thing."""

from __future__ import annotations

import sys
import time
from difflib import get_close_matches
from typing import Annotated

import typer

from devenv import console
from devenv.cli import document, explained, options, secrets
from devenv.cli.asked import Asked
from devenv.cli.foreseen import foresee
from devenv.cli.known import known_home
from devenv.cli.project import BuildOptions, load, say, warn
from devenv.cli.session import Session
from devenv.errors import DevenvError, NotFound
from devenv.model.container import State
from devenv.model.image import PROJECT
from devenv.model.plan import Desired, Plan


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(explain)


def explain(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="[STEP|CONTAINER|SERVICE]",
            help="A step (`apt`, `python 1/2`), `workspace`, `web-1`, `web`: all of it.",
        ),
    ] = "",
    contexts: options.Contexts = None,
    arguments: options.Arguments = None,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> None:
    """Say why each step was built or not, why the container was made, and what `up` would do now.

    Each input that changed is told before and after, with its place.

    Example:  devenv explain

    Example:  devenv explain "environment 1/2"
    """
    session = options.within(context, variant)
    chosen = BuildOptions(
        options.contexts(contexts, session.folder), options.pairs(arguments, "--build-arg", session.env)
    )
    try:
        decided, wanted, state = _now(session, chosen)
    except DevenvError:
        if not name and not as_json:  # what was done is known though it can't be told what is to be done
            _past(session)
        raise
    records = {one.object: one for one in session.observer().records(wanted.environment.id)}
    if name:
        told = _one(session, name, decided, wanted, state)
        if as_json:
            console.json(explained.one_document(told, records), sys.stdout)
        else:
            explained.one(told, records, time.time(), session.env)
    elif as_json:
        console.json(document.explained(decided, tuple(records.values())), sys.stdout)
    else:
        explained.past(records, state.containers, time.time(), session.env)
        explained.now(decided, session.env)


def _now(session: Session, chosen: BuildOptions) -> tuple[Plan, Desired, State]:
    """What `up` would do, what for, and what there is."""
    prepared, wanted, state, decided, given = foresee(session, load(session), session.window(), chosen, Asked())
    warn(prepared.values(), session)
    say(secrets.unread(given, wanted, decided), session)
    return decided, wanted, state


def _past(session: Session) -> None:
    observer = session.observer()
    try:
        here = known_home(session, observer)
    except DevenvError:
        return  # the error that brought us here says more
    records = {one.object: one for one in observer.records(here.id)}
    explained.past(records, observer.containers(here.id), time.time(), session.env)


def _one(session: Session, name: str, decided: Plan, wanted: Desired, state: State) -> explained.One:
    """The steps of a place (`apt 1/2`) or of a stage (`apt`), of a service's image behind its name (`db apt`); or the containers
    of a name, with the steps of their image; or those of an image. Raises NotFound.
    """
    steps = explained.steps(wanted, state, decided, session.observer().stored)
    services = {wanted.spec.name: wanted.spec.service}
    services |= {spec.name: service.name for service in wanted.services for spec in service.specs}
    services |= {known.name: known.service for known in state.containers}
    containers = (name,) if name in services else tuple(one for one, service in services.items() if service == name)
    if containers:
        own = tuple(step for step in steps if step.image == name)
        return explained.One(wanted, decided, own, containers, state)
    found = [step for step in steps if step.label == name]
    found = found or [step for step in steps if step.label.rpartition(" ")[0] == name]
    image = name.removeprefix(f"{PROJECT} ")  # as plans call it: `image`, `image db`
    found = found or [step for step in steps if step.image == image]
    if not found:
        places = list(dict.fromkeys((*(step.label for step in steps), *sorted(services))))
        near = get_close_matches(name, places, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise NotFound(
            f"explain {name}: there is no such step or container", hint=f"{hint}there are: {', '.join(places)}"
        )
    return explained.One(wanted, decided, tuple(found), state=state)
