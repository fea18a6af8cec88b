"""The verbs lock and outdated: what is installed, byte by byte, and what could be newer."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, locking, options, show
from devenv.cli.project import BuildOptions, debian_arch, load
from devenv.desired import image_of, manifests
from devenv.errors import DevenvError, Fault, InputError
from devenv.lock.parts import part
from devenv.model.image import PROJECT
from devenv.model.lock import Section
from devenv.model.manifest import Manifest


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
    service: Annotated[
        str,
        typer.Option(
            "--service",
            "-s",
            metavar="SERVICE",
            help="With --upgrade: what this service's own image has.",
            autocompletion=complete.services,
        ),
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: exit code 2, and what differs, when it isn't up to date.")
    ] = False,
    as_json: options.Json = False,
    variant: options.Variant = "",
) -> int:
    """Write devenv.lock.yml: every byte that comes from outside, by version and sha256.

    What is locked stays as it is; what devenv.yml asks for besides is added. `up` and `build` do that too.

    Example:  devenv lock --upgrade django
    """
    session = options.within(context, variant)
    if (names or service) and not upgrade:
        what = f"{' '.join(names)}: names need --upgrade" if names else "--service needs --upgrade"
        raise InputError(Fault("lock", 0, 0, what, "devenv lock --upgrade [--service SERVICE] [NAME…]"))
    manifest, machine = load(session), session.machine()
    known = locking.known(manifest)
    before = known.sections.get(debian_arch(), Section(debian_arch()))
    if check:
        section = locking.settled(session, manifest, machine, BuildOptions(locked=True))
        for text in locking.unlocked(manifest, machine, section):
            console.warning(text, session.env)
        return 0
    from devenv.lock.compare import moved

    wanted = _renewed(manifest, before, names or (), service) if upgrade else {}
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


def _renewed(manifest: Manifest, section: Section, names: Sequence[str], service: str) -> Mapping[str, frozenset[str]]:
    """What is to be upgraded of each image. Raises InputError, NotFound for names that nothing has."""
    from devenv.lock.desk import EVERYTHING
    from devenv.lock.upgrade import chosen

    image = image_of(manifest.services, service) if service else PROJECT
    if service and image == PROJECT:
        hint = "`devenv lock --upgrade NAME` renews what that has"
        raise InputError(Fault("--service", 0, 0, f"{service}: runs the project's image", hint))
    wanted = chosen(names, part(section, image) if service else section) if names else EVERYTHING
    return dict.fromkeys((image,) if service else manifests(manifest), wanted)


def outdated(context: typer.Context, as_json: options.Json = False, variant: options.Variant = "") -> None:
    """List what could be newer than it is locked: as far as devenv.yml allows, and beyond.

    Of Python and node.packages the newest there is is told too; Debian's packages have what their suite has.

    Example:  devenv outdated
    """
    from devenv.lock.compare import outdated as compared
    from devenv.lock.tags import newer

    session = options.within(context, variant)
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
