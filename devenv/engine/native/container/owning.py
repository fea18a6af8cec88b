"""A bundle's folder: whose it is while it is being used, the layers it stands on, the folders of the host that it was started with."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from devenv.lives import identity as identity_of


def private(path: str, flags: int) -> int:
    """An opener for what holds an environment: nobody else may read it."""
    return os.open(path, flags, 0o600)


def note_sources(folder: str, sources: Sequence[str]) -> None:
    """Write down which source folders a container is started with."""
    os.makedirs(folder, 0o711, exist_ok=True)
    with open(f"{folder}/sources", "w", encoding="utf-8", opener=private) as file:
        json.dump([(path, *identity_of(path)) for path in sources], file)


def sources(folder: str) -> tuple[tuple[str, int, int], ...]:
    """What `note_sources` wrote: path, device and inode of each; while it is mounted no other folder gets its inode."""
    try:
        with open(f"{folder}/sources", encoding="utf-8") as file:
            return tuple((path, device, inode) for path, device, inode in json.load(file))
    except (OSError, ValueError):
        return ()


def lost_source(folder: str) -> str:
    """The first source that is another folder by now, or none at all: deleted, cloned again, moved. "" when all are as they were."""
    return next((path for path, *noted in sources(folder) if noted != list(identity_of(path))), "")


class Owner(NamedTuple):
    """What a bundle's `owner` file says, also when its command has died: its runtime, the layers it has in use."""

    runtime: str = ""
    layers: tuple[int, ...] = ()


def own(folder: str, owner: Owner) -> int:
    """A bundle folder that this command owns while it lives, as the fd of a lock."""
    while True:
        lock = _lock(folder, fcntl.LOCK_EX)
        if lock is not None:
            os.ftruncate(lock, 0)  # a killed command's may be longer
            os.write(lock, json.dumps(owner).encode())
            return lock


def take(folder: str) -> int | None:
    """The lock of a folder whose owner is dead, None while it lives."""
    return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def owner(folder: str) -> Owner:
    """What `own` wrote; nothing when the command died before."""
    try:
        with open(f"{folder}/owner", encoding="utf-8") as file:
            path, layers = json.load(file)
    except (OSError, ValueError):
        return Owner()
    return Owner(str(path), tuple(int(number) for number in layers))


def _lock(folder: str, how: int) -> int | None:
    try:
        os.makedirs(folder, 0o711, exist_ok=True)
        lock = os.open(f"{folder}/owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # swept just now
    try:
        fcntl.flock(lock, how)
        # Who swept the folder had the lock before us; what is there now, if anything, is another's.
        if os.stat(f"{folder}/owner").st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None
