"""The verbs lock and outdated: what is installed, byte by byte, and what could be newer."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from devenv import console
from devenv.cli import locking, options, show
from devenv.cli.project import BuildOptions, debian_arch, load
from devenv.cli.session import Session
from devenv.errors import DevenvError, Fault, InputError
from devenv.model.lock import Section


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(lock)
    app.command()(outdated)


def lock(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="With --upgrade: these packages only.")
    ] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Newer versions, as far as devenv.yml allows.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: exit code 2, and what differs, when it isn't up to date.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Write devenv.lock.yml: every byte that comes from outside, by version and sha256.

    What is locked stays as it is; what devenv.yml asks for besides is added. `up` and `build` do that too.

    Example:  devenv lock --upgrade django
    """
    session: Session = context.obj
    if names and not upgrade:
        raise InputError(Fault("lock", 0, 0, f"{' '.join(names)}: names need --upgrade", "devenv lock --upgrade NAME"))
    manifest, machine = load(session), session.machine()
    known = locking.known(manifest)
    before = known.sections.get(debian_arch(), Section(debian_arch()))
    if check:
        section = locking.settled(session, manifest, machine, BuildOptions(locked=True))
        for text in locking.unlocked(manifest, machine, section):
            console.warning(text, session.env)
        return 0
    from devenv.lock.compare import moved
    from devenv.lock.resolve import EVERYTHING
    from devenv.lock.upgrade import chosen

    wanted = chosen(names or (), before) if names or not upgrade else EVERYTHING
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        after = locking.renewed(manifest, machine, BuildOptions(), known, sink, wanted)
    found, unlocked = moved(before, after), locking.unlocked(manifest, machine, after)
    for text in unlocked:
        console.warning(text, session.env)
    if as_json:
        changes = [one._asdict() for one in found]
        console.json({"path": locking.path(manifest), "changes": changes, "warnings": [*unlocked]}, sys.stdout)
    else:
        show.moved(found, session.env)
    return 0


def outdated(context: typer.Context, as_json: options.Json = False) -> None:
    """List what could be newer than it is locked: as far as devenv.yml allows, and beyond.

    Of Python and node.packages the newest there is is told too; Debian's packages have what their suite has.

    Example:  devenv outdated
    """
    from devenv.lock.compare import outdated as compared
    from devenv.lock.tags import newer

    session: Session = context.obj
    manifest, machine = load(session), session.machine()
    section = locking.settled(session, manifest, machine, BuildOptions(locked=True))
    with console.progress(sys.stderr, session.env, time.monotonic) as sink:
        allowed = locking.newest(manifest, machine, section, sink)
        try:
            latest = locking.beyond(manifest, machine, section, sink)
        except DevenvError as error:  # one name that the host's index doesn't have, and all else would be lost
            latest = {}
            console.warning(f"what is newer than devenv.yml allows couldn't be found out: {error.message}", session.env)
    found = compared(section, allowed, latest, newer)
    if as_json:
        console.json([one._asdict() for one in found], sys.stdout)
    else:
        show.outdated(found, session.env)
