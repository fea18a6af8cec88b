"""Python packages that are asked for → locked: uv is asked, with the interpreter that will run them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from devenv.engine.workshop import Bind
from devenv.errors import EngineError
from devenv.model.image import Rootfs
from devenv.model.lock import Dist, Parcel, PythonLock, Section
from devenv.model.manifest import Pairs
from devenv.render.needs import managed

from . import python, tags
from .desk import EVERYTHING, Desk, ask
from .wants import Wants

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7", "i386": "i686", "ppc64el": "powerpc64le"}
"""Debian's names of architectures: uv's."""


def needs(wanted: Wants, section: Section, desk: Desk) -> tuple[str, ...]:
    """The Debian packages that bring the interpreter where it should be the base's own, and that has none."""
    if wanted.python is None or managed(desk.manifest) or desk.manifest.base.kind == "bootstrap":
        return ()
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    found = python.probed(ask(desk, rootfs, python.probe("python3"), (), python.ANSWER))
    return () if found else ("python3",)


def dists(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> PythonLock:
    """The versions that are locked already, but for the names in `upgrade`. Raises EngineError, StepFailed."""
    before = section.python if section.python and upgrade != EVERYTHING else PythonLock()
    rootfs, have = _interpreter(asked, section, desk, upgrade)
    version, command, libc = have.version, have.command, have.libc
    names = sorted({*(one.name for one in before.packages), *(one.name for one in before.repositories)} & upgrade)

    def best(files: Sequence[str]) -> str | None:
        return tags.best(files, python=version, arch=section.arch, glibc=_numbers(libc))

    elsewhere = python.elsewhere(desk.contents, best)
    answer = ask(desk, rootfs, _compile(command, desk, before, names, elsewhere), _uv(desk, before), python.ANSWER)
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
    answer = ask(desk, rootfs, python.index_command(command, files), binds, python.ANSWER)
    return python.foreign(answer, desk.contents)


def _interpreter(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> tuple[Rootfs, PythonLock]:
    """A root with the interpreter in it, and what is to be said of that."""
    bare = section._replace(python=None, node=None)
    stage = "apt" if section.apt and section.apt.packages else "base"
    if not managed(desk.manifest):
        rootfs = desk.root(bare, stage)
        # That of an image comes first on its PATH; a Debian of our own has but one.
        own = "/usr/bin/python3" if desk.manifest.base.kind == "bootstrap" else "python3"
        found = python.probed(ask(desk, rootfs, python.probe(own), (), python.ANSWER))
        if found is not None:
            return rootfs, PythonLock(asked, *found, needs=needs(Wants(python=asked), section, desk))
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
    found = python.probed(ask(desk, rootfs, python.probe(command), (), python.ANSWER))
    if found is None:
        raise EngineError(f"lock python: uv put no Python {version} at {command}")
    return rootfs, lock._replace(command=found[1], libc=found[2])


def _build(sources: Sequence[Dist], rootfs: Rootfs, command: str, best: python.Best, desk: Desk) -> tuple[Dist, ...]:
    """The wheels that source archives are built with, as they say it themselves (PEP 518)."""
    if not sources:
        return ()
    with desk.workshop.parcel(Parcel("wheels", dists=tuple(sources))) as folder:
        bind = Bind("bind", python.SOURCES, folder)
        said = ask(desk, rootfs, python.projects(command), (bind,), python.ANSWER)
    wishes = python.build_requirements(said)
    found: set[Dist] = set()
    for wish in sorted(set(wishes)):
        binds = [*_uv(desk, PythonLock()), Bind("secret", python.BUILD, content=wish.encode(), mode=0o444)]
        answer = ask(desk, rootfs, python.compile_build(command), binds, python.ANSWER)
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


def newest(section: Section, desk: Desk) -> Mapping[tuple[str, str], str]:
    """(group, name) of what comes from the host's index → the newest there is, whatever the manifest allows."""
    names = [dist.name for dist in section.python.packages if not dist.url] if section.python else []
    if not (section.python and names):
        return {}
    asked = "".join(f"{name}\n" for name in names)
    binds = [bind for bind in _uv(desk, PythonLock()) if bind.target != python.ASKED]
    binds.append(Bind("secret", python.ASKED, content=asked.encode(), mode=0o444))
    rootfs, _ = _interpreter(section.python.asked, section, desk, frozenset())
    answer = ask(desk, rootfs, python.newest_command(section.python.command), binds, python.ANSWER)
    return {("python", name): version for name, version in python.newest(answer)}


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (2, 17)
