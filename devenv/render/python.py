"""Locked Python packages → what of them is put in place, what is built, and upon which stage."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from devenv.model.dist import named
from devenv.model.lock import PythonLock, Repository
from devenv.model.manifest import Manifest, Python

from .needs import compiles, managed, python_needs
from .quote import Origins

_NEED_HEADERS = {"build-essential", "gcc", "g++", "clang", "make"}

_ENVIRONMENT: Origins = (("python", ("virtual environment",)),)


class _PythonLayer(NamedTuple):
    number: int
    origins: Origins


class PythonParts(NamedTuple):
    parent: str
    layers: tuple[_PythonLayer, ...]
    command: str
    interpreter: str
    sources: tuple[str, ...]
    built: Origins
    repositories: tuple[Repository, ...]
    origins: Origins


def _compiles_python(manifest: Manifest, python: Python) -> bool:
    """Whether Python packages may be compiled or fetched with the user's Debian packages.

    A C compiler alone can't compile for Debian's Python: that takes its headers, which come in a -dev package. git is
    for packages named by a repository, which a list shows; what a file names isn't known here.
    """
    fetched = python.requirements or any("git+" in package for package in python.packages)
    harmless = {"git"} - ({"git"} if fetched else set())
    if not (managed(manifest) or any(package.endswith("-dev") for package in manifest.apt)):
        harmless |= _NEED_HEADERS
    return compiles([package for package in manifest.apt if package not in harmless])


def python_parts(manifest: Manifest, python: Python, lock: PythonLock) -> PythonParts:
    on_apt = python.build_on == "apt" or (python.build_on == "auto" and _compiles_python(manifest, python))
    sources = tuple(sorted((dist.file, dist.name) for dist in lock.packages if not dist.is_wheel))
    asked = (("python.requirements", python.requirements), ("python.packages", tuple(sorted(python.packages))))
    told = tuple((key, values) for key, values in asked if values) or _ENVIRONMENT
    return PythonParts(
        # What is compiled needs the interpreter, which apt brings.
        parent="apt"
        if (manifest.apt and (on_apt or not managed(manifest))) or python_needs(manifest) or lock.needs
        else "base",
        layers=_python_layers(python, lock, told),
        command=lock.command,
        interpreter=lock.version if lock.interpreter else "",
        sources=tuple(file for file, _ in sources),
        built=_asked_for(python, {name for _, name in sources}) or told,
        repositories=tuple(sorted(lock.repositories)),
        origins=told,
    )


def _python_layers(python: Python, lock: PythonLock, told: Origins) -> tuple[_PythonLayer, ...]:
    """Each with what the manifest asks for that is in it, or the one package that it has. What a file asks for isn't known here:
    it may be in any.
    """
    wheels = [dist for dist in lock.packages if dist.is_wheel]
    found = {number: {dist.name for dist in wheels if dist.layer == number} for number in lock.layers}
    # What isn't locked yet (wants.provisional) will be in the last one.
    known = {one.name for one in lock.packages} | {one.name for one in lock.repositories}
    found[max(found)] |= {named(one) for one in python.packages} - known

    def origins(number: int, names: set[str]) -> Origins:
        asked = _asked_for(python, names)
        if number == 1 or len(names) > 1:
            return asked or (_ENVIRONMENT if number == 1 else told)
        # The one package alone, and not each time all files that may ask for it.
        by_name = tuple(one for one in asked if one[0] == "python.packages")
        return by_name or ((asked[0][0] if asked else "python", tuple(names)),)

    return tuple(_PythonLayer(number, origins(number, names)) for number, names in found.items())


def _asked_for(python: Python, names: Collection[str]) -> Origins:
    """The keys of the manifest that ask for these packages."""
    packages = tuple(one for one in sorted(python.packages) if named(one) in names)
    asked = (("python.requirements", python.requirements), ("python.packages", packages))
    return tuple((key, values) for key, values in asked if values)
