"""argv → exit code: the verbs put together, and the one place where an exception becomes a message and a code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from devenv import __version__, console
from devenv.cli import build, everyday, host, inside, look, manifest
from devenv.cli.session import Session, here
from devenv.errors import DevenvError

COMPLETE = "_DEVENV_COMPLETE"

# UsageError's base: typer 0.29 has its own copy of click's, older ones use click itself; both are reached this way.
_UsageErrors: tuple[type[Any], ...] = typer.BadParameter.__mro__[1:3]

_HOST_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_HELP = """
One command gives a project its development environment: identical, isolated, with the source tree mounted.

    devenv init            write devenv.yml from what is there

    devenv up              bring the environment up

    devenv shell           go inside

Every verb has examples: devenv VERB --help. Exit codes: 0 done, 1 the engine failed, 2 the input was wrong,
3 not trusted, 130 interrupted; exec, run, shell and test return their command's own.
"""


def application() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="devenv",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_globals)
    for verbs in (manifest, everyday, inside, look, build, host):
        verbs.register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"devenv {__version__}")
        raise typer.Exit


def _globals(
    context: typer.Context,
    directory: Annotated[str, typer.Option("--directory", "-C", metavar="DIR", help="Work as if called there.")] = "",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    given: Session = context.obj
    folder = os.path.join(given.folder or here(), directory)
    if directory and not os.path.isdir(folder):
        raise typer.BadParameter(f"no folder {directory}", param_hint="--directory")
    context.obj = replace(given, folder=os.path.abspath(folder))


def main(arguments: Sequence[str], session: Session) -> int:
    """Run one verb and return its exit code. Nothing but a request for completions leaves by an exception."""
    if COMPLETE in session.env:
        application()(prog_name="devenv", complete_var=COMPLETE, obj=session)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal's encoding lacks must not end a command.
            stream.reconfigure(errors="backslashreplace")
    code = guarded(arguments, session)
    return _flushed(session) or code


def guarded(arguments: Sequence[str], session: Session) -> int:
    """The one catch."""
    try:
        return _invoke(arguments, session)
    except (Exception, KeyboardInterrupt) as error:
        return failure(error, session)


def failure(error: BaseException, session: Session) -> int:
    """Say what went wrong; the exit code it calls for."""
    if isinstance(error, DevenvError):
        console.error(str(error), session.env)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        print(file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone, as with `devenv ps | head -1`: nobody is left to tell.
        return 141
    if isinstance(error, OSError) and error.errno in _HOST_TROUBLE:
        return _trouble(error, session)
    from traceback import print_exception

    print_exception(error)
    console.error(f"this is a bug in devenv {__version__}: please report it with the lines above", session.env)
    return 1


def _invoke(arguments: Sequence[str], session: Session) -> int:
    """Typer without its own main: that one exits the process and has handlers of its own."""
    command = typer.main.get_command(application())
    try:
        with command.make_context("devenv", list(arguments), obj=session) as context:
            return command.invoke(context) or 0
    except typer.Exit as error:
        return error.exit_code
    except typer.Abort:
        return 130
    except _UsageErrors as error:
        error.show()
        return int(error.exit_code)


def _trouble(error: OSError, session: Session) -> int:
    """Trouble of the machine's, not of ours, wherever it struck."""
    where = f"{error.filename}: " if error.filename else ""
    console.error(f"{where}{error.strerror}", session.env)
    return 1


def _flushed(session: Session) -> int:
    """Flush now, while it can still be told when it fails; the interpreter would only complain at its end."""
    code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = 141 if error.errno == errno.EPIPE else _trouble(error, session)
    return code
