"""Names on a command line → the containers that are meant, and which of those to come are meant too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from devenv.cli.known import called, known_home, main_container, meant, named, project_folder
from devenv.cli.listing import rank
from devenv.cli.session import Session
from devenv.engine import Observer
from devenv.errors import Fault, InputError, NotFound
from devenv.model.container import Container, Environment


class Chosen(NamedTuple):
    """Containers of one environment, by `names` of theirs or of their services; without names all of them."""

    home: Environment
    containers: tuple[Container, ...]
    names: frozenset[str] = frozenset()

    def wants(self, one: Container) -> bool:
        return not self.names or one.name in self.names or one.service in self.names

    @property
    def alone(self) -> Container | None:
        """The one container that is meant, whichever may come later; None where a service, or all, are."""
        if len(self.containers) == 1 and (not self.names or self.containers[0].name in self.names):
            return self.containers[0]
        return None


def choose(session: Session, observer: Observer, texts: Sequence[str]) -> Chosen:
    """`CONTAINER`s and `SERVICE`s of the environment we are in, or `ENVIRONMENT/…`; an `ENVIRONMENT`: all of it. Raises NotFound."""
    found = [_meant(session, observer, text) for text in texts]
    homes = {home.id: home for home, _ in found} or {"": known_home(session, observer)}
    if len(homes) > 1:
        listed = ", ".join(home.name for home in homes.values())
        raise InputError(Fault("names", 0, 0, f"of several environments: {listed}", "name those of one at a time"))
    (home,) = homes.values()
    names = frozenset(name for _, name in found if name) if all(name for _, name in found) else frozenset[str]()
    chosen = Chosen(home, (), names)
    known = [one for one in observer.containers(home.id) if chosen.wants(one)]
    if not known:
        main_container(observer, home)  # says how to have any
    return chosen._replace(containers=tuple(sorted(known, key=rank)))


def _meant(session: Session, observer: Observer, text: str) -> tuple[Environment, str]:
    """Its environment and the name of a container or service, "" for all."""
    home, slash, name = text.partition("/")
    if slash:
        here = named(observer, home)
        return here, _known(observer, here, name)
    try:
        here = known_home(session, observer)
        return here, _known(observer, here, text)
    except NotFound:
        if not meant(observer, text) and project_folder(session, observer):
            raise
    return named(observer, text), ""


def _known(observer: Observer, here: Environment, name: str) -> str:
    if not called(observer, here, name):
        main_container(observer, here, name)  # says what there is
    return name
