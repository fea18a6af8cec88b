"""The lock of an environment's supervisor, a file with its pid and start time: held for life, so that there is one; how it is told things."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress

from devenv.lives import process_start

_PATIENCE = 0.5
"""Seconds for which somebody may hold the lock who only looks whether it is held, or has yet to write who it is."""


def take(path: str) -> int | None:
    """The lock, as a file descriptor; None when a supervisor has it."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if still(path, lock):  # who had it before may have taken the file away
                return lock
        os.close(lock)
        if time.monotonic() > deadline or tell(path, 0):
            return None
        time.sleep(0.002)


def still(path: str, lock: int) -> bool:
    """Whether it is the lock of the file that is there."""
    try:
        return os.stat(path).st_ino == os.fstat(lock).st_ino
    except FileNotFoundError:
        return False


def sign(lock: int, pid: int) -> None:
    """Write down who has it."""
    text = f"{pid} {process_start(pid) or 0}\n".encode()
    if os.pread(lock, 99, 0) != text:
        os.ftruncate(lock, 0)
        os.pwrite(lock, text, 0)


def release(path: str, lock: int) -> None:
    """Nobody has it, and nobody needs to."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(lock)


def owner(path: str) -> int | None:
    """A pidfd of the supervisor that wrote its name there; None when that is gone. The caller closes it."""
    try:
        with open(path, encoding="ascii") as file:
            pid, start = map(int, file.read().split())
        found = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if process_start(pid) == start:  # after the fd: now the number can't become another process's
        return found
    os.close(found)
    return None


def tell(path: str, number: int) -> bool:
    """Send the supervisor a signal (0: none); whether there is one."""
    there = owner(path)
    if there is None:
        return False
    try:
        signal.pidfd_send_signal(there, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(there)
    return True
