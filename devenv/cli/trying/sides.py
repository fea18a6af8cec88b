"""What is asked for → the manifest, the lock and the build of each side; an environment of its own for each, up and down again."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from devenv import console
from devenv import desired as wanting
from devenv.changes import concealed, shown
from devenv.cli import asking, locking, secrets
from devenv.cli.asked import Asked, chosen_services
from devenv.cli.carrying import carry_out
from devenv.cli.project import BuildOptions, builder, desire, find, load, look, observe, prepare_all, tags
from devenv.cli.session import Machine, Session
from devenv.errors import DevenvError, EngineError
from devenv.lock.parts import part
from devenv.model.container import KEPT, RUN, Container, Environment
from devenv.model.dist import normal
from devenv.model.events import Event, Sink, ignore
from devenv.model.image import PROJECT
from devenv.model.lock import Lock, Section
from devenv.model.manifest import Manifest, Pairs
from devenv.model.plan import Change, Desired
from devenv.plan import plan, takedown

from .voice import voice

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared
    from devenv.manifest import Altered

Stage = Literal["lock", "build", "start"]

_NONE = re.compile(
    r"there (?:is|are) no versions? of ([A-Za-z0-9._-]+)(?=\S*=)|No matching version found for (@?[^@\s]+)@"
    r"|Version '[^']*' for '([^']+)' was not found"
)
"""How uv, npm and apt say that there is no such version."""
_SLUG = 40
_SLUGGED = re.compile("[^a-z0-9.]+")


class Party(NamedTuple):
    """A side as it is asked for: its name, as what the manifest is read, and what that changes, in the manifest's words."""

    name: str
    altered: Altered | None = None
    changes: tuple[Change, ...] = ()

    @property
    def slug(self) -> str:
        """Its name, as environments and files are called."""
        return _SLUGGED.sub("-", self.name.lower()).strip(".-")[:_SLUG] or "variant"


class Setup(NamedTuple):
    """A side that is built: it can be brought up as often as one likes. `environment`: variables that its workspace has."""

    party: Party
    manifest: Manifest
    section: Section
    prepared: Mapping[str, Prepared]
    image: str
    """The digest of what its workspace runs."""
    environment: Pairs = ()


class Standing(NamedTuple):
    """A side that is up, where its command runs, and all that was wanted of it."""

    setup: Setup
    environment: Environment
    workspace: Container
    wanted: Desired


class Unable(DevenvError):
    """A side that can't be had: `stage` says how far it came. Of a baseline, nothing can be judged then."""

    exit_code = 2

    def __init__(self, stage: Stage, error: DevenvError) -> None:
        super().__init__(error.message, hint=error.hint)
        self.stage: Stage = stage

    def typo(self, changes: Sequence[Change]) -> bool:
        """Whether it is for want of a version that was asked for: who mistypes one has learnt nothing of what it would break."""
        found = _NONE.findall(self.message)
        names = {normal(change.name.rpartition(".")[2]) for change in changes}
        return any(normal(name) in names for told in found for name in told if name)


Relock = Callable[[str, Sequence[str]], Mapping[str, bytes]]
"""(package.json, what npm is asked for, `NAME@VERSION`) → the files as npm has them then, by path."""


def party(
    session: Session, baseline: Manifest, section: Section, asked: Sequence[str], relock: Relock, name: str = ""
) -> Party:
    """The variant that these words ask for (manifest.alter). Raises InputError; Unable where npm can't say what it would be."""
    from devenv.manifest import Altered, alter

    named = [text for text in asked if text in baseline.variants]
    below = load(session, altered=Altered(named[0])) if named else baseline
    files = {file: data for own in wanting.manifests(below).values() for file, data in asking.told(own).items()}
    locked = {
        wanting.owner(image): tuple(dist.name for dist in python.packages)
        for image in wanting.manifests(below)
        if (python := part(section, image).python)
    }
    path = os.path.relpath(find(session.folder))
    found = alter(path, asked, files=files, locked=locked)
    altered = found.altered
    for file in dict.fromkeys(file for file, _ in found.npm):
        try:
            made = relock(file, [spec for own, spec in found.npm if own == file])
        except EngineError as error:
            raise Unable("lock", error) from error
        altered = altered._replace(files=(*altered.files, *made.items()))
    return Party(name or called(asked), altered, tuple(map(_shown, found.changes)))


def called(asked: Sequence[str]) -> str:
    """What a variant is called by, which is kept, shown and part of names: no secret's value."""
    return " ".join(map(concealed, asked))


def _shown(change: Change) -> Change:
    return change._replace(before=shown(change.name, change.before), after=shown(change.name, change.after))


def manifest(session: Session, one: Party, *, serve: bool = False) -> Manifest:
    """The manifest of a side, as it is beside another: sources are seen and never written, ports are any that are free.

    Its workspace waits, unless it is to `serve`: were its `command:` to fail, no test could be run in it.
    """
    from devenv.manifest import Altered

    read = wanting.beside(load(session, altered=one.altered or Altered()))
    return read if serve else read._replace(command=None)


def seed(own: Manifest, section: Section) -> None:
    """Let a side's lock begin with what is locked for another, where nothing is locked for it yet: what isn't to change stays.

    A variant of the manifest may have a lock of its own beside it.
    """
    if not os.path.exists(own.lock) and not os.path.exists(locking.path(own._replace(lock=""))):
        locking.write(own, Lock({section.arch: section}))


def ready(session: Session, one: Party, own: Manifest, machine: Machine, *, locked: bool = False) -> Setup:
    """Locked, and its images built. `locked`: as its lock says, or not at all. Raises Unable."""
    options = BuildOptions(locked=locked)
    with voice(session, one.name) as sink:
        try:
            section = locking.settled(session, own, machine, options, sink)
            prepared = prepare_all(own, section, machine, options)
        except DevenvError as error:
            raise Unable("lock", error) from error
        home = named(own, one.slug, machine)
        wanted = desire(own, prepared, section, home, machine)
        images = observe(machine, wanted).images
        due = {name: prepared[name] for name, image in images.items() if not image.digest}
        try:
            make = builder(due, machine, options, sink, tags(home, due))
            for name in due:
                make(name)
        except DevenvError as error:
            raise Unable("build", error) from error
    digest = observe(machine, wanted).images[PROJECT].digest
    config = next((image.config.env for image in machine.engine.images() if image.digest == digest), ())
    return Setup(one, own, section, prepared, digest, tuple({**dict(config), **dict(own.env)}.items()))


def named(own: Manifest, slug: str, machine: Machine, run: str = "") -> Environment:
    """The environment of a side, which no `variants:` can spell: that of one run, or what stays for people to enter."""
    variant = f"{RUN}{run}.{slug}" if run else f"{KEPT}{slug}"
    known = machine.engine.environment(own.folder, variant)
    return wanting.environment(
        own.folder, f"{own.name}.try-{run}.{slug}" if run else f"{own.name}.try-{slug}", known, variant
    )


def stand(session: Session, setup: Setup, here: Environment, machine: Machine, sink: Sink) -> Standing:
    """The side brought up, with its services and hooks, in this environment. Raises Unable; then it is down again."""
    name, begun = f"up {setup.party.name}", time.monotonic()
    sink(Event("started", name))
    try:
        one = _stand(session, setup, here, machine, lambda event: _told(event, name, sink))
    except Unable as error:
        sink(Event("failed", name, error.message, time.monotonic() - begun))
        raise
    sink(Event("done", name, "", time.monotonic() - begun))
    return one


def _told(event: Event, name: str, sink: Sink) -> None:
    """What is said while a side is brought up, as if one thing said it all; why it can't be is told in the end."""
    if event.kind in ("output", "warning"):
        for line in event.text.splitlines():
            sink(Event("output", name, f"{event.object}: {line}"))


def _stand(session: Session, setup: Setup, here: Environment, machine: Machine, sink: Sink) -> Standing:
    try:
        return _brought_up(session, setup, here, machine, sink)
    except BaseException:  # interrupted, or a bug: nobody else knows of it
        fall(here, machine)
        raise


def _brought_up(session: Session, setup: Setup, here: Environment, machine: Machine, sink: Sink) -> Standing:
    own, engine = setup.manifest, machine.engine
    services = chosen_services(session, own, Asked())
    given = secrets.read(own, session.env)
    wanted = desire(own, setup.prepared, setup.section, here, machine, services, given.fingerprints(engine))
    wanted = wanting.unwritten(wanted, {path for path in _mounted(wanted) if os.path.isdir(path)})
    with engine.turn(here.id, console.waiting):
        decided = plan(wanted, observe(machine, wanted))
        secrets.supply(engine, wanted, decided, lambda: given)
        build = builder(setup.prepared, machine, BuildOptions(), sink, tags(here, setup.prepared))
        report = carry_out(decided, engine, sink, build)
    if not report.ok:
        error = next(result.error for result in report.results if result.error)
        raise Unable("start", EngineError(error))
    (workspace,) = (one for one in engine.containers(here.id) if one.name == wanting.MAIN)
    return Standing(setup, here, workspace, wanted)


def _mounted(wanted: Desired) -> set[str]:
    """What services mount of the host."""
    return {mount.path for one in wanted.services for spec in one.specs for mount in spec.mounts if mount.path}


def fall(here: Environment, machine: Machine) -> None:
    """Take a side down, with its volumes; nothing of it is left but what the store keeps of its images. Raises EngineError."""
    with machine.engine.turn(here.id, console.waiting):
        decided = takedown(look(machine, here), volumes=True)
        report = carry_out(decided, machine.engine, ignore)
    if errors := [result.error for result in report.results if result.error]:
        hint = f"devenv down --volumes {here.id}"
        raise EngineError(f"take down {here.name}: {'; '.join(errors)}", hint=hint)
