"""What typer's parser refuses → our own message and hint: one style for all errors.

Its exceptions are told apart by name: their module is another one in each release of typer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from devenv.errors import DevenvError

_MEANT = {
    "start": "up",
    "create": "up",
    "enter": "shell",
    "ssh": "shell",
    "bash": "shell",
    "attach": "shell",
    "rm": "down",
    "remove": "down",
    "delete": "down",
    "destroy": "down",
    "ls": "ps",
    "list": "ps",
    "status": "ps",
    "clean": "gc",
    "prune": "gc",
    "check": "doctor",
    "log": "logs",
    "diff": "plan",
    "new": "init",
    "help": "--help",
}
"""Names that other tools have for our verbs."""


def usage_error(error: Any) -> DevenvError:
    """A refusal of the parser's as an error of ours, with exit code 2."""
    context = error.ctx
    path = context.command_path if context else "devenv"
    message, hint = _told(error, context, type(error).__name__)
    found = DevenvError(f"{path}: {message}", hint=hint or (f"`{path} --help` says what it takes" if context else ""))
    found.exit_code = 2
    return found


def _told(error: Any, context: Any, kind: str) -> tuple[str, str]:
    text: str = re.sub(r"^Value error, ", "", error.message or "").rstrip(".")
    if kind == "NoSuchOption":
        return f"there is no option {error.option_name}", _near(error.option_name, _options(context))
    if kind == "BadOptionUsage":
        return f"{error.option_name} {'takes no' if 'not take' in text else 'needs a'} value", ""
    if kind == "MissingParameter":
        return f"{_name(error)} is missing", f"{_plain(context.get_usage())}"
    if verb := re.match(r"No such command '(.+?)'", text):
        known = list(context.command.commands)
        meant = _MEANT.get(verb[1], "")
        return f"there is no verb {verb[1]!r}", f"did you mean `devenv {meant}`?" if meant else _near(verb[1], known)
    if more := re.match(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.+)\)", text):
        return f"what is {more[1]!r}?", _plain(context.get_usage())
    text = "must be a whole number" if "valid integer" in text else text.replace("Input should be", "must be")
    name = _name(error)
    return (f"{name}: {text[:1].lower()}{text[1:]}" if name else text), ""


def _name(error: Any) -> str:
    """The option or argument that an error is about, its longest spelling."""
    hint = getattr(error, "param_hint", None)
    param = getattr(error, "param", None)
    if hint or param is None:
        return str(hint or "")
    is_option = str(param.opts[0]).startswith("-")
    return max(map(str, param.opts), key=len) if is_option else str(param.metavar or param.name.upper())


def _options(context: Any) -> list[str]:
    found = [option for param in context.command.params for option in (*param.opts, *param.secondary_opts)]
    return [option for option in (*found, "--help") if option.startswith("--")]


def _near(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word[:100], list(known), 1, 0.6)
    return f"did you mean `{found[0]}`?" if found else ""


def _plain(usage: str) -> str:
    return " ".join(usage.split()).replace("Usage: ", "usage: ")
