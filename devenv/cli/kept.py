"""What `try --keep` leaves, written down → the very same again: started, planned, run in, whatever devenv.yml says now."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from devenv.cli import secrets, variants
from devenv.cli.project import find, load, observe
from devenv.cli.session import Machine, Session, Window
from devenv.errors import Fault, InputError, NotFound
from devenv.model import plain
from devenv.model.container import ContainerSpec, Environment
from devenv.model.image import PROJECT
from devenv.model.manifest import Secret
from devenv.model.plan import Desired
from devenv.paths import Paths, locate
from devenv.quick import wanted as wanting

_VERSION = 1


class Side(NamedTuple):
    """A side of a trial that stays: all that was wanted of it, its command, and where its secrets come from."""

    wanted: Desired
    test: str
    secrets: tuple[Secret, ...] = ()


def keep(session: Session, machine: Machine, side: Side) -> None:
    """Write down what is needed to have it again; what was written of those that are gone goes."""
    paths, here = locate(session.env, os.geteuid()), side.wanted.environment
    _prune(paths, {one.id for one in machine.engine.environments()})
    digests = {name: image.digest for name, image in observe(machine, side.wanted).images.items()}
    told = {
        "version": _VERSION,
        "test": side.test,
        "secrets": plain(side.secrets),
        **wanting.written(side.wanted, digests),
    }
    os.makedirs(paths.kept(), mode=0o700, exist_ok=True)
    draft = f"{paths.kept(here.id)}.new"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(draft, paths.kept(here.id))


def _prune(paths: Paths, known: set[str]) -> None:
    with suppress(FileNotFoundError):
        for name in os.listdir(paths.kept()):
            if name.partition(".")[0] not in known:
                os.unlink(f"{paths.kept()}/{name}")


def side(session: Session, machine: Window) -> Side | None:
    """The kept side that the command is about; None where it is about what devenv.yml says. Raises NotFound."""
    if not session.variant:
        return None
    here = variants.kept(session, machine.engine, find(session.folder))
    return _read(session, here) if here else None


def _read(session: Session, here: Environment) -> Side:
    again = f"devenv down --volumes {here.id}, then the same devenv try … --keep once more"
    try:
        with open(locate(session.env, os.geteuid()).kept(here.id), encoding="utf-8") as file:
            told = json.load(file)
        if told["version"] != _VERSION:
            raise ValueError
    except (OSError, ValueError, KeyError) as error:
        cause = "how it was made isn't known any more, so it can only be entered, stopped and taken down"
        raise NotFound(f"{here.name}: {cause}", hint=again) from error
    return Side(wanting.read(told), told["test"], tuple(Secret(**one) for one in told["secrets"]))


def refuse(variant: str, *, plain: bool) -> None:
    """Raise InputError unless it is to be as it was tried."""
    if not plain:
        cause = f"{variant} is what `try --keep` left, and is started as it was tried, all of it"
        fix = "leave out names, counts, profiles, and options of a build: --recreate and --no-wait are fine"
        raise InputError(Fault("--variant", 0, 0, cause, fix))


def given(one: Side, session: Session) -> secrets.Read:
    """Its secrets as they are now."""
    if not one.secrets:
        return secrets.Read({}, {})
    return secrets.read(load(session._replace(variant=""))._replace(secrets=one.secrets), session.env)


def workspace(one: Side, session: Session, machine: Machine) -> ContainerSpec:
    """Its workspace with its image, for a container beside it, which is given its secrets. Raises NotFound, InputError."""
    images = digests(one, machine)
    if names := one.wanted.spec.secrets:
        machine.engine.supply(one.wanted.environment.id, given(one, session).of(names))
    return one.wanted.spec._replace(image=images[PROJECT])


def digests(one: Side, machine: Window) -> Mapping[str, str]:
    """The digests of its images, which must be there: there is no manifest to build them from. Raises NotFound."""
    images = observe(machine, one.wanted).images
    if missing := [name for name, image in images.items() if not image.digest]:
        cause = f"{_several(missing)} in the store any more"
        raise NotFound(f"{one.wanted.environment.name}: {cause}", hint="the same devenv try … --keep builds it again")
    return {name: image.digest for name, image in images.items()}


def _several(missing: Sequence[str]) -> str:
    named = ", ".join("its image" if name == PROJECT else f"the image of {name}" for name in missing)
    return f"{named} {'is' if len(missing) == 1 else 'are'} not"
