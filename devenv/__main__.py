"""argv → exit code."""

from __future__ import annotations

import os
import sys

from devenv import quick


def main() -> None:
    """The console script."""
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
    from devenv import signals
    from devenv.cli.session import Session, open_native

    signals.catch()
    session = Session("", env, open_native, begun)
    if quick.plain(arguments, env):
        from devenv.cli import act
        from devenv.cli.edge import guard

        return guard(lambda: act.plain(arguments[0], session), env)
    from devenv.cli.app import main as run

    return run(arguments, session)


if __name__ == "__main__":
    main()
