"""A logical line → its instruction, nothing expanded: name, flags, words, heredocs; what is wrong with its form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from devenv.model.build import Heredoc
from devenv.model.manifest import Pairs

from .lines import Heredocs, Logical
from .mounts import boolean, fields
from .words import Malformed, split, unquote, word_at

_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)$")
_NAME = re.compile(r"\S+")
_HEREDOC_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*$")

_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset(("platform",)),
    "RUN": frozenset(("mount", "network")),
    "COPY": frozenset(("from", "chown", "chmod", "link", "parents", "exclude")),
    "ADD": frozenset(("chown", "chmod", "link", "exclude", "checksum", "unpack")),
    "HEALTHCHECK": frozenset(("interval", "timeout", "start-period", "start-interval", "retries")),
}
_REPEATABLE = frozenset(("mount", "exclude"))
_REFUSED: Mapping[tuple[str, str], tuple[str, str]] = {
    ("RUN", "security"): ("RUN --security is refused: a step always runs in the sandbox", "remove the flag"),
    ("RUN", "device"): ("RUN --device is refused: a step never gets the host's devices", "remove the flag"),
    ("ADD", "keep-git-dir"): ("ADD of a git repository is not supported", "RUN git clone … in a step of its own"),
}


class Instruction(NamedTuple):
    """One instruction. `name` in capitals; `text` is all of it on one line, for showing.

    `words`, quotes kept and nothing expanded: the list of the exec form (`json`); NAME=value words of ENV, LABEL, ARG;
    the words of FROM, COPY, ADD, EXPOSE, VOLUME (`<<NAME` among them); for all others one text, the shell form's.
    """

    name: str
    line: int
    text: str
    words: tuple[str, ...]
    flags: Pairs = ()
    json: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    escape: str = "\\"

    def flag(self, name: str) -> str | None:
        """The value of a flag as written, None when it isn't there."""
        return next((value for key, value in self.flags if key == name), None)

    def flags_named(self, name: str) -> tuple[str, ...]:
        """All values of a flag that may be repeated."""
        return tuple(value for key, value in self.flags if key == name)


def interpret(logical: Logical, escape: str, reader: Heredocs) -> Instruction:
    """The instruction of a logical line; its heredocs are taken from `reader`. Raises Malformed."""
    match = _NAME.match(logical.text)
    assert match is not None
    name = match[0].upper()
    if name not in _WORDS:
        if name == "ONBUILD":
            raise Malformed("ONBUILD is not supported", "write the instruction in the Containerfile that needs it")
        near = get_close_matches(name, [*_WORDS, "ONBUILD"], 1)
        raise Malformed(f"unknown instruction {match[0]}", f"did you mean {near[0]}?" if near else "")
    fault: Malformed | None = None
    flags: Pairs = ()
    start = match.end()
    try:
        flags, start = _flags(name, logical.text, start, escape)
    except Malformed as error:
        fault = error
    rest = logical.text[start:].strip()
    exec_form = _exec_form(name, rest)
    heredocs: tuple[Heredoc, ...] = ()
    if name in ("RUN", "COPY", "ADD") and exec_form is None:
        # Before any fault is raised: a heredoc's lines must not be taken for instructions.
        heredocs = tuple(reader.read(*head) for head in _heredocs(rest, escape))
    if fault is not None:
        raise fault
    shown = " ".join(logical.text.split())
    words = exec_form if exec_form is not None else _WORDS[name](rest, escape)
    made = Instruction(name, logical.starts[0][1], shown, words, flags, exec_form is not None, heredocs, escape)
    _check(made)
    return made


def _flags(name: str, text: str, start: int, escape: str) -> tuple[Pairs, int]:
    """The flags at the front of an instruction, and where the rest begins."""
    found: list[tuple[str, str]] = []
    allowed = _FLAGS.get(name, frozenset())
    begin, end = word_at(text, start, escape)
    while text.startswith("--", begin):
        if end - begin == 2:
            return tuple(found), end
        key, equals, value = unquote(text[begin + 2 : end], escape).partition("=")
        if (name, key) in _REFUSED:
            raise Malformed(*_REFUSED[name, key], begin)
        if key not in allowed:
            near = get_close_matches(key, sorted(allowed), 1)
            hint = f"did you mean --{near[0]}?" if near else f"it takes {_listed(allowed)}"
            raise Malformed(f"{name} has no flag --{key}", hint, begin)
        if key not in _REPEATABLE and any(key == other for other, _ in found):
            raise Malformed(f"--{key} is given twice", "keep one of them", begin)
        if not equals and key not in ("link", "parents", "unpack"):
            raise Malformed(f"--{key} has no value", f"--{key}=…", begin)
        _flag(key, value, begin)
        found.append((key, value))
        begin, end = word_at(text, end, escape)
    return tuple(found), begin


def _listed(flags: frozenset[str]) -> str:
    return ", ".join(f"--{flag}" for flag in sorted(flags)) or "no flags"


def _flag(key: str, value: str, offset: int) -> None:
    """What can be said of a flag before its variables are known."""
    try:
        if key == "mount":
            fields(value)
        if key in ("link", "parents", "unpack"):
            boolean(f"--{key}", value)
    except Malformed as error:
        raise Malformed(error.message, error.hint, offset) from None
    if key == "network" and value == "host":
        raise Malformed("--network=host is refused: a step never gets the host's network", "remove the flag", offset)
    if key == "network" and value not in ("default", "none"):
        raise Malformed(f"unknown network {value!r}", "default or none", offset)
    if key == "from" and "$" in value:
        raise Malformed("--from can't hold a variable", "give it a stage of its own: FROM $NAME AS name", offset)


def _exec_form(name: str, rest: str) -> tuple[str, ...] | None:
    """The list of a JSON form, None where the words are to be read otherwise. HEALTHCHECK keeps its CMD in front."""
    head: tuple[str, ...] = ()
    if name == "HEALTHCHECK":
        kind, rest = [*rest.split(None, 1), "", ""][:2]
        head = (kind.upper(),)
    if name not in _EXEC or not rest.startswith("["):
        return None
    try:
        value = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise Malformed(f"{name}: a list of the exec form holds strings only", 'quote each: ["a", "1"]')
    if any("\0" in item for item in value):
        raise Malformed(f"{name}: a NUL in the exec form")
    return (*head, *value)


def _heredocs(rest: str, escape: str) -> Iterator[tuple[str, bool, bool]]:
    """Name, whether leading tabs go (`<<-`), whether variables count (name unquoted), of each heredoc in a line."""
    for word in split(rest, escape):
        match = _HEREDOC.match(word)
        name = unquote(match[2]) if match else ""
        if match is not None and name:
            yield name, match[1] == "-", name == match[2]


def heredoc_name(text: str, escape: str = "\\") -> str:
    """The name in `<<NAME`, "" when the text is anything else or more than that."""
    match = _HEREDOC.match(text)
    return unquote(match[2], escape) if match and len(split(text, escape)) == 1 else ""


def _check(made: Instruction) -> None:
    """What an instruction must have, whatever its variables turn out to be."""
    name, words = made.name, made.words
    if not words or (not made.json and words == ("",)):
        if not (made.json and name in ("CMD", "ENTRYPOINT")):
            raise Malformed(f"{name} says nothing", _USAGE[name])
    elif name == "FROM" and not (len(words) == 1 or (len(words) == 3 and words[1].upper() == "AS")):
        raise Malformed("FROM takes a base, or a base and a name", _USAGE[name])
    elif name == "FROM" and len(words) == 3 and not _STAGE_NAME.match(words[2].lower()):
        raise Malformed(f"{words[2]!r} can't be a stage's name", "letters, digits, - _ and . after a letter")
    elif name == "SHELL" and not made.json:
        raise Malformed("SHELL wants the exec form", _USAGE[name])
    elif name in ("COPY", "ADD"):
        _check_copy(made)
    elif name == "HEALTHCHECK":
        _check_health(made)
    elif name == "RUN" and made.heredocs and heredoc_name(words[0]):
        _check_heredoc_name(made.heredocs[0].name)


def _check_copy(made: Instruction) -> None:
    if len(made.words) < 2:
        raise Malformed(f"{made.name} needs at least one source and a target", _USAGE[made.name])
    for heredoc in made.heredocs:
        _check_heredoc_name(heredoc.name)
    if made.heredocs and made.flag("from") is not None:
        raise Malformed("a heredoc comes from no stage", "COPY it in an instruction of its own, without --from")
    if heredoc_name(made.words[-1]):
        raise Malformed(f"{made.name} needs a target after its heredoc", _USAGE[made.name])


def _check_heredoc_name(name: str) -> None:
    if not _HEREDOC_NAME.match(name):
        raise Malformed(f"a file can't be named {name!r}", "name the heredoc with letters, digits, - _ and .")


def _check_health(made: Instruction) -> None:
    kind = made.words[0]
    if kind == "NONE" and (len(made.words) > 1 or made.flags):
        raise Malformed("HEALTHCHECK NONE takes nothing else", "HEALTHCHECK NONE")
    if kind not in ("NONE", "CMD"):
        raise Malformed(f"unknown HEALTHCHECK {kind}", _USAGE["HEALTHCHECK"])
    if kind == "CMD" and len(made.words) < 2:
        raise Malformed("HEALTHCHECK CMD has no command", _USAGE["HEALTHCHECK"])


# Words of each instruction ------------------------------------------------------------------------------------------


def _one(rest: str, escape: str) -> tuple[str, ...]:  # noqa: ARG001 - same shape as its siblings
    return (rest,)


def _spaced(rest: str, escape: str) -> tuple[str, ...]:  # noqa: ARG001
    return tuple(rest.split())


def _assignments(rest: str, escape: str) -> tuple[str, ...]:
    """`A=1 B=2`, or the old form `A all the rest`."""
    words = split(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        if len(words) < 2:
            raise Malformed(f"{words[0]} has no value", f"{words[0]}=…")
        _, end = word_at(rest, 0, escape)
        return (f"{words[0]}={rest[end:].strip()}",)
    for word in words:
        if "=" not in word:
            raise Malformed(f"{word!r} has no value", f"{word}=…; quote a value with spaces")
        if word.startswith("="):
            raise Malformed(f"{word!r} has no name", f"NAME{word}")
    return words


def _arguments(rest: str, escape: str) -> tuple[str, ...]:
    words = split(rest, escape)
    for word in words:
        if word.startswith("="):
            raise Malformed(f"{word!r} has no name", f"NAME{word}")
    return words


def _health(rest: str, escape: str) -> tuple[str, ...]:  # noqa: ARG001
    kind, *command = rest.split(None, 1) or [""]
    return (kind.upper(), *command) if kind else ()


_EXEC = frozenset(("RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "VOLUME", "SHELL", "HEALTHCHECK"))
_WORDS: Mapping[str, Callable[[str, str], tuple[str, ...]]] = {
    "FROM": _spaced,
    "ARG": _arguments,
    "RUN": _one,
    "COPY": _spaced,
    "ADD": _spaced,
    "ENV": _assignments,
    "WORKDIR": _one,
    "USER": _one,
    "LABEL": _assignments,
    "ENTRYPOINT": _one,
    "CMD": _one,
    "EXPOSE": _spaced,
    "VOLUME": _spaced,
    "STOPSIGNAL": _one,
    "HEALTHCHECK": _health,
    "SHELL": _one,
    "MAINTAINER": _one,
}
_USAGE: Mapping[str, str] = {
    "FROM": "FROM base [AS name]",
    "ARG": "ARG NAME[=default]",
    "RUN": "RUN command",
    "COPY": "COPY source… target",
    "ADD": "ADD source… target",
    "ENV": "ENV NAME=value",
    "WORKDIR": "WORKDIR /path",
    "USER": "USER name[:group]",
    "LABEL": "LABEL name=value",
    "ENTRYPOINT": 'ENTRYPOINT ["program"]',
    "CMD": 'CMD ["program"]',
    "EXPOSE": "EXPOSE port[/protocol]",
    "VOLUME": "VOLUME /path",
    "STOPSIGNAL": "STOPSIGNAL SIGTERM",
    "HEALTHCHECK": "HEALTHCHECK CMD command, or HEALTHCHECK NONE",
    "SHELL": 'SHELL ["/bin/bash", "-c"]',
    "MAINTAINER": "LABEL org.opencontainers.image.authors=…",
}
