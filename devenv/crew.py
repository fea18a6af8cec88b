"""Work given → threads that do it, a few at a time, and what comes back. Nothing goes on when the crew is dismissed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from devenv.errors import EngineError

T = TypeVar("T")
R = TypeVar("R")

MOST = 16
"""Threads: most of what they do is waiting for the kernel, or for a program to end."""

_PATIENCE = 0.05
"""Seconds between two calls to stop what still goes on."""

_TICK = 0.1
"""Seconds until it is asked again whether to go on."""


class Done(NamedTuple):
    """Work that is done: by the number it was given under, what it answered or the exception that ended it."""

    number: int
    answer: Any = None
    error: BaseException | None = None


class Crew:
    """Threads, begun as they are needed."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.threads: list[threading.Thread] = []
        self.waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self.done: deque[Done] = deque()
        self.changed = threading.Condition()
        self.idle = 0
        self.dismissed = False

    def give(self, number: int, work: Callable[[], object]) -> None:
        """Have it done as soon as somebody is free."""
        with self.changed:
            self.waiting.append((number, work))
            if len(self.waiting) > self.idle and len(self.threads) < self.most:
                # Daemons, so that who is interrupted twice needn't wait for them.
                thread = threading.Thread(target=self._work, name=f"crew {len(self.threads)}", daemon=True)
                self.threads.append(thread)
                thread.start()
            self.changed.notify_all()

    def take(self, seconds: float | None) -> Done | None:
        """The next thing that is done, None after so many seconds (None: without end)."""
        with self.changed:
            self.changed.wait_for(lambda: self.done, seconds)
            return self.done.popleft() if self.done else None

    def dismiss(self, cancel: Callable[[], None] | None = None) -> None:
        """Begin nothing more, and wait until what goes on has ended; `cancel` makes it end, where there is a way."""
        with self.changed:
            self.dismissed = True
            self.waiting.clear()
            self.changed.notify_all()
        for thread in self.threads:
            while thread.is_alive():
                if cancel is not None:
                    cancel()  # again and again: something may be just about to begin
                thread.join(_PATIENCE)

    def _work(self) -> None:
        while True:
            with self.changed:
                self.idle += 1
                self.changed.wait_for(lambda: self.waiting or self.dismissed)
                self.idle -= 1
                if not self.waiting:
                    return
                number, work = self.waiting.popleft()
            try:
                done = Done(number, answer=work())
            except BaseException as error:  # whoever takes it raises it
                done = Done(number, error=error)
            with self.changed:
                self.done.append(done)
                self.changed.notify_all()


def each(
    work: Callable[[T], R], items: Sequence[T], stopped: Callable[[], bool] = lambda: False, *, most: int = 2
) -> list[R]:
    """What comes of each, in their order, as many at a time as `most`: inflating and hashing let other threads run, the rest of
    Python doesn't. Once one fails, or `stopped` says so, no other is begun; raises that, or EngineError."""
    crew, found = Crew(most), dict[int, R]()
    for number, item in enumerate(items):
        crew.give(number, lambda item=item: work(item))  # type: ignore[misc]
    try:
        while len(found) < len(items):
            if stopped():
                raise EngineError("stopped")
            done = crew.take(_TICK)
            if done is not None and done.error is not None:
                raise done.error
            if done is not None:
                found[done.number] = done.answer
    finally:
        crew.dismiss()
    return [found[number] for number in range(len(items))]
