"""One trial from beginning to end: its baseline, the sides added to it, their runs, and the Trial that is kept of it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Literal, NamedTuple

from devenv import console
from devenv import desired as wanting
from devenv.changes import shortened
from devenv.cli import asking, kept, locking
from devenv.cli.project import home, load
from devenv.cli.session import Session
from devenv.errors import Fault, InputError
from devenv.model.container import Environment
from devenv.model.events import Event, ignore
from devenv.model.manifest import Manifest
from devenv.model.trial import Run, Side, Trial, Verdict
from devenv.trial.recognise import FILES, installed, recognise
from devenv.trial.verdict import judge, undecided

from . import history, tree
from .hall import Due, Hall
from .packages import differing
from .questions import relocked
from .runs import REPORTS, Task
from .sides import Party, Setup, Standing, Unable, called, fall, manifest, named, party, ready, seed, stand
from .voice import voice

BASELINE = "baseline"

_AROUND = 1 << 18
_DISTURBED = "Files of the project changed while it was tried, so the sides may have seen different ones."
_EACH, _SERVICE = (
    1 << 30,
    1 << 28,
)  # bytes of memory that a run, and a service's replica, are taken to need where no limit says so


class Terms(NamedTuple):
    """How a trial is held: how often more where sides differ, how often with the machine for itself, alternating; how many run
    at a time (0: as many as the machine takes), the most seconds that one may take; `serve`: workspaces run their `command:`.
    """

    again: int = 2
    timed: int = 0
    jobs: int = 0
    timeout: float | None = None
    serve: bool = False


class Found(NamedTuple):
    """What was searched for, as Trial has it."""

    guilty: tuple[str, ...] = ()
    tried: tuple[tuple[str, str], ...] = ()
    candidates: tuple[str, ...] = ()


NOTHING = Found()


def _same(one: Setup, other: Setup) -> bool:
    """Whether two sides have nothing that could make a difference."""
    told = [(each.image, each.environment, each.manifest.services, each.manifest.limits) for each in (one, other)]
    return told[0] == told[1]


class Trying:
    """A trial under way. `sides` begin with the baseline; `setups` has those that can be brought up, by their number."""

    def __init__(self, session: Session, command: str, terms: Terms) -> None:
        if session.variant:
            hint = f"name it as what is to be tried: devenv try {session.variant}"
            raise InputError(Fault("--variant", 0, 0, "a trial is of what devenv.yml says, and its variants", hint))
        self.session, self.terms = session, terms
        self.machine, self.written = session.machine(), load(session)
        self.command = command or self.written.test or ""
        if not self.command:
            hint = "write `test: pytest -q`, or say it here: devenv try CHANGE… -- COMMAND"
            raise InputError(Fault(os.path.relpath(self.written.path), 0, 0, "has no `test:`", hint))
        self.here = home(self.machine, self.written)
        self.trials = history.place(session, self.here.id)
        self.folder = ""
        self.begun = time.time()
        self.sides: list[Side] = []
        self.setups: dict[int, Setup] = {}
        self.parties: dict[int, Party] = {}
        self.same: Mapping[str, str] = {}
        """Sides that are to be locked as they were in an earlier trial: their name → the file that says how."""
        self._base: Setup | None = None
        folders = (wanting.absolute(self.written.folder, source.path) for source in self.written.sources)
        self.folders = tuple(dict.fromkeys((self.written.folder, *folders)))
        self.before = tree.seen(self.folders)

    @contextmanager
    def open(self) -> Iterator[Trying]:
        """As long as it lasts, nobody takes what it has up for left behind."""
        history.sweep(self.machine, self.here, self.trials)
        with history.begun(self.trials) as self.folder:
            yield self

    @property
    def base(self) -> Setup:
        """The project as it is written, built. Raises Unable, InputError."""
        if self._base is None:
            found = self._ready(Party(BASELINE))
            if isinstance(found, Unable):
                raise found
            self._base = found
        return self._base

    def refer(self, asked: Sequence[str] = ()) -> None:
        """What all others are held against: the project as it is written, or as these words have it."""
        if asked:
            own = self._party(asked)
            self._add(own, self._ready(own))
        else:
            self._add(Party(BASELINE), self.base)

    def add(self, asked: Sequence[str], name: str = "") -> int:
        """Make a variant ready, if it can be; its number. Raises InputError for what isn't asked for rightly."""
        try:
            own = self._party(asked, name)
        except Unable as error:
            self._add(Party(name or called(asked)), error)
        else:
            self._add(own, self._ready(own))
        return len(self.sides) - 1

    def read(self, asked: Sequence[str]) -> Manifest:
        """The manifest as these words have it."""
        return manifest(self.session, self._party(asked))

    def _party(self, asked: Sequence[str], name: str = "") -> Party:
        return party(self.session, self.written, self.base.section, asked, self._relocked, name)

    def _relocked(self, file: str, specs: Sequence[str]) -> Mapping[str, bytes]:
        """What npm makes of a package.json and its lock, asked in the environment."""
        with self.standing() as one:
            return relocked(one, file, specs, self.machine)

    @contextmanager
    def standing(self) -> Iterator[Standing]:
        """The project as it is written, up for a question."""
        base = self.base
        here = named(base.manifest, base.party.slug, self.machine, f"{self.mark}-0")
        one = stand(self.session, base, here, self.machine, ignore)
        try:
            yield one
        finally:
            fall(here, self.machine)

    def _ready(self, own: Party) -> Setup | Unable:
        read = manifest(self.session, own, serve=self.terms.serve)
        read = read._replace(lock=self.same.get(own.name) or self._lock(own, read))
        if self._base:
            seed(read, self._base.section)
        try:
            made = ready(self.session, own, read, self.machine, locked=own.name in self.same)
        except Unable as error:
            return error
        history.keep_lock(self.folder, own.name, made)
        return made

    def repeat(self, number: int) -> None:
        """Lock all sides as they were in this trial. Raises NotFound."""
        self.same = history.kept_locks(self.trials, number)

    def _lock(self, own: Party, read: Manifest) -> str:
        """Where a side is locked to: it is the same file as long as everything that it comes from is the same."""
        base = self._base
        named = [*wanting.manifests(read).values()]
        files = sorted({path: data for one in named for path, data in asking.contents(one).items()}.items())
        locks = locking.known(read._replace(lock=""))
        told = (
            own.altered,
            read._replace(places={}, services=()),
            [one._replace(places={}) for one in named],
            files,
            locks,
        )
        digest = sha256(repr((told, base.section if base else None)).encode()).hexdigest()[:32]
        return history.lock(self.trials, digest)

    def _add(self, own: Party, setup: Setup | Unable) -> None:
        side, number = Side(own.name, own.changes), len(self.sides)
        self.parties[number] = own
        if isinstance(setup, Unable):
            side = side._replace(failed=str(setup), stage=setup.stage, outside=setup.outside or setup.typo(own.changes))
        else:
            self.setups[number] = setup
            base = self.setups.get(0)
            side = side._replace(image=setup.image, moved=differing(base, setup) if base and number else ())
            if base and number and not side.moved and _same(base, setup):
                console.warning(f"{own.name}: the baseline has that already, nothing differs", self.session.env)
        self.sides.append(side)

    def _task(self, setup: Setup) -> Task:
        """The command, listened to with what is known of a side: tools have other versions there, and other variables."""
        around = "".join(text for file in FILES if (text := _beginning(os.path.join(self.written.folder, file))))
        found = recognise(self.command, REPORTS, around, installed(setup.section), dict(setup.environment))
        return Task(self.command, found, self.terms.timeout)

    def run(self, numbers: Collection[int] | None = None) -> None:
        """All of these, with the baseline as long as it hasn't run; then again those that can't be judged yet, with the
        baseline, as often as the terms say.
        """
        wanted = sorted(numbers if numbers is not None else range(len(self.sides)))
        self._hold([*([0] if not self.sides[0].runs and 0 not in wanted else []), *wanted])
        for number in range(self.terms.again):
            unclear = [one for one in wanted if one and undecided(self.sides[0], self.sides[one], self.terms.again)]
            if not unclear:
                break
            if not number:
                self._differing([self.sides[one].name for one in unclear])
            fewest = min(len(self.sides[one].runs) for one in unclear)
            self._hold([*([0] if len(self.sides[0].runs) <= fewest else []), *unclear])
        if self.terms.timed:
            self.say("to compare times", f"{self.terms.timed} more of each, one at a time")
        for _ in range(self.terms.timed):
            self._hold([0, *(one for one in wanted if one)], alone=True)

    def _differing(self, names: Sequence[str]) -> None:
        one = len(names) == 1
        runs = f"up to {self.terms.again} more {'run' if self.terms.again == 1 else 'runs'}{'' if one else ' of each'}"
        self.say(shortened(names), f"{'differs' if one else 'differ'} from {self.sides[0].name}: {runs}, to be sure")

    def say(self, what: str, text: str) -> None:
        """A line on what comes next, and why."""
        with voice(self.session) as told:
            told(Event("note", what, text))

    def _hold(self, numbers: Sequence[int], *, alone: bool = False) -> None:
        able = [one for one in numbers if one in self.setups and not self.sides[one].failed]
        before = {one: tuple(run.code for run in self.sides[one].runs) for one in able}
        dues = [Due(one, len(before[one]) + 1, alone, before[one]) for one in able]
        with voice(self.session) as told:
            hall = Hall(self.session, self.machine, self._task, self.folder, self.mark, told)
            came = hall.hold(dues, self.setups, 1 if alone else self._jobs())
        for due, what in came.items():
            side = self.sides[due.side]
            if isinstance(what, Run):
                side = side._replace(runs=(*side.runs, what))
            elif not side.runs:
                side = side._replace(failed=str(what), stage=what.stage, outside=what.outside)
            else:  # what came up once is judged by what it did
                console.warning(f"{side.name} didn't come up for its run {due.number}: {what}", self.session.env)
            self.sides[due.side] = side

    def _jobs(self) -> int:
        """Both sides of a try always meet; of more, as many as there are cores and memory for."""
        if self.terms.jobs:
            return self.terms.jobs
        services = sum(len(one.replicas) * (one.limits.memory or _SERVICE) for one in self.written.services)
        needs = (self.written.limits.memory or _EACH) + services
        return max(2, min(os.cpu_count() or 1, _free() // needs))

    @property
    def mark(self) -> str:
        """What all environments of this trial are called by."""
        return f"t{os.path.basename(self.folder)}"

    def verdict(self, number: int) -> Verdict:
        """What a variant is beside the baseline, by the runs there are."""
        return judge(self.sides[0], self.sides[number], self.terms.again)

    def finish(self, kind: Literal["try", "matrix", "bisect"], again: str, found: Found = NOTHING) -> Trial:
        """The trial as it is kept: with a verdict on each variant, and what was found besides."""
        changed = tree.seen(self.folders) != self.before
        disturbed = _DISTURBED if changed else ""
        if changed and found.guilty:
            console.warning(f"nothing is said of who is guilty. {_DISTURBED}", self.session.env)
            found = found._replace(guilty=())
        trial = Trial(
            os.path.basename(self.folder),
            kind,
            self.written.name,
            self.here.id,
            self.written.folder,
            self.begun,
            time.time() - self.begun,
            self.command,
            self.sides[0],
            tuple(self.sides[1:]),
            tuple(judge(self.sides[0], side, self.terms.again, disturbed) for side in self.sides[1:]),
            self._controlled(),
            found.guilty,
            found.tried,
            found.candidates,
            again,
        )
        history.keep(self.folder, trial)
        return trial

    def _controlled(self) -> tuple[tuple[str, str], ...]:
        """What is the same on all sides."""
        bases = {tuple(base.suite for base in one.section.bases) + one.section.images for one in self.setups.values()}
        base = self.setups.get(0)
        same = (("base", str(base.manifest.base)),) if base and len(bases) == 1 else ()
        return (
            *same,
            ("source", f"{self.before.files} files, sha256 {self.before.digest[:12]}"),
            *(self._task(base).listener.controlled if base else ()),
        )

    def keep(self) -> list[Environment]:
        """Bring all sides up once more, to stay, each with an environment called as it is; what was left so before goes."""
        found = []
        with voice(self.session) as told:
            for setup in self.setups.values():
                here = named(setup.manifest, setup.party.slug, self.machine)
                fall(here, self.machine)
                try:
                    one = stand(self.session, setup, here, self.machine, told)
                except Unable as error:
                    console.warning(f"{setup.party.name} isn't kept: {error}", self.session.env)
                    continue
                own = setup.manifest
                side = kept.Side(one.wanted, own.test or self.command, own.secrets)
                kept.keep(self.session, self.machine, side)
                found.append(here)
        return found


def _beginning(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_AROUND)
    except OSError:
        return ""


def _free() -> int:
    """Bytes of memory that could be had."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = dict(line.split(":", 1) for line in file)
    return int(found["MemAvailable"].split()[0]) << 10
