"""Options that several verbs share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from devenv.errors import Fault, InputError
from devenv.model.manifest import Pairs, Port

_MAX_SECRET = 1 << 20

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that steps and hooks print.")]
Contexts = Annotated[
    list[str] | None,
    typer.Option(
        "--build-context",
        metavar="NAME=VALUE",
        help="Where an image reference or stage comes from: a folder, bootstrap:SUITE or oci:DIR.",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="NAME[=VALUE]", help="Value of an ARG; without =VALUE, your variable's."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="id=X,src=FILE|env=NAME", help="A secret for RUN --mount=type=secret,id=X."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every step, whatever the store holds.")]
KeepFailed = Annotated[
    bool, typer.Option("--keep-failed", help="Keep what a failed step left, as an image to be entered.")
]
Environment = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="A variable; without =VALUE, yours.")
]
User = Annotated[str, typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Who to be. Default: the manifest's.")]
Workdir = Annotated[str, typer.Option("--workdir", "-w", metavar="DIR", help="Where to be. Default: the manifest's.")]
NoTerminal = Annotated[bool, typer.Option("-T", help="No terminal, though you are at one.")]

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


def contexts(texts: Sequence[str] | None) -> Pairs:
    """`NAME=VALUE`s, both needed. Raises InputError."""
    found = [text.partition("=") for text in texts or ()]
    for name, _, value in found:
        if not name or not value:
            raise InputError(
                Fault("--build-context", 0, 0, f"{name!r} isn't NAME=VALUE", "as in debian:bookworm=bootstrap:bookworm")
            )
    return tuple((name, value) for name, _, value in found)


def secrets(texts: Sequence[str] | None, env: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """`id=X,src=FILE` and `id=X,env=NAME` → (X, the value). Raises InputError."""
    found: list[tuple[str, bytes]] = []
    for text in texts or ():
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        parts.pop("type", None)
        if "source" in parts:
            parts["src"] = parts.pop("source")
        identifier = parts.pop("id", "")
        if not identifier or len(parts) != 1 or not set(parts) <= {"src", "env"} or not all(parts.values()):
            raise InputError(Fault("--secret", 0, 0, f"{text!r} isn't id=X,src=FILE or id=X,env=NAME"))
        found.append((identifier, _secret(parts, env)))
    return tuple(found)


def _secret(source: Mapping[str, str], env: Mapping[str, str]) -> bytes:
    if "env" in source:
        if source["env"] not in env:
            raise InputError(Fault("--secret", 0, 0, f"the variable {source['env']} isn't set"))
        return env[source["env"]].encode("utf-8", "surrogateescape")
    try:
        with open(source["src"], "rb") as file:
            return file.read(_MAX_SECRET)
    except OSError as error:
        raise InputError(Fault("--secret", 0, 0, f"{source['src']}: {error.strerror}")) from error


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
