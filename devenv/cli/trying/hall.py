"""Setups and runs that are due → Runs: each side brought up for its run, so many at a time, and down again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from devenv.cli.session import Machine, Session
from devenv.crew import Crew, Done
from devenv.errors import DevenvError
from devenv.model.events import Event
from devenv.model.trial import Run

from .runs import Task, Told, attend, result
from .sides import Setup, Standing, Unable, fall, named, stand
from .voice import Voice

_FEW = 2
"""Runs at a time of which each is told when it begins."""


class Due(NamedTuple):
    """A run to be made: of which of the setups, the how many-th run of it; `alone`: while nothing else runs.

    `before`: how the runs of it before this one ended, as codes.
    """

    side: int
    number: int
    alone: bool = False
    before: tuple[int | None, ...] = ()


class Hall:
    """Where sides meet. `folder` takes the logs, `mark` tells the environments of one trial from those of any other; `task` says
    what is run on a side.
    """

    def __init__(
        self, session: Session, machine: Machine, task: Callable[[Setup], Task], folder: str, mark: str, voice: Voice
    ) -> None:
        self.session, self.machine, self.task, self.folder, self.mark, self.voice = (
            session,
            machine,
            task,
            folder,
            mark,
            voice,
        )
        self.up: dict[int, tuple[Due, Standing]] = {}

    def hold(self, dues: Sequence[Due], setups: Mapping[int, Setup], jobs: int) -> dict[Due, Run | Unable]:
        """Make these runs, in this order; what came of each. An interruption passes through, with nothing left up."""
        found: dict[Due, Run | Unable] = {}
        waiting = deque(enumerate(dues))
        crew, few = Crew(jobs), len(dues) <= _FEW
        try:
            while waiting or self.up:
                while waiting and len(self.up) < jobs:
                    number, due = waiting.popleft()
                    try:
                        self._begin(crew, number, due, setups[due.side], first=few and due.number == 1)
                    except Unable as error:
                        found[due] = error
                if self.up and (done := crew.take(None)):
                    due, one = self.up[done.number]
                    found[due] = self._end(done, due, one)
        finally:
            for due, one in self.up.values():
                self._fall(due, one)  # which ends what runs there
            self.up.clear()
            crew.dismiss()
        return found

    def _begin(self, crew: Crew, number: int, due: Due, setup: Setup, *, first: bool) -> None:
        name, task = self._name(due, setup), self.task(setup)
        here = named(setup.manifest, setup.party.slug, self.machine, f"{self.mark}-{due.side}")
        one = stand(self.session, setup, here, self.machine, self.voice)
        self.up[number] = (due, one)
        self.voice.begun(name, first=first)

        def work() -> Told:
            return attend(one, task, self.machine, self._log(due, setup), said)

        def said(line: str) -> None:
            self.voice(Event("output", name, line))

        crew.give(number, work)

    def _end(self, done: Done, due: Due, one: Standing) -> Run:
        """The run that is over, its side taken down."""
        try:
            if done.error is not None:  # a bug, or an interruption
                raise done.error
            told: Told = done.answer
            log = self._log(due, one.setup)
            run = result(one, self.task(one.setup), told, self.machine, log, alone=due.alone)
        finally:
            self._fall(due, one)
            del self.up[done.number]
        name = self._name(due, one.setup)
        if told.trouble:
            self.voice(Event("warning", name, told.trouble))
        text = "it took too long" if told.late else "" if told.code == 0 else f"exit code {told.code}"
        self.voice.ended(Event("done", name, text, run.seconds), same=run.code in due.before)
        return run

    def _fall(self, due: Due, one: Standing) -> None:
        """Take a side down; what can't be is said, and the next trial tries again."""
        try:
            fall(one.environment, self.machine)
        except DevenvError as error:
            self.voice(Event("warning", self._name(due, one.setup), str(error)))

    def _name(self, due: Due, setup: Setup) -> str:
        again = f", run {due.number}" if due.number > 1 else ""
        return f"test {setup.party.name}{again}"

    def _log(self, due: Due, setup: Setup) -> str:
        return os.path.join(self.folder, f"{due.side}-{setup.party.slug}.{due.number}.log")
