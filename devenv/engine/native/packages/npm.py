"""A locked npm package → what to fetch; what was fetched → its tree, as npm unpacks it. Nothing of it is run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO
from urllib.parse import quote

from devenv.archive import tar
from devenv.archive.stream import Limits, Source, decompressed
from devenv.crew import each
from devenv.errors import EngineError, StoreError
from devenv.model import npm
from devenv.model.lock import Module

from .fetch import Wanted
from .files import Files
from .tree import Draft, Tree, find, making

_RULES = 1
"""Of unpacking. Trees made by others aren't taken: an image must not depend on who unpacked first."""

_LIMITS = Limits(bytes=8 << 30, entries=500_000)
_PIECE = 1 << 20
_DEFINITIONS = "node_modules/@npmcli/config/lib/definitions/definitions.js"
_DEFAULT = re.compile(r"new Definition\('registry', \{\s*default: '(https?://[^'\s]+)'")


# Fetching -----------------------------------------------------------------------------------------


def wanted(module: Module, registry: str, default: Callable[[], str]) -> Wanted:
    """What to fetch. `registry` is the host's, "" where it names none: then `default` is asked, if need be."""
    own = not module.url or bool(registry and module.url.startswith(f"{registry.rstrip('/')}/"))
    return Wanted(
        what=what(module),
        sha256="",
        size=0,
        places=lambda: (module.url or address(module, registry or default()),),
        integrity=module.integrity,
        foreign=not own,
    )


def what(module: Module) -> str:
    """How messages name it. StoreError for a module that no lock of ours has."""
    if wrong := npm.fault(module):
        raise StoreError(
            f"use npm package {module.path!r:.80}: {wrong}", hint="`devenv lock --upgrade` writes the lock anew"
        )
    return f"{npm.name(module)} {module.version}"


def address(module: Module, registry: str) -> str:
    """Where a registry has a package."""
    name = npm.name(module)
    file = quote(f"{name.rpartition('/')[2]}-{module.version}.tgz", safe="~+")
    return f"{registry.rstrip('/')}/{quote(name, safe='@/~')}/-/{file}"


def default_registry(folder: str) -> str:
    """The registry that npm asks when nobody names another, as the npm in `folder` has it written down."""
    try:
        with open(f"{folder}/{_DEFINITIONS}", encoding="utf-8") as file:
            found = _DEFAULT.search(file.read(1 << 20))
    except OSError as error:
        raise EngineError(f"read npm's default registry: {error.filename}: {error.strerror}") from error
    if found is None:
        raise EngineError(
            "read npm's default registry: it isn't where npm had it so far",
            hint="name one: `npm config set registry URL`",
        )
    return found[1]


# Unpacking ----------------------------------------------------------------------------------------


def unpacked(files: Files, module: Module) -> Tree:
    """A fetched package's tree, unpacked if it isn't yet. StoreError says what is wrong with it."""
    named = what(module)
    sha256 = files.find(module.integrity)
    if not sha256:
        raise StoreError(f"use {named}: its file isn't in the store", hint="the next command fetches it again")
    key = f"{sha256}-{_RULES}"
    found = find(files, named, key)
    if found is None:
        path = files.verified(named, sha256, integrity=module.integrity)
        with open(path, "rb") as archive, making(files, named, key) as draft:
            _unpack(archive, named, draft)
        found = find(files, named, key)
    if found is None:
        raise StoreError(f"use {named}: what was unpacked is gone again", hint="run the command again")
    return found


def trees(files: Files, modules: Sequence[Module], stopped: Callable[[], bool] = lambda: False) -> tuple[Tree, ...]:
    """The trees of fetched packages, a few unpacked at a time. Raises StoreError, EngineError once `stopped`."""
    # One package may be in several places of a tree.
    once = {module.integrity: module for module in modules}
    done = dict(zip(once, each(lambda module: unpacked(files, module), [*once.values()], stopped), strict=True))
    return tuple(done[module.integrity] for module in modules)


def _unpack(archive: BinaryIO, named: str, draft: Draft) -> None:
    """As pacote does it: files only, the first folder of their names left out, the last of several of one name."""
    try:
        source = Source(decompressed(archive, _LIMITS), _LIMITS)
        count = 0
        while (entry := tar.read(source)) is not None:
            count += 1
            if count > _LIMITS.entries:
                raise tar.BadTar(f"more than {_LIMITS.entries} entries")
            path = _path(entry, draft)
            pieces = source.pieces(entry.size)
            if path:
                draft.add(path, bool(entry.mode & 0o100), map(bytes, pieces))
            else:
                for _ in pieces:
                    pass
            source.take(tar.padding(entry.size))
    except (tar.BadTar, zlib.error, StoreError) as error:
        cause = str(getattr(error, "message", error)).removeprefix(f"unpack {named}: ").removeprefix("unpack layer: ")
        raise StoreError(
            f"unpack {named}: {cause}",
            hint=f"the package itself is like that: take another version (`devenv lock --upgrade {named.split()[0]}`)",
        ) from error
    if not draft.entries:
        raise StoreError(f"unpack {named}: it is empty")


def _path(entry: tar.Entry, draft: Draft) -> str:
    """Where an entry goes, "" for nowhere: npm makes no links, no devices, and no folders without files."""
    _, slash, rest = entry.path.decode("utf-8", "surrogateescape").partition("/")
    if entry.path.startswith(b"/"):
        raise tar.BadTar(f"{tar.show(entry.path)} is an absolute path")
    path = "/".join(part for part in rest.split("/") if part not in ("", "."))
    if entry.kind != tar.FILE or not slash or not path:
        return ""
    folder, _, name = path.rpartition("/")
    if name == ".gitignore":  # as `npm pack` treats them, which lists it under the other name
        path = f"{folder}/.npmignore".lstrip("/")
        if path in draft.entries:
            return ""
    if path in draft.entries:
        draft.drop(path)
    return path
