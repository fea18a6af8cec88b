"""Trials of a project, each in a folder of its own beneath the store: what came of it, its logs, and the locks it was made with."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from devenv.beneath import remove_tree
from devenv.cli.known import folder
from devenv.cli.session import Machine, Session
from devenv.desired import environment
from devenv.errors import EngineError, NotFound, StoreError
from devenv.lock import document
from devenv.model.container import RUN, Environment
from devenv.model.lock import Lock
from devenv.model.trial import Trial
from devenv.paths import locate
from devenv.trial import record

from .sides import Setup, fall

_FILE = "trial.json"
_HELD = "held"
_LOG = 24 << 20
_KEPT = 50
"""Trials of a project that are kept."""
_OLD = 30 * 86400
"""Seconds after which a lock of a variant is made anew."""
_OURS = re.compile(rf"{RUN}t([0-9]+)-.*")


def place(session: Session, environment: str) -> str:
    """The folder of a project's trials, by the id of its environment."""
    return locate(session.env, os.geteuid()).trials(environment)


@contextmanager
def begun(trials: str) -> Iterator[str]:
    """A new trial's folder, its number the next one; nobody else takes it for abandoned while the context lasts."""
    try:
        os.makedirs(trials, mode=0o700, exist_ok=True)
        number = max(numbers(trials), default=0) + 1
        while True:
            with suppress(FileExistsError):
                os.mkdir(f"{trials}/{number}", 0o700)
                break
            number += 1
        _prune(trials, number)
        held = os.open(f"{trials}/{number}/{_HELD}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(f"keep a trial in {trials}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield f"{trials}/{number}"
    finally:
        os.close(held)


def under_way(trials: str, number: int) -> bool:
    """Whether whoever began this trial is still at it."""
    try:
        held = os.open(f"{trials}/{number}/{_HELD}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _prune(trials: str, newest: int) -> None:
    """Forget all trials but the last ones, those too that never came to their end, and locks that no trial has used for long."""
    done = [number for number in finished(trials) if number != newest]
    gone = {*done[:-_KEPT], *(number for number in numbers(trials) if number not in done and number != newest)}
    for number in gone:
        if not under_way(trials, number):
            remove_tree(f"{trials}/{number}")
    old = time.time() - _OLD
    with suppress(FileNotFoundError):
        for name in os.listdir(f"{trials}/locks"):
            with suppress(FileNotFoundError):
                if os.stat(f"{trials}/locks/{name}").st_mtime < old:
                    os.unlink(f"{trials}/locks/{name}")


def lock(trials: str, digest: str) -> str:
    """The file that a side is locked to, by a digest of all that it comes from."""
    os.makedirs(f"{trials}/locks", mode=0o700, exist_ok=True)
    return f"{trials}/locks/{digest}.yml"


def keep_lock(folder: str, name: str, one: Setup) -> None:
    """Keep what a side of a trial was locked to, for whoever wants the very same again."""
    text = document.write(Lock({one.section.arch: one.section}))
    with open(
        os.open(_lock_of(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)


def kept_locks(trials: str, number: int) -> dict[str, str]:
    """The files with what each side of a trial was locked to, by its name. Raises NotFound."""
    one, folder = read(trials, number), f"{trials}/{number}"
    found = {side.name: _lock_of(folder, side.name) for side in (one.baseline, *one.variants)}
    return {name: path for name, path in found.items() if os.path.exists(path)}


def _lock_of(folder: str, name: str) -> str:
    return f"{folder}/{sha256(name.encode()).hexdigest()[:16]}.lock.yml"


def sweep(machine: Machine, here: Environment, trials: str) -> None:
    """Take down what trials left up that were killed."""
    for one in machine.engine.environments():
        if (
            one.folder == here.folder
            and (match := _OURS.fullmatch(one.variant))
            and not under_way(trials, int(match[1]))
        ):
            fall(one, machine)


def numbers(trials: str) -> list[int]:
    """The trials there are, the oldest first."""
    try:
        return sorted(int(name) for name in os.listdir(trials) if name.isdecimal())
    except FileNotFoundError:
        return []


def keep(folder: str, trial: Trial) -> None:
    """Write down what came of it, whole or not at all."""
    draft = f"{folder}/{_FILE}.new"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(record.written(trial))
    os.replace(draft, f"{folder}/{_FILE}")


def read(trials: str, number: int) -> Trial:
    """A trial that came to its end. Raises NotFound, StoreError."""
    path = f"{trials}/{number}/{_FILE}"
    try:
        with open(path, encoding="utf-8") as file:
            return record.read(file.read(), path)
    except FileNotFoundError as error:
        listed = ", ".join(map(str, finished(trials)[-8:])) or "none"
        raise NotFound(
            f"trial {number}: there is none that came to its end", hint=f"the last that did: {listed}"
        ) from error


def finished(trials: str) -> list[int]:
    """The trials that came to their end, the oldest first."""
    return [number for number in numbers(trials) if os.path.exists(f"{trials}/{number}/{_FILE}")]


def of_project(session: Session) -> str:
    """The trials of the project we are in, its manifest unread."""
    where = folder(session)
    known = session.observer().environment(where)
    return place(session, environment(where, "", known).id)


def last(trials: str) -> int:
    """The last one that came to its end. Raises NotFound."""
    known = finished(trials)
    if not known:
        raise NotFound("there is no trial of this project yet", hint="devenv try NAME=VERSION")
    return known[-1]


def every(trials: str) -> list[Trial]:
    """All that came to their end, the newest first; what another devenv wrote is left out."""
    found = []
    for number in reversed(finished(trials)):
        with suppress(StoreError):
            found.append(read(trials, number))
    return found


def logs(trials: str, one: Trial) -> dict[str, str]:
    """What its runs printed, by the names that they have of it."""
    found = {}
    for side in (one.baseline, *one.variants):
        for run in side.runs:
            path = f"{trials}/{one.id}/{os.path.basename(run.log)}"
            with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                found[run.log] = file.read(_LOG)
    return found
