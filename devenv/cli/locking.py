"""The project's lock: read, held against the manifest, resolved when it must be, written. What builds asks here first."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from devenv import console
from devenv.cli import asking
from devenv.cli.project import BuildOptions, debian_arch, prepare, prepare_all
from devenv.cli.session import Machine, Session, Window
from devenv.cli.written import write_new
from devenv.desired import manifests
from devenv.errors import DevenvError, Fault, InputError, StepFailed
from devenv.model.events import Event, Sink
from devenv.model.lock import Lock, Section
from devenv.model.manifest import Lending, Manifest
from devenv.model.plan import Action, Result

if TYPE_CHECKING:
    from devenv.lock.desk import Desk
    from devenv.model.image import Rootfs

FILE = "devenv.lock.yml"

_BYTES = 16 << 20
_ADD = re.compile(r"^\s*ADD\s", re.MULTILINE | re.IGNORECASE)
_NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


def path(manifest: Manifest) -> str:
    """The lock file of a project, or of one of its variants."""
    return manifest.lock or _paths(manifest)[0]


def _paths(manifest: Manifest) -> tuple[str, ...]:
    """The project's files that a lock may be in, the nearest first: a variant begins with what is locked without it."""
    own = (f"devenv.lock.{manifest.variant}.yml",) if manifest.variant in manifest.variants else ()
    return tuple(os.path.join(manifest.folder, name) for name in (*own, FILE))


def known(manifest: Manifest) -> Lock:
    """What is locked already. Raises InputError."""
    found = (_read(each) for each in dict.fromkeys((path(manifest), *_paths(manifest))))
    return next(filter(None, found), Lock())


def _read(path: str) -> Lock | None:
    from devenv.lock import document  # yaml: not for verbs that read no lock

    shown = os.path.relpath(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return document.read(file.read(_BYTES + 1), shown)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(Fault(shown, 0, 0, f"it can't be read: {error.strerror}")) from error


def section(manifest: Manifest) -> Section | None:
    """What is locked already for this machine. Raises InputError."""
    return known(manifest).sections.get(debian_arch())


def expected(manifest: Manifest, machine: Window, options: BuildOptions) -> Section:
    """The lock as far as it is known, for who only looks."""
    from devenv.lock.together import provisional

    machine.workshop.lend(lending(manifest))
    found = section(manifest)
    return provisional(asking.wanted(manifest, machine, options, found), found, debian_arch())


class Standing(NamedTuple):
    """The lock as it is, its section for this machine, and what of what is asked for that lacks."""

    lock: Lock
    section: Section | None
    missing: tuple[str, ...]

    @property
    def due(self) -> tuple[Action, ...]:
        """What `up` does to it, and why; nothing where it says all that is asked for."""
        return (Action("lock", "lock", self.reason),) if self.reason else ()

    @property
    def reason(self) -> str:
        return "there is none yet" if self.section is None else "; ".join(self.missing)


def standing(manifest: Manifest, machine: Window, options: BuildOptions) -> Standing:
    """Hold it against the manifest. Raises InputError."""
    from devenv.lock.together import differs

    machine.workshop.lend(lending(manifest))
    lock = known(manifest)
    section = lock.sections.get(debian_arch())
    return Standing(lock, section, tuple(differs(asking.wanted(manifest, machine, options, section), section)))


def settled(
    session: Session, manifest: Manifest, machine: Machine, options: BuildOptions, sink: Sink | None = None
) -> Section:
    """What is locked for all that the manifest asks for: resolved and written down where it wasn't. `sink`: who is told, if not stderr.

    Raises InputError where `options.locked` forbids that, naming what differs.
    """
    return _settled(session, manifest, machine, options, standing(manifest, machine, options), sink)


def locked(
    session: Session, manifest: Manifest, machine: Machine, options: BuildOptions, before: Standing
) -> tuple[Section, tuple[Result, ...]]:
    """The same, and what was done for it, if anything was: with all that had to be built to know what is to be locked."""
    begun = time.monotonic()
    made = _settled(session, manifest, machine, options, before)
    if made == before.section:
        return made, ()
    action = Action("lock", "lock", before.reason or "ADD fetches something else")
    return made, (Result(action, time.monotonic() - begun),)


def _settled(
    session: Session,
    manifest: Manifest,
    machine: Machine,
    options: BuildOptions,
    before: Standing,
    sink: Sink | None = None,
) -> Section:
    lock, section, missing = before
    if section is not None and not missing:
        with _telling(session, sink) as told:
            return _filed(manifest, machine, options, lock, section, told)
    if options.locked:
        raise _stale(manifest, "; ".join(missing) or f"nothing is locked for {debian_arch()}")
    with _telling(session, sink) as told:
        return renewed(manifest, machine, options, lock, told)


def _telling(session: Session, sink: Sink | None) -> AbstractContextManager[Sink]:
    return nullcontext(sink) if sink else console.progress(sys.stderr, session.env, time.monotonic)


def renewed(
    manifest: Manifest,
    machine: Machine,
    options: BuildOptions,
    lock: Lock,
    sink: Sink,
    upgrade: Mapping[str, frozenset[str]] = _NOTHING,
) -> Section:
    """Resolve what isn't locked yet, and what is to be upgraded of each image; write it down."""
    from devenv.lock.together import resolve  # tomllib, packaging: only when there is something to resolve

    machine.workshop.lend(lending(manifest))
    arch = debian_arch()
    section = lock.sections.get(arch) or Section(arch)
    wanted = asking.wanted(manifest, machine, options, section)
    made = resolve(wanted, section, _desks(manifest, machine, options, sink), upgrade)
    named = frozenset().union(*upgrade.values())
    anew = bool(upgrade) and all("*" in upgrade.get(image, ()) for image in wanted)
    kept = () if anew else tuple(remote for remote in made.files if remote.url not in named)
    write(manifest, Lock({**lock.sections, arch: made._replace(files=kept)}))
    lock = known(manifest)  # as everybody else will have it
    return _filed(manifest, machine, options, lock, lock.sections[arch], sink)


def _filed(
    manifest: Manifest, machine: Machine, options: BuildOptions, lock: Lock, section: Section, sink: Sink
) -> Section:
    """The section with all that ADD fetches by URL in it, and nothing else; written down where it wasn't."""
    from devenv.build.prepare import addresses

    every = manifests(manifest).values()
    if not any(_ADD.search(text) for own in every for text in asking.recipes(own, options)):
        return section
    prepared = prepare_all(manifest, section, machine, options).values()
    wanted = frozenset[str]().union(*map(addresses, prepared))
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


def _stale(manifest: Manifest, told: str) -> InputError:
    """The error that a lock isn't what it should be, where nothing may be resolved."""
    hint = "`devenv lock` brings it up to date; commit it with devenv.yml"
    return InputError(Fault(os.path.relpath(path(manifest)), 0, 0, f"it isn't what devenv.yml asks for: {told}", hint))


def newest(manifest: Manifest, machine: Machine, section: Section, sink: Sink) -> Section:
    """What would be locked today, were nothing locked yet. Writes nothing."""
    from devenv.lock.together import latest

    wanted = asking.wanted(manifest, machine, BuildOptions(), section)
    return latest(wanted, section, _desks(manifest, machine, BuildOptions(), sink))


def beyond(manifest: Manifest, machine: Machine, section: Section, sink: Sink) -> Mapping[tuple[str, str], str]:
    """(group, name) → the newest version there is, whatever devenv.yml allows. Writes nothing."""
    from devenv.lock.together import beyond as ask

    return ask(section, _desks(manifest, machine, BuildOptions(), sink))


def unlocked(manifest: Manifest, machine: Machine, section: Section) -> tuple[str, ...]:
    """What no lock holds: a line for the steps that have network."""
    from devenv.cli import online

    try:
        prepared = prepare_all(manifest, section, machine, BuildOptions())
    except InputError:  # a Containerfile may name what only `build --build-context` says
        return ()
    return online.told(prepared, manifest)


def _desks(manifest: Manifest, machine: Machine, options: BuildOptions, sink: Sink) -> dict[str, Desk]:
    return {image: _desk(own, machine, options, sink) for image, own in manifests(manifest).items()}


def _desk(manifest: Manifest, machine: Machine, options: BuildOptions, sink: Sink) -> Desk:
    from devenv.cli import online
    from devenv.cli.telling import Taken, timed
    from devenv.lock.desk import Desk

    def root(section: Section, stage: str) -> Rootfs:
        from devenv.build.execute import root as execute

        prepared = prepare(manifest, section, machine, replace(options, target=stage))
        taken: Taken = {}
        found = execute(prepared, machine.workshop, timed(sink, taken), jobs=os.cpu_count() or 1)
        for text in online.told_of(prepared, manifest, taken):  # the build will find them in the store
            sink(Event("warning", text))
        return found

    return Desk(
        manifest, machine.workshop, root, asking.contents(manifest), time.time, sink, partial(_blamed, manifest)
    )


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
