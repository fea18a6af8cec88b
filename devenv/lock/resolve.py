"""What a lock must answer → a section of it, through the engine: bases by mmdebstrap's apt, the rest by apt, uv and npm in throwaway roots."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from devenv.engine.workshop import Bind, Workshop
from devenv.errors import DevenvError, EngineError, StepFailed
from devenv.model import npm
from devenv.model.build import Run
from devenv.model.events import Event, Sink
from devenv.model.image import PROJECT, Rootfs
from devenv.model.lock import AptLock, BaseLock, Deb, Dist, Module, NodeLock, Parcel, PythonLock, Repository, Section
from devenv.model.manifest import Manifest, Pairs
from devenv.render.needs import NODE, managed

from . import apt, node, node_layers, python, tags
from .parts import clock
from .wants import Wants, group, stale

T = TypeVar("T")

EVERYTHING = frozenset("*")
"""An upgrade of all there is."""

_DAY = 86400
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7", "i386": "i686", "ppc64el": "powerpc64le"}
"""Debian's names of architectures: uv's."""

_PATH = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("UV_CACHE_DIR", "/root/.cache/uv"))


class Desk(NamedTuple):
    """What resolving works with.

    `root` builds a stage of the rendered Containerfile, from what is locked so far. `contents` are the project's files
    that say what is wanted, by path. `clock` gives Unix seconds. `blamed` says which line of theirs makes a part (`apt`,
    `python`, `node`) fail.
    """

    manifest: Manifest
    workshop: Workshop
    root: Callable[[Section, str], Rootfs]
    contents: Mapping[str, bytes]
    clock: Callable[[], float]
    sink: Sink
    blamed: Callable[[str, StepFailed], DevenvError]


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
    needs = _needs(wanted, section, desk) if "python" in parts or "bases" in parts else ()
    if needs and not set(needs) <= set(wanted.apt or ()):
        wanted = wanted._replace(apt=tuple(sorted({*(wanted.apt or ()), *needs})))
        parts |= {"apt"}
    if wanted.apt and ("apt" in parts or _named(upgrade, section.apt.packages if section.apt else ())):
        debs = _apt_alike(wanted.apt, section, alike)
        debs = debs or _timed("apt", desk, lambda timed: _apt(wanted.apt or (), section, timed, upgrade))
        section = section._replace(apt=debs)
    if wanted.python is not None and ("python" in {*parts, *upgrade} or _named(upgrade, _of_python(section))):
        asked = wanted.python
        dists = _python_alike(asked, section, alike)
        dists = dists or _timed("python", desk, lambda timed: _python(asked, section, timed, upgrade))
        section = section._replace(python=dists)
    if wanted.node is not None and ("node" in parts or _renewed(upgrade, section.node)):
        wishes = wanted.node
        modules = _node_alike(wishes, section, alike)
        modules = modules or _timed("node", desk, lambda timed: _node(wishes, section, timed, upgrade))
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


def _needs(wanted: Wants, section: Section, desk: Desk) -> tuple[str, ...]:
    """The Debian packages that bring the interpreter where it should be the base's own, and that has none."""
    if wanted.python is None or managed(desk.manifest) or desk.manifest.base.kind == "bootstrap":
        return ()
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    found = python.probed(_ask(desk, rootfs, python.probe("python3"), (), python.ANSWER))
    return () if found else ("python3",)


def latest(
    wanted: Wants, section: Section, desk: Desk, bases: Mapping[str, BaseLock], alike: Sequence[Section]
) -> Section:
    """What would be locked were nothing locked yet: each part upon what is locked now, so that nothing must be built.

    `bases` are as they would be, `alike` what was found so for other images.
    """
    found = section._replace(bases=tuple(bases[base.suite] for base in section.bases))
    if wanted.apt:
        debs = _apt_alike(wanted.apt, found, alike) or _apt(wanted.apt, section, desk, EVERYTHING)
        found = found._replace(apt=debs)
    if wanted.python is not None:
        dists = _python_alike(wanted.python, found, alike) or _python(wanted.python, section, desk, EVERYTHING)
        found = found._replace(python=dists)
    if wanted.node is not None:
        modules = _node_alike(wanted.node, found, alike) or _node(wanted.node, section, desk, EVERYTHING)
        found = found._replace(node=modules)
    return found


def beyond(section: Section, desk: Desk) -> Mapping[tuple[str, str], str]:
    """(group, name) of Python's and node.packages' → the newest there is, whatever the manifest allows.

    Only of what comes from the host's index and registry; Debian's packages have no newer ones than their suite has.
    """
    found: dict[tuple[str, str], str] = {}
    if section.python and (names := [dist.name for dist in section.python.packages if not dist.url]):
        asked = "".join(f"{name}\n" for name in names)
        binds = [bind for bind in _uv(desk, PythonLock()) if bind.target != python.ASKED]
        binds.append(Bind("secret", python.ASKED, content=asked.encode(), mode=0o444))
        rootfs, _ = _interpreter(section.python.asked, section, desk, frozenset())
        answer = _ask(desk, rootfs, python.newest_command(section.python.command), binds, python.ANSWER)
        found |= {("python", name): version for name, version in python.newest(answer)}
    asked_for = map(node.spec, desk.manifest.node.packages if section.node and desk.manifest.node else ())
    if tools := sorted(
        {name for name, wanted in asked_for if not wanted.startswith("npm:")}
    ):  # an alias is another's name
        (answer,) = _npm((dict.fromkeys(tools, "latest"),), section, desk)
        modules = {one.path: one for one in node.tools(tools, answer, section.arch, (), desk.workshop.registry())}
        paths = {name: f"{npm.FOLDER}/{name}" for name in tools}
        found |= {("node.packages", name): modules[path].version for name, path in paths.items() if path in modules}
    return found


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


# apt ---------------------------------------------------------------------------------------------


def _apt(asked: tuple[str, ...], section: Section, desk: Desk, upgrade: frozenset[str]) -> AptLock:
    """Pinned to what is locked; without, when that can't be had any more together with what is new."""
    before = section.apt.packages if section.apt and upgrade != EVERYTHING else ()
    renewed = {deb.version for deb in before if deb.name in upgrade}  # the packages of one source go together
    kept = tuple(deb for deb in before if deb.version not in renewed)
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    try:
        found = _installed(asked, kept, rootfs, desk)
    except StepFailed:
        if not kept:
            raise
        found = _installed(asked, (), rootfs, desk)
    return AptLock(asked, apt.layered(before, found), int(desk.clock()) // _DAY * _DAY)


def _installed(asked: Sequence[str], kept: tuple[Deb, ...], rootfs: Rootfs, desk: Desk) -> tuple[Deb, ...]:
    # A cache of their own for what this base's sources say: apt takes lists it doesn't know for outdated.
    lists = desk.workshop.cache(f"lock-apt-{rootfs.key[:16]}", 0o755, (0, 0))
    binds = [Bind("cache", apt.LISTS, lists, readonly=False, locked=True)]
    with ExitStack() as held:
        if kept:
            folder = held.enter_context(desk.workshop.parcel(Parcel("debs", debs=kept)))
            binds.append(Bind("bind", apt.LOCKED, folder))
        answer = _ask(desk, rootfs, apt.question(asked, pinned=bool(kept)), binds, apt.ANSWER)
    return apt.answered(answer, asked, kept, desk.workshop.archives())


# python ------------------------------------------------------------------------------------------


def _python(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> PythonLock:
    before = section.python if section.python and upgrade != EVERYTHING else PythonLock()
    rootfs, have = _interpreter(asked, section, desk, upgrade)
    version, command, libc = have.version, have.command, have.libc
    names = sorted({*(one.name for one in before.packages), *(one.name for one in before.repositories)} & upgrade)

    def best(files: Sequence[str]) -> str | None:
        return tags.best(files, python=version, arch=section.arch, glibc=_numbers(libc))

    elsewhere = python.elsewhere(desk.contents, best)
    answer = _ask(desk, rootfs, _compile(command, desk, before, names, elsewhere), _uv(desk, before), python.ANSWER)
    foreign = _foreign(answer, rootfs, command, desk) if python.names_indexes(desk.contents) else ()
    online = desk.manifest.python is not None and desk.manifest.python.network
    found = python.distributions(answer, best, foreign, repositories=online)
    packages = python.layered(before.packages, found)
    build = _build(tuple(dist for dist in packages if not dist.is_wheel), rootfs, command, best, desk)
    repositories = python.repositories(answer) if online else ()
    return have._replace(packages=packages, build=build, repositories=repositories)


def _foreign(resolved: str, rootfs: Rootfs, command: str, desk: Desk) -> Collection[str]:
    """The packages that the project has from an index of its own."""
    wanted = desk.manifest.python
    assert wanted is not None
    files = tuple(file for file in wanted.requirements if not file.endswith("uv.lock"))
    binds = [bind for bind in _uv(desk, PythonLock()) if bind.target != python.ASKED]
    binds.append(Bind("secret", python.ASKED, content=python.versions(resolved).encode(), mode=0o444))
    answer = _ask(desk, rootfs, python.index_command(command, files), binds, python.ANSWER)
    return python.foreign(answer, desk.contents)


def _interpreter(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> tuple[Rootfs, PythonLock]:
    """A root with the interpreter in it, and what is to be said of that."""
    bare = section._replace(python=None, node=None)
    stage = "apt" if section.apt and section.apt.packages else "base"
    if not managed(desk.manifest):
        rootfs = desk.root(bare, stage)
        # That of an image comes first on its PATH; a Debian of our own has but one.
        own = "/usr/bin/python3" if desk.manifest.base.kind == "bootstrap" else "python3"
        found = python.probed(_ask(desk, rootfs, python.probe(own), (), python.ANSWER))
        if found is not None:
            return rootfs, PythonLock(asked, *found, needs=_needs(Wants(python=asked), section, desk))
        raise EngineError("lock python: the base has no Python", hint="say which one: `python: {version: …}`")
    known = section.python if section.python and not upgrade & {"*", "python"} else None
    wanted = dict(asked).get("version", "")
    if known and known.interpreter and f"{known.version}.".startswith(f"{wanted}."):
        version, remote = known.version, known.interpreter
    else:
        version, remote = desk.workshop.interpreter(wanted)
    lock = PythonLock(asked, version, interpreter=remote)
    rootfs = desk.root(bare._replace(python=lock), "python")
    short = ".".join(version.split(".")[:2])
    command = f"/opt/python/cpython-{version}-linux-{_MACHINES.get(section.arch, section.arch)}-gnu/bin/python{short}"
    found = python.probed(_ask(desk, rootfs, python.probe(command), (), python.ANSWER))
    if found is None:
        raise EngineError(f"lock python: uv put no Python {version} at {command}")
    return rootfs, lock._replace(command=found[1], libc=found[2])


def _build(sources: Sequence[Dist], rootfs: Rootfs, command: str, best: python.Best, desk: Desk) -> tuple[Dist, ...]:
    """The wheels that source archives are built with, as they say it themselves (PEP 518)."""
    if not sources:
        return ()
    with desk.workshop.parcel(Parcel("wheels", dists=tuple(sources))) as folder:
        bind = Bind("bind", python.SOURCES, folder)
        said = _ask(desk, rootfs, python.projects(command), (bind,), python.ANSWER)
    wishes = python.build_requirements(said)
    found: set[Dist] = set()
    for wish in sorted(set(wishes)):
        binds = [*_uv(desk, PythonLock()), Bind("secret", python.BUILD, content=wish.encode(), mode=0o444)]
        answer = _ask(desk, rootfs, python.compile_build(command), binds, python.ANSWER)
        found.update(python.distributions(answer, best))
    for dist in found:
        if not dist.is_wheel:
            raise EngineError(
                f"lock {dist.name} {dist.version}: it is needed to build another package, and has no wheel",
                hint="name packages that have wheels",
            )
    return tuple(sorted(found))


def _compile(
    command: str, desk: Desk, before: PythonLock, upgrade: Sequence[str], elsewhere: Sequence[tuple[str, str, str]]
) -> tuple[str, ...]:
    wanted = desk.manifest.python
    assert wanted is not None
    locks = tuple(file for file in wanted.requirements if file.endswith("uv.lock"))
    files = tuple(file for file in wanted.requirements if file not in locks)
    folders = tuple(file.rpartition("/")[0] for file in locks)
    pinned = bool(before.packages or before.repositories)
    # What a variant asks for is in no uv.lock yet.
    renewed = [one for one in wanted.packages if "==" in one] if desk.manifest.variant else None
    return python.compile_command(command, files, folders, upgrade, pinned=pinned, elsewhere=elsewhere, renewed=renewed)


def _uv(desk: Desk, before: PythonLock) -> list[Bind]:
    wanted = desk.manifest.python
    assert wanted is not None
    asked = "".join(f"{package}\n" for package in sorted({"pip", *wanted.packages}))
    files = {f"{python.PROJECT}/{name}": content for name, content in desk.contents.items()}
    files |= {python.ASKED: asked.encode(), python.PINS: python.pins(before.packages, before.repositories).encode()}
    return [
        Bind("bind", python.UV, desk.workshop.tool("uv")),
        Bind("cache", "/root/.cache/uv", desk.workshop.cache("uv", 0o755, (0, 0)), readonly=False),
        *(Bind("secret", target, content=content, mode=0o444) for target, content in sorted(files.items())),
    ]


# node --------------------------------------------------------------------------------------------


def _node(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> NodeLock:
    """npm is only asked for what isn't known: a package-lock.json says all about itself."""
    wanted = desk.manifest.node
    assert wanted is not None
    before = section.node if section.node and upgrade != EVERYTHING else NodeLock()
    said, now = dict(before.asked), dict(asked)
    registry = desk.workshop.registry()
    groups: dict[str, dict[str, str]] = {}
    if not before.runtime or said.get("version") != now.get("version") or upgrade & {"node", "npm"}:
        groups["runtime"] = node.wishes(node.runtime_packages(wanted.version or NODE, section.arch))
    tools = before.tools if wanted.packages else ()
    named = any(npm.name(module) in upgrade for module in tools)
    if wanted.packages and (said.get("packages") != now.get("packages") or named):
        gone = node.gone(said.get("packages", ""), wanted.packages)
        wishes = node.wishes(wanted.packages, before.tools, {*gone, *upgrade})
        more = None if gone or named else _more_tools(wanted.packages, wishes, tools, section, desk)
        if more is None:
            groups["tools"] = wishes
        tools = more or tools
    answers = dict(zip(groups, _npm(tuple(groups.values()), section, desk), strict=True)) if groups else {}
    runtime = before.runtime
    if "runtime" in answers:
        runtime = node.runtime(answers["runtime"], section.arch, registry)
    if "tools" in answers:
        tools = node.tools(wanted.packages, answers["tools"], section.arch, () if named else before.tools, registry)
        tools = node_layers.layered(before.tools, tools, node.needs(answers["tools"]))
    project: tuple[Module, ...] = ()
    if wanted.lock:
        text = desk.contents[posixpath.normpath(wanted.lock)].decode(errors="replace")
        project = node.project(text, section.arch, wanted.lock, registry, repositories=wanted.network)
        project = node_layers.layered(before.project, project, node.needs(text))
    return NodeLock(asked, runtime, tools, project)


def _more_tools(
    packages: Sequence[str], wishes: Mapping[str, str], before: tuple[Module, ...], section: Section, desk: Desk
) -> tuple[Module, ...] | None:
    """The tools there are, and what is new, of which alone npm is asked; None when it is to be asked for all."""
    fresh = node.fresh(wishes, before)
    if not (before and fresh):
        return None
    (answer,) = _npm((fresh,), section, desk)
    found = node.added(packages, answer, section.arch, before, desk.workshop.registry())
    return found and node_layers.layered(before, found, {**node_layers.known(before), **node.needs(answer)})


def _npm(groups: Sequence[Mapping[str, str]], section: Section, desk: Desk) -> tuple[str, ...]:
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    binds = (
        Bind("bind", node.TOOL, desk.workshop.tool("node")),
        Bind("cache", "/root/.npm", desk.workshop.cache("npm", 0o755, (0, 0)), readonly=False),
    )
    argv = ("sh", "-c", f'"$@" > {node.ANSWER}', "sh", *node.ask(node.COMMAND, groups))
    return node.answers(_ask(desk, rootfs, argv, binds, node.ANSWER), len(groups))


def _renewed(upgrade: frozenset[str], lock: NodeLock | None) -> bool:
    return lock is not None and bool(upgrade & {"node", "npm", *map(npm.name, lock.tools)})


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (2, 17)


def _ask(desk: Desk, rootfs: Rootfs, argv: tuple[str, ...], binds: Sequence[Bind], answer: str) -> str:
    """What a command writes to the file `answer`, in a root that is thrown away."""
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        del said[:-50]

    try:
        return desk.workshop.ask(rootfs.layers, Run(argv), env=dict(_PATH), binds=binds, output=hear, answer=answer)
    except StepFailed as error:
        error.output = tuple(said)
        raise
