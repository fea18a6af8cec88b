"""Verbs of every day: up, stop, down."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli import options
from devenv.cli.act import bring_up, halt_all, take_down
from devenv.cli.project import BuildOptions
from devenv.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(up)
    app.command()(stop)
    app.command()(down)


def up(
    context: typer.Context,
    contexts: options.Contexts = None,
    arguments: options.Arguments = None,
    secrets: options.Secrets = None,
    no_cache: options.NoCache = False,
    keep_failed: options.KeepFailed = False,
    locked: options.Locked = False,
    cache_from: options.CacheFrom = None,
    cache_to: options.CacheTo = "",
    recreate: Annotated[bool, typer.Option("--recreate", help="Replace the container though nothing changed.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Bring the environment up.

    Builds what changed, replaces what must be, starts it, runs the hooks. A second run keeps everything, and says so.

    Example:  devenv up && devenv shell
    """
    session: Session = context.obj
    chosen = BuildOptions(
        contexts=options.contexts(contexts, session.folder),
        arguments=options.pairs(arguments, "--build-arg", session.env),
        secrets=options.secrets(secrets, session.env, session.folder),
        no_cache=no_cache,
        keep_failed=keep_failed,
        locked=locked,
        cache_from=options.caches(cache_from, session.folder, no_cache=no_cache),
        cache_to=options.cache("--cache-to", cache_to, session.folder),
    )
    return bring_up(session, chosen, recreate=recreate, as_json=as_json, verbose=verbose)


def stop(context: typer.Context, name: options.Named = "", as_json: options.Json = False) -> int:
    """Stop the environment's containers.

    `devenv up` starts them again as they were.

    Example:  devenv stop
    """
    session: Session = context.obj
    return halt_all(session, name, as_json=as_json)


def down(
    context: typer.Context,
    name: options.Named = "",
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove its volumes too.")] = False,
    as_json: options.Json = False,
) -> int:
    """Remove the environment's containers and network.

    Its images stay (see gc), your source tree always does. By name or id it works from anywhere, its folder gone too.

    Example:  devenv down --volumes
    """
    session: Session = context.obj
    return take_down(session, name, volumes=volumes, as_json=as_json)
