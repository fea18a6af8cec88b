"""A step's key -> a number and a folder to make its layer in, alone; and that folder -> the layer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from devenv.beneath import remove_tree

from .site import Site


class Draft:
    """A layer being made: `found` is the one that was there already."""

    def __init__(self, site: Site, key: str | None, identifier: int, folder: str, found: int | None) -> None:
        self.site = site
        self.key = key
        self.identifier = identifier
        self.folder = folder
        self.found = found
        self.result = identifier
        self.kept = False

    def keep(self, upper: str, size: int, parent: str = "") -> None:
        """`upper` is whole: it becomes the layer. `parent`: as in Workshop.run."""
        if self.found is not None:
            return
        target = self.site.paths.layer(self.identifier)
        remove_tree(target)  # of a store whose database was lost: nothing vouches for it
        os.rename(upper, target)
        self.kept = True
        self.result = self.site.state.layer_made(self.identifier, self.key, size, parent)


@contextmanager
def drafting(site: Site, key: str, *, anyway: bool = False) -> Iterator[Draft]:
    """A folder to make the layer `key` in, alone: who comes second waits, and finds it made.

    `anyway`: it gets a folder all the same, for a caller that can't stop; what is in it then goes.
    """
    path = f"{site.paths.locks}/{key[:40]}"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = site.layer(key)
        if found is not None and not anyway:
            yield Draft(site, key, found, "", found)
            return
        identifier, folder, owner = new_draft(site)
        draft = Draft(site, key, identifier, folder, found)
        try:
            yield draft
        finally:
            remove_tree(folder)
            if not draft.kept:
                remove_tree(site.paths.layer(identifier))  # of a step that had something there while it ran
            os.close(owner)
            site.state.drop_reserved(identifier)
    finally:
        os.close(lock)


def new_draft(site: Site) -> tuple[int, str, int]:
    """A new number, its draft folder, and the lock that says somebody is at work there."""
    while True:
        identifier = site.state.reserve_layer()
        folder = f"{site.paths.drafts}/{identifier}"
        # Where ext4 puts a folder, its first name decides (mount.spread): the numbers are the same in every store.
        unnamed = f"{site.paths.drafts}/new-{os.urandom(8).hex()}"
        os.mkdir(unnamed, 0o700)
        try:
            owner = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            os.rename(unnamed, folder)
        except FileNotFoundError:
            os.close(owner)  # swept before it was locked
            continue
        return identifier, folder, owner
