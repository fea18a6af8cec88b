"""What people call things → the environments, containers and images that there are. Reads no manifest."""

from __future__ import annotations

import os

from devenv.cli import variants
from devenv.cli.project import FILE, find, utf8
from devenv.cli.session import Session
from devenv.console import warning
from devenv.desired import MAIN
from devenv.engine import Observer
from devenv.errors import DevenvError, InputError, NotFound
from devenv.model.container import KEPT, Container, Environment
from devenv.model.image import Image


def named(engine: Observer, text: str) -> Environment:
    """An environment by id (4 digits or more) or name, wherever we are and its folder may be. Raises NotFound."""
    found = meant(engine, text)
    if not found:
        raise NotFound(f"environment {text}: there is none", hint="`devenv ps --all` lists what there is")
    if len(found) > 1:
        listed = "".join(f"\n  {one.id}  {one.name}  {one.folder}" for one in found)
        raise NotFound(f"environment {text}: there are {len(found)}{listed}", hint="say which one by its id")
    return found[0]


def meant(engine: Observer, text: str) -> list[Environment]:
    """The environments of this name or id, else those whose id begins so."""
    known = engine.environments()
    found = [one for one in known if text in (one.id, one.name)]
    return found or [one for one in known if len(text) >= 4 and one.id.startswith(text)]


def folder(session: Session) -> str:
    """The folder of the project we are in. Raises NotFound."""
    return os.path.dirname(find(session.folder))


def known_home(session: Session, engine: Observer, name: str = "") -> Environment:
    """The environment we are in, or that of a name or id, its manifest unread. Raises NotFound when it was never brought up."""
    if name:
        return named(engine, name)
    here = os.path.realpath(session.folder)
    try:
        where = folder(session)
    except NotFound:
        if engine.environment(utf8(here), session.variant) is None:  # its manifest may be gone, yet `down` must work
            raise
        where = here
    found = _there(session, engine, where)
    if found is None:
        variants.check(session, engine, f"{where}/{FILE}")
        what = f" {session.variant}" if session.variant else ""
        raise NotFound(f"{where}: has no environment{what} yet", hint=f"`{up(session)}` brings it up")
    return found


def variant_id(session: Session, engine: Observer) -> str:
    """The id of the environment of the variant that the command is about, "" when it was never brought up.

    Raises NotFound in no project, InputError for a variant that there isn't.
    """
    found = _there(session, engine, folder(session))
    if found is None:
        variants.check(session, engine, find(session.folder))
    return found.id if found else ""


def up(session: Session) -> str:
    """The command that brings up what this one is about."""
    return f"devenv up --variant {session.variant}" if session.variant else "devenv up"


def _there(session: Session, engine: Observer, where: str) -> Environment | None:
    """The environment of a project folder that the command is about: of a variant, its own before what `try --keep` left."""
    found = engine.environment(where, session.variant)
    return found or (engine.environment(where, f"{KEPT}{session.variant}") if session.variant else None)


def project_folder(session: Session, engine: Observer) -> str:
    """The folder of the project we are in, also of one whose manifest is gone; "" when we are in none."""
    try:
        return folder(session)
    except NotFound:
        here = os.path.realpath(session.folder)
        return here if known_id(session, engine) else ""
    except InputError:
        return ""


def known_id(session: Session, engine: Observer) -> str:
    """The id of the environment we are in, "" when it was never brought up."""
    try:
        return known_home(session, engine).id
    except DevenvError:
        return ""


def untouched(session: Session, engine: Observer) -> bool:
    """Whether the project we are in has no environment."""
    try:
        return _there(session, engine, folder(session)) is None
    except NotFound:
        return False


def running(session: Session, engine: Observer) -> tuple[str, Container]:
    """The name of the environment we are in, and its main container, running. Raises NotFound."""
    here = known_home(session, engine)
    container = main_container(engine, here)
    if container.status != "running":
        raise NotFound(f"{here.name}: isn't running", hint=f"`{up(session)}` starts it")
    if container.lost:
        text = f"the folder {container.lost} was made anew, and inside is still the old one: `{up(session)}` mends that"
        warning(text, session.env)
    return here.name, container


def main_container(engine: Observer, here: Environment, name: str = MAIN) -> Container:
    """A container of an environment: by its name or, where it is the only replica, its service's. Raises NotFound."""
    found = called(engine, here, name)
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(one.name for one in found)
        raise NotFound(f"{here.name}: {name} has {len(found)} replicas", hint=f"name one of them: {listed}")
    known = engine.containers(here.id)
    others = f"it has {', '.join(one.name for one in known)}" if known else "`devenv up` makes it"
    raise NotFound(f"{here.name}: has no container {name}", hint=others)


def called(engine: Observer, here: Environment, name: str) -> tuple[Container, ...]:
    """The containers of an environment with this name, or of the service with it, in the order of their numbers."""
    known = engine.containers(here.id)
    exact = tuple(one for one in known if one.name == name)
    return exact or tuple(sorted((one for one in known if one.service == name), key=lambda one: one.index))


def find_containers(session: Session, engine: Observer, text: str) -> tuple[Container, ...]:
    """As `find_container`, but all replicas of a service. Raises NotFound where there is none."""
    home, slash, name = text.partition("/")
    here = named(engine, home) if slash else known_home(session, engine)
    return called(engine, here, name if slash else text) or (find_container(session, engine, text),)


def find_container(session: Session, engine: Observer, text: str) -> Container:
    """`CONTAINER` of the environment we are in (default: the workspace), `ENVIRONMENT`, or `ENVIRONMENT/CONTAINER`.

    `web` is its replica when there is only one.
    """
    home, slash, name = text.partition("/")
    if slash:
        return main_container(engine, named(engine, home), name)
    try:
        return main_container(engine, known_home(session, engine), text or MAIN)
    except NotFound:
        if not any(text in (one.name, one.id) for one in engine.environments()):
            raise
    return main_container(engine, named(engine, text))


def find_image(engine: Observer, reference: str) -> Image:
    """An image by a name of its, its digest, or 12 or more of the digest's digits. Raises NotFound."""
    digits = reference.removeprefix("sha256:")
    for image in engine.images():
        if reference in image.references or (
            len(digits) >= 12 and image.digest.removeprefix("sha256:").startswith(digits)
        ):
            return image
    raise NotFound(f"image {reference}: isn't in the store", hint="`devenv images` lists what is")
