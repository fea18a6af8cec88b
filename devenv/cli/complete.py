"""What a shell asks when Tab is pressed → its answer: names of ours, files where files are wanted, nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout

import typer

from devenv.errors import DevenvError

_FILES = "@files@"
"""What stands for the shell's own completion of files in an answer of typer's."""

_ACTION = "_TYPER_COMPLETE_FISH_ACTION"

_BASH = """\
_devenv_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _DEVENV_COMPLETE=complete_bash $1 ) )
    if [ "${COMPREPLY[0]}" = "@files@" ]; then
        COMPREPLY=()
        compopt -o default 2>/dev/null
    elif [[ "${COMPREPLY[0]}" == *[=:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}

complete -F _devenv_completion devenv"""


def script(shell: str) -> str:
    """The script that a shell reads once. Ours for bash: typer's falls back to files wherever there is nothing."""
    # Reached through this module in every release of typer, though newer ones define it elsewhere.
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell == "bash":
        return _BASH
    return str(get_completion_script(prog_name="devenv", complete_var="_DEVENV_COMPLETE", shell=shell))


def answer(asked: str, ask: Callable[[], object]) -> tuple[str, int]:
    """What to print, and the exit code, for what typer says when asked (`complete_zsh`)."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()  # typer's shells, not click's
    code: object = 0
    checks = os.environ.get(_ACTION) == "is-args"
    if checks:
        os.environ[_ACTION] = "get-args"  # or typer would say nothing but whether there is an answer
    with redirect_stdout(io.StringIO()) as said:
        try:
            ask()
        except SystemExit as error:
            code = error.code
    text, shell = said.getvalue(), asked.rpartition("_")[2]
    files = _FILES in text
    if shell == "zsh":  # eval'd; typer says _files for want of better
        return ("_files\n" if files else ":\n" if text.strip() == "_files" else text), 0
    if shell == "fish":  # asked twice: 1 to the first question means that fish completes files
        return ("" if files or checks else text), 1 if files else 0
    return (f"{_FILES}\n" if files else text), code if isinstance(code, int) else 0


def files(incomplete: str) -> list[str]:
    """A parameter that takes a path of the host, or of the source tree."""
    return [incomplete + _FILES]


def environments(context: typer.Context, incomplete: str) -> list[str]:
    """The environments' names, and the ids of those that share theirs."""
    return [text for text in _homes(context).values() if text.startswith(incomplete)]


def containers(context: typer.Context, incomplete: str) -> list[str]:
    """The environments, and their containers as `ENVIRONMENT/CONTAINER`."""
    homes = _homes(context)
    known = context.obj.observer().containers() if homes else ()
    found = [f"{homes[one.environment]}/{one.name}" for one in known if one.environment in homes]
    return [text for text in (*homes.values(), *found) if text.startswith(incomplete)]


def services(context: typer.Context, incomplete: str) -> list[str]:
    """The services that have containers in the environment we are in."""
    from devenv.cli.known import known_id

    try:
        observer = context.obj.observer()
        here = known_id(context.obj, observer)
        found = {one.service for one in observer.containers(here) if one.index} if here else set()
    except DevenvError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def counts(context: typer.Context, incomplete: str) -> list[str]:
    """`SERVICE=`: how many is for somebody else to know."""
    return [f"{name}=" for name in services(context, incomplete)]


def entered(context: typer.Context, incomplete: str) -> list[str]:
    """The first word of a command that goes inside may say where; any may be a file of the source tree."""
    first = incomplete and not context.params.get("command")
    return (_own(context, incomplete) if first else []) or files(incomplete)


def members(context: typer.Context, incomplete: str) -> list[str]:
    """The services and containers of the environment we are in; of others as `ENVIRONMENT/CONTAINER`."""
    return [*_own(context, incomplete), *containers(context, incomplete)]


def ended(context: typer.Context, incomplete: str) -> list[str]:
    """The services and containers of the environment we are in, and the environments."""
    return [*_own(context, incomplete), *environments(context, incomplete)]


def ends(context: typer.Context, incomplete: str) -> list[str]:
    """One end of a copy: a file here, or what is before the colon of `CONTAINER:PATH`."""
    named = [f"{name}:" for name in members(context, incomplete)] if incomplete else []
    return named or files(incomplete)


def _own(context: typer.Context, incomplete: str) -> list[str]:
    """The services and containers of the environment we are in."""
    from devenv.cli.known import known_id

    try:
        observer = context.obj.observer()
        here = known_id(context.obj, observer)
        own = {name for one in observer.containers(here) for name in (one.name, one.service) if name} if here else set()
    except DevenvError:
        return []
    return sorted(name for name in own if name.startswith(incomplete))


def variants(context: typer.Context, incomplete: str) -> list[str]:
    """The manifest's variants, and those that have an environment."""
    from devenv.cli.known import folder
    from devenv.cli.project import load
    from devenv.model.container import KEPT, RUN

    try:
        here = folder(context.obj)
        found = (one.variant for one in context.obj.observer().environments() if one.folder == here)
        known = {name.removeprefix(KEPT) for name in found if name and not name.startswith(RUN)}
        known |= {*load(context.obj).variants}
    except DevenvError:
        return []
    return sorted(name for name in known if name.startswith(incomplete))


def _homes(context: typer.Context) -> dict[str, str]:
    """What each environment is called, by its id."""
    try:
        known = context.obj.observer().environments()
    except DevenvError:
        return {}
    names = [one.name for one in known]
    return {one.id: one.name if names.count(one.name) == 1 else one.id for one in known}


def images(context: typer.Context, incomplete: str) -> list[str]:
    """The images' names."""
    try:
        found = [name for image in context.obj.observer().images() for name in image.references]
    except DevenvError:
        return []
    return [name for name in found if name.startswith(incomplete)]
