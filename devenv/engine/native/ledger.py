"""What is written down of environments: their rows, what their last build was made from, receipts and doors; and whose turn it is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from devenv.beneath import remove_tree
from devenv.model.container import Environment
from devenv.model.manifest import Pairs
from devenv.model.plan import Built, Record
from devenv.paths import Paths

from . import observe
from .record import told_text
from .state import State


@contextmanager
def turn(paths: Paths, environment: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only command that acts on an environment; `waiting` is called when another one does."""
    lock = os.open(f"{paths.locks}/environment-{environment}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def register(state: State, environment: Environment) -> None:
    state.db.execute(
        "INSERT INTO environment (id, name, folder, variant) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (folder, variant) DO UPDATE SET name = excluded.name",
        (environment.id, environment.name, environment.folder, environment.variant),
    )


def remember(state: State, environment: str, built: Built, files: Mapping[str, Pairs]) -> None:
    with state.transaction() as db:
        db.execute("DELETE FROM built WHERE environment = ?", (environment,))
        rows = [(environment, position, json.dumps(inputs)) for position, inputs in built]
        db.executemany("INSERT INTO built VALUES (?, ?, ?)", rows)
        db.execute("DELETE FROM told WHERE environment = ? AND object LIKE ?", (environment, f"{observe.FILES}%"))
        rows = [(environment, f"{observe.FILES}{digest}", json.dumps(listed)) for digest, listed in files.items()]
        db.executemany("INSERT INTO told VALUES (?, ?, ?)", rows)


def record(state: State, environment: str, records: Sequence[Record]) -> None:
    rows = [(environment, one.object, told_text(one)) for one in records]
    with state.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)


def forget(state: State, paths: Paths, environment: str, *, volumes: bool) -> None:
    """Forget an environment; one that keeps its volumes is found again by its row."""
    if volumes:
        remove_tree(paths.volume(environment, ""))
    elif observe.volumes(paths, environment):
        return
    with state.transaction() as db:
        db.execute("DELETE FROM built WHERE environment = ?", (environment,))
        db.execute("DELETE FROM told WHERE environment = ?", (environment,))
        db.execute("DELETE FROM environment WHERE id = ?", (environment,))


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
