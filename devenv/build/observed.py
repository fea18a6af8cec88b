"""What a digest looked at → whether it is still as it was. Imports nothing heavy: the quick door asks it first."""

from __future__ import annotations

import os
from collections.abc import Iterable

ABSENT = ""
"""The fingerprint of what isn't there."""


def fingerprint(status: os.stat_result) -> str:
    """What a stat says of a file's content: as long as it stays the same, so did the content."""
    return f"{status.st_ino}:{status.st_mode:o}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def unchanged(observed: Iterable[tuple[str, str]]) -> bool:
    """Whether everything a digest looked at is still as it was. A stat of each path, nothing else."""
    for path, expected in observed:
        try:
            if fingerprint(os.lstat(path)) != expected:
                return False
        except OSError:
            if expected != ABSENT:
                return False
    return True
