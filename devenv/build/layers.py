"""Layer folders (overlayfs form) and a path -> the one layer that has all of it. Reads the file system's metadata only."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

_OPAQUE = "trusted.overlay.opaque"


def sole(folders: Sequence[str], path: str) -> str | None:
    """The folder, of those of a root's layers, in which everything at `path` (relative, normal) is; None in doubt.

    In doubt: the path, or a part of it, is a link, or a layer removed or hid something on the way to it.
    """
    having = []
    for folder in folders:
        found = _has(folder, path.split("/")) if path else None
        if found is None:
            return None
        if found:
            having.append(folder)
    return having[0] if len(having) == 1 else None


def _has(folder: str, parts: Sequence[str]) -> bool | None:
    """Whether a layer has the path; None in doubt."""
    for end in range(1, len(parts) + 1):
        place = "/".join((folder, *parts[:end]))
        try:
            status = os.lstat(place)
        except OSError:
            return False
        if stat.S_ISLNK(status.st_mode) or stat.S_ISCHR(status.st_mode) or _is_opaque(place):
            return None
    return True


def _is_opaque(place: str) -> bool:
    try:
        return os.getxattr(place, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
