"""argv → exit code: the verbs put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from devenv import __version__
from devenv.cli import (
    alone,
    build,
    comparing,
    complete,
    copying,
    everyday,
    explain,
    host,
    images,
    inside,
    lock,
    look,
    manifest,
    measuring,
    options,
    said,
    trials,
)
from devenv.cli.edge import guard
from devenv.cli.session import Session, here
from devenv.cli.usage import usage_error

COMPLETE = "_DEVENV_COMPLETE"

_TRIALS = {"try", "matrix", "bisect"}
"""Verbs that are about variants by themselves, and say how."""

# UsageError's base: typer 0.29 has its own copy of click's, older ones use click itself; both are reached this way.
_UsageErrors: tuple[type[Any], ...] = typer.BadParameter.__mro__[1:3]

_HELP = """
One command gives a project its development environment: identical, isolated, with the source tree mounted.

    devenv init            write devenv.yml from what is there

    devenv up              bring the environment up

    devenv shell           go inside

Every verb has examples: devenv VERB --help. Exit codes: 0 done, 1 the engine failed, 2 the input was wrong,
3 not trusted, 4 not the same, 130 interrupted; exec, run, shell and test return their command's own.
"""


def application() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="devenv",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,  # `devenv completion` has a script of our own
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_globals)
    for verbs in (
        manifest,
        explain,
        everyday,
        inside,
        alone,
        look,
        said,
        measuring,
        copying,
        comparing,
        build,
        lock,
        images,
        trials,
        host,
    ):
        verbs.register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"devenv {__version__}")
        raise typer.Exit


def _globals(
    context: typer.Context,
    directory: Annotated[
        str,
        typer.Option(
            "--directory", "-C", metavar="DIR", help="Work as if called there.", autocompletion=complete.files
        ),
    ] = "",
    variant: options.Variant = "",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    given: Session = context.obj
    folder = os.path.join(given.folder or here(), directory)
    if directory and not os.path.isdir(folder):
        raise typer.BadParameter(f"no folder {directory}", param_hint="--directory")
    if variant:
        _for_variants(context)
    context.obj = given._replace(folder=os.path.abspath(folder), variant=variant)


def _for_variants(context: typer.Context) -> None:
    """Raise BadParameter for a verb that is the same for all variants: it would seem to be about this one."""
    group, verb = context.command, context.invoked_subcommand
    assert isinstance(group, TyperGroup)
    command = group.get_command(context, verb or "")
    if command is not None and verb not in _TRIALS and "variant" not in {one.name for one in command.params}:
        raise typer.BadParameter(f"{verb} is the same for all variants", param_hint="--variant")


def main(arguments: Sequence[str], session: Session) -> int:
    """Run one verb, or answer a shell that completes one, and return the exit code."""
    if asked := session.env.get(COMPLETE):
        text, code = complete.answer(
            asked, lambda: application()(prog_name="devenv", complete_var=COMPLETE, obj=session)
        )
        sys.stdout.write(text)
        return code
    return guard(lambda: _invoke(arguments, session), session.env)


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
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return 2
        raise usage_error(error) from error
