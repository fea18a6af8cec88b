"""What a supervisor has done by children of its own, each for one thing: its exit code says how it went."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial

from devenv.engine import Happening
from devenv.errors import DevenvError, NotFound
from devenv.model.container import Health

from ..container import monitor
from ..records import journal, ledger
from ..running import entering, joining, lifecycle
from ..running.ground import Ground
from .policy import Seen
from .trace import trace

PASSED, FAILED, UNKNOWN = 0, 1, 2
"""Of a health check; UNKNOWN: the container doesn't run, or we are to end."""

_TOGETHER = 8
"""Containers that are started at the same time."""

_TOKEN = 0.5
"""Seconds from a killing within which a container's monitor has seen it, too."""


def branch(work: Callable[[], int]) -> int:
    """A pidfd of a child of ours that does this, and whose exit code is what that returns.

    We have one thread, and no connection to the database: sqlite.org/howtocorrupt.html, 2.6.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        pid = os.fork()
        if not pid:
            os._exit(_child(work, before))
        return os.pidfd_open(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(work: Callable[[], int], mask: set[int | signal.Signals]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGHUP, _pass)
    signal.signal(signal.SIGTERM, _end)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return work()
    except (SystemExit, NotFound):  # we are to end; or it was removed meanwhile
        return 1
    except BaseException as error:
        trace(error)
        return 1


def _pass(number: int, _: object) -> None:
    """Not SIG_IGN, which programs that we start would inherit."""


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def check(ground: Ground, seen: Seen) -> int:
    """Make its health check."""
    assert seen.check is not None
    signal.signal(signal.SIGTERM, lambda *_: ground.cancellation.ask())  # what the check has started ends with it
    found = entering.probe(ground, seen.id, seen.check)
    if found.code == entering.GONE or ground.cancellation.asked:
        return UNKNOWN
    return FAILED if found.code else PASSED


def tell(
    ground: Ground,
    environment: str,
    ended: Sequence[Seen],
    health: Sequence[tuple[Seen, Health]],
    killed: Sequence[Seen],
) -> int:
    """Write down which have ended, how others are, in which somebody was killed for want of memory.

    First of all nobody is led any more to those that can't answer.
    """
    signal.signal(signal.SIGTERM, _pass)  # it takes no longer than anybody would wait
    for one, value in health:
        if _is_the_one(ground, one):
            lifecycle.healthy(ground, one.id, value)
    code = _done(joining.connect, ground, environment)
    for one in ended:
        code |= _done(lifecycle.bury, ground, one.id)
    for one in killed:
        if _seen_by_monitor(ground.paths.bundle(one.id)):
            journal.tell(ground.paths, environment, Happening(time.time(), one.name, "oom"))
    return code


def start_again(ground: Ground, environment: str, due: Sequence[str]) -> int:
    """Start those that still are to be started, a few at a time: whoever waits for the environment's turn has it in between."""
    code = 0
    for at in range(0, len(due), _TOGETHER):
        with ledger.turn(ground.paths, environment, lambda: None):
            code |= _start_together(ground, due[at : at + _TOGETHER])
    return code | _done(joining.connect, ground, environment)


def _start_together(ground: Ground, due: Sequence[str]) -> int:
    if len(due) == 1:
        return _done(lifecycle.start_again, ground, due[0])
    from devenv.crew import Crew  # seldom, and threading takes 1 ms to import

    crew = Crew(_TOGETHER)
    try:
        for number, identifier in enumerate(due):
            crew.give(number, partial(_done, lifecycle.start_again, ground, identifier))
        done = [done for _ in due if (done := crew.take(None))]
    finally:
        crew.dismiss()
    for one in done:
        if one.error is not None:
            trace(one.error)
    return int(any(one.answer != 0 for one in done))


def _done(work: Callable[..., object], *given: object) -> int:
    """What can't be done for one doesn't keep others from theirs."""
    try:
        work(*given)
    except NotFound:
        pass  # removed meanwhile
    except DevenvError as error:
        trace(error)
        return 1
    return 0


def _is_the_one(ground: Ground, seen: Seen) -> bool:
    """Whether it is still the process that was looked at, and wanted."""
    query = "SELECT 1 FROM container WHERE id = ? AND pid = ? AND pid_start = ? AND stopped = 0"
    return ground.state.db.execute(query, (seen.id, seen.pid, seen.start)).fetchone() is not None


def _seen_by_monitor(bundle: str) -> bool:
    """Its monitor leaves a sign, which is told of once, by whoever takes it: we, or who writes down how the container ended."""
    deadline = time.monotonic() + _TOKEN
    while not (found := monitor.out_of_memory(bundle)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found
