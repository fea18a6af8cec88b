"""The edge of the program: work -> exit code. The one place where an exception becomes a message and a code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping

from devenv import __version__, console
from devenv.errors import DevenvError

_HOST_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def guard(work: Callable[[], int], env: Mapping[str, str]) -> int:
    """Do the work of a verb; its exit code, whatever happens."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal's encoding lacks must not end a command.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
    except (Exception, KeyboardInterrupt) as error:
        code = failure(error, env)
    return flushed(code, env)


def failure(error: BaseException, env: Mapping[str, str]) -> int:
    """Say what went wrong; the exit code it calls for."""
    try:
        return _told(error, env)
    except OSError:  # there is nowhere to say it
        return error.exit_code if isinstance(error, DevenvError) else 1


def flushed(code: int, env: Mapping[str, str]) -> int:
    """Flush now, while it can still be told when it fails, unless a failure was told; the interpreter would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if code == 0:
                code = failure(error, env)
    return code


def _told(error: BaseException, env: Mapping[str, str]) -> int:
    if isinstance(error, DevenvError):
        console.error(str(error), env)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        print("\ninterrupted: what was finished is kept", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone, as with `devenv ps | head -1`: nobody is left to tell.
        return 141
    if isinstance(error, OSError) and error.errno in _HOST_TROUBLE:
        return _trouble(error, env)
    from traceback import print_exception

    print_exception(error)
    console.error(f"this is a bug in devenv {__version__}: please report it with the lines above", env)
    return 1


def _trouble(error: OSError, env: Mapping[str, str]) -> int:
    """Trouble of the machine's, not of ours, wherever it struck."""
    # Without a name it is what we print: the kernel's other errors are told where they happen.
    name = error.filename or ("write" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else "")
    where = f"{name}: " if name else ""
    console.error(f"{where}{error.strerror}", env)
    return 1
