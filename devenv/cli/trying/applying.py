"""A variant that was tried → the manifest, the files it names and the lock, written as it had them."""

from __future__ import annotations

import os

from devenv.cli import locking
from devenv.cli.written import write_new
from devenv.errors import Fault, InputError
from devenv.manifest import rewritten
from devenv.model.manifest import Manifest

from .sides import Setup


def _has_uv_lock(manifest: Manifest) -> bool:
    python = manifest.python
    return python is not None and any(file.endswith("uv.lock") for file in python.requirements)


def applied(setup: Setup) -> tuple[str, ...]:
    """Write it; the files that changed, as paths from the project. Raises InputError before anything is written."""
    own, altered = setup.manifest, setup.party.altered
    assert altered is not None
    if any(change.name.split(".")[-2:-1] == ["python"] for change in setup.party.changes) and _has_uv_lock(own):
        hint = "write it in pyproject.toml, and run `uv lock`"
        raise InputError(Fault("--apply", 0, 0, "uv.lock says which versions there are, and is uv's to write", hint))
    texts: dict[str, str] = {}
    if altered.variant or altered.edits:
        with open(own.path, "rb") as file:
            texts[own.path] = rewritten(file.read(), altered, os.path.relpath(own.path)).decode()
    for name, data in altered.files:
        try:
            texts[os.path.join(own.folder, name)] = data.decode()
        except UnicodeDecodeError as error:
            raise InputError(Fault(name, 0, 0, "isn't UTF-8", "write the change by hand")) from error
    for path, text in texts.items():
        write_new(os.path.realpath(path), text, force=True)
    written = own._replace(lock="", variant="")
    lock = locking.known(written)
    locking.write(written, lock._replace(sections={**lock.sections, setup.section.arch: setup.section}))
    return tuple(os.path.relpath(path, own.folder) for path in (*texts, locking.path(written)))
