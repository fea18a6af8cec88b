"""A file of the store's → what the contents of a context's files were found to be, and back. A cache: damage empties it.

Like git's index, what it says of a file holds while a stat of that file says the same (context.py decides which are so
old that it can be trusted to).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress

MAX_FILES = 64
"""Contexts that are remembered; the one that was built the longest time ago is forgotten first."""

_SPARE = 10_000  # entries that another target or Containerfile of the same folder may need


def load(path: str) -> dict[str, str]:
    """Absolute path → "fingerprint sha256"; empty when there is none, or it isn't what was written."""
    try:
        with open(path, "rb") as file:
            checksum, data = file.readline(), file.read()
        if checksum != _checksum(data):
            return {}
        found: dict[str, str] = json.loads(data)
        return found
    except (OSError, ValueError):
        return {}


def keep(path: str, before: Mapping[str, str], found: Mapping[str, str], seen: Collection[str]) -> None:
    """Write `found` when it differs from what was loaded. What wasn't seen this time goes when there is much of it."""
    kept = found
    if len(found) > 2 * len(seen) + _SPARE:
        kept = {name: value for name, value in found.items() if name in seen}
    if kept == before:
        return
    data = json.dumps(kept).encode()
    draft = f"{path}.{os.getpid()}.new"
    # Not made durable: after a power loss the checksum is wrong, and everything is read once more.
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(_checksum(data) + data)
            os.replace(draft, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)
        _forget(os.path.dirname(path))


def _checksum(data: bytes) -> bytes:
    return b"%08x\n" % zlib.crc32(data)


def _forget(folder: str) -> None:
    with os.scandir(folder) as entries:
        ages = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in ages[:-MAX_FILES]:
        os.unlink(path)
