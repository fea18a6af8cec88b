"""Options that several verbs share, and what their texts mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from devenv.cli import complete
from devenv.cli.session import Session
from devenv.errors import Fault, InputError
from devenv.model.image import OURS
from devenv.model.manifest import Pairs, Port

_MAX_SECRET = 1 << 20
_DIGITS = 6
# The distribution spec's <name>, a registry before it, and <reference>.
_REFERENCE = re.compile(r"(?:[\w.-]+:\d+/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?", re.ASCII)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that steps and hooks print.")]
Contexts = Annotated[
    list[str] | None,
    typer.Option(
        "--build-context",
        metavar="NAME=VALUE",
        autocompletion=complete.files,
        help="Where an image reference or stage comes from: a folder, bootstrap:SUITE or oci:DIR.",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="NAME[=VALUE]", help="Value of an ARG; without =VALUE, your variable's."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="id=X,src=FILE|env=NAME",
        autocompletion=complete.files,
        help="A secret for RUN --mount=type=secret,id=X.",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every step, whatever the store holds.")]
Locked = Annotated[
    bool, typer.Option("--locked", help="Fail when devenv.lock.yml isn't what devenv.yml asks for, and change neither.")
]
CacheFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--cache-from",
        metavar="FOLDER|FILE.tar",
        help="Take from this cache what would be built anew. Its writer is trusted as you are.",
        autocompletion=complete.files,
    ),
]
CacheTo = Annotated[
    str,
    typer.Option(
        "--cache-to",
        metavar="FOLDER|FILE.tar",
        help="Write all layers there, for --cache-from elsewhere.",
        autocompletion=complete.files,
    ),
]
KeepFailed = Annotated[
    bool, typer.Option("--keep-failed", help="Keep what a failed step left, as an image to be entered.")
]
Environment = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="A variable; without =VALUE, yours.")
]
User = Annotated[str, typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Who to be. Default: the manifest's.")]
Workdir = Annotated[
    str, typer.Option("--workdir", "-w", metavar="DIR", help="Where to be. Default: where you are, inside.")
]
Profiles = Annotated[
    list[str] | None,
    typer.Option("--profile", metavar="NAME", help="Services of this profile too; also: DEVENV_PROFILES."),
]
NoTerminal = Annotated[bool, typer.Option("-T", help="No terminal, though you are at one.")]


Variant = Annotated[
    str,
    typer.Option(
        "--variant",
        metavar="NAME",
        help="One of the manifest's `variants:`, or what `try --keep` left running.",
        autocompletion=complete.variants,
    ),
]

Named = Annotated[
    str,
    typer.Argument(
        metavar="ENVIRONMENT",
        help="Its name or id. Default: the one of the folder you are in.",
        autocompletion=complete.environments,
    ),
]

Members = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SERVICE|REPLICA…|ENVIRONMENT",
        help="Which of the environment you are in, or another one's name or id. Default: all that run here.",
        autocompletion=complete.ended,
    ),
]


def within(context: typer.Context, variant: str) -> Session:
    """The session of a verb, about this variant if it names one."""
    session: Session = context.obj
    return session._replace(variant=variant) if variant else session


TAKES_ALL = {"allow_interspersed_args": False}
"""Context settings of a verb that ends in somebody else's command: what follows it isn't ours."""

PASSES_ON = {"allow_interspersed_args": False, "ignore_unknown_options": True}
"""Of a verb that adds what it doesn't know to a command."""


def pairs(texts: Sequence[str] | None, option: str, env: Mapping[str, str]) -> Pairs:
    """`NAME=VALUE`s; a bare NAME takes its value from `env`, and is left out when it has none. Raises InputError."""
    found: list[tuple[str, str]] = []
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not name or "\0" in text:
            raise InputError(Fault(option, 0, 0, f"{text!r} isn't NAME=VALUE"))
        if sign or name in env:
            found.append((name, value if sign else env[name]))
    return tuple(found)


def variables(texts: Sequence[str] | None, env: Mapping[str, str]) -> Pairs:
    """--env: as `pairs`, their names as `env:` of the manifest has them. Raises InputError."""
    for text in texts or ():
        _checked("--env", "env_name", text.partition("=")[0])
    return pairs(texts, "--env", env)


def user(text: str) -> str:
    """--user: its numbers, as in `user:` of the manifest; what names there are, the container knows. Raises InputError."""
    return _checked("--user", "user", text) if text else ""


def workdir(text: str) -> str:
    """--workdir, as `workdir:` of the manifest has it. Raises InputError."""
    return _checked("--workdir", "workdir", text) if text else ""


def _checked(option: str, kind: str, text: str) -> str:
    """A text as the manifest's value of this kind."""
    from devenv.manifest import values

    try:
        read: str = getattr(values, kind)(text)
    except values.Wrong as error:
        raise InputError(Fault(option, 0, 0, error.message, error.hint)) from error
    return read


def contexts(texts: Sequence[str] | None, folder: str) -> Pairs:
    """`NAME=VALUE`s, both needed; paths are seen from `folder`. Raises InputError."""
    found = [text.partition("=") for text in texts or ()]
    for name, _, value in found:
        if not name or not value:
            raise InputError(
                Fault("--build-context", 0, 0, f"{name!r} isn't NAME=VALUE", "as in debian:bookworm=bootstrap:bookworm")
            )
    return tuple((name, _seen_from(folder, value)) for name, _, value in found)


def _seen_from(folder: str, value: str) -> str:
    """A context's value with its path absolute."""
    kind, _, path = value.partition(":")
    if kind == "bootstrap":
        _checked("--build-context", "suite", path)
        return value
    return f"{kind}:{os.path.join(folder, path)}" if kind in ("oci", "file") else os.path.join(folder, value)


def caches(texts: Sequence[str] | None, folder: str, *, no_cache: bool) -> tuple[str, ...]:
    """--cache-from: absolute paths, seen from `folder`. Raises InputError."""
    if texts and no_cache:
        raise InputError(Fault("--cache-from", 0, 0, "contradicts --no-cache", "leave one of them out"))
    return tuple(cache("--cache-from", text, folder) for text in texts or ())


def cache(option: str, text: str, folder: str) -> str:
    """An absolute path, "" for none. Raises InputError."""
    if "\0" in text:
        raise InputError(Fault(option, 0, 0, f"{text!r} is no path"))
    return os.path.normpath(os.path.join(folder, text)) if text else ""


def secrets(texts: Sequence[str] | None, env: Mapping[str, str], folder: str) -> tuple[tuple[str, bytes], ...]:
    """`id=X,src=FILE` and `id=X,env=NAME` → (X, the value); files are seen from `folder`. Raises InputError."""
    found: list[tuple[str, bytes]] = []
    for text in texts or ():
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        parts.pop("type", None)
        if "source" in parts:
            parts["src"] = parts.pop("source")
        identifier = parts.pop("id", "")
        if not identifier or len(parts) != 1 or not set(parts) <= {"src", "env"} or not all(parts.values()):
            raise InputError(Fault("--secret", 0, 0, f"{text!r} isn't id=X,src=FILE or id=X,env=NAME"))
        found.append((identifier, _secret(parts, env, folder)))
    return tuple(found)


def _secret(source: Mapping[str, str], env: Mapping[str, str], folder: str) -> bytes:
    if "env" in source:
        if source["env"] not in env:
            raise InputError(Fault("--secret", 0, 0, f"the variable {source['env']} isn't set"))
        return env[source["env"]].encode("utf-8", "surrogateescape")
    try:
        with open(os.path.join(folder, source["src"]), "rb") as file:
            value = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise InputError(Fault("--secret", 0, 0, f"{source['src']}: {error.strerror}")) from error
    if len(value) > _MAX_SECRET:
        hint = "a secret is a key or a token; COPY other files"
        raise InputError(Fault("--secret", 0, 0, f"{source['src']}: larger than {_MAX_SECRET} bytes", hint))
    return value


def tags(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Names for an image. Raises InputError for what is none, and for one like ours, which `gc` removes."""
    for text in texts or ():
        if text.startswith(OURS):
            raise InputError(
                Fault("--tag", 0, 0, f"{text}: names that begin with {OURS} are devenv's own", "choose another")
            )
        if not _REFERENCE.fullmatch(text):
            raise InputError(
                Fault("--tag", 0, 0, f"{text!r} is no name of an image", "as in shop:dev or team/shop:1.2")
            )
    return tuple(texts or ())


def replicas(texts: Sequence[str]) -> dict[str, int]:
    """`SERVICE=N`s. Raises InputError."""
    found = {}
    for text in texts:
        name, sign, count = text.partition("=")
        if not (name and sign and count.isascii() and count.isdecimal() and len(count) <= _DIGITS):
            raise InputError(Fault("scale", 0, 0, f"{text!r} isn't SERVICE=N", "as in web=5"))
        found[name] = int(count)
    return found


def ports(texts: Sequence[str] | None) -> tuple[Port, ...]:
    """As `ports:` of the manifest has them. Raises InputError."""
    from devenv.manifest.values import Wrong, port

    found = []
    for text in texts or ():
        try:
            found.append(port(text))
        except Wrong as error:
            raise InputError(Fault("--publish", 0, 0, error.message, error.hint)) from error
    return tuple(found)
