"""Errors of a supervisor -> its stderr, a file that never grows beyond a bound: what nobody reads at that moment."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from devenv.errors import DevenvError

MOST = 64 << 10
"""Bytes."""


def trace(error: BaseException) -> None:
    """Write it down: one of ours in its own words, any other as the bug that it is."""
    if isinstance(error, DevenvError):
        text = str(error)
    else:
        import traceback  # 2 ms, and memory

        text = "".join(traceback.format_exception(error)).rstrip()
    with suppress(OSError):
        bound()
        os.write(2, f"{time.strftime('%F %T')} [{os.getpid()}] {text}\n".encode())


def bound() -> None:
    """Begin it anew when it is full."""
    sys.stderr.flush()
    if os.fstat(2).st_size > MOST:
        os.ftruncate(2, 0)
