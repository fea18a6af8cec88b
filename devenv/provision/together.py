"""The actions of a plan, as many at the same time as don't need each other → Results, in the plan's order.

This thread builds, makes and looks; others start, stop, remove and make health checks. A failure skips what needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from shlex import quote
from typing import Any, NamedTuple, Protocol

from devenv.errors import DevenvError, EngineError
from devenv.model.container import Container, Health, Probe
from devenv.model.events import Sink
from devenv.model.manifest import Healthcheck
from devenv.model.plan import Action, Plan, Result
from devenv.readiness import gap, patience

from .acts import GRACE, Acts, failure, told
from .progress import Progress

_LAST = 1.0
"""Seconds from the end of a process within which its monitor has written down its exit code."""

_TOGETHER = 0.05
"""Seconds for which others aren't told of what happened, as long as nobody needs to know."""

_TOOK_TOO_LONG = 124
"""The code of a health check that was ended."""

_SAID = 3
"""Lines that are shown of what the last health check said."""


class Finished(Protocol):
    """Work that came back (crew.Done)."""

    @property
    def number(self) -> int: ...
    @property
    def answer(self) -> Any: ...
    @property
    def error(self) -> BaseException | None: ...


class Hands(Protocol):
    """Who does what can be done at the same time (crew.Crew). A test brings its own, which needs no time."""

    def give(self, number: int, work: Callable[[], object]) -> None: ...
    def take(self, seconds: float | None) -> Finished | None: ...
    def dismiss(self, cancel: Callable[[], None] | None = None) -> None: ...


class Wait(NamedTuple):
    """A container that is waited for, and when it is looked at next."""

    container: str
    due: float
    begun: float
    check: Healthcheck | None = None
    last: float = inf
    """Until when it may be that somebody still says how it ended."""


class Together:
    """A plan being carried out. Numbers are those of its actions."""

    def __init__(
        self, plan: Plan, acts: Acts, sink: Sink, clock: Callable[[], float], hands: Hands | None = None
    ) -> None:
        if hands is None:
            from devenv.crew import Crew

            hands = Crew()
        self.actions = plan.actions
        self.acts = acts
        self.engine = acts.engine
        self.clock = clock
        self.hands = hands
        self.progress = Progress(plan, sink, clock)
        self.environment = plan.environment.id
        self.done: dict[int, Result] = {}
        self.begun: dict[int, float] = {}
        self.needs = {
            number: {*(range(number) if action.after is None else action.after)}
            for number, action in enumerate(self.actions)
        }
        self.needed: dict[int, list[int]] = {}
        for number, needs in self.needs.items():
            for need in needs:
                self.needed.setdefault(need, []).append(number)
        self.ready = [number for number, needs in self.needs.items() if not needs]
        self.given: dict[int, str] = {}
        """What others do at the moment: stop, remove, start or probe."""
        self.waits: dict[int, Wait] = {}
        self.young: dict[int, float] = {}
        """Containers that were just started and nothing else waits for: until when they are watched."""
        self.cleared: list[int] = []
        """Replacements whose old container is gone."""
        self.unconnected: set[int] = set()
        """What was done that other containers can't see yet: some came, went, started, stopped, became healthy."""
        self.since = 0.0
        """When the first of that was done."""
        self.watched = {action.object for action in plan.actions if action.verb == "wait"}

    def results(self) -> tuple[Result, ...]:
        """Do all. What is under way ends before an interruption passes through."""
        try:
            while len(self.done) < len(self.actions) or self.young:
                if not self._begin():
                    self._await()
            self._connect_all()
        except BaseException:
            self.hands.dismiss(self.engine.cancel)
            self.engine.resume()  # nobody waits any more, and whoever goes on may want to take down what there is
            raise
        self.hands.dismiss()
        return tuple(self.done[number] for number in range(len(self.actions)))

    # What can be begun ---------------------------------------------------------------------------

    def _begin(self) -> bool:
        """Begin all that is ready; whether there was any."""
        ready, self.ready = sorted(self.ready), []
        batch, self.cleared = self.cleared, []
        moved = bool(batch)
        # All images are begun when the first of them is asked for.
        self.begun |= dict.fromkeys((one for one in ready if self.actions[one].verb == "build"), self.clock())
        for number in ready:
            action = self.actions[number]
            if action.after is None and self.young:
                self.ready.append(number)  # whoever needs all before it needs to know that they live
                continue
            moved = True
            before = range(number) if action.after is None else action.after
            if any(self.done[one].error or self.done[one].skipped for one in before):
                self._end(number, skipped=True)
            elif action.verb == "create":
                batch.append(number)
            else:
                self._one(number, action)
        if batch:
            self._create(batch)
        return moved

    def _one(self, number: int, action: Action) -> None:
        self._going(number)
        match action.verb:
            case "replace" | "remove":
                self._give(number, "remove", lambda: self.engine.remove(action.container))
            case "stop":
                self._give(number, "stop", lambda: self.engine.stop(action.container))
            case "start":
                self._start(number, action)
            case "wait":
                check = action.spec.healthcheck if action.spec and action.until == "healthy" else None
                now = self.clock()
                first = now + GRACE if action.until == "started" else now
                self.waits[number] = Wait(self.acts.container(action), first, now, check)
            case _:
                self._end(number, *failure(self.acts.act, number, action))

    def _going(self, number: int) -> None:
        if number not in self.begun:
            self.begun[number] = self.clock()
            if self.actions[number].verb not in ("keep", "build"):
                self.progress.going(self.actions[number])

    def _give(self, number: int, what: str, work: Callable[[], object]) -> None:
        self.given[number] = what
        self.hands.give(number, work)

    def _create(self, batch: list[int]) -> None:
        """All that are ready are made together, on disk once."""
        for number in batch:
            self._going(number)
        error, code = failure(self.acts.create, [self.actions[number] for number in batch])
        self._unseen(*batch)
        for at, number in enumerate(batch):
            # All or none: the error is told once.
            self._end(number, error if at == 0 else "", code if at == 0 else 0, skipped=bool(error) and at > 0)

    def _start(self, number: int, action: Action) -> None:
        """Start it, what it depends on being where it looks for that."""
        if not self.acts.connected or self.unconnected & {*(action.after or ())}:
            error, code = failure(self._connect)
            if error:
                self._end(number, error, code)
                return
        container = self.acts.container(action)
        self._give(number, "start", lambda: self.engine.start(container))

    def _unseen(self, *numbers: int) -> None:
        self.since = self.since if self.unconnected else self.clock()
        self.unconnected |= {*numbers}

    def _connect(self) -> None:
        self.unconnected.clear()
        self.acts.connected = True
        self.engine.connect(self.environment)

    def _connect_all(self) -> None:
        """Let all see what nobody waited to see."""
        last = max(self.unconnected, default=None)
        if last is not None:
            error, code = failure(self._connect)
            if error and last in self.done:
                self.done[last] = self.done[last]._replace(error=error, code=code)

    def _end(self, number: int, error: str = "", code: int = 0, *, skipped: bool = False) -> None:
        """It was done, or not: who needs it may go on."""
        took = self.clock() - self.begun[number] if number in self.begun else 0.0
        self.done[number] = Result(self.actions[number], took, error, code, skipped)
        if number not in self.young:
            self.progress.ended(self.done[number])
        for other in self.needed.get(number, ()):
            self.needs[other].discard(number)
            if not self.needs[other]:
                self.ready.append(other)

    # What comes back -----------------------------------------------------------------------------

    def _await(self) -> None:
        """Wait until something is done, or to be looked at."""
        due = [*self.young.values(), *(wait.due for number, wait in self.waits.items() if number not in self.given)]
        if self.unconnected and not any(what != "probe" for what in self.given.values()):
            # Often what comes next isn't far: all of it is told at once.
            if self.clock() >= self.since + _TOGETHER or not (due or self.given):
                self._connect_all()
            else:
                due.append(self.since + _TOGETHER)
        assert due or self.given, "an action waits for one that comes after it"
        back = self.hands.take(max(0.0, min(due) - self.clock()) if due else None)
        while back is not None:
            self._back(back)
            back = self.hands.take(0.0)
        now = self.clock()
        for number in [number for number, until in self.young.items() if until <= now]:
            self._look_at_young(number)
        for number, wait in list(self.waits.items()):
            if wait.due <= now and number not in self.given:
                self._look(number, wait)

    def _back(self, back: Finished) -> None:
        number, action = back.number, self.actions[back.number]
        what = self.given.pop(number)
        if back.error is not None and not isinstance(back.error, DevenvError):
            raise back.error
        if isinstance(back.error, DevenvError):
            self.waits.pop(number, None)
            self._end(number, *told(back.error))
        elif what == "probe":
            self._probed(number, back.answer)
        elif what == "start":
            self._started(number, action)
        elif action.verb == "replace":
            self.cleared.append(number)
        else:
            self._changed(number)

    def _changed(self, number: int, error: str = "", code: int = 0) -> None:
        self._unseen(number)
        self._end(number, error, code)

    def _started(self, number: int, action: Action) -> None:
        error, code = failure(self.acts.after_start, number, action)
        waits = action.spec is not None and not action.spec.process.argv and not action.service
        if not error and not waits and action.object not in self.watched:  # an init that waits has nothing to go wrong
            self.young[number] = self.clock() + GRACE
        self._changed(number, error, code)

    def _look_at_young(self, number: int) -> None:
        """What was started and nothing waits for: it must not have ended at once."""
        del self.young[number]
        error, code = failure(self.acts.alive, self.actions[number], 0.0)
        self.done[number] = self.done[number]._replace(error=error, code=code)
        self.progress.ended(self.done[number])

    # What is waited for --------------------------------------------------------------------------

    def _look(self, number: int, wait: Wait) -> None:
        if wait.check is not None:
            check = wait.check
            self._give(number, "probe", lambda: self.engine.probe(wait.container, check))
            return
        found = self.engine.watch(wait.container, 0.0)
        until = self.actions[number].until
        if found.status == "running":
            if until == "started":
                self._ready(number)
            else:
                self._later(number, wait, gap(self.clock() - wait.begun))
        elif until == "completed" and found.exit_code == 0:
            self._ready(number)
        elif until == "completed" and found.exit_code is None and self.clock() < wait.last:
            self.waits[number] = wait._replace(due=self.clock() + gap(0.0), last=min(wait.last, self.clock() + _LAST))
        else:
            self._ended(number, found, "ended at once" if until == "started" else "ended")

    def _probed(self, number: int, probe: Probe) -> None:
        wait = self.waits[number]
        assert wait.check is not None
        if probe.code == 0:
            self._health(number, wait, "healthy")
            return
        found = self.engine.watch(wait.container, 0.0)
        elapsed = self.clock() - wait.begun
        if found.status != "running":
            self._ended(number, found, "ended before it was healthy")
        elif elapsed >= patience(wait.check):
            self._health(number, wait, "unhealthy", self._never(self.actions[number], wait.check, probe, elapsed))
        else:
            self._later(number, wait, gap(elapsed, wait.check.interval, alone=len(self.waits) == 1))

    def _later(self, number: int, wait: Wait, seconds: float) -> None:
        self.waits[number] = wait._replace(due=self.clock() + seconds)

    def _ready(self, number: int) -> None:
        del self.waits[number]
        self._end(number)

    def _ended(self, number: int, found: Container, how: str) -> None:
        del self.waits[number]
        self._end(number, *told(self.acts.ended(self.actions[number], found, how)))

    def _health(self, number: int, wait: Wait, health: Health, error: EngineError | None = None) -> None:
        del self.waits[number]
        found = failure(self.engine.healthy, wait.container, health)
        self._changed(number, *(told(error) if error else found))

    def _never(self, action: Action, check: Healthcheck, probe: Probe, elapsed: float) -> EngineError:
        """The error that it isn't healthy after all that time."""
        late = probe.code == _TOOK_TOO_LONG
        why = f"took longer than {check.timeout:g} s" if late else f"ended with exit code {probe.code}"
        said = "".join(f"\n  │ check: {line}" for line in probe.output.splitlines()[-_SAID:])
        words = self.acts.last_words(self.acts.container(action))
        return EngineError(
            f"wait for {action.object}: not healthy after {elapsed:.1f} s: its check {why}{said}{words}",
            hint=f"`devenv exec {action.object} -- sh -c {quote(check.test)}` tries it; `start_period:` gives it more time",
        )
