"""The store and who uses what in it -> what nothing needs, removed. Volumes and what is in use are never touched."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import NamedTuple

from devenv.beneath import remove_tree
from devenv.errors import EngineError
from devenv.model.host import Garbage
from devenv.model.image import Image, tagged_for
from devenv.paths import Paths

from .container import snapshot
from .facade import Native
from .packages import files
from .records import observe
from .records.state import State
from .running import sweep
from .slot import pool
from .slot.ids import host_start
from .store.layout import Store
from .trouble import trouble

UNUSED = 14 * 86400
"""Seconds a step's result stays in the store when no image has it and no build took it."""

_ASKED = "asked for"
_PATIENCE = 10.0  # seconds that we wait for builds and starts to end
_LOCKS_IN_USE = ("doors", "pool", "store")


class _Find(NamedTuple):
    """Garbage, and how it is removed while nobody uses the store."""

    garbage: Garbage
    remove: Callable[[], None]


@trouble("collect")
def collect(native: Native, *, unwanted: Sequence[str], everything: bool, dry_run: bool) -> Sequence[Garbage]:
    """Remove what nothing needs and say what it was; with `dry_run` only say it. Sizes are bytes on disk.

    Rubbish of killed commands, images without a name, of forgotten environments or of steps that failed long ago,
    results of steps unused for UNUSED seconds; names and digests of images that are `unwanted`; with `everything` all
    images but those of containers, all unused steps, download caches, lent programs and spare slots. Raises EngineError
    while others build or start something, or when a container has what is unwanted.
    """
    paths = native.paths
    with nullcontext() if dry_run else native.hold.alone(_PATIENCE), ExitStack() as locks:
        finds = [*_left(native, locks), *_stored(native, frozenset(unwanted), everything)]
        if not dry_run:
            for find in finds:
                find.remove()
            _unlock(paths)
    if not dry_run:
        # Trees were only renamed so far, so that nobody has to wait while they are removed.
        for path, lock in sweep.unlocked(paths.drafts):
            try:
                remove_tree(path)
            finally:
                os.close(lock)
        if native.state.dead_owners():
            pool.heal(paths)
        if everything:
            pool.remove_spares(paths)
    return [find.garbage for find in finds]


def _left(native: Native, locks: ExitStack) -> Iterator[_Find]:
    """What commands that died left; containers stay locked until `locks` are closed."""
    paths, state = native.paths, native.state
    for identifier, lock in sweep.containers(paths, state):
        locks.callback(os.close, lock)  # a new `run` of the same slot has the same id, and waits
        size = _size(paths.container(identifier)) + _size(paths.bundle(identifier))
        garbage = Garbage("container", identifier, size, "its command was killed")
        yield _Find(garbage, partial(sweep.remove_container, paths, identifier))
    for path, lock in sweep.unlocked(paths.drafts):
        try:
            garbage = Garbage("draft", os.path.basename(path), _size(path), "its command was killed")
        finally:
            os.close(lock)  # its number is never given again; removing it twice is nothing
        yield _Find(garbage, partial(sweep.remove_draft, state, path))
    for path, lock in sweep.unlocked(f"{paths.packages}/drafts"):
        os.close(lock)
        garbage = Garbage("draft", f"packages/{os.path.basename(path)[:12]}", _size(path), "its command was killed")
        yield _Find(garbage, partial(remove_tree, path))


def _stored(native: Native, unwanted: frozenset[str], everything: bool) -> Iterator[_Find]:
    """Images, layers and blobs that nothing needs, and with `everything` what only saves time."""
    paths, state = native.paths, native.state
    images = observe.images(state)
    needed = _needed(state, images, unwanted, everything)
    kept = [image for image in images if image.digest in needed]
    layers = {layer for image in kept for layer in image.layers} | sweep.used_layers(paths)
    store = Store(paths.layout) if os.path.isdir(paths.layout) else None
    for image in images:
        if image.digest not in needed:
            name = ", ".join(image.references) or image.digest.removeprefix("sha256:")[:12]
            reason = _why_unneeded(image, unwanted, everything)
            yield _Find(Garbage("image", name, 0, reason), _forgetting(paths, state, store, image))
    for name in sorted(unwanted.intersection(name for image in kept for name in image.references)):
        yield _Find(Garbage("name", name, 0, _ASKED), partial(_unname, state, store, name))
    yield from _layers(paths, state, layers, everything)
    yield from _copies(paths, state, everything)
    if store is not None:
        yield from _blobs(paths, state, store, kept)
    yield from _packages(paths, everything)
    if everything:
        for folder, reason in ((f"{paths.home}/caches", "download cache"), (paths.tools, "lent to build steps")):
            for name in sweep.listed(folder):
                yield _tree(paths, "cache", f"{folder}/{name}", f"{os.path.basename(folder)}/{name}", reason)


def _packages(paths: Paths, everything: bool) -> Iterator[_Find]:
    """What was fetched and unpacked, and nobody used lately: a lock that still names it has it fetched again."""
    if everything:
        for name in files.KINDS:
            if os.path.isdir(f"{paths.packages}/{name}"):
                yield _tree(paths, "cache", f"{paths.packages}/{name}", f"packages/{name}", "only saves fetching it")
        return
    for path in files.unused(paths.packages, files.UNUSED):
        name = os.path.relpath(path, paths.packages)
        yield _tree(paths, "package", path, name, f"nobody used it for {files.UNUSED} days")


def _needed(state: State, images: Sequence[Image], unwanted: frozenset[str], everything: bool) -> set[str]:
    """Digests of images that containers have, or a name that counts."""
    used = {row[0] for row in state.db.execute("SELECT image FROM container")}
    if held := used & unwanted:
        raise EngineError(f"remove image {min(held)}: a container has it", hint="`devenv ps --all`, then `devenv down`")
    if everything:
        return used
    environments = {row[0] for row in state.db.execute("SELECT id FROM environment")}
    return used | {
        image.digest
        for image in images
        if image.digest not in unwanted
        and any(_counts(name, image, environments) for name in image.references if name not in unwanted)
    }


def _counts(reference: str, image: Image, environments: set[str]) -> bool:
    """Whether a name is the user's, that of an environment that there is, or of a step that failed lately."""
    whose = tagged_for(reference)
    if whose == "":
        return time.time() - image.created < UNUSED
    return whose is None or whose in environments


def _why_unneeded(image: Image, unwanted: frozenset[str], everything: bool) -> str:
    if image.digest in unwanted or unwanted.intersection(image.references):
        return _ASKED
    if everything:
        return "no container has it"
    if "" in map(tagged_for, image.references):
        return f"kept of a step that failed {int((time.time() - image.created) // 86400)} days ago"
    return "its environment was taken down" if image.references else "a newer one has its name, or nothing asks for it"


def _unname(state: State, store: Store | None, name: str) -> None:
    with state.transaction(durable=True) as db:
        db.execute("DELETE FROM reference WHERE name = ?", (name,))
    if store is not None:
        store.untag(name)


def _forgetting(paths: Paths, state: State, store: Store | None, image: Image) -> Callable[[], None]:
    def forget() -> None:
        with state.transaction(durable=True) as db:
            db.execute("DELETE FROM image WHERE digest = ?", (image.digest,))
        remove_tree(f"{paths.home}/receipts")  # they may say that this image is there
        if store is not None:
            for name, descriptor in store.tags().items():
                if descriptor.digest == image.digest:
                    store.untag(name)

    return forget


def _layers(paths: Paths, state: State, used: set[int], everything: bool) -> Iterator[_Find]:
    rows = state.db.execute("SELECT id, key, boot, used FROM layer ORDER BY id").fetchall()
    known = set()
    for number, key, boot, taken in rows:
        known.add(number)
        folder = paths.layer(number)
        living = os.path.isdir(f"{paths.drafts}/{number}")  # a draft that is being made has such a row
        if number in used or (living and boot == ""):
            continue
        there = os.path.isdir(folder)
        reason = _why_layer(key, boot in (None, state.boot), there, time.time() - taken, everything)
        if reason:
            yield _tree(paths, "layer", folder, str(number), reason, partial(_drop_layer, state, number))
    for name in sweep.listed(paths.layers):
        if not (name.isdecimal() and int(name) in known) and name != snapshot.INIT and not _being_made(name):
            yield _tree(paths, "layer", f"{paths.layers}/{name}", name, "nothing vouches for it")


def _why_layer(key: str | None, counts: bool, there: bool, age: float, everything: bool) -> str:
    """Why a layer that no image has may go; "" when it may not."""
    if not there:
        return "its folder is gone"
    if not counts:
        return "it may not have been written whole before the host went down"
    if key is None or everything:
        return "no image has it"
    return f"no image has it, and no build took it for {int(age // 86400)} days" if age > UNUSED else ""


def _drop_layer(state: State, number: int) -> None:
    state.db.execute("DELETE FROM layer WHERE id = ?", (number,))


def _being_made(name: str) -> bool:
    """The init layer's draft, of a process that lives."""
    kind, _, pid = name.rpartition("-")
    return kind == f".{snapshot.INIT}" and os.path.exists(f"/proc/{pid}")


def _copies(paths: Paths, state: State, everything: bool) -> Iterator[_Find]:
    """Layers copied for slots, on hosts that can't map ids."""
    busy = state.slots_at_work()
    held = {
        str(host_start(number))
        for number, wired, container in state.known_slots()
        if container or number in busy or (wired and not everything)
    }
    for name in sweep.listed(paths.copies):
        if name not in held:
            yield _tree(paths, "copy", f"{paths.copies}/{name}", f"copies/{name}", "nobody has the slot")


def _blobs(paths: Paths, state: State, store: Store, kept: Sequence[Image]) -> Iterator[_Find]:
    """Blobs of no kept image, and layers: a store of before had them a second time, as archives."""
    wanted = {digest for image in kept for digest in _parts(paths, image.digest)}
    layers = {row[0] for row in state.db.execute("SELECT diff_id FROM layer")}
    folder = f"{paths.layout}/blobs/sha256"
    for name in sweep.listed(folder):
        if f"sha256:{name}" not in wanted:
            reason = "its layer is kept as a folder" if f"sha256:{name}" in layers else "no image has it"
            garbage = Garbage("blob", name[:12], os.lstat(f"{folder}/{name}").st_size, reason)
            yield _Find(garbage, partial(_sweep, store, wanted))
    for path, lock in sweep.unlocked(f"{paths.layout}/ingest"):
        os.close(lock)
        garbage = Garbage("blob", os.path.basename(path)[:12], _size(path), "its writer was killed")
        yield _Find(garbage, partial(_sweep, store, wanted))


def _sweep(store: Store, wanted: set[str]) -> None:
    store.sweep(wanted)  # all of them at once; again is nothing


def _parts(paths: Paths, digest: str) -> Iterator[str]:
    """The digests of an image's blobs: its manifest and config."""
    yield digest
    try:
        with open(f"{paths.layout}/blobs/sha256/{digest.removeprefix('sha256:')}", "rb") as file:
            document = json.load(file)
        yield document["config"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # damaged: its other parts are found by nobody, and written again by the next build


def _tree(
    paths: Paths, kind: str, path: str, name: str, reason: str, before: Callable[[], None] | None = None
) -> _Find:
    """A folder that goes: out of sight first."""

    def remove() -> None:
        if before is not None:
            before()
        try:
            os.rename(path, f"{paths.drafts}/gone-{os.urandom(8).hex()}")
        except FileNotFoundError:
            pass

    return _Find(Garbage(kind, name, _size(path), reason), remove)


def _unlock(paths: Paths) -> None:
    """Locks of steps, one file each, are nobody's while we are alone."""
    for name in sweep.listed(paths.locks):
        if name not in _LOCKS_IN_USE and not name.startswith("environment-"):
            os.unlink(f"{paths.locks}/{name}")


def _size(path: str) -> int:
    """Bytes on disk that a tree alone takes, and that its removal frees; 0 when it isn't there."""
    total = 0
    names: dict[int, int] = {}  # of files with several, how many weren't met yet: another layer may have the others
    pending = [path]
    while pending:
        current = pending.pop()
        try:
            status = os.lstat(current)
            if stat.S_ISDIR(status.st_mode):
                with os.scandir(current) as entries:
                    pending += [entry.path for entry in entries]
        except OSError:
            continue  # gone meanwhile, or a mount that isn't ours to look into
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            left = names[status.st_ino] = names.get(status.st_ino, status.st_nlink) - 1
            if left:
                continue
        total += status.st_blocks * 512
    return total
