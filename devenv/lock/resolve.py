"""What a lock must answer → a section of it, through the engine: bases by mmdebstrap's apt, the rest by apt, uv and npm in throwaway roots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from devenv.errors import DevenvError, StepFailed
from devenv.model import npm
from devenv.model.events import Event
from devenv.model.image import PROJECT, Rootfs
from devenv.model.lock import AptLock, BaseLock, Deb, Dist, NodeLock, PythonLock, Repository, Section
from devenv.model.manifest import Pairs

from . import resolve_apt, resolve_node, resolve_python
from .desk import EVERYTHING, Desk
from .parts import clock
from .wants import Wants, group, stale

T = TypeVar("T")


def resolve(
    wanted: Wants,
    section: Section,
    desk: Desk,
    upgrade: frozenset[str] = frozenset(),
    bases: Mapping[str, BaseLock] = MappingProxyType({}),
    alike: Sequence[Section] = (),
) -> Section:
    """The section of one image with all that is wanted in it; what it has already stays, but for the names in `upgrade`.

    `bases` are locked already, by suite; `alike` are other images' sections, of which the same is taken that is asked for
    alike. Raises InputError, EngineError, StepFailed for what can't be found.
    """
    parts = stale(wanted, section)
    if upgrade == EVERYTHING:
        parts |= {"bases", "apt", "python", "node"}
    if "bases" in parts:
        section = _bases(wanted, section, desk, bases)
    section = section._replace(
        apt=section.apt if wanted.apt else None,
        python=section.python if wanted.python is not None else None,
        node=section.node if wanted.node is not None else None,
    )
    needs = resolve_python.needs(wanted, section, desk) if "python" in parts or "bases" in parts else ()
    if needs and not set(needs) <= set(wanted.apt or ()):
        wanted = wanted._replace(apt=tuple(sorted({*(wanted.apt or ()), *needs})))
        parts |= {"apt"}
    if wanted.apt and ("apt" in parts or _named(upgrade, section.apt.packages if section.apt else ())):
        debs = _apt_alike(wanted.apt, section, alike)
        debs = debs or _timed("apt", desk, lambda timed: resolve_apt.debs(wanted.apt or (), section, timed, upgrade))
        section = section._replace(apt=debs)
    if wanted.python is not None and ("python" in {*parts, *upgrade} or _named(upgrade, _of_python(section))):
        asked = wanted.python
        dists = _python_alike(asked, section, alike)
        dists = dists or _timed("python", desk, lambda timed: resolve_python.dists(asked, section, timed, upgrade))
        section = section._replace(python=dists)
    if wanted.node is not None and ("node" in parts or _renewed(upgrade, section.node)):
        wishes = wanted.node
        modules = _node_alike(wishes, section, alike)
        modules = modules or _timed("node", desk, lambda timed: resolve_node.modules(wishes, section, timed, upgrade))
        section = section._replace(node=modules)
    return section


def _apt_alike(asked: tuple[str, ...], section: Section, alike: Sequence[Section]) -> AptLock | None:
    """What is locked for another image that asks for the same upon the same."""
    found = (
        one.apt for one in alike if one.apt and _upon_same(one, section) and sorted(one.apt.asked) == sorted(asked)
    )
    return next(found, None)


def _python_alike(asked: Pairs, section: Section, alike: Sequence[Section]) -> PythonLock | None:
    found = (
        one.python
        for one in alike
        # Debian's interpreter, or what is compiled, is a matter of what apt installs.
        if one.python and _upon_same(one, section) and one.apt == section.apt and one.python.asked == asked
    )
    return next(found, None)


def _node_alike(asked: Pairs, section: Section, alike: Sequence[Section]) -> NodeLock | None:
    found = (one.node for one in alike if one.node and _upon_same(one, section) and one.node.asked == asked)
    return next(found, None)


def _upon_same(one: Section, other: Section) -> bool:
    return sorted(one.bases) == sorted(other.bases) and sorted(one.images) == sorted(other.images)


def latest(
    wanted: Wants, section: Section, desk: Desk, bases: Mapping[str, BaseLock], alike: Sequence[Section]
) -> Section:
    """What would be locked were nothing locked yet: each part upon what is locked now, so that nothing must be built.

    `bases` are as they would be, `alike` what was found so for other images.
    """
    found = section._replace(bases=tuple(bases[base.suite] for base in section.bases))
    if wanted.apt:
        debs = _apt_alike(wanted.apt, found, alike) or resolve_apt.debs(wanted.apt, section, desk, EVERYTHING)
        found = found._replace(apt=debs)
    if wanted.python is not None:
        dists = _python_alike(wanted.python, found, alike) or resolve_python.dists(
            wanted.python, section, desk, EVERYTHING
        )
        found = found._replace(python=dists)
    if wanted.node is not None:
        modules = _node_alike(wanted.node, found, alike) or resolve_node.modules(wanted.node, section, desk, EVERYTHING)
        found = found._replace(node=modules)
    return found


def beyond(section: Section, desk: Desk) -> Mapping[tuple[str, str], str]:
    """(group, name) of Python's and node.packages' → the newest there is, whatever the manifest allows.

    Only of what comes from the host's index and registry; Debian's packages have no newer ones than their suite has.
    """
    return {**resolve_python.newest(section, desk), **resolve_node.newest(section, desk)}


def _named(upgrade: frozenset[str], packages: Sequence[Deb | Dist | Repository]) -> bool:
    return any(one.name in upgrade for one in packages)


def _of_python(section: Section) -> tuple[Dist | Repository, ...]:
    return (*section.python.packages, *section.python.repositories) if section.python else ()


def _timed(part: str, desk: Desk, work: Callable[[Desk], T]) -> T:
    """Do it and tell how long that took by itself: what is built for it meanwhile is told of by its own steps."""
    name = f"lock {group(desk.manifest.service or PROJECT, part)}"
    desk.sink(Event("started", name))
    begun = desk.clock()

    def root(section: Section, stage: str) -> Rootfs:
        nonlocal begun
        before = desk.clock()
        try:
            return desk.root(section, stage)
        finally:
            begun += desk.clock() - before

    try:
        found = work(desk._replace(root=root))
    except DevenvError as error:
        desk.sink(Event("failed", name, str(error), desk.clock() - begun))
        if isinstance(error, StepFailed) and error.output:
            raise desk.blamed(part, error) from error
        raise
    desk.sink(Event("done", name, seconds=desk.clock() - begun))
    return found


def _bases(wanted: Wants, section: Section, desk: Desk, known: Mapping[str, BaseLock]) -> Section:
    bases = tuple(known.get(suite) or desk.workshop.resolve_base(suite, desk.sink) for suite in wanted.suites)
    return Section(section.arch, clock(bases), bases, wanted.images, files=section.files)


def _renewed(upgrade: frozenset[str], lock: NodeLock | None) -> bool:
    return lock is not None and bool(upgrade & {"node", "npm", *map(npm.name, lock.tools)})
