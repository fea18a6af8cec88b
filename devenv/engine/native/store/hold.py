"""The lock between those who come to use what is in the store (build, create, run) and the one who removes from it (gc)."""

from __future__ import annotations

import fcntl
import os
import time
from _thread import allocate_lock  # threading takes 1 ms to import, and everybody comes here
from collections.abc import Iterator
from contextlib import contextmanager

from devenv.errors import EngineError

_POLL = 0.05


class Hold:
    """One flock for the process: any number share it, or one is alone. It ends with its owner, however that ends."""

    __slots__ = ("_fd", "_lasting", "_lock", "_users")

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._lock = allocate_lock()
        self._users = 0
        self._lasting = False

    def share(self) -> None:
        """Nothing is collected from now on, until `release`; again does nothing. From any thread."""
        with self._lock:
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            self._lasting = True

    def release(self) -> None:
        """A row or an owner's file speaks for what we use by now, but for what a thread in `using` does."""
        with self._lock:
            self._lasting = False
            self._let_go()

    @contextmanager
    def using(self) -> Iterator[None]:
        """Nothing is collected meanwhile, whoever releases it. From any thread."""
        with self._lock:
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._let_go()

    def _let_go(self) -> None:
        if not self._users and not self._lasting:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def alone(self, patience: float) -> Iterator[None]:
        """Nobody builds, creates or starts meanwhile. Raises EngineError when somebody still does after these seconds."""
        deadline = time.monotonic() + patience
        while not self._take():
            if time.monotonic() > deadline:
                raise EngineError(
                    "collect: another devenv command is building or starting something", hint="again when it has ended"
                )
            time.sleep(_POLL)
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        os.close(self._fd)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
