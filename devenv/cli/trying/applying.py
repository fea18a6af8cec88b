"""A variant that was tried → the manifest, the files it names and the lock, written as it had them."""

from __future__ import annotations

import os
import re
import stat

from devenv.beneath import NO_MAGICLINKS, NO_SYMLINKS, open_beneath
from devenv.cli import locking
from devenv.cli.written import refuse_others, write_new
from devenv.errors import Fault, InputError
from devenv.manifest import rewritten
from devenv.model.lock import Section
from devenv.model.manifest import Manifest

from .sides import Party

_LARGEST = 16 << 20
_PACKAGE = re.compile(r"python\.(?!(version|build_on|network)$)")

Texts = dict[str, tuple[bytes, str]]
"""Files to be written: path from the project's folder → (what it has now, what it is to have)."""


def texts(own: Manifest, party: Party) -> Texts:
    """What applying a variant would write. Raises InputError for what only a person can write: known before anything is tried."""
    altered = party.altered
    assert altered is not None
    if _has_uv_lock(own) and any(map(_PACKAGE.match, (change.name for change in party.changes))):
        hint = "write it in pyproject.toml, and run `uv lock`"
        raise InputError(Fault("--apply", 0, 0, "uv.lock says which versions there are, and is uv's to write", hint))
    found: Texts = {}
    if altered.variant or altered.edits:
        name = os.path.relpath(own.path, own.folder)
        before = _content(own.folder, name)
        found[name] = (before, rewritten(before, altered, os.path.relpath(own.path)).decode())
    for name, data in altered.files:
        try:
            found[name] = (_content(own.folder, name), data.decode())
        except UnicodeDecodeError as error:
            raise InputError(Fault(name, 0, 0, "isn't UTF-8", "write the change by hand")) from error
    return found


def applied(own: Manifest, section: Section, wanted: Texts) -> tuple[str, ...]:
    """Write it, and the lock with it; the files that changed. Raises InputError, and writes nothing, where one isn't as it was."""
    for name, (before, _) in wanted.items():
        if _content(own.folder, name) != before:
            raise InputError(Fault(name, 0, 0, "changed while the variant was tried", "look at it, then try again"))
    written = own._replace(lock="", variant="")
    refuse_others(locking.path(written))
    for name, (_, text) in wanted.items():
        write_new(os.path.join(own.folder, name), text, force=True)
    lock = locking.known(written)
    locking.write(written, lock._replace(sections={**lock.sections, section.arch: section}))
    return (*wanted, os.path.relpath(locking.path(written), own.folder))


def _has_uv_lock(manifest: Manifest) -> bool:
    python = manifest.python
    return python is not None and any(file.endswith("uv.lock") for file in python.requirements)


def _content(folder: str, name: str) -> bytes:
    """A file of the project that no link leads to: what is written there must be what was read."""
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = open_beneath(root, name, os.O_RDONLY | os.O_NONBLOCK, resolve=NO_SYMLINKS | NO_MAGICLINKS)
    except OSError as error:
        raise InputError(Fault(name, 0, 0, f"can't be written: {error.strerror}", "is it behind a link?")) from error
    finally:
        os.close(root)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InputError(Fault(name, 0, 0, "isn't a regular file"))
        return stream.read(_LARGEST)
