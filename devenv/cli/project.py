"""The stages that verbs are made of: find the manifest, load it, prepare its build, say what is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devenv import desired as wanting
from devenv.cli import remembered
from devenv.cli.session import Machine, Session, Window, here, places
from devenv.console import warning
from devenv.engine import Observer
from devenv.errors import DevenvError, Fault, InputError, NotFound
from devenv.model.build import Keyed, Step
from devenv.model.container import Container, Environment, State
from devenv.model.events import Sink
from devenv.model.image import Image, Unlike, environment_tag, failed_tag
from devenv.model.lock import EPOCH, Section
from devenv.model.manifest import Lending, Manifest, Pairs
from devenv.model.plan import Desired

if TYPE_CHECKING:
    from devenv.build.prepare import Blame, Prepared

FILE = "devenv.yml"

_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386", "ppc64le": "ppc64el"}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the command line says about a build. `secrets` are (id, value)."""

    contexts: Pairs = ()
    arguments: Pairs = ()
    secrets: tuple[tuple[str, bytes], ...] = ()
    target: str = ""
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    keep_failed: bool = False
    locked: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    jobs: int = 0


def find(start: str) -> str:
    """Path of the nearest devenv.yml, from `start` upwards. Raises NotFound.

    One above `start` counts only when it belongs to root, to us, or to the owner of `start`: or anybody could
    leave one in /tmp for whoever works beneath it.
    """
    folder = os.path.realpath(start)
    trusted = {0, os.geteuid()}
    try:
        trusted.add(os.stat(folder).st_uid)
    except OSError as error:
        raise NotFound(f"{start}: {error.strerror}") from error
    first = folder
    while True:
        path = os.path.join(folder, FILE)
        if os.path.lexists(path) and (folder == first or os.lstat(path).st_uid in trusted):
            return _utf8(path)
        if folder == "/":
            raise NotFound(f"no {FILE} in {first} or above it", hint="`devenv init` writes one from what is there")
        folder = os.path.dirname(folder)


def _utf8(path: str) -> str:
    """The path, if it is text: what JSON, the database and a container's own files name must be."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(Fault(shown, 0, 0, "its path isn't UTF-8", "rename the folder: mv, or convmv")) from error
    return path


def facts(env: Mapping[str, str]) -> dict[str, str]:
    """What a manifest's templates may know of this host; the project's name is added by its loader."""
    return {"arch": debian_arch(), "user": env.get("USER", "root")}


def debian_arch() -> str:
    """This machine's architecture as Debian calls it."""
    machine = os.uname().machine
    return _DEBIAN_ARCH.get(machine, machine)


def load(session: Session) -> Manifest:
    """The manifest of the project we are in. Raises NotFound, InputError with every fault."""
    from devenv.manifest import load as load_manifest
    from devenv.render.sandbox import expand

    path = os.path.relpath(find(session.folder), session.folder)  # messages carry it as one would type it
    where = os.path.join(session.folder, path) if session.folder != here() else path
    return load_manifest(where, facts=facts(session.env), expand=expand, forbidden=places(session.env))


def recipe(manifest: Manifest, section: Section) -> tuple[str, str]:
    """The Containerfile of a manifest and its lock: (text, the name its messages carry). The project's own when that is all."""
    from devenv.render.containerfile import containerfile, own_file, templates_folder

    own = own_file(manifest)
    if own is not None:
        path = wanting.absolute(manifest.folder, own)
        return read(path), path
    text = containerfile(manifest, templates_folder(), section)
    return text, f"{os.path.relpath(manifest.path)} (rendered)"


def read(path: str) -> str:
    """A text file the user named. Raises InputError."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InputError(Fault(path, 0, 0, f"can't be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise InputError(Fault(path, 0, 0, f"isn't UTF-8: byte {error.start}")) from error


def prepare(manifest: Manifest, section: Section, machine: Window, options: BuildOptions) -> Prepared:
    """The keyed graph of the project's image, made of what is locked. Nothing is built."""
    from devenv.cli.blame import blame, located
    from devenv.render.containerfile import own_file, references

    machine.workshop.lend(Lending(manifest.certificates, manifest.proxy, manifest.mirror, manifest.snapshot))
    machine.workshop.use(section)
    text, file = recipe(manifest, section)
    contexts = {**dict(manifest.contexts), **dict(options.contexts)}
    if own_file(manifest):
        chosen = replace(options, contexts=tuple(contexts.items()))
        return prepare_file(text, file, manifest.folder, machine, chosen, section=section)
    chosen = replace(options, contexts=(*references(manifest).items(), *contexts.items()))

    def blamed(step: Step, output: Sequence[str]) -> tuple[str, str, Sequence[str]]:
        return blame(manifest, step, output)

    try:
        return prepare_file(text, file, manifest.folder, machine, chosen, blame=blamed, section=section)
    except InputError as error:
        raise located(error, manifest, text, file) from error


def prepare_file(
    text: str,
    file: str,
    folder: str,
    machine: Window,
    options: BuildOptions,
    *,
    blame: Blame | None = None,
    section: Section | None = None,
) -> Prepared:
    """The keyed graph of a Containerfile. `blame`: who is to blame for a failed step, when it isn't the Containerfile.

    `section`: what is locked for it.
    """
    from devenv.build.prepare import prepare as prepare_build
    from devenv.lock.parcels import parcels

    return prepare_build(
        text,
        file,
        contexts=dict(options.contexts),
        folder=folder,
        args=dict(options.arguments),
        target=options.target,
        workshop=machine.workshop,
        platform=f"linux/{debian_arch()}",
        blame=blame,
        parcels=parcels(section) if section else {},
        clock=(section.clock if section else 0) or EPOCH,
        files=section.files if section else (),
    )


def warn(prepared: Prepared, session: Session) -> None:
    """Say what is odd about a build, once, before it begins."""
    for text in prepared.warnings:
        warning(text, session.env)


def told_late(
    prepared: Prepared, manifest: Manifest | None, taken: Mapping[str, tuple[bool, float]], session: Session
) -> tuple[str, ...]:
    """Say what is to be said once a build is done, of the steps that ran and nobody can promise; they are `taken`, by title."""
    if not taken:
        return ()
    from devenv.cli.online import told

    found = told(prepared, manifest, {name for name, (ended, _) in taken.items() if ended})
    for text in found:
        warning(text, session.env)
    return found


def builder(prepared: Prepared, machine: Machine, options: BuildOptions, sink: Sink) -> Callable[[], Image]:
    """What makes the image when a plan asks for it."""

    def build() -> Image:
        from devenv.build.execute import build as execute

        return execute(
            prepared,
            machine.workshop,
            sink,
            jobs=options.jobs or os.cpu_count() or 1,
            references=options.tags,
            secrets=dict(options.secrets),
            keep_failed=failed_tag(prepared.key) if options.keep_failed else "",
            no_cache=options.no_cache,
        )

    return build


def rebuilt(prepared: Prepared, machine: Machine, options: BuildOptions, sink: Sink) -> Sequence[Unlike]:
    """Every step of a build done again: those that gave another result."""
    from devenv.build.again import again

    jobs = options.jobs or os.cpu_count() or 1
    return again(prepared, machine.workshop, sink, jobs=jobs, secrets=dict(options.secrets))


def desire(manifest: Manifest, prepared: Prepared, section: Section, home: Environment, machine: Window) -> Desired:
    """What `up` wants of this project on this host."""
    return wanting.desired(
        manifest,
        home,
        prepared.key,
        remembered.with_files(tuple(_steps(prepared)), section),
        bases=tuple(remembered.bases(prepared, manifest, section)),
        files=remembered.listings(prepared),
        certificates=machine.certificates(manifest.certificates),
    )


def _steps(prepared: Prepared, before: str = "") -> Iterator[tuple[str, Keyed]]:
    """All steps that are to be done, those of bases that are themselves built first."""
    for name, base in prepared.bases.items():
        if base.prepared is not None:
            yield from _steps(base.prepared, f"{before}{name}/")
    for position, keyed in wanting.positions(prepared.graph, prepared.steps):
        yield before + position, keyed


def observe(machine: Window, wanted: Desired) -> State:
    """What there is of what is wanted."""
    keys = [keyed.key for _, keyed in wanted.steps]
    return machine.engine.observe(wanted.environment, wanted.image_key, keys)


def look(machine: Window, here: Environment) -> State:
    """What there is of an environment, whatever is wanted."""
    return machine.engine.observe(here, "", ())


def home(machine: Window, manifest: Manifest) -> Environment:
    """The environment of the manifest's folder, known or new."""
    return wanting.environment(manifest.folder, manifest.name, machine.engine.environment(manifest.folder))


def tag(here: Environment) -> str:
    """The name of an environment's image."""
    return environment_tag(here.name, here.id)


def named(engine: Observer, text: str) -> Environment:
    """An environment by id (4 digits or more) or name, wherever we are and its folder may be. Raises NotFound."""
    known = engine.environments()
    found = [one for one in known if text in (one.id, one.name)]
    found = found or [one for one in known if len(text) >= 4 and one.id.startswith(text)]
    if not found:
        raise NotFound(f"environment {text}: there is none", hint="`devenv ps --all` lists what there is")
    if len(found) > 1:
        listed = "".join(f"\n  {one.id}  {one.name}  {one.folder}" for one in found)
        raise NotFound(f"environment {text}: there are {len(found)}{listed}", hint="say which one by its id")
    return found[0]


def known_home(session: Session, engine: Observer, name: str = "") -> Environment:
    """The environment we are in, or that of a name or id, its manifest unread. Raises NotFound when it was never brought up."""
    if name:
        return named(engine, name)
    here = os.path.realpath(session.folder)
    try:
        folder = os.path.dirname(find(session.folder))
    except NotFound:
        if engine.environment(_utf8(here)) is None:  # its manifest may be gone, yet `down` must work
            raise
        folder = here
    found = engine.environment(folder)
    if found is None:
        raise NotFound(f"{folder}: has no environment yet", hint="`devenv up` brings it up")
    return found


def known_id(session: Session, engine: Observer) -> str:
    """The id of the environment we are in, "" when it was never brought up."""
    try:
        return known_home(session, engine).id
    except DevenvError:
        return ""


def untouched(session: Session, engine: Observer) -> bool:
    """Whether the project we are in has no environment."""
    try:
        return engine.environment(os.path.dirname(find(session.folder))) is None
    except NotFound:
        return False


def running(session: Session, engine: Observer) -> tuple[str, Container]:
    """The name of the environment we are in, and its main container, running. Raises NotFound."""
    here = known_home(session, engine)
    container = main_container(engine, here)
    if container.status != "running":
        raise NotFound(f"{here.name}: isn't running", hint="`devenv up` starts it")
    if container.lost:
        text = f"the folder {container.lost} was made anew, and inside is still the old one: `devenv up` mends that"
        warning(text, session.env)
    return here.name, container


def main_container(engine: Observer, here: Environment, name: str = wanting.MAIN) -> Container:
    """A container of an environment by name. Raises NotFound."""
    known = engine.containers(here.id)
    for container in known:
        if container.name == name:
            return container
    others = f"it has {', '.join(one.name for one in known)}" if known else "`devenv up` makes it"
    raise NotFound(f"{here.name}: has no container {name}", hint=others)


def find_container(session: Session, engine: Observer, text: str) -> Container:
    """`CONTAINER` of the environment we are in (default: the main one), `ENVIRONMENT`, or `ENVIRONMENT/CONTAINER`."""
    home, slash, name = text.partition("/")
    if slash:
        return main_container(engine, named(engine, home), name)
    try:
        return main_container(engine, known_home(session, engine), text or wanting.MAIN)
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
