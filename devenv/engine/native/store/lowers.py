"""The layers below one that is being made, the top one first -> whether they have something at a path."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from devenv.archive import marks
from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath

_HIDDEN = (errno.ENOTDIR, errno.ELOOP)


def have(lowers: Sequence[str], path: bytes) -> bool:
    """Whether a path, without a slash at its beginning, is anything there. A link on the way, or a whiteout, hides what is beneath."""
    for lower in lowers:
        fd = os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = open_beneath(fd, path, os.O_PATH | os.O_NOFOLLOW, resolve=IN_ROOT | NO_SYMLINKS)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in _HIDDEN:
                return False
            raise
        finally:
            os.close(fd)
        try:
            return not marks.is_whiteout(os.fstat(found))
        finally:
            os.close(found)
    return False
