"""argv → exit code."""

from __future__ import annotations

import os
import sys

from devenv import quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> None:
    """The console script."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # while modules are imported
        sys.exit(130)


def _run() -> int:
    import time

    begun = time.time()
    _fill()
    _seal()
    env = dict(os.environ)
    arguments = sys.argv[1:]
    try:
        code = quick.attempt(arguments, env)
    except Exception as error:
        from devenv.cli.edge import failure, flushed

        return flushed(failure(error, env), env)
    if code is not None:
        return _ended(code, env)
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


def _ended(code: int, env: Mapping[str, str]) -> int:
    """What was printed is flushed; that fails where nobody reads, or a disk is full. Then at once away: to take a
    Python apart is 5 ms, and a quick verb has closed what must be closed."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        from devenv.cli.edge import flushed

        return flushed(code, env)
    os._exit(code)


def _fill() -> None:
    """Of what our caller closed of 0, 1 and 2, the next file we open would take the place, and what is printed."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(sys, name) is None:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
                setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115 for good


def _seal() -> None:
    """What our caller left open is for us alone (`--secret src=/dev/fd/63`): a container's monitor would hold it for good."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the listing's own


if __name__ == "__main__":
    main()
