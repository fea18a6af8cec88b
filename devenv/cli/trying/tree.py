"""A project's folders → what says whether a file in them was changed: for a verdict, both sides must have seen the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

_GIT, _OF_GIT = ".git", ("HEAD", "refs", "packed-refs")
"""What of a repository says which commit it is at; the rest changes with every `git status`, as prompts ask for one."""


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
            if os.path.basename(here) == _GIT and entry.name not in _OF_GIT:
                continue
            told: tuple[object, ...] = (entry.path, status.st_mode, status.st_ino)
            if entry.is_dir(follow_symlinks=False):  # whose own times tell of what came and went meanwhile
                pending.append(entry.path)
            else:
                told += (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            yield "\0".join(map(str, told)).encode("utf-8", "surrogateescape") + b"\n"
