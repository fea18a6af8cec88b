"""An instruction and what it sees → the typed operation, everything expanded. One function for each instruction."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from devenv.model.build import Configure, Copy, Heredoc, Operation, Run, Workdir
from devenv.model.image import Healthcheck

from .expand import expand, pairs
from .instruction import Instruction, heredoc_name
from .mounts import boolean, fields, mount, octal
from .words import Malformed

PIPES = "/dev/pipes"
"""Where a heredoc that is a script of its own is found (as in BuildKit)."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?$")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]*(?:[+-]\d+)?$|\d{1,2}$")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}$")
_GIT = re.compile(r"git@|git://|ssh://|https?://[^?#]*\.git(?:[#?]|$)")


class Scope(NamedTuple):
    """What an instruction sees. `stage_of` says what a --from names, or raises Malformed."""

    values: Mapping[str, str]
    workdir: str
    shell: tuple[str, ...]
    cmd_is_set: bool
    stage_of: Callable[[str], str]


def convert(instruction: Instruction, scope: Scope) -> Operation:
    """The operation of any instruction but FROM and ARG. Raises Malformed."""
    return _CONVERT[instruction.name](instruction, scope)


def absolute(path: str, workdir: str) -> str:
    """`path` seen from `workdir`, normal form; a trailing slash (or dot) stays as one slash."""
    joined = "/" + posixpath.normpath(posixpath.join(workdir, path)).lstrip("/")
    folder = path.endswith("/") or posixpath.basename(path) in (".", "..")
    return joined + "/" if folder and joined != "/" else joined


# RUN, COPY and ADD --------------------------------------------------------------------------------------------------


def _run(instruction: Instruction, scope: Scope) -> Run:
    def filled(text: str) -> str:
        return expand(text, scope.values, instruction.escape)

    mounts = tuple(mount(fields(value), filled, scope.workdir) for value in instruction.flags_named("mount"))
    mounts = tuple(
        replace(one, source_from=scope.stage_of(one.source_from)) if one.source_from else one for one in mounts
    )
    targets = [one.target for one in mounts if one.target]
    for target in targets:
        if targets.count(target) > 1:
            raise Malformed(f"two mounts at {target}", "give one of them another target")
    network: Literal["default", "none"] = "none" if instruction.flag("network") == "none" else "default"
    if instruction.json:
        return Run(instruction.words, mounts, network)
    text, heredocs = _script(instruction)
    return Run((*scope.shell, text), mounts, network, heredocs)


def _script(instruction: Instruction) -> tuple[str, tuple[Heredoc, ...]]:
    """What the shell is given, and the script it names where the heredoc is one with a `#!`."""
    text = instruction.words[0]
    if not instruction.heredocs:
        return text, ()
    first = instruction.heredocs[0]
    if heredoc_name(text, instruction.escape) == first.name:
        if first.content.startswith("#!"):
            return f"{PIPES}/{first.name}", (first,)
        return first.content, ()
    return text + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs), ()


def _copy(instruction: Instruction, scope: Scope) -> Copy:
    def filled(text: str) -> str:
        return expand(text, scope.values, instruction.escape)

    names = tuple(heredoc.name for heredoc in instruction.heredocs)
    words = [
        word for word in instruction.words[:-1] if instruction.json or heredoc_name(word) not in names or not names
    ]
    sources = tuple(filled(word) for word in words)
    urls = tuple(source for source in sources if _is_url(source))
    source_from = instruction.flag("from")
    made = Copy(
        sources=tuple(_inside(source) for source in sources if source not in urls),
        target=_target(filled(instruction.words[-1]), len(sources) + len(names), scope.workdir),
        source_from="" if source_from is None else scope.stage_of(source_from),
        chown=filled(instruction.flag("chown") or ""),
        chmod=_mode(filled(instruction.flag("chmod") or "")),
        link=_flag(instruction, "link"),
        parents=_flag(instruction, "parents"),
        exclude=tuple(filled(value) for value in instruction.flags_named("exclude")),
        heredocs=tuple(_content(heredoc, scope.values) for heredoc in instruction.heredocs),
    )
    return _add(instruction, made, urls, filled) if instruction.name == "ADD" else _no_urls(made, urls)


def _add(instruction: Instruction, made: Copy, urls: tuple[str, ...], filled: Callable[[str], str]) -> Copy:
    for source in (*urls, *made.sources):
        if _GIT.match(source):
            raise Malformed("ADD of a git repository is not supported", "RUN git clone … in a step of its own")
    checksum = filled(instruction.flag("checksum") or "")
    if checksum and not _CHECKSUM.match(checksum):
        raise Malformed(f"--checksum: {checksum!r} isn't one", "sha256: and 64 hexadecimal digits")
    if checksum and (len(urls) != 1 or made.sources or made.heredocs):
        raise Malformed("--checksum goes with one URL and nothing else", "give each URL an ADD of its own")
    if urls and instruction.flag("unpack") is not None:
        raise Malformed("--unpack of a URL is not supported", "ADD it, and RUN tar in the next step")
    unpack = bool(made.sources) and _flag(instruction, "unpack", default=True)
    return replace(made, urls=urls, checksum=checksum, unpack=unpack)


def _no_urls(made: Copy, urls: tuple[str, ...]) -> Copy:
    if urls:
        raise Malformed(f"COPY fetches nothing: {urls[0]}", "ADD does, best with --checksum")
    return made


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _inside(source: str) -> str:
    if not source:
        raise Malformed("a source is empty once its variables are filled in", "${NAME:?why} says so by itself")
    if posixpath.normpath(source.lstrip("/")).split("/", 1)[0] == "..":
        raise Malformed(f"{source} lies outside the build context", "copy it into the context, or use a named context")
    return source


def _target(target: str, sources: int, workdir: str) -> str:
    if not target:
        raise Malformed("the target is empty once its variables are filled in", "${NAME:?why} says so by itself")
    made = absolute(target, workdir)
    if sources > 1 and not made.endswith("/"):
        raise Malformed("several sources need a folder as target", f"end it with a slash: {target}/")
    return made


def _mode(value: str) -> int | None:
    return octal("--chmod", value) if value else None


def _flag(instruction: Instruction, name: str, *, default: bool = False) -> bool:
    value = instruction.flag(name)
    return default if value is None else boolean(f"--{name}", value)


def _content(heredoc: Heredoc, values: Mapping[str, str]) -> Heredoc:
    if not heredoc.expand:
        return heredoc
    return replace(heredoc, content=expand(heredoc.content, values, quotes=False))


# What changes the config only ---------------------------------------------------------------------------------------


def _env(instruction: Instruction, scope: Scope) -> Configure:
    return Configure(env=_named(instruction, scope))


def _label(instruction: Instruction, scope: Scope) -> Configure:
    return Configure(labels=_named(instruction, scope))


def _named(instruction: Instruction, scope: Scope) -> tuple[tuple[str, str], ...]:
    found = pairs(instruction.words, scope.values, instruction.escape)
    if any(not name for name, _ in found):
        raise Malformed(f"{instruction.name}: a name is empty once its variables are filled in", "NAME=value")
    return found


def _filled(instruction: Instruction, scope: Scope) -> str:
    value = expand(instruction.words[0], scope.values, instruction.escape)
    if not value:
        raise Malformed(f"{instruction.name} is empty once its variables are filled in", "${NAME:-default} avoids that")
    return value


def _workdir(instruction: Instruction, scope: Scope) -> Workdir:
    path = absolute(_filled(instruction, scope), scope.workdir)
    return Workdir(path.rstrip("/") or "/")


def _user(instruction: Instruction, scope: Scope) -> Configure:
    return Configure(user=_filled(instruction, scope))


def _command(instruction: Instruction, scope: Scope) -> tuple[str, ...]:
    return instruction.words if instruction.json else (*scope.shell, instruction.words[0])


def _cmd(instruction: Instruction, scope: Scope) -> Configure:
    return Configure(cmd=_command(instruction, scope))


def _entrypoint(instruction: Instruction, scope: Scope) -> Configure:
    # An inherited CMD was made for the inherited ENTRYPOINT: a new one takes it away (configure.py).
    return Configure(entrypoint=_command(instruction, scope), cmd=None if scope.cmd_is_set else ())


def _shell(instruction: Instruction, scope: Scope) -> Configure:  # noqa: ARG001 - same shape as its siblings
    return Configure(shell=instruction.words)


def _expose(instruction: Instruction, scope: Scope) -> Configure:
    ports: list[str] = []
    for word in instruction.words:
        for spec in expand(word, scope.values, instruction.escape).split():
            ports.extend(_ports(spec))
    return Configure(exposed=tuple(ports))


def _ports(spec: str) -> list[str]:
    match = _PORT.match(spec.lower())
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or not 1 <= first <= last <= 65535:
        raise Malformed(f"EXPOSE: {spec!r} isn't a port", "8000, 8000/udp, or 8000-8010")
    return [f"{port}/{match[3] or 'tcp'}" for port in range(first, last + 1)]


def _volume(instruction: Instruction, scope: Scope) -> Configure:
    paths = tuple(expand(word, scope.values, instruction.escape) for word in instruction.words)
    if any(not path.strip() for path in paths):
        raise Malformed("VOLUME: a path is empty", "VOLUME /path")
    return Configure(volumes=paths)


def _stop_signal(instruction: Instruction, scope: Scope) -> Configure:
    signal = _filled(instruction, scope)
    if not _SIGNAL.match(signal):
        raise Malformed(f"STOPSIGNAL: {signal!r} isn't a signal", "SIGTERM, or a number")
    return Configure(stop_signal=signal)


def _healthcheck(instruction: Instruction, scope: Scope) -> Configure:  # noqa: ARG001
    kind, *command = instruction.words
    if kind == "NONE":
        return Configure(healthcheck=Healthcheck(("NONE",)))
    times = {name: _nanoseconds(name, instruction.flag(name)) for name in _TIMES}
    retries = instruction.flag("retries") or "0"
    if not (retries.isascii() and retries.isdigit()) or len(retries) > 9:
        raise Malformed(f"--retries: {retries!r} isn't a number", "--retries=3")
    test = ("CMD", *command) if instruction.json else ("CMD-SHELL", *command)
    interval, timeout, start_period, start_interval = (times[name] for name in _TIMES)
    return Configure(healthcheck=Healthcheck(test, interval, timeout, start_period, start_interval, int(retries)))


_TIMES = ("interval", "timeout", "start-period", "start-interval")


def _nanoseconds(name: str, value: str | None) -> int:
    if value is None or value == "0":
        return 0
    parts = _DURATION.findall(value)
    if "".join(number + unit for number, unit in parts) != value or not parts:
        raise Malformed(f"--{name}: {value!r} isn't a duration", "for example 30s, 1m30s or 500ms")
    total = sum(int(float(number) * _NANOSECONDS[unit]) for number, unit in parts)
    if 0 < total < _NANOSECONDS["ms"]:
        raise Malformed(f"--{name}: {value} is less than 1ms", "for example 30s")
    return total


def _maintainer(instruction: Instruction, scope: Scope) -> Configure:  # noqa: ARG001
    return Configure(labels=(("maintainer", instruction.words[0]),))


_CONVERT: Mapping[str, Callable[[Instruction, Scope], Operation]] = {
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "ENV": _env,
    "LABEL": _label,
    "WORKDIR": _workdir,
    "USER": _user,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "SHELL": _shell,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "STOPSIGNAL": _stop_signal,
    "HEALTHCHECK": _healthcheck,
    "MAINTAINER": _maintainer,
}
