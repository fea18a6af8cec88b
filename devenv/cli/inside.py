"""Verbs that run something inside: shell, exec, run, test. Their exit code is the command's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from devenv.cli import options
from devenv.cli.project import find_image, load, project_spec, running
from devenv.cli.session import Session
from devenv.desired import SHELL, bare, one_shot
from devenv.errors import Fault, InputError
from devenv.model.container import Process
from devenv.model.manifest import Pairs

# No login shell: Debian's /etc/profile would reset PATH, and with it the project's own programs.
_ENTER = "if command -v bash >/dev/null; then exec bash; else exec sh; fi"

Command = Annotated[list[str], typer.Argument(metavar="COMMAND…", help="The command and its arguments.")]


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(shell)
    app.command(name="exec", context_settings=options.TAKES_ALL)(execute)
    app.command(context_settings=options.TAKES_ALL)(run)
    app.command(context_settings=options.PASSES_ON)(test)


def shell(
    context: typer.Context,
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
) -> int:
    """Go inside: a real terminal, in the project's folder.

    Example:  devenv shell
    """
    session: Session = context.obj
    engine = session.engine()
    name, container = running(session, engine)
    env = (*_terminal_env(session), ("PS1", f"({name}) $PWD $ "), *options.pairs(environment, "--env", session.env))
    return engine.execute(container.id, Process((*SHELL, _ENTER), env, user, workdir, terminal=sys.stdin.isatty()))


def execute(
    context: typer.Context,
    command: Command,
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
    no_terminal: options.NoTerminal = False,
) -> int:
    """Run a command in the running environment.

    Example:  devenv exec -e DEBUG=1 -- python manage.py check
    """
    session: Session = context.obj
    engine = session.engine()
    _, container = running(session, engine)
    process = _process(session, command, user, workdir, environment, no_terminal)
    return engine.execute(container.id, process)


def run(
    context: typer.Context,
    command: Command,
    image: Annotated[str, typer.Option("--image", metavar="REF", help="Another image of the store.")] = "",
    keep: Annotated[bool, typer.Option("--keep/--rm", help="Keep the container afterwards.")] = False,
    no_source: Annotated[bool, typer.Option("--no-source", help="Without the source tree.")] = False,
    publish: Annotated[list[str] | None, typer.Option("--publish", "-p", metavar="PORT", help="As in ports:.")] = None,
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
    no_terminal: options.NoTerminal = False,
) -> int:
    """Run one command in a container of its own.

    It is made from the project's image, built first if need be, and removed afterwards.

    Example:  devenv run -- pytest -q
    """
    session: Session = context.obj
    machine = session.machine()
    process = _process(session, command, user, workdir, environment, no_terminal)
    name = f"run-{os.urandom(3).hex()}"
    if image and keep:
        raise InputError(Fault("--keep", 0, 0, "can't be with --image", "only a project's `down` could remove it"))
    if image:
        spec = bare(name, find_image(machine.engine, image).digest, process, machine.certificates("host"))
    else:
        spec = one_shot(project_spec(session, machine), process, name)
    spec = replace(spec, ports=options.ports(publish), sources=() if no_source else spec.sources)
    return machine.engine.run(spec, keep=keep)


def test(
    context: typer.Context,
    extra: Annotated[list[str] | None, typer.Argument(metavar="ARGUMENTS…", help="Added to the command.")] = None,
    no_terminal: options.NoTerminal = False,
) -> int:
    """Run the manifest's `test:` in the running environment.

    Example:  devenv test -k checkout
    """
    session: Session = context.obj
    manifest, engine = load(session), session.engine()
    if manifest.test is None:
        raise InputError(Fault(manifest.path, 0, 0, "has no test:", "add one, such as `test: pytest -q`"))
    _, container = running(session, engine)
    command = [*SHELL, f'{manifest.test} "$@"', "sh", *(extra or ())]
    return engine.execute(container.id, _process(session, command, "", "", None, no_terminal))


def _process(
    session: Session,
    command: Sequence[str],
    user: str,
    workdir: str,
    environment: Sequence[str] | None,
    no_terminal: bool,
) -> Process:
    """A command as given, on a terminal when we are at one."""
    terminal = not no_terminal and sys.stdin.isatty() and sys.stdout.isatty()
    env = options.pairs(environment, "--env", session.env)
    return Process(tuple(command), (*(_terminal_env(session) if terminal else ()), *env), user, workdir, terminal)


def _terminal_env(session: Session) -> Pairs:
    """What programs must know of the terminal they write to."""
    known = ("TERM", "COLORTERM", "NO_COLOR")
    return tuple((name, session.env[name]) for name in known if name in session.env)
