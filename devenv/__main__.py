"""argv → exit code."""

from __future__ import annotations

import os
import signal
import sys

from devenv import quick


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
    import time

    begun = time.time()
    env = dict(os.environ)
    trouble = None
    try:
        code = quick.attempt(sys.argv[1:], env)
        if code is not None:
            return code
    except Exception as error:
        trouble = error
    from devenv.cli.app import failure
    from devenv.cli.app import main as run
    from devenv.cli.session import Session, open_native

    session = Session("", env, open_native, begun)
    return run(sys.argv[1:], session) if trouble is None else failure(trouble, session)


def _end(number: int, _: object) -> None:
    """End as if by the signal, but through every `finally`: mounts, containers and drafts are let go of."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
