"""An environment -> its containers watched, until none of them asks for it. One thread that waits; whatever takes time is a child's.

It wakes up when an init or a monitor ends, a process is killed for want of memory, a child is done, a health check or a start
is due, or somebody says by SIGHUP that there is something to see. It looks at the rows then, and trusts nothing it knew before.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

from devenv.errors import DevenvError
from devenv.lives import process_start, watched
from devenv.model.container import Health
from devenv.paths import Paths

from ..container import log
from ..insight import usage
from ..records.state import State
from ..running.ground import Ground
from ..trouble import trouble
from . import lock, memory, policy, work
from .look import look
from .policy import Checked, Seen
from .trace import trace

CHECKS = 8
"""Health checks at a time."""

_SOON = 1.0
"""Seconds until something is tried again that couldn't be done."""

_MOST = 30
"""Times in a row that looking at the rows is tried again."""

_LAST = 5.0
"""Seconds that children have for ending when we do."""

_LOGS = 2.0
"""Seconds until logs are looked at again: what is printed meanwhile may be lost, but for the last of it (container/log.py)."""

Kind = Literal["check", "tell", "start"]


class _Child(NamedTuple):
    """What a child of ours is at: `one` is the container whose health it checks."""

    kind: Kind
    one: Seen | None = None


class Known:
    """A container that is watched. `due` is the moment of its next check, `again` that of its next start."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.checked = Checked(seen.health or "starting")
        self.due: float | None = None
        self.again: float | None = None
        self.inits: list[int] = []
        """Its init and its monitor, as pidfds: none when it doesn't run as it should."""
        self.killings: memory.Killings | None = None


class Supervisor:
    """One environment's. `mine` is its lock, `wakened` a file that can be read once a signal came."""

    def __init__(self, paths: Paths, environment: str, env: Mapping[str, str], mine: int, wakened: int) -> None:
        self.paths = paths
        self.environment = environment
        self.env = env
        self.mine = mine
        self.known: dict[str, Known] = {}
        self.children: dict[int, _Child] = {}
        self.waiting = select.epoll()
        self.heard: dict[int, Callable[[], None]] = {}
        """What is done when a file is ready."""
        self.stale: float | None = 0.0
        """From when on rows may say something else than they did."""
        self.failed = 0
        """Looks in a row that weren't possible."""
        self.logs = 0.0
        """When logs are looked at next."""
        self.ended: dict[str, float] = {}
        """Containers whose end is to be written down, and from when on."""
        self.health: dict[str, Health] = {}
        self.killed: set[str] = set()
        self.ending = False
        self.mounted = usage.mounted_here()
        self.files = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Three for each container; what those inherit stays as it was.
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files[1], self.files[1]))
        self._hear(wakened, select.EPOLLIN, lambda: self._wake(wakened))

    def run(self) -> bool:
        """Return when there is nothing to be awake for, or, True, because we were told to end."""
        while not self.ending and self._awake():
            self._begin()
            for fd, _ in self.waiting.poll(self._pause()):
                if fd in self.heard:  # or what was heard before took it away
                    self.heard[fd]()
        self._end()
        return self.ending

    def _awake(self) -> bool:
        """Whether there is something to do or to wait for, as things are."""
        if self.stale is not None and self.stale <= time.monotonic():
            try:
                self._look()
            except DevenvError as error:
                self.failed += 1
                if self.failed > _MOST:
                    raise  # the next command may know more than we: another version of us
                trace(error)
                self.stale = time.monotonic() + _SOON
        under_way = (self.children, self.ended, self.health, self.killed)
        return self.stale is not None or any(under_way) or self._asked()

    def _asked(self) -> bool:
        return any(policy.asks(one.seen) for one in self.known.values())

    # What there is -------------------------------------------------------------------------------

    @trouble("look at containers")
    def _look(self) -> None:
        """See which containers there are, which of them run, and what became of what we did."""
        if not lock.still(self.paths.supervisor(self.environment), self.mine):
            self.ending = True  # somebody removed the run-time folder: there may be another one
            return
        rows = self._rows()
        self.stale, self.failed = None, 0
        for identifier, known in [*self.known.items()]:
            if identifier not in rows or rows[identifier].life != known.seen.life:
                self._forget(identifier)
        unknown = [one for one in rows.values() if one.id not in self.known]
        for number, one in enumerate(unknown, 1):
            self._meet(one, number / len(unknown))
        for identifier, known in self.known.items():
            self._compare(known, rows[identifier])

    def _rows(self) -> dict[str, Seen]:
        if not os.path.exists(self.paths.state):
            return {}  # somebody removed the store
        state = State(self.paths.state)
        try:
            return {one.id: one for one in look(state, self.environment)}
        finally:
            state.close()  # before any child is made

    def _meet(self, seen: Seen, share: float) -> None:
        """A container, or another life of it. Checks of those that have had some are spread over an interval."""
        known, now = Known(seen), time.monotonic()
        self.known[seen.id] = known
        if seen.pid is None:
            pause = policy.wait(seen, time.time())
            known.again = None if pause is None else now + pause
        elif not self._watch(known, seen.pid):
            self._unwatch(known)
            self.ended[seen.id] = now
        elif seen.check is not None:
            known.due = now + (0.0 if known.checked.health == "starting" else seen.check.interval * share)

    def _compare(self, known: Known, row: Seen) -> None:
        """Others check its health, too; and what was begun may have come to nothing."""
        if row.health in ("healthy", "unhealthy") and row.health != known.seen.health:
            known.checked = Checked(row.health)
        known.seen = row
        later = time.monotonic() + _SOON
        if row.pid is not None and not known.inits and not self._under_way("tell"):
            self.ended.setdefault(row.id, later)
        if row.pid is None and known.again is None and policy.asks(row) and not self._under_way("start"):
            known.again = later

    def _watch(self, known: Known, pid: int) -> bool:
        """Wait for the end of its init and of its monitor; whether both live."""
        seen, folder = known.seen, self.paths.bundle(known.seen.id)
        with suppress(OSError, ValueError):
            known.inits.append(os.pidfd_open(pid))
            with open(f"{folder}/conmon.pid", encoding="ascii") as file:
                known.inits.append(os.pidfd_open(int(file.read())))
            # After the fds: now the numbers can't become other processes'.
            if process_start(pid) != seen.start or not watched(folder):
                return False
            for fd in known.inits:
                self._hear(fd, select.EPOLLIN, lambda: self._over(seen.id))
            known.killings = memory.killings(pid, self.mounted)
            if known.killings is not None:
                self._hear(known.killings.fd, known.killings.event, lambda: self._killed(known))
            return True
        return False

    def _unwatch(self, known: Known) -> None:
        for fd in known.inits:
            self._unhear(fd)
            os.close(fd)
        known.inits.clear()
        if known.killings is not None:
            self._unhear(known.killings.fd)
            known.killings.close()
            known.killings = None

    def _forget(self, identifier: str) -> None:
        self._unwatch(self.known.pop(identifier))
        self.ended.pop(identifier, None)
        self.health.pop(identifier, None)
        self.killed.discard(identifier)

    # What is heard -------------------------------------------------------------------------------

    def _hear(self, fd: int, event: int, then: Callable[[], None]) -> None:
        self.waiting.register(fd, event)
        self.heard[fd] = then

    def _unhear(self, fd: int) -> None:
        if self.heard.pop(fd, None) is not None:
            self.waiting.unregister(fd)

    def _wake(self, wakened: int) -> None:
        self.ending |= signal.SIGTERM in os.read(wakened, 4096)
        self.stale = 0.0

    def _over(self, identifier: str) -> None:
        """Its init has ended, or its monitor. Whether somebody wanted that, its row says."""
        known = self.known[identifier]
        self._unwatch(known)
        known.due = None
        self.ended[identifier] = 0.0
        self.stale = 0.0

    def _killed(self, known: Known) -> None:
        assert known.killings is not None
        try:
            if known.killings.heard():
                self.killed.add(known.seen.id)
        except OSError:  # its cgroup is gone
            self._unhear(known.killings.fd)

    def _back(self, fd: int) -> None:
        """A child is done."""
        child = self.children.pop(fd)
        ended = os.waitid(os.P_PIDFD, fd, os.WEXITED)
        self._unhear(fd)
        os.close(fd)
        known = self.known.get(child.one.id) if child.one else None
        if child.one is None:
            self.stale = 0.0
        elif known is not None and known.seen.life == child.one.life and known.inits:
            self._checked(known, ended.si_status if ended and ended.si_code == os.CLD_EXITED else work.UNKNOWN)

    def _checked(self, known: Known, code: int) -> None:
        check, elapsed = known.seen.check, time.time() - known.seen.started
        assert check is not None
        if code != work.UNKNOWN:
            found = policy.judged(known.checked, code == work.PASSED, check, elapsed)
            if found.health != known.checked.health:
                self.health[known.seen.id] = found.health
            known.checked = found
        known.due = time.monotonic() + policy.pause(known.checked, check, elapsed)

    # What is begun -------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Have done what is due."""
        now = time.monotonic()
        if not self._under_way("tell"):
            self._tell(now)
        if not self._under_way("start"):
            self._start(now)
        for known in self._to_check(now):
            known.due = None if self._check(known.seen) else now + _SOON
        if self.logs <= now:
            self._keep_logs(now)

    def _to_check(self, now: float) -> list[Known]:
        """Whose health is to be checked, as many as there is room for; who waits longest comes first."""
        due = [(one.due, one.seen.id) for one in self.known.values() if one.due is not None and one.due <= now]
        return [self.known[identifier] for _, identifier in sorted(due)[: CHECKS - self._under_way("check")]]

    def _check(self, seen: Seen) -> bool:
        return self._branch(_Child("check", seen), lambda ground: work.check(ground, seen))

    def _tell(self, now: float) -> None:
        over = [self.known[identifier].seen for identifier, when in self.ended.items() if when <= now]
        health = [(self.known[identifier].seen, value) for identifier, value in self.health.items()]
        killed = [self.known[identifier].seen for identifier in self.killed - self.ended.keys()]
        if not (over or health or killed):
            return
        if self._branch(_Child("tell"), lambda ground: work.tell(ground, self.environment, over, health, killed)):
            self.health.clear()
            self.killed.clear()
            for one in over:
                del self.ended[one.id]

    def _start(self, now: float) -> None:
        due = [one for one in self.known.values() if one.again is not None and one.again <= now]
        names = [one.seen.id for one in due]
        if due and self._branch(_Child("start"), lambda ground: work.start_again(ground, self.environment, names)):
            for one in due:
                one.again = None

    def _keep_logs(self, now: float) -> None:
        """4 µs for each container."""
        self.logs = now + _LOGS
        for identifier, known in self.known.items():
            if known.inits:
                log.keep(self.paths.container(identifier))

    def _branch(self, child: _Child, job: Callable[[Ground], int]) -> bool:
        """Have a child do it; whether there was room for one more process."""
        try:
            fd = work.branch(lambda: self._inside(job))
        except OSError as error:
            trace(error)
            self.stale = time.monotonic() + _SOON
            return False
        self.children[fd] = child
        self._hear(fd, select.EPOLLIN, lambda: self._back(fd))
        return True

    def _inside(self, job: Callable[[Ground], int]) -> int:
        """In the child: when we are killed, nobody has our lock."""
        os.close(self.mine)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.files)
        return job(Ground(self.paths, self.env))

    def _under_way(self, kind: Kind) -> int:
        return sum(child.kind == kind for child in self.children.values())

    def _pause(self) -> float | None:
        """Seconds until the next thing is due that there is room for; None: until something is heard."""
        due: list[float | None] = [self.stale, self.logs if any(one.inits for one in self.known.values()) else None]
        if self._under_way("check") < CHECKS:
            due += (one.due for one in self.known.values())
        if not self._under_way("tell"):
            due += self.ended.values()
        if not self._under_way("start"):
            due += (one.again for one in self.known.values())
        earliest = min((moment for moment in due if moment is not None), default=None)
        return None if earliest is None else max(0.0, earliest - time.monotonic())

    def _end(self) -> None:
        """Nothing of ours goes on."""
        for fd in self.children:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGTERM)
        deadline = time.monotonic() + _LAST
        for fd in self.children:
            ending = select.poll()
            ending.register(fd, select.POLLIN)
            if not ending.poll(max(0.0, deadline - time.monotonic()) * 1000):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, fd, os.WEXITED)
            os.close(fd)
        for known in self.known.values():
            self._unwatch(known)
        self.waiting.close()
