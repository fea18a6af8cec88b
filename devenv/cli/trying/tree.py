"""A project's folders → what says whether a file in them was changed: for a verdict, both sides must have seen the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple


class Seen(NamedTuple):
    """How many files there are, and a digest of their names, sizes, modes and times of change."""

    files: int
    digest: str


def seen(folders: Sequence[str]) -> Seen:
    """What is beneath these folders, links not followed. What can't be read counts as it is named."""
    found, count = sha256(), 0
    for folder in folders:
        for line in _lines(folder):
            found.update(line)
            count += 1
    return Seen(count, found.hexdigest())


def _lines(folder: str) -> Iterator[bytes]:
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield f"{here}\0{error.errno}\n".encode("utf-8", "surrogateescape")
            continue
        for entry in listed:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # it went meanwhile, which the other look will show
                continue
            told = (entry.path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            yield "\0".join(map(str, told)).encode("utf-8", "surrogateescape") + b"\n"
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
