"""`python -m devenv.engine.native.supervisor --home H --run R ENVIRONMENT`: the supervisor's process. A second one leaves at once.

Who starts it has taken the lock for it (`--lock FD`), and gives it the host's mount namespace (`--mount-namespace FD`).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from devenv.paths import Paths

from ..mount import CLONE_NEWNS, setns
from ..records.state import State
from . import lock
from .look import wanted
from .loop import Supervisor
from .trace import bound, trace


def main(arguments: Sequence[str]) -> int:
    """The process's whole work; its exit code."""
    *options, environment = arguments
    given = dict(zip(options[::2], options[1::2], strict=True))
    wakened = _signals()
    if "--mount-namespace" in given:
        there = int(given["--mount-namespace"])
        setns(there, CLONE_NEWNS)  # needs a process with one thread
        os.close(there)
    os.chdir("/")
    paths = Paths(given["--home"], given["--run"])
    path = paths.supervisor(environment)
    mine = int(given["--lock"]) if "--lock" in given else lock.take(path)
    gc.freeze()  # or children would copy what a collection touches
    while mine is not None:
        os.set_inheritable(mine, False)
        lock.sign(mine, os.getpid())
        bound()
        told = Supervisor(paths, environment, os.environ, mine, wakened).run()
        if told:
            break  # the file stays: who sees it, and that nobody has it, starts another one if that is wanted
        _away(f"{path}.log")
        lock.release(path, mine)
        # Who came meanwhile saw that we had it.
        mine = lock.take(path) if _wanted(paths, environment) else None
    return 0


def _signals() -> int:
    """From here on signals are heard, not obeyed. A file that can be read once one came: its number."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # Who started us has blocked them, so that none came before.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    return read


def _wanted(paths: Paths, environment: str) -> bool:
    if not os.path.exists(paths.state):
        return False
    state = State(paths.state)
    try:
        return wanted(state, environment)
    finally:
        state.close()


def _away(log: str) -> None:
    """Nobody needs to see that there was nothing to tell."""
    with suppress(FileNotFoundError):
        if not os.path.getsize(log):
            os.unlink(log)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception as error:
        trace(error)
        code = 1
    os._exit(code)  # at once: there is nothing to be put in order
