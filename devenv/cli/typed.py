"""A command as it was typed → the process that it is to be: on a terminal if we are at one, in the folder where we are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from devenv.cli import options
from devenv.cli.project import find
from devenv.cli.session import Session
from devenv.command import matching
from devenv.errors import NotFound
from devenv.model.container import Process
from devenv.model.manifest import Pairs


def process(
    session: Session,
    command: Sequence[str],
    user: str,
    workdir: str,
    environment: Sequence[str] | None,
    no_terminal: bool,
) -> Process:
    """A command as given, on a terminal when we are at one."""
    terminal = not no_terminal and sys.stdin.isatty() and sys.stdout.isatty()
    env = (*(terminal_env(session) if terminal else ()), *options.variables(environment, session.env))
    return Process(tuple(command), env, options.user(user), options.workdir(workdir), terminal)


def folder(session: Session, sources: Iterable[tuple[str, str]]) -> str:
    """The folder inside that is the one where we are, "" for none: `sources` are folders of the host and where they are inside."""
    try:
        project = os.path.dirname(find(session.folder))
    except NotFound:  # in no project, yet perhaps beneath what one mounts
        project = ""
    return matching(os.path.realpath(session.folder), project, sources)


def terminal_env(session: Session) -> Pairs:
    """What programs must know of the terminal they write to."""
    known = ("TERM", "COLORTERM", "NO_COLOR")
    return tuple((name, session.env[name]) for name in known if name in session.env)
