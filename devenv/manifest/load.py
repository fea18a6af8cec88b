"""A manifest's path → Manifest. The only file of this room that looks at the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from devenv.errors import Fault, InputError
from devenv.model.manifest import Manifest

from . import document, variants
from .check import Expand
from .document import BYTES
from .parse import AS_WRITTEN, Altered, Purpose, absent, read
from .values import project_name

_SYSTEM = ("/boot", "/dev", "/etc", "/proc", "/sys")
_BUNDLE = 4 << 20


def load(
    path: str,
    *,
    facts: Mapping[str, str],
    expand: Expand,
    forbidden: Sequence[str] = (),
    scale: Mapping[str, int] = MappingProxyType({}),
    home: str = "",
    altered: Altered = AS_WRITTEN,
) -> Manifest:
    """The manifest in the file `path`, everything it names checked on disk.

    `forbidden`: folders (the engine's own) that nothing shown inside may be in or contain. `scale`: service → replicas,
    whatever the manifest says. `home`: what `~` stands for. `altered`: as what it is read. Raises InputError.
    """
    data = content(path)
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    facts = {"project": project_name(os.path.basename(folder)), **facts}
    kept = tuple(os.path.realpath(place) for place in forbidden)

    def look(purpose: Purpose, path: str) -> tuple[str, str] | None:
        return _look(purpose, path, folder, kept)

    absolute = os.path.join(folder, os.path.basename(path))
    return read(data, absolute, path, facts=facts, expand=expand, look=look, scale=scale, home=home, altered=altered)


def declared(path: str) -> tuple[str, ...]:
    """The names of a manifest's `variants:`; nothing else of it is checked. Raises InputError."""
    return tuple(variants.declared(document.read(content(path), path)))


def content(path: str) -> bytes:
    """A manifest's bytes, one more than it may have at most. Raises InputError."""
    try:
        # Not to wait for a writer, should it be a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(Fault(path, 0, 0, "it is not a regular file"))
            return file.read(BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(Fault(path, 0, 0, "there is no such file", "write one with `devenv init`")) from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise InputError(Fault(path, 0, 0, f"it can't be read: {cause}")) from error


def _look(purpose: Purpose, path: str, folder: str, kept: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with a path, links followed."""
    real = os.path.realpath(path)
    if not os.path.exists(real):
        return absent(purpose)
    via = "" if real == path else f" (it leads to {real!r})"
    if purpose == "file":
        if not _in(real, folder):
            return f"is outside the project folder{via}", "put the file itself there"
        return None if os.path.isfile(real) else (f"is not a regular file{via}", "name a file")
    if purpose == "certificates":
        return _bundle(real)
    if purpose == "mount" and not os.path.isdir(real) and not os.path.isfile(real):
        return f"is neither a folder nor a regular file{via}", "sockets and devices of the host aren't for containers"
    if purpose != "mount" and not os.path.isdir(real):
        return f"is not a folder{via}", "name a folder"
    if real == "/" or any(_in(real, place) for place in _SYSTEM):
        return f"belongs to the system{via}", "choose a folder of your own"
    if any(_in(real, place) or _in(place, real) for place in kept):
        return f"holds devenv's own store{via}", "choose another folder"
    if purpose in ("source", "folder", "mount") and via:
        # A process inside could have put the link into the tree, to be shown more of the host next time.
        return f"is, or leads through, a link{via}", f"write {real!r}, or put the folder there"
    return None


def _bundle(path: str) -> tuple[str, str] | None:
    """A file that is handed to every container must hold certificates, and no key."""
    hint = "name a file of PEM certificates"
    if not os.path.isfile(path) or os.path.getsize(path) > _BUNDLE:
        return "is not a file of certificates", hint
    try:
        with open(path, "rb") as file:
            content = file.read(_BUNDLE)
    except OSError as error:
        return f"can't be read: {error.strerror}", hint
    if b"-----BEGIN CERTIFICATE-----" not in content:
        return "holds no certificates", hint
    return ("holds a private key", hint) if b"PRIVATE KEY-----" in content else None


def _in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
