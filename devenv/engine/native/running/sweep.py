"""What commands that were killed left half-made: found, and removed. Each of their things is locked by its owner while that lives."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from devenv.beneath import remove_tree
from devenv.errors import DevenvError, EngineError
from devenv.paths import Paths

from .. import mount
from ..container import owning, runtime
from ..records.state import State
from ..slot import pool

_CGROUPS = "/sys/fs/cgroup"


def sweep(paths: Paths, state: State, *, mount_namespace: int | None = None) -> None:
    """Remove it all. One thing that can't be removed must not keep others from being used: `gc` tells of it."""
    for identifier, lock in containers(paths, state):
        try:
            remove_container(paths, identifier)
        except DevenvError:
            continue
        finally:
            os.close(lock)
    if state.dead_owners():
        # The processes of a bootstrap live on, in their slot: they end before what they write to is removed.
        pool.heal(paths, mount_namespace=mount_namespace)
    for path, lock in unlocked(paths.drafts):
        try:
            remove_draft(state, path)
        except DevenvError:
            continue
        finally:
            os.close(lock)
    for path, lock in unlocked(f"{paths.packages}/drafts"):
        try:
            remove_tree(path)
        except DevenvError:
            continue
        finally:
            os.close(lock)
    for path in notes(paths):
        _unlink(path)


def containers(paths: Paths, state: State) -> Iterator[tuple[str, int]]:
    """Containers no row and no living command speaks for: each one's id, and its lock, which the caller closes."""
    names = {*listed(f"{paths.run}/bundles"), *listed(f"{paths.home}/containers")}  # before the rows: those come first
    kept = {row[0] for row in state.db.execute("SELECT id FROM container")} if names else set()
    for identifier in sorted(names - kept):
        lock = owning.take(paths.bundle(identifier))
        if lock is None:
            continue
        # Once more: `run --keep` gives its container a row and only then its lock back.
        if state.db.execute("SELECT 1 FROM container WHERE id = ?", (identifier,)).fetchone():
            os.close(lock)
            continue
        yield identifier, lock


def remove_container(paths: Paths, identifier: str) -> None:
    """Kill it and remove its folders; the caller has its lock."""
    owner = owning.owner(paths.bundle(identifier))
    engine = runtime.having(identifier, owner.runtime, paths.runtime)
    if identifier in engine.known():
        engine.delete(identifier)
    remove_cgroups(identifier)
    remove_tree(paths.container(identifier))
    remove_tree(paths.bundle(identifier))


def remove_orphan(paths: Paths, identifier: str) -> None:
    """The same for a `run` that was killed, by a process of its own; nothing when another command is at it already."""
    lock = owning.take(paths.bundle(identifier))
    if lock is None:
        return
    try:
        with suppress(OSError):
            mount.umount2(f"{paths.bundle(identifier)}/rootfs", mount.MNT_DETACH)  # in our copy of its mounts
        remove_container(paths, identifier)
    finally:
        os.close(lock)


def unlocked(folder: str) -> Iterator[tuple[str, int]]:
    """What is in a folder of drafts whose makers died: path and lock, which the caller closes when it has removed it."""
    for name in listed(folder):
        path = f"{folder}/{name}"
        try:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        yield path, lock


def remove_draft(state: State, path: str) -> None:
    """Remove a draft and give up its number."""
    name = os.path.basename(path)
    remove_tree(path)
    if name.isdecimal():
        state.drop_reserved(int(name))


def used_layers(paths: Paths) -> set[int]:
    """Layers of containers that have no row: those of living `run`s."""
    found: set[int] = set()
    for identifier in listed(f"{paths.run}/bundles"):
        found.update(owning.owner(paths.bundle(identifier)).layers)
    return found


def notes(paths: Paths) -> Iterator[str]:
    """Descriptions of processes that killed `exec`s left in bundles: `exec-PID-N.json`."""
    for identifier in listed(f"{paths.run}/bundles"):
        folder = paths.bundle(identifier)
        for name in listed(folder):
            kind, _, rest = name.partition("-")
            pid = rest.partition("-")[0]
            if kind == "exec" and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
                yield f"{folder}/{name}"


def members(identifier: str) -> list[str]:
    """Pids of a container's processes, by a cgroup that has them all."""
    for folder in (_CGROUPS, *(f"{_CGROUPS}/{name}" for name in listed(_CGROUPS))):
        with suppress(OSError), open(f"{folder}/devenv/{identifier}/cgroup.procs", encoding="ascii") as file:
            return file.read().split()
    return []


def remove_cgroups(identifier: str) -> None:
    """A container's cgroups in every hierarchy: of one whose runtime was killed, and those that a runtime forgot.

    runc gives up on a v1 cgroup that is still busy when it looks.
    """
    for folder in (_CGROUPS, *(f"{_CGROUPS}/{name}" for name in listed(_CGROUPS))):
        group = f"{folder}/devenv/{identifier}"
        if os.path.isdir(group) and not _killed(group):
            raise EngineError(f"remove cgroup {group}: its processes don't end")


def _killed(group: str) -> bool:
    """Whether the cgroup is gone, its processes killed."""
    for _ in range(100):  # 1 s
        try:
            with open(f"{group}/cgroup.procs", encoding="ascii") as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            os.rmdir(group)
        except FileNotFoundError:
            return True
        except OSError:  # a process that ended meanwhile, or hasn't yet
            time.sleep(0.01)
        else:
            return True
    return False


def listed(folder: str) -> list[str]:
    """What is in a folder, by name; nothing when there is none."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # somebody else did
