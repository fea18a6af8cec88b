"""A text → a file in somebody's project, whole or not at all, and theirs."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from devenv.errors import DevenvError, Fault, InputError

_KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}


def write_new(path: str, text: str, *, force: bool, hint: str = "") -> None:
    """Write a file. Raises InputError when there is one and `force` is False; `hint`: what to do when it can't be written.

    What is there and is no file is never replaced: by root, that could be /dev/null.
    """
    if force:
        refuse_others(path)
    data = text.encode()
    draft = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.new"
    try:
        _write(draft, path, data)
        if force:
            os.replace(draft, path)
        else:
            os.link(draft, path)  # fails when the name is taken, which rename doesn't
    except FileExistsError as error:
        raise InputError(
            Fault(path, 0, 0, "is there already", "--force replaces it, --print shows the new one")
        ) from error
    except OSError as error:
        raise DevenvError(f"write {path}: {error.strerror}", hint=hint) from error
    finally:
        with suppress(OSError):
            os.unlink(draft)  # whatever went wrong; it is gone when it took its place


def refuse_others(path: str) -> None:
    """Raise InputError when something is there that is no file."""
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:  # nothing; or whoever writes it will say what is wrong
        return
    if kind != stat.S_IFREG:
        found = _KINDS.get(kind, "no file")
        raise InputError(Fault(path, 0, 0, f"is {found}, which isn't replaced", "name a file, or remove what is there"))


def _write(draft: str, path: str, data: bytes) -> None:
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "wb") as file:
        _give_to_owner(file.fileno(), os.path.dirname(path) or ".")
        file.write(data)


def _give_to_owner(fd: int, folder: str) -> None:
    """What root writes into somebody's project belongs to them. Not by path: they could put a link there."""
    if os.geteuid() == 0:
        owner = os.stat(folder)
        os.fchown(fd, owner.st_uid, owner.st_gid)
