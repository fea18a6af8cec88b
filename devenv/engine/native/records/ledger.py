"""What is written down of environments: their rows, what their last build was made from, receipts and doors; and whose turn it is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from devenv.beneath import remove_tree
from devenv.model.container import Environment
from devenv.model.image import PROJECT, tagged_for
from devenv.model.manifest import Pairs
from devenv.paths import Paths

from ..slot import names
from ..store.layout import Store
from . import observe, vault
from .record import told_text
from .state import State

if TYPE_CHECKING:
    from devenv.model.plan import Built, Record

_MOMENT = 0.3


@contextmanager
def turn(paths: Paths, environment: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only command that acts on an environment; `waiting` is called when another one does."""
    lock = os.open(f"{paths.locks}/environment-{environment}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if not _soon(lock):
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _soon(lock: int) -> bool:
    """Whether it is our turn within a moment: a supervisor takes no longer to start a container again, and nobody need know."""
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.01)


def register(state: State, environment: Environment) -> None:
    state.register(environment.id, environment.name, environment.folder, environment.variant)


def remember(state: State, environment: str, image: str, built: Built, files: Mapping[str, Pairs]) -> None:
    start = f"{observe.FILES}{image}/"
    steps = [(environment, image, position, json.dumps(inputs)) for position, inputs in built]
    listings = [(environment, f"{start}{digest}", json.dumps(listed)) for digest, listed in files.items()]
    with state.transaction() as db:
        db.execute("DELETE FROM built WHERE environment = ? AND image = ?", (environment, image))
        db.executemany("INSERT INTO built VALUES (?, ?, ?, ?)", steps)
        db.execute("DELETE FROM told WHERE environment = ? AND object LIKE ?", (environment, f"{start}%"))
        db.executemany("INSERT INTO told VALUES (?, ?, ?)", listings)


def retain(state: State, paths: Paths, environment: str, images: Mapping[str, Sequence[str]]) -> None:
    wanted = {name for names in images.values() for name in names}
    rows = state.db.execute("SELECT DISTINCT image FROM built WHERE environment = ?", (environment,)).fetchall()
    gone = sorted({image for (image,) in rows} - images.keys())
    tags = [name for (name,) in state.db.execute("SELECT name FROM reference") if tagged_for(name) == environment]
    unwanted = sorted({*tags} - wanted)
    if not gone and not unwanted:
        return
    with state.transaction() as db:
        for image in gone:
            db.execute("DELETE FROM built WHERE environment = ? AND image = ?", (environment, image))
            objects = (f"{PROJECT} {image}", f"{observe.FILES}{image}/%")
            db.execute(
                "DELETE FROM told WHERE environment = ? AND (object = ? OR object LIKE ?)", (environment, *objects)
            )
        db.executemany("DELETE FROM reference WHERE name = ?", [(name,) for name in unwanted])
    for name in unwanted:
        Store(paths.layout).untag(name)


def record(state: State, environment: str, records: Sequence[Record]) -> None:
    rows = [(environment, one.object, told_text(one)) for one in records]
    with state.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)


def forget(state: State, paths: Paths, environment: str, *, volumes: bool) -> None:
    """Forget an environment; one that keeps its volumes is found again by its row, and by what happened to it."""
    vault.forget(paths, environment)
    names.remove(paths, environment)
    _close_door(state, paths, environment)
    if volumes:
        remove_tree(paths.volume(environment, ""))
    elif observe.volumes(paths, environment):
        return
    remove_tree(os.path.dirname(paths.events(environment)))
    with state.transaction() as db:
        db.execute("DELETE FROM built WHERE environment = ?", (environment,))
        db.execute("DELETE FROM told WHERE environment = ?", (environment,))
        db.execute("DELETE FROM published WHERE environment = ?", (environment,))
        db.execute("DELETE FROM environment WHERE id = ?", (environment,))


def _close_door(state: State, paths: Paths, environment: str) -> None:
    """It leads to a container that isn't there any more."""
    own = "SELECT folder FROM environment WHERE id = ? AND variant = ''"  # a variant has none
    for (folder,) in state.db.execute(own, (environment,)).fetchall():
        with suppress(FileNotFoundError):
            os.unlink(paths.door(folder))


def keep_receipt(paths: Paths, folder: str, receipt: str, door: str) -> None:
    """It only saves time: where there is no place for it, the next command takes the long way."""
    for path, text in ((paths.receipt(folder), receipt), (paths.door(folder), door)):
        if path:
            with suppress(OSError):
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                _replace(path, text)


def _replace(path: str, text: str) -> None:
    """Write a file whole or not at all; it only saves time, so it isn't synced."""
    draft = f"{os.path.dirname(path)}/.{os.urandom(8).hex()}"  # the name itself may be as long as a name can be
    try:
        with open(draft, "w", encoding="utf-8", errors="surrogateescape") as file:  # a folder's name may be any bytes
            file.write(text)
        os.rename(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
