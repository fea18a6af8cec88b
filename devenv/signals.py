"""SIGTERM and SIGHUP -> SystemExit: a command ends as if by the signal, but through every `finally`."""

from __future__ import annotations

import signal


def catch() -> None:
    """From here on: mounts, containers and drafts are let go of before we end. What is ignored stays so (nohup)."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who started us may ignore it, and then no child's end is told
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)
