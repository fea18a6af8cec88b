"""What `--variant` says → whether there is such a one: of devenv.yml's `variants:`, or left by `try --keep`."""

from __future__ import annotations

import os

from devenv.cli.session import Session
from devenv.engine import Observer
from devenv.errors import DevenvError, Fault, InputError
from devenv.model.container import KEPT, Environment


def kept(session: Session, engine: Observer, path: str) -> Environment | None:
    """What `try --keep` left, where `--variant` means that; `path`: the manifest's. A variant of devenv.yml comes first."""
    if not session.variant:
        return None
    found = engine.environment(os.path.dirname(path), f"{KEPT}{session.variant}")
    return None if found is None or session.variant in _declared(path) else found


def check(session: Session, engine: Observer, path: str) -> None:
    """Raise InputError, naming those that there are, for a variant that nobody knows. A manifest that can't be read knows all."""
    try:
        if not session.variant or session.variant in _declared(path):
            return
    except InputError:
        return
    raise unknown(session, engine, path)


def misread(session: Session, path: str) -> InputError | None:
    """Why the manifest can't be read as this variant, if that is because it has none of the name."""
    try:
        if not session.variant or session.variant in _declared(path):
            return None
    except InputError:
        return None
    try:
        return unknown(session, session.observer(), path)
    except DevenvError:  # what matters here is what the manifest says
        return None


def unknown(session: Session, engine: Observer, path: str) -> InputError:
    """The error for a variant that devenv.yml doesn't have: the nearest of those that there are, or all."""
    from devenv.manifest.values import did_you_mean, show

    left = _left(engine, os.path.dirname(path))
    if session.variant in left:
        cause = (
            f"{session.variant} is no variant of {os.path.basename(path)}, but what `try --keep` left, as it was tried"
        )
        works = (
            "it can be entered and run (up, test, run, exec, shell), looked at (ps, logs, port, plan, verify), copied to and from (cp),"
            " and ended (stop, down)"
        )
        return InputError(Fault("--variant", 0, 0, cause, works))
    known = [*dict.fromkeys((*_declared(path), *left))]
    hint = did_you_mean(session.variant, known) if known else "it has no `variants:`"
    return InputError(Fault(os.path.relpath(path), 0, 0, f"there is no variant {show(session.variant)}", hint))


def _left(engine: Observer, folder: str) -> list[str]:
    """The names of what `try --keep` left of a project, as `--variant` takes them."""
    found = (one.variant for one in engine.environments() if one.folder == folder)
    return sorted(name.removeprefix(KEPT) for name in found if name.startswith(KEPT))


def _declared(path: str) -> tuple[str, ...]:
    from devenv.manifest import declared  # yaml: not for verbs that need no manifest

    return declared(path)
