"""Events of a trial → stderr: all of them for whoever watches a terminal; in a log, what takes long, how it ended, what went wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock, Timer, current_thread

from devenv import console
from devenv.cli.session import Session
from devenv.model.events import Event, Sink

_PATIENCE = 5.0
"""Seconds after which a log says what is being waited for."""
_NOTICED = 1.0
"""Seconds from which on a log says how long something took."""


class Voice:
    """A sink, for what is done around the tests, and two more doors for these. `terse`: into a log. Threads may share it."""

    def __init__(self, sink: Sink, *, terse: bool, about: str = "", patience: float = _PATIENCE) -> None:
        self.sink, self.terse, self.about, self.patience = sink, terse, about, patience
        self.lock = RLock()
        self.waiting: dict[str, Timer] = {}
        self.announced: set[str] = set()

    def __call__(self, event: Event) -> None:
        """What isn't the point of it: into a log only what takes long or goes wrong, and of which side it is."""
        if not self.terse:
            self.sink(event)
            return
        event = event._replace(object=f"{self.about}{event.object}")
        match event.kind:
            case "started":
                self._await(event)
            case "done":
                if self._over(event.object) or event.text or event.seconds >= _NOTICED:
                    self.sink(event)
            case "cached" | "state":
                pass
            case _:
                if event.kind in ("failed", "stopped"):
                    self._over(event.object)
                self.sink(event)

    def begun(self, name: str, *, first: bool) -> None:
        """A run has begun, `first`: of its side, and one of few."""
        event = Event("started", name)
        if self.terse and not first:
            self._await(event)
        else:
            self.sink(event)

    def ended(self, event: Event, *, same: bool) -> None:
        """A run is over; `same`: as one before it of its side, which a log has already."""
        announced = self._over(event.object)
        if not (self.terse and same) or announced:
            self.sink(event)

    def close(self) -> None:
        """Nothing more is waited for."""
        with self.lock:
            waiting, self.waiting = self.waiting, {}
        for timer in waiting.values():
            timer.cancel()

    def _await(self, event: Event) -> None:
        timer = Timer(self.patience, self._announce, (event,))
        timer.daemon = True
        with self.lock:
            before, self.waiting[event.object] = self.waiting.get(event.object), timer
        if before:
            before.cancel()
        timer.start()

    def _announce(self, event: Event) -> None:
        with self.lock:
            if self.waiting.get(event.object) is current_thread():  # else another has taken its place meanwhile
                del self.waiting[event.object]
                self.announced.add(event.object)
                self.sink(event)

    def _over(self, name: str) -> bool:
        """Whether a log said that it is being waited for; it isn't any more."""
        with self.lock:
            if timer := self.waiting.pop(name, None):
                timer.cancel()
            announced = name in self.announced
            self.announced.discard(name)
        return announced


@contextmanager
def voice(session: Session, about: str = "") -> Iterator[Voice]:
    """What tells of a trial while the context lasts, `about` a side of it."""
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        one = Voice(sink, terse=not console.live(sys.stderr, session.env), about=f"{about}: " if about else "")
        try:
            yield one
        finally:
            one.close()
