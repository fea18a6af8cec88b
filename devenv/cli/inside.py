"""Verbs that run something inside what is there: shell, exec, test. Their exit code is the command's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from devenv import console
from devenv.cli import complete, kept, options, typed
from devenv.cli.known import called, find_container, find_containers, known_home, running, up
from devenv.cli.project import (
    load,
)
from devenv.cli.session import Machine, Session
from devenv.desired import SHELL
from devenv.engine import Engine
from devenv.errors import CommandFailed, Fault, InputError, NotFound
from devenv.model.container import Container, Process

# No login shell: Debian's /etc/profile would reset PATH, and with it the project's own programs.
_ENTER = "if command -v bash >/dev/null; then exec bash; else exec sh; fi"

# What a shell's text runs, near enough to ask whether it is there: the first words, behind variables that are set for them.
_PROGRAM = re.compile(r"(?:^|[;|(\n]|(?<!>)&)[ \t]*(?:\w+=\S*[ \t]+)*(?:exec[ \t]+)?([\w./][\w./+-]*)(?=[\s;&|)]|$)")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|(?<!\S)#.*""")

_MISSING = 127
"""A shell's exit code for a command that there isn't (sh(1))."""

_PLAINLY = "devenv.plainly"
"""Where a context says whether `--` stands right before the command."""


class _Exec(TyperCommand):
    """The parser drops a `--`, but what follows one is no container's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        after = given[given.index("--") + 1 :] if "--" in given else None
        ctx.meta[_PLAINLY] = after is not None and list(ctx.params["command"] or ()) == after
        return rest


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(shell)
    app.command(name="exec", context_settings=options.TAKES_ALL, cls=_Exec)(execute)
    app.command(context_settings=options.PASSES_ON)(test)


def shell(
    context: typer.Context,
    container: Annotated[
        str,
        typer.Argument(
            metavar="[ENVIRONMENT/]CONTAINER",
            help="As `ps` shows them, or a service. Default: the workspace, here.",
            autocompletion=complete.members,
        ),
    ] = "",
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
    variant: options.Variant = "",
) -> int:
    """Go inside: a real terminal, in the project's folder.

    Example:  devenv shell
    """
    session = options.within(context, variant)
    engine = session.engine()
    env = (*typed.terminal_env(session), *options.variables(environment, session.env))
    chosen = Process((*SHELL, _ENTER), env, options.user(user), options.workdir(workdir), sys.stdin.isatty())
    name, entered = _entered(session, engine, container)
    prompt = (("PS1", f"({name}) $PWD $ "),)
    return engine.execute(entered.id, _here(session, engine, entered, chosen._replace(env=(*prompt, *env))))


def execute(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="[CONTAINER] COMMAND…",
            help="A container or service of this environment, if it isn't the workspace; the command.",
            autocompletion=complete.entered,
        ),
    ],
    service: Annotated[
        str,
        typer.Option(
            "--service",
            "-s",
            metavar="[ENVIRONMENT/]CONTAINER",
            help="Where, in words that can't be a command: a container, or a service.",
            autocompletion=complete.members,
        ),
    ] = "",
    everywhere: Annotated[bool, typer.Option("--all", help="In each replica of the service, one by one.")] = False,
    user: options.User = "",
    workdir: options.Workdir = "",
    environment: options.Environment = None,
    no_terminal: options.NoTerminal = False,
    variant: options.Variant = "",
) -> int:
    """Run a command in the running environment.

    A first word that is the name of a container or service says where; after `--` it is always the command's.

    Example:  devenv exec -e DEBUG=1 -- python manage.py check

    Example:  devenv exec web-3 ps
    """
    session = options.within(context, variant)
    engine = session.engine()
    where, words = service, command
    if not service and not context.meta[_PLAINLY]:
        where, words = _addressed(session, engine, command)
    if words[:1] == ["--all"] and where:
        everywhere, words = True, words[1:]
    words = words[1:] if words[:1] == ["--"] and where else words
    if not words:
        raise InputError(Fault("exec", 0, 0, f"no command for {where}", f"name one: devenv exec {where} COMMAND"))
    if where and words[0].startswith("-"):
        hint = f"options stand before it: devenv exec {words[0]} … {where} COMMAND"
        raise InputError(Fault("exec", 0, 0, f"{words[0]} stands behind {where}, where its command is", hint))
    process = typed.process(session, words, user, workdir, environment, no_terminal)
    if everywhere:
        return _everywhere(session, engine, where, process)
    _, container = _entered(session, engine, where)
    try:
        return engine.execute(container.id, _here(session, engine, container, process))
    except CommandFailed as error:
        if error.exit_code != _MISSING or where or words[1:2] != ["--"]:
            raise
        raise _no_container_either(words[0], engine.containers(container.environment), error) from error


def _no_container_either(word: str, known: Sequence[Container], error: CommandFailed) -> CommandFailed:
    """The same error for whoever writes `exec X -- …`, and may well mean a container."""
    from devenv.manifest.values import did_you_mean  # its room brings yaml

    names = sorted({name for one in known for name in (one.name, one.service) if name})
    hint = f"if it is to be a container: {did_you_mean(word, names)} If a command: {error.hint}"
    return CommandFailed(error.message, code=_MISSING, hint=hint)


def test(
    context: typer.Context,
    extra: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENTS…", help="Added to the command.", autocompletion=complete.files),
    ] = None,
    no_terminal: options.NoTerminal = False,
    variant: options.Variant = "",
) -> int:
    """Run the manifest's `test:` in the running environment.

    Example:  devenv test -k checkout
    """
    session = options.within(context, variant)
    machine = session.machine()
    engine, told = machine.engine, _test(session, machine)
    _, container = running(session, engine)
    command = [*SHELL, f'{told} "$@"', "sh", *(extra or ())]
    process = typed.process(session, command, "", "", None, no_terminal)
    code = engine.execute(container.id, process)
    if code == _MISSING:
        _explain_missing(engine, container, process, told)
    return code


def _test(session: Session, machine: Machine) -> str:
    """The manifest's `test:` or, in what `try --keep` left, that side's. Raises InputError where there is none."""
    if side := kept.side(session, machine):
        return side.test
    manifest = load(session)
    if manifest.test is None:
        raise InputError(Fault(os.path.relpath(manifest.path), 0, 0, "has no `test:`", "add one: `test: pytest -q`"))
    return manifest.test


def _explain_missing(engine: Engine, container: Container, process: Process, text: str) -> None:
    """Fail as `exec` would with the first command of a shell's text that isn't there, if any: the shell's own words give no fix."""
    named = list(dict.fromkeys(_PROGRAM.findall(_QUOTED.sub("''", text))))
    silent: list[str] = []
    for name in named:
        if "/" in name and "cd" in named:
            continue  # from which folder can't be told
        asked = process._replace(argv=(*SHELL, 'command -v "$1"', "sh", name), terminal=False)
        if engine.execute(container.id, asked, silent.append):
            engine.execute(container.id, process._replace(argv=(name,)))  # which fails before anything is started


def _addressed(session: Session, engine: Engine, words: list[str]) -> tuple[str, list[str]]:
    """(the container or service that the first word names, the rest); ("", all) when it is a command."""
    try:
        here = known_home(session, engine)
    except NotFound:
        return "", words
    found = called(engine, here, words[0])
    service, _, number = words[0].rpartition("-")
    if not found and number.isdecimal() and (others := [one for one in called(engine, here, service) if one.index]):
        listed = ", ".join(one.name for one in others)
        raise NotFound(
            f"{words[0]}: {service} has no such replica", hint=f"it has {listed}; a program of that name: after `--`"
        )
    return (words[0], words[1:]) if found else ("", words)


def _everywhere(session: Session, engine: Engine, text: str, process: Process) -> int:
    """Run it in each replica of a service, and say which said what; the first code that isn't 0."""
    if not text:
        raise InputError(Fault("--all", 0, 0, "of which service?", "name it: devenv exec SERVICE --all COMMAND"))
    codes = []
    for container in find_containers(session, engine, text):
        code = 1
        if container.status == "running":
            own = _here(session, engine, container, process._replace(terminal=False))
            code = engine.execute(container.id, own, lambda line, name=container.name: _said(name, line))  # type: ignore[misc]
        else:
            console.warning(f"{container.name}: isn't running", session.env)
        codes.append(code)
    return next((code for code in codes if code), 0)


def _said(name: str, line: str) -> None:
    print(f"{name} │ {line}", flush=True)


def _entered(session: Session, engine: Engine, text: str) -> tuple[str, Container]:
    """The container to go into, and what to call it; one that `run --keep` left is started, to wait for us."""
    if not text:
        return running(session, engine)
    found = find_container(session, engine, text)
    if found.status != "running":
        if found.service:
            raise NotFound(f"{text}: isn't running", hint=f"`{up(session)}` starts it")
        with engine.turn(found.environment, console.waiting):
            found = engine.start(found.id)
    return found.name if text == found.name else text, found


def _here(session: Session, engine: Engine, container: Container, process: Process) -> Process:
    """The process in the folder where we are, when the container has it and no other was asked for."""
    pulse = None if process.workdir else engine.pulse(container.environment, container.name)
    return process._replace(workdir=typed.folder(session, pulse.targets)) if pulse else process
