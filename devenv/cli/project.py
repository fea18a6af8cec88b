"""The stages that verbs are made of: find the manifest, load it, prepare its build, say what is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from devenv import desired as wanting
from devenv.cli import remembered
from devenv.cli.session import Machine, Session, Window, here, places
from devenv.console import warning
from devenv.errors import Fault, InputError, NotFound
from devenv.model.build import Keyed, Step
from devenv.model.container import Environment, State
from devenv.model.events import Sink
from devenv.model.image import PROJECT, Image, Unlike, environment_tag, failed_tag
from devenv.model.lock import EPOCH, Section
from devenv.model.manifest import Lending, Manifest, Pairs, Service
from devenv.model.plan import Desired, Ending

if TYPE_CHECKING:
    from devenv.build.prepare import Blame, Prepared
    from devenv.build.several import Several
    from devenv.manifest import Altered

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
            return utf8(path)
        if folder == "/":
            raise NotFound(f"no {FILE} in {first} or above it", hint="`devenv init` writes one from what is there")
        folder = os.path.dirname(folder)


def utf8(path: str) -> str:
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


def load(session: Session, scale: Mapping[str, int] = MappingProxyType({}), altered: Altered | None = None) -> Manifest:
    """The manifest of the project we are in, as the variant that the session is about. Raises NotFound, InputError with
    every fault.

    `scale`: service → replicas, whatever the manifest says. `altered`: as what it is read instead.
    """
    from devenv.manifest import Altered
    from devenv.manifest import load as load_manifest
    from devenv.render.sandbox import expand

    path = os.path.relpath(find(session.folder), session.folder)  # messages carry it as one would type it
    where = os.path.join(session.folder, path) if session.folder != here() else path
    try:
        return load_manifest(
            where,
            facts=facts(session.env),
            expand=expand,
            forbidden=places(session.env),
            scale=scale,
            home=session.env.get("HOME", ""),
            altered=altered or Altered(session.variant),
        )
    except InputError as error:
        from devenv.cli import variants  # when something is wrong

        if altered is None and (unknown := variants.misread(session, find(session.folder))):
            raise unknown from error
        raise


def recipe(manifest: Manifest, section: Section) -> tuple[str, str]:
    """The Containerfile of a manifest and its lock: (text, the name its messages carry). The project's own when that is all."""
    from devenv.render.containerfile import containerfile, own_file
    from devenv.render.templates import templates_folder

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
    """The keyed graph of one image, made of what is locked for it. Nothing is built."""
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


def prepare_all(manifest: Manifest, section: Section, machine: Window, options: BuildOptions) -> Mapping[str, Prepared]:
    """The keyed graphs of all images that a manifest speaks of, by the name they are wanted under; the project's first.

    `section` is the whole lock, and what later bases are made of.
    """
    from devenv.build.prepare import undeclared_in
    from devenv.lock.parts import part

    found = {
        image: prepare(own, part(section, image), machine, options)
        for image, own in wanting.manifests(manifest).items()
    }
    machine.workshop.use(section)
    return undeclared_in(found, dict(options.arguments))


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


def warn(prepared: Iterable[Prepared], session: Session) -> Sequence[str]:
    """Say what is odd about builds, once, before they begin; the texts."""
    return say(tuple(dict.fromkeys(text for one in prepared for text in one.warnings)), session)


def say(texts: Sequence[str], session: Session) -> Sequence[str]:
    """Warn of these; the texts."""
    for text in texts:
        warning(text, session.env)
    return texts


def told_late(
    prepared: Mapping[str, Prepared],
    manifest: Manifest | None,
    taken: Mapping[str, tuple[Ending, float]],
    session: Session,
) -> Sequence[str]:
    """Say what is to be said once builds are done, of the steps that ran and nobody can promise; they are `taken`, by title."""
    if not taken:
        return ()
    from devenv.cli.online import told

    return say(told(prepared, manifest, {name for name, (ending, _) in taken.items() if not ending}), session)


def builder(
    prepared: Mapping[str, Prepared],
    machine: Machine,
    options: BuildOptions,
    sink: Sink,
    names: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Callable[[str], Image]:
    """What makes images when a plan asks for them, by name: all of `prepared`, at the same time.

    `names` are what they are called in the store, by image; of one that isn't there, `options.tags`.
    """
    begun: list[Several] = []

    def image(name: str) -> Image:
        if not begun:  # nothing of it is imported where nothing is to be built
            begun.append(_several(prepared, machine, options, sink, names))
        return begun[0].image(name)

    return image


def _several(
    prepared: Mapping[str, Prepared],
    machine: Machine,
    options: BuildOptions,
    sink: Sink,
    names: Mapping[str, Sequence[str]],
) -> Several:
    from threading import Semaphore

    from devenv.build.execute import Build
    from devenv.build.several import Due, Several, alike

    places = Semaphore(options.jobs or os.cpu_count() or 1)

    def due(images: Sequence[str]) -> Due:
        one, workshop, own = prepared[images[0]], machine.workshop.apart(), wanting.owner(images[0])
        failed = failed_tag(one.key) if options.keep_failed else ""
        build = Build(one, workshop, sink, places, dict(options.secrets), failed, options.no_cache, image=own)
        return Due(build, images, [tag for image in images for tag in names.get(image, options.tags)])

    return Several([due(images) for images in alike({name: one.key for name, one in prepared.items()})])


def rebuilt(prepared: Mapping[str, Prepared], machine: Machine, options: BuildOptions, sink: Sink) -> Sequence[Unlike]:
    """Every step of these builds done again: those that gave another result."""
    from devenv.build.again import again

    jobs = options.jobs or os.cpu_count() or 1
    each = {wanting.owner(image): one for image, one in prepared.items()}
    return again(each, machine.workshop, sink, jobs=jobs, secrets=dict(options.secrets))


def desire(
    manifest: Manifest,
    prepared: Mapping[str, Prepared],
    section: Section,
    home: Environment,
    machine: Window,
    services: Sequence[Service] = (),
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> Desired:
    """What `up` wants of this project on this host: the workspace, and these of the manifest's services.

    `secrets` are the fingerprints of those that could be read, by name.
    """
    from devenv.lock.parts import part

    own = wanting.manifests(manifest)
    images = [
        wanting.image(
            name,
            one.key,
            remembered.with_files(tuple(_steps(one)), part(section, name)),
            bases=tuple(remembered.bases(one, own[name], section)),
            files=remembered.listings(one),
            hooks=manifest.hooks if name == PROJECT else None,
        )
        for name, one in prepared.items()
    ]
    certificates = machine.certificates(manifest.certificates)
    words = {name: wanting.words(own[name], one.config) for name, one in prepared.items()}
    return wanting.desired(manifest, home, images, services, words, certificates=certificates, secrets=secrets)


def _steps(prepared: Prepared, before: str = "") -> Iterator[tuple[str, Keyed]]:
    """All steps that are to be done, those of bases that are themselves built first."""
    for name, base in prepared.bases.items():
        if base.prepared is not None:
            yield from _steps(base.prepared, f"{before}{name}/")
    for position, keyed in wanting.positions(prepared.graph, prepared.steps):
        yield before + position, keyed


def observe(machine: Window, wanted: Desired) -> State:
    """What there is of what is wanted."""
    keys = [keyed.key for image in wanted.images for _, keyed in image.steps]
    return machine.engine.observe(wanted.environment, {image.name: image.key for image in wanted.images}, keys)


def look(machine: Window, here: Environment) -> State:
    """What there is of an environment, whatever is wanted."""
    return machine.engine.observe(here, {}, ())


def home(machine: Window, manifest: Manifest) -> Environment:
    """The environment of the manifest's folder, or of a variant there, known or new."""
    known = machine.engine.environment(manifest.folder, manifest.variant)
    name = f"{manifest.name}.{manifest.variant}" if manifest.variant else manifest.name
    return wanting.environment(manifest.folder, name, known, manifest.variant)


def tags(here: Environment, images: Iterable[str]) -> dict[str, tuple[str]]:
    """What an environment's images are called in the store, by the name they are wanted under."""
    return {one: (environment_tag(here.name if one == PROJECT else f"{here.name}-{one}", here.id),) for one in images}
