"""Sides and a task → a Trial: as many at a time as asked for, again where a verdict needs it, and everything down at the end."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from devenv.cli.session import Machine, Session
from devenv.crew import Crew, Done
from devenv.errors import DevenvError
from devenv.model.events import Event, Sink
from devenv.model.trial import Run

from .runs import Task, Told, attend, result
from .sides import Setup, Standing, Unable, fall, named, stand

_LOOK = 0.2
"""Seconds between two looks at the clock while commands run that may not take for ever."""


class Due(NamedTuple):
    """A run to be made: which of the setups, the how many-th run of it; `alone`: while nothing else runs."""

    side: int
    number: int
    alone: bool = False


class Hall:
    """Where sides meet: brings each up for its run, no more than so many at a time, and down again.

    `folder` takes the logs, `mark` tells the environments of one trial from those of any other. `timeout` in seconds.
    """

    def __init__(
        self, session: Session, machine: Machine, task: Task, folder: str, mark: str, sink: Sink, timeout: float | None
    ) -> None:
        self.session, self.machine, self.task, self.folder = session, machine, task, folder
        self.mark, self.sink, self.timeout = mark, sink, timeout
        self.up: dict[int, tuple[Due, Standing]] = {}
        self.late: set[int] = set()

    def hold(self, dues: Sequence[Due], setups: Mapping[int, Setup], jobs: int) -> dict[Due, Run | Unable]:
        """Make these runs, in this order; what came of each. An interruption passes through, with nothing left up."""
        found: dict[Due, Run | Unable] = {}
        waiting = deque(enumerate(dues))
        crew = Crew(jobs)
        try:
            while waiting or self.up:
                while waiting and len(self.up) < jobs:
                    number, due = waiting.popleft()
                    try:
                        self._begin(crew, number, due, setups[due.side])
                    except Unable as error:
                        found[due] = error
                if self.up and (done := crew.take(_LOOK if self.timeout else None)):
                    due, one = self.up[done.number]
                    found[due] = self._end(done, due, one)
                self._hurry()
        finally:
            for _, one in self.up.values():
                fall(one.environment, self.machine)  # which ends what runs there
            self.up.clear()
            crew.dismiss()
        return found

    def _begin(self, crew: Crew, number: int, due: Due, setup: Setup) -> None:
        name = self._name(due, setup)
        here = named(setup.manifest, f"{setup.party.slug}.{self.mark}-{due.side}", self.machine)
        one = stand(self.session, setup, here, self.machine, self.sink)
        self.up[number] = (due, one)
        self.sink(Event("started", name))

        def work() -> Told:
            return attend(one, self.task, self.machine, self._log(due, setup), said)

        def said(line: str) -> None:
            self.sink(Event("output", name, line))

        crew.give(number, work)

    def _end(self, done: Done, due: Due, one: Standing) -> Run:
        """The run that is over, its side taken down."""
        try:
            if done.error is not None and not isinstance(done.error, DevenvError):
                raise done.error
            told = done.answer if done.error is None else Told(-1, time.time(), 0.0, None, (str(done.error),))
            ended = done.number in self.late or done.error is not None
            log = self._log(due, one.setup)
            run = result(one, self.task, told, self.machine, log, alone=due.alone, ended=ended)
        finally:
            fall(one.environment, self.machine)
            del self.up[done.number]
        text = "" if run.code == 0 else "took too long" if ended else f"exit code {run.code}"
        self.sink(Event("done", self._name(due, one.setup), text, run.seconds))
        return run

    def _hurry(self) -> None:
        """End what takes too long."""
        for number, (_, one) in self.up.items():
            begun = one.begun
            if self.timeout and number not in self.late and time.monotonic() - begun > self.timeout:
                self.late.add(number)
                with suppress(DevenvError):  # it ended just now
                    self.machine.engine.stop(one.workspace.id)

    def _name(self, due: Due, setup: Setup) -> str:
        again = f", run {due.number}" if due.number > 1 else ""
        return f"test {setup.party.name}{again}"

    def _log(self, due: Due, setup: Setup) -> str:
        return os.path.join(self.folder, f"{due.side}-{setup.party.slug}.{due.number}.log")
