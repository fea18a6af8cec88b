"""A manifest and the project's files that it names → what each of its images asks a lock for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from devenv.cli.project import BuildOptions, read
from devenv.cli.session import Window
from devenv.desired import manifests
from devenv.errors import Fault, InputError, StoreError
from devenv.lock.parts import part
from devenv.model.lock import Section
from devenv.model.manifest import Manifest, Pairs

if TYPE_CHECKING:
    from devenv.lock.wants import Wants

_BYTES = 16 << 20
_SUITE = re.compile(r"bootstrap:([a-z]+)")


def wanted(manifest: Manifest, machine: Window, options: BuildOptions, section: Section | None) -> dict[str, Wants]:
    """What all images ask for, by the name they are wanted under. `section` is what is locked."""
    return {
        image: _wanted(own, machine, options, section and part(section, image))
        for image, own in manifests(manifest).items()
    }


def _wanted(manifest: Manifest, machine: Window, options: BuildOptions, section: Section | None) -> Wants:
    from devenv.lock.wants import wants
    from devenv.render.needs import system_packages

    needs = section.python.needs if section and section.python and manifest.python else ()
    system = tuple(sorted({*system_packages(manifest), *needs}))
    images = tuple((name, _digest(manifest, reference, machine)) for name, reference in _images(manifest, options))
    return wants(manifest, tuple(sorted(set(_suites(manifest, options)))), images, system, contents(manifest))


def read_of(manifest: Manifest) -> tuple[str, ...]:
    """The files that are read to know what is asked, as absolute paths."""
    every = (file for own in manifests(manifest).values() for file in _files(own))
    return tuple(os.path.join(manifest.folder, file) for file in every)


def contents(manifest: Manifest) -> Mapping[str, bytes]:
    """The files of the project that say which packages one image wants, by path."""
    edited = dict(manifest.edited)
    return {file: edited.get(file) or _content(manifest.folder, file) for file in sorted(set(_files(manifest)))}


def told(manifest: Manifest) -> Mapping[str, bytes]:
    """The same, and the package.json beside an npm lock: the files in which people ask for packages."""
    lock = manifest.node.lock if manifest.node else None
    if not lock:
        return contents(manifest)
    file = os.path.normpath(os.path.join(os.path.dirname(lock), "package.json"))
    edited = dict(manifest.edited)
    if file not in edited and not os.path.lexists(os.path.join(manifest.folder, file)):
        return contents(manifest)
    return {**contents(manifest), file: edited.get(file) or _content(manifest.folder, file)}


def recipes(manifest: Manifest, options: BuildOptions) -> Iterator[str]:
    """The texts of all Containerfiles that one image is built from."""
    named = [str(manifest.base), *(value for _, value in _contexts(manifest, options))]
    for value in named if manifest.base.kind == "file" else ():
        if value.startswith("file:"):
            yield read(os.path.join(manifest.folder, value.removeprefix("file:")))


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


def _digest(manifest: Manifest, reference: str, machine: Window) -> str:
    try:
        return machine.workshop.image_digest(reference)
    except StoreError as error:
        key = f"services.{manifest.service}.from" if manifest.service else "from"
        place = (os.path.relpath(manifest.path), *manifest.places.get("from", (0, 0)))
        raise InputError(Fault(*place, f"`{key}`: {error.message}", error.hint)) from error


def _contexts(manifest: Manifest, options: BuildOptions) -> Pairs:
    return tuple({**dict(manifest.contexts), **dict(options.contexts)}.items())


def _suites(manifest: Manifest, options: BuildOptions) -> Iterator[str]:
    """The Debian bases that may be made for this manifest."""
    if manifest.base.kind == "bootstrap":
        yield manifest.base.value
    if manifest.base.kind == "file":
        for text in recipes(manifest, options):
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
