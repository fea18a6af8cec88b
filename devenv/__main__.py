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
    arguments = sys.argv[1:]
    try:
        code = quick.attempt(arguments, env)
    except Exception as error:
        from devenv.cli.edge import failure

        return failure(error, env)
    if code is not None:
        return code
    from devenv.cli.session import Session, open_native

    session = Session("", env, open_native, begun)
    if quick.plain(arguments, env):
        from devenv.cli import act
        from devenv.cli.edge import guard

        return guard(lambda: act.plain(arguments[0], session), env)
    from devenv.cli.app import main as run

    return run(arguments, session)


def _end(number: int, _: object) -> None:
    """End as if by the signal, but through every `finally`: mounts, containers and drafts are let go of."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
