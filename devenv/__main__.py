"""argv → exit code."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """The console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # while modules are imported
        sys.exit(130)


def _run() -> int:
    from devenv.cli.app import main as run
    from devenv.cli.session import Session, open_native

    return run(sys.argv[1:], Session("", dict(os.environ), open_native))


def _end(number: int, _: object) -> None:
    """End as if by the signal, but through every `finally`: mounts, containers and drafts are let go of."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
