"""Verbs of every day: up, scale, stop, restart, down."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli import complete, options
from devenv.cli.act import bring_up, halt_all, start_over, take_down
from devenv.cli.asked import Asked
from devenv.cli.project import BuildOptions


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(up)
    app.command()(scale)
    app.command()(stop)
    app.command()(restart)
    app.command()(down)


def up(
    context: typer.Context,
    services: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SERVICE…",
            help="Only these, and what they depend on; nothing else is touched.",
            autocompletion=complete.services,
        ),
    ] = None,
    contexts: options.Contexts = None,
    arguments: options.Arguments = None,
    secrets: options.Secrets = None,
    no_cache: options.NoCache = False,
    keep_failed: options.KeepFailed = False,
    locked: options.Locked = False,
    cache_from: options.CacheFrom = None,
    cache_to: options.CacheTo = "",
    recreate: Annotated[bool, typer.Option("--recreate", help="Replace containers though nothing changed.")] = False,
    profiles: options.Profiles = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Don't wait until services are ready.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    variant: options.Variant = "",
) -> int:
    """Bring the environment up.

    Builds what changed, replaces what must be, starts it, waits until services are ready, runs the hooks. A second run
    keeps everything, and says so.

    Example:  devenv up && devenv shell
    """
    session = options.within(context, variant)
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
    asked = Asked(recreate, not no_wait, tuple(profiles or ()), tuple(services or ()))
    return bring_up(session, chosen, asked, as_json=as_json, verbose=verbose)


def scale(
    context: typer.Context,
    replicas: Annotated[
        list[str],
        typer.Argument(metavar="SERVICE=N…", help="How many containers it has.", autocompletion=complete.counts),
    ],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Don't wait until they are ready.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    variant: options.Variant = "",
) -> int:
    """Have more or fewer replicas of a service, until the next `up`.

    Those that are there already go on. `replicas:` in devenv.yml is for good.

    Example:  devenv scale web=5
    """
    session = options.within(context, variant)
    counts = options.replicas(replicas)
    asked = Asked(wait=not no_wait, names=tuple(counts), scale=counts)
    return bring_up(session, BuildOptions(), asked, as_json=as_json, verbose=verbose)


def stop(
    context: typer.Context, names: options.Members = None, as_json: options.Json = False, variant: options.Variant = ""
) -> int:
    """Stop the environment's containers, or only some.

    `devenv up` starts them again as they were. A word is a service or replica of the environment you are in, else another
    environment.

    Example:  devenv stop web-2
    """
    session = options.within(context, variant)
    return halt_all(session, tuple(names or ()), as_json=as_json)


def restart(
    context: typer.Context,
    names: options.Members = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    variant: options.Variant = "",
) -> int:
    """Stop and start containers as they are, and wait until they are ready.

    Replicas one after the other, services after those they depend on. Nothing is built or replaced, devenv.yml isn't read.

    Example:  devenv restart web
    """
    session = options.within(context, variant)
    return start_over(session, tuple(names or ()), as_json=as_json, verbose=verbose)


def down(
    context: typer.Context,
    name: options.Named = "",
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove its volumes too.")] = False,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> int:
    """Remove the environment's containers and network.

    Its images stay (see gc), your source tree always does. By name or id it works from anywhere, its folder gone too.

    Example:  devenv down --volumes
    """
    session = options.within(context, variant)
    return take_down(session, name, volumes=volumes, as_json=as_json)
