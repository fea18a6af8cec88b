"""The project's lock: read, held against the manifest, resolved when it must be, written. What builds asks here first."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from devenv import console
from devenv.changes import brief
from devenv.cli.project import BuildOptions, debian_arch, prepare, read
from devenv.cli.session import Machine, Session, Window
from devenv.cli.written import write_new
from devenv.errors import DevenvError, Fault, InputError, StepFailed, StoreError
from devenv.model.events import Event, Sink
from devenv.model.lock import Lock, Section
from devenv.model.manifest import Lending, Manifest, Pairs

if TYPE_CHECKING:
    from devenv.lock.resolve import Desk
    from devenv.lock.wants import Wants
    from devenv.model.image import Rootfs

FILE = "devenv.lock.yml"

_BYTES = 16 << 20
_ADD = re.compile(r"^\s*ADD\s", re.MULTILINE | re.IGNORECASE)
_SUITE = re.compile(r"bootstrap:([a-z]+)")


def path(manifest: Manifest) -> str:
    """The lock file of a project."""
    return os.path.join(manifest.folder, FILE)


def known(manifest: Manifest) -> Lock:
    """What is locked already. Raises InputError."""
    from devenv.lock import document  # yaml: not for verbs that read no lock

    shown = os.path.relpath(path(manifest))
    try:
        with open(os.open(path(manifest), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return document.read(file.read(_BYTES + 1), shown)
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise InputError(Fault(shown, 0, 0, f"it can't be read: {error.strerror}")) from error


def section(manifest: Manifest) -> Section | None:
    """What is locked already for this machine. Raises InputError."""
    return known(manifest).sections.get(debian_arch())


def expected(manifest: Manifest, machine: Window, options: BuildOptions) -> tuple[Section, Wants]:
    """The lock as far as it is known, for who only looks; and what is wanted of it."""
    from devenv.lock.wants import provisional

    machine.workshop.lend(lending(manifest))
    found = known(manifest).sections.get(debian_arch())
    wanted = _wanted(manifest, machine, options, found)
    return provisional(wanted, found, debian_arch()), wanted


def settled(session: Session, manifest: Manifest, machine: Machine, options: BuildOptions) -> Section:
    """What is locked for all that the manifest asks for: resolved and written down where it wasn't.

    Raises InputError where `options.locked` forbids that, naming what differs.
    """
    from devenv.lock.wants import differs

    machine.workshop.lend(lending(manifest))
    lock = known(manifest)
    section = lock.sections.get(debian_arch())
    wanted = _wanted(manifest, machine, options, section)
    missing = differs(wanted, section)
    if section is not None and not missing:
        with console.progress(sys.stderr, session.env, time.monotonic) as sink:
            return _filed(manifest, machine, options, lock, section, sink)
    if options.locked:
        told = ", ".join(map(brief, missing)) or f"nothing is locked for {debian_arch()}"
        raise _stale(manifest, told)
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        return renewed(manifest, machine, options, lock, sink)


def renewed(
    manifest: Manifest,
    machine: Machine,
    options: BuildOptions,
    lock: Lock,
    sink: Sink,
    upgrade: frozenset[str] = frozenset(),
) -> Section:
    """Resolve what isn't locked yet, and what is to be upgraded; write it down."""
    from devenv.lock.resolve import resolve  # tomllib, packaging: only when there is something to resolve

    machine.workshop.lend(lending(manifest))
    arch = debian_arch()
    section = lock.sections.get(arch) or Section(arch)
    wanted = _wanted(manifest, machine, options, section)
    made = resolve(wanted, section, _desk(manifest, machine, options, sink), upgrade)
    kept = () if "*" in upgrade else tuple(remote for remote in made.files if remote.url not in upgrade)
    write(manifest, Lock({**lock.sections, arch: made._replace(files=kept)}))
    lock = known(manifest)  # as everybody else will have it
    return _filed(manifest, machine, options, lock, lock.sections[arch], sink)


def _filed(
    manifest: Manifest, machine: Machine, options: BuildOptions, lock: Lock, section: Section, sink: Sink
) -> Section:
    """The section with all that ADD fetches by URL in it, and nothing else; written down where it wasn't."""
    from devenv.build.prepare import addresses

    if not any(map(_ADD.search, _recipes(manifest, options))):
        return section
    wanted = addresses(prepare(manifest, section, machine, options))
    have = {remote.url: remote for remote in section.files if remote.url in wanted}
    missing = sorted(wanted - have.keys())
    if missing and options.locked:
        raise _stale(manifest, f"ADD {', ADD '.join(missing)}")
    if not missing and len(have) == len(section.files):
        return section
    for url in missing:
        sink(Event("started", f"lock {url}"))
        have[url] = machine.workshop.remote(url)
        sink(Event("done", f"lock {url}"))
    write(manifest, Lock({**lock.sections, section.arch: section._replace(files=tuple(have.values()))}))
    return known(manifest).sections[section.arch]


def _recipes(manifest: Manifest, options: BuildOptions) -> Iterator[str]:
    """The texts of all Containerfiles that a manifest builds from."""
    named = [str(manifest.base), *(value for _, value in _contexts(manifest, options))]
    for value in named if manifest.base.kind == "file" else ():
        if value.startswith("file:"):
            yield read(os.path.join(manifest.folder, value.removeprefix("file:")))


def _stale(manifest: Manifest, told: str) -> InputError:
    """The error that a lock isn't what it should be, where nothing may be resolved."""
    hint = "`devenv lock` brings it up to date; commit it with devenv.yml"
    return InputError(Fault(os.path.relpath(path(manifest)), 0, 0, f"it isn't what devenv.yml asks for: {told}", hint))


def newest(manifest: Manifest, machine: Machine, section: Section, sink: Sink) -> Section:
    """What would be locked today, were nothing locked yet. Writes nothing."""
    from devenv.lock.resolve import latest

    wanted = _wanted(manifest, machine, BuildOptions(), section)
    return latest(wanted, section, _desk(manifest, machine, BuildOptions(), sink))


def beyond(manifest: Manifest, machine: Machine, section: Section, sink: Sink) -> Mapping[tuple[str, str], str]:
    """(group, name) → the newest version there is, whatever devenv.yml allows. Writes nothing."""
    from devenv.lock.resolve import beyond as ask

    return ask(section, _desk(manifest, machine, BuildOptions(), sink))


def unlocked(manifest: Manifest, machine: Machine, section: Section) -> tuple[str, ...]:
    """What no lock holds: a line for the steps that have network."""
    from devenv.cli import online

    try:
        return online.told(prepare(manifest, section, machine, BuildOptions()), manifest)
    except InputError:  # a Containerfile may name what only `build --build-context` says
        return ()


def _desk(manifest: Manifest, machine: Machine, options: BuildOptions, sink: Sink) -> Desk:
    from devenv.cli import online
    from devenv.cli.telling import Taken, timed
    from devenv.lock.resolve import Desk

    def root(section: Section, stage: str) -> Rootfs:
        from devenv.build.execute import root as execute

        prepared = prepare(manifest, section, machine, replace(options, target=stage))
        taken: Taken = {}
        found = execute(prepared, machine.workshop, timed(sink, taken), jobs=os.cpu_count() or 1)
        for text in online.told(prepared, manifest, taken):  # the build will find them in the store
            sink(Event("warning", text))
        return found

    return Desk(manifest, machine.workshop, root, contents(manifest), time.time, sink, partial(_blamed, manifest))


def fetched(machine: Machine, section: Section, target: str) -> None:
    """Write what is locked to a new folder, as the build context `devenv-packages` of other builders."""
    import shutil  # 10 ms

    from devenv.lock.parcels import parcels

    if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise InputError(Fault(target, 0, 0, "is there already", "name a new folder"))
    machine.workshop.use(section)
    for path, parcel in parcels(section).items():
        with machine.workshop.parcel(parcel) as folder:
            shutil.copytree(folder, os.path.join(target, path), symlinks=True)


def _blamed(manifest: Manifest, part: str, error: StepFailed) -> DevenvError:
    """The same error, with what of the manifest it is about, and the lines that say why."""
    from devenv.cli.blame import failed

    keys = {
        "apt": ("apt",),
        "python": ("python.packages", "python.requirements"),
        "node": ("node.packages", "node.version"),
    }
    return failed(manifest, keys[part], error)


def lending(manifest: Manifest) -> Lending:
    """What a build of this manifest is lent."""
    return Lending(manifest.certificates, manifest.proxy, manifest.mirror, manifest.snapshot)


def read_of(manifest: Manifest) -> tuple[str, ...]:
    """The files that `contents` reads, as absolute paths."""
    return tuple(os.path.join(manifest.folder, file) for file in _files(manifest))


def contents(manifest: Manifest) -> Mapping[str, bytes]:
    """The files of the project that say which packages are wanted, by path."""
    return {file: _content(manifest.folder, file) for file in sorted(set(_files(manifest)))}


def _files(manifest: Manifest) -> Iterator[str]:
    from devenv.render.requirements import included_by

    if manifest.python:
        for file in (*manifest.python.requirements, *included_by(manifest)):
            yield os.path.normpath(file)
            if os.path.basename(file) == "uv.lock":
                yield os.path.normpath(os.path.join(os.path.dirname(file), "pyproject.toml"))
    if manifest.node and manifest.node.lock:
        yield os.path.normpath(manifest.node.lock)


def _content(folder: str, file: str) -> bytes:
    """A file of the project, wherever links lead as long as it is in there."""
    real = os.path.realpath(os.path.join(folder, file))
    if not real.startswith(os.path.realpath(folder).rstrip("/") + "/"):
        raise InputError(Fault(file, 0, 0, "is outside the project folder", "put the file itself there"))
    try:
        with open(os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
            content = stream.read(_BYTES + 1)
    except OSError as error:
        raise InputError(
            Fault(file, 0, 0, f"can't be read: {error.strerror}", "make the file, or take it out")
        ) from error
    if len(content) > _BYTES:
        raise InputError(Fault(file, 0, 0, f"is larger than {_BYTES >> 20} MiB", "is it the right file?"))
    return content


def _wanted(manifest: Manifest, machine: Window, options: BuildOptions, section: Section | None) -> Wants:
    from devenv.lock.wants import wants
    from devenv.render.containerfile import system_packages

    needs = section.python.needs if section and section.python and manifest.python else ()
    system = tuple(sorted({*system_packages(manifest), *needs}))
    images = tuple((name, _digest(manifest, reference, machine)) for name, reference in _images(manifest, options))
    return wants(manifest, tuple(sorted(set(_suites(manifest, options)))), images, system, contents(manifest))


def _digest(manifest: Manifest, reference: str, machine: Window) -> str:
    try:
        return machine.workshop.image_digest(reference)
    except StoreError as error:
        place = manifest.places.get("from", (0, 0))
        raise InputError(
            Fault(os.path.relpath(manifest.path), *place, f"`from`: {error.message}", error.hint)
        ) from error


def _contexts(manifest: Manifest, options: BuildOptions) -> Pairs:
    return tuple({**dict(manifest.contexts), **dict(options.contexts)}.items())


def _suites(manifest: Manifest, options: BuildOptions) -> Iterator[str]:
    """The Debian bases that may be made for this manifest."""
    if manifest.base.kind == "bootstrap":
        yield manifest.base.value
    if manifest.base.kind == "file":
        for text in _recipes(manifest, options):
            yield from _SUITE.findall(text)
        for _, value in _contexts(manifest, options):
            yield from _SUITE.findall(value)


def _images(manifest: Manifest, options: BuildOptions) -> Iterator[tuple[str, str]]:
    """Bases that are images of some layout: (as they are named, which is the same everywhere, as an absolute reference)."""
    named = [str(manifest.base)]
    if manifest.base.kind == "file":
        named += [value for _, value in _contexts(manifest, options)]
    for value in sorted(set(named)):
        if value.startswith("oci:"):
            yield value, f"oci:{os.path.normpath(os.path.join(manifest.folder, value[4:]))}"


def write(manifest: Manifest, lock: Lock) -> None:
    """The project's lock file, whole or not at all; one that says the same already isn't touched."""
    from devenv.lock import document

    target = path(manifest)
    text = document.write(lock)
    try:
        with open(target, encoding="utf-8") as file:
            if file.read() == text:
                return
    except (OSError, UnicodeDecodeError):
        pass
    write_new(
        target,
        text,
        force=True,
        hint=f"the lock belongs beside devenv.yml: make the folder writable, or commit a {FILE}",
    )
