"""A step's layer and one that lay right below its root, for that step alone -> both as one layer, in the folder of the former."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from devenv.archive import marks, tar
from devenv.beneath import remove_tree
from devenv.errors import EngineError

from .lowers import have


def merge(upper: str, below: str, lowers: Sequence[str]) -> None:
    """Move what counts of `below` into `upper`; the rest of it is removed. `lowers` are the layers under both, the top one first.

    Both have the image's own ids, and nobody writes in them. What comes out is what the step would have left had it made
    all that is in `below` itself. Raises EngineError.
    """
    merging = _Merging(os.fsencode(upper), os.fsencode(below), lowers)
    try:
        while merging.pending:
            merging.folder(merging.pending.pop())
    except OSError as error:
        raise EngineError(f"merge {tar.show(merging.path)}: {error.strerror}") from error
    remove_tree(below)


class _Merging:
    """One walk over the folders that both have. `path` is what is being looked at, for messages."""

    def __init__(self, upper: bytes, below: bytes, lowers: Sequence[str]) -> None:
        self.upper = upper
        self.below = below
        self.lowers = lowers
        self.pending = [b""]
        self.path = b""

    def folder(self, name: bytes) -> None:
        self.path = path = self.upper + name
        info = os.lstat(path)
        changed = False
        with os.scandir(self.below + name) as entries:
            for entry in entries:
                changed |= self._entry(name + b"/" + entry.name, entry.is_dir(follow_symlinks=False))
        if changed:
            os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))

    def _entry(self, name: bytes, folder: bool) -> bool:
        """Whether it changed the folder that it is in."""
        self.path = path = self.upper + name
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            os.rename(self.below + name, path)
            return True
        if marks.is_whiteout(info):
            if have(self.lowers, name[1:]):
                return False
            os.unlink(path)  # it spoke of `below` only
            return True
        if folder and stat.S_ISDIR(info.st_mode):
            if not marks.is_opaque(path):
                self.pending.append(name)
            elif not have(self.lowers, name[1:]):
                os.removexattr(path, marks.OPAQUE)  # the same
        return False
