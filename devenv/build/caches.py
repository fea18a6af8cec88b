"""A cache mount that is had alone → its folder, for as long as the step lasts; the next step has the same one again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count


@contextmanager
def private(identifier: str, folder_of: Callable[[str], str]) -> Iterator[str]:
    """The first of an identifier's private folders that no step has, in whatever build; so only as many are ever made
    as were needed at one time (BuildKit's sharing=private).

    `folder_of`: a cache's identifier → its folder. The lock goes with its owner, however that ends.
    """
    for number in count():
        folder = folder_of(f"{identifier}\0private {number}")
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield folder
        finally:
            os.close(lock)
        return
