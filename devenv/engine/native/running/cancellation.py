"""Those who wait for a process -> they don't any more, for as long as a cancellation lasts."""

from __future__ import annotations

import os
from _thread import RLock  # a signal handler may come here while this very thread is here already


class Cancellation:
    """It lasts from `ask` to `end`, and can be asked for again and again. For any number of threads, and signal handlers."""

    def __init__(self) -> None:
        self._lock = RLock()
        self.asked = False
        self.descriptor = os.eventfd(0)
        """Can be read while it lasts: for poll(2), nobody else reads it. -1 once it is closed."""

    def ask(self) -> None:
        """Whoever waits, or is going to, doesn't any more. Nothing once it is closed: by then its number is another file's."""
        with self._lock:
            if self.descriptor >= 0 and not self.asked:
                self.asked = True  # first: who is woken looks at it
                os.eventfd_write(self.descriptor, 1)

    def end(self) -> None:
        """What was cancelled has ended: whoever waits from now on waits as long as it takes."""
        with self._lock:
            if self.asked and self.descriptor >= 0:
                os.eventfd_read(self.descriptor)
            self.asked = False

    def close(self) -> None:
        """Let go of the descriptor; again does nothing."""
        with self._lock:
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)
