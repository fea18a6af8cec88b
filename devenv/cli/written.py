"""A text → a file in somebody's project, whole or not at all, and theirs."""

from __future__ import annotations

import os
from contextlib import suppress

from devenv.errors import DevenvError, Fault, InputError


def write_new(path: str, text: str, *, force: bool, hint: str = "") -> None:
    """Write a file. Raises InputError when there is one and `force` is False; `hint`: what to do when it can't be written."""
    draft = f"{path}.{os.getpid()}.new"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "w") as file:
            _give_to_owner(file.fileno(), os.path.dirname(path))
            file.write(text)
        if force:
            os.replace(draft, path)
        else:
            os.link(draft, path)  # fails when the name is taken, which rename doesn't
            os.unlink(draft)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        if isinstance(error, FileExistsError) and not force:
            fix = "--force replaces it, --print shows the new one"
            raise InputError(Fault(path, 0, 0, "is there already", fix)) from error
        raise DevenvError(f"write {path}: {error.strerror}", hint=hint) from error


def _give_to_owner(fd: int, folder: str) -> None:
    """What root writes into somebody's project belongs to them. Not by path: they could put a link there."""
    if os.geteuid() == 0:
        owner = os.stat(folder)
        os.fchown(fd, owner.st_uid, owner.st_gid)
