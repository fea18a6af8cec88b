"""Work that many threads ask for at the same time, done once for all who wait."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable


class Together:
    """Whoever comes while it is being done waits for one more time, which is for everybody who came meanwhile."""

    __slots__ = ("_asked", "_counting", "_done", "_working")

    def __init__(self) -> None:
        self._counting = allocate_lock()
        self._working = allocate_lock()
        self._asked = self._done = 0

    def do(self, work: Callable[[], None]) -> None:
        """Return when `work` was done after this call began. What it raises is for whoever does it; others try again."""
        with self._counting:
            self._asked += 1
            mine = self._asked
        with self._working:
            if self._done >= mine:
                return
            with self._counting:
                asked = self._asked
            work()
            self._done = asked
