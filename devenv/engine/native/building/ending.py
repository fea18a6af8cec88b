"""Programs and waits that are under way -> ended, when a build is called off."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Ending:
    """What `end` ends. For any number of threads; called while an error is on its way, again and again."""

    def __init__(self) -> None:
        self._programs: set[int] = set()
        self._stops: set[threading.Event] = set()
        self._lock = threading.Lock()

    def end(self) -> None:
        with self._lock:
            for stop in self._stops:
                stop.set()
            for program in self._programs:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(program, signal.SIGKILL)

    @contextmanager
    def programs(self) -> Iterator[Callable[[int], None]]:
        """For the pids of programs: while this lasts, `end` kills them."""
        begun: list[int] = []

        def started(pid: int) -> None:
            begun.append(os.pidfd_open(pid))
            with self._lock:
                self._programs.add(begun[-1])

        try:
            yield started
        finally:
            with self._lock:
                self._programs.difference_update(begun)
            for program in begun:
                os.close(program)

    @contextmanager
    def stopped(self) -> Iterator[Callable[[], bool]]:
        """Whether `end` was called while this lasts."""
        stop = threading.Event()
        with self._lock:
            self._stops.add(stop)
        try:
            yield stop.is_set
        finally:
            with self._lock:
                self._stops.discard(stop)
