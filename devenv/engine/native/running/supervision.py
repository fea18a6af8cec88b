"""What of an environment somebody has to be awake for -> a supervisor that is: started, told that there is something to see, ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from select import POLLIN, poll

from devenv.engine import Happening
from devenv.lives import held
from devenv.paths import Paths

from .. import process
from ..host import lent
from ..records import journal
from ..supervisor import lock, look
from .ground import Ground

MODULE = "devenv.engine.native.supervisor"
NAME = "supervisor"
"""What it is called where one tells what happened."""

_LOG = ".log"
_PATIENCE = 5.0
"""Seconds that one has for ending. It takes a hundredth."""


def supervise(ground: Ground, environment: str) -> None:
    """See to it that somebody is awake for its containers as they are now."""
    path = ground.paths.supervisor(environment)
    if not (held(path) and lock.tell(path, signal.SIGHUP)) and wanted(ground, environment):
        _start(ground, environment)


def wanted(ground: Ground, environment: str) -> bool:
    """Whether a container that runs has a health check, a restart policy or a port that leads to others too, or one is to start again."""
    return look.wanted(ground.state, environment)


def attend(ground: Ground) -> None:
    """Start those again that were killed: one that has nothing to do any more takes its file away."""
    with suppress(FileNotFoundError):
        for environment in sorted(os.listdir(os.path.dirname(ground.paths.supervisor("")))):
            if environment.endswith(_LOG) or held(ground.paths.supervisor(environment)):
                continue
            if wanted(ground, environment):
                _start(ground, environment)
            else:
                _forget(ground.paths, environment)


def end(paths: Paths, environment: str) -> None:
    """There is none any more, nor anything of it."""
    path = paths.supervisor(environment)
    there = lock.owner(path)
    if there is not None:
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(there, number)
                if _ends(there):
                    break
        finally:
            os.close(there)
    _forget(paths, environment)
    with suppress(FileNotFoundError):
        os.unlink(path + _LOG)


def _ends(there: int) -> bool:
    waiting = poll()
    waiting.register(there, POLLIN)
    return bool(waiting.poll(_PATIENCE * 1000))


def _forget(paths: Paths, environment: str) -> None:
    path = paths.supervisor(environment)
    mine = lock.take(path) if os.path.exists(path) else None
    if mine is not None:
        lock.release(path, mine)


def _start(ground: Ground, environment: str) -> None:
    """A process of its own session, which has the lock from its first moment on; none where there is one already."""
    path, there = ground.paths.supervisor(environment), ground.host_namespace
    killed = os.path.exists(path)
    mine = lock.take(path)
    if mine is None:
        return
    options = ["--home", ground.paths.home, "--run", ground.paths.run, "--lock", str(mine)]
    options += [] if there is None else ["--mount-namespace", str(there)]
    argv, found = process.ourselves(MODULE, *options, environment)
    unheard = {signal.SIGTERM, signal.SIGHUP}  # until it listens
    given: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        *((os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)),
        (os.POSIX_SPAWN_OPEN, 2, path + _LOG, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600),
        # dup2 onto itself lets a descriptor through (posix_spawn_file_actions_adddup2(3), glibc 2.29).
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in (mine, there) if fd is not None),
    ]
    # Its containers are made as in the command that started them first.
    known = {**dict(lent.proxy_variables(ground.env)), **found}
    known |= {name: ground.env[name] for name in ("DEVENV_IDMAP",) if name in ground.env}
    try:
        pid = os.posix_spawn(
            argv[0],
            argv,
            process.environment(known),
            file_actions=given,
            setsid=True,
            setsigmask=unheard,
            setsigdef={*unheard, signal.SIGCHLD},
        )
        lock.sign(mine, pid)
    finally:
        os.close(mine)
    if killed:
        journal.tell(ground.paths, environment, Happening(time.time(), NAME, "restart", "it was killed"))
