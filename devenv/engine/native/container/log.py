"""What conmon wrote of a container's output -> lines, as they come too; and what it would throw away of them, kept.

conmon begins a log that is full anew by putting an empty file in its place, and the full one is gone (conmon, ctr_logging.c);
it counts what it wrote itself, so a container that is started again and again has a log without end. Here the full one
has a second name, `log.held`, which nobody takes away, and becomes `log.1` when the log was begun anew.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from devenv.engine import LogLine

if TYPE_CHECKING:
    from devenv.model.seen import Stream

_POLL = 0.05
_LOOK = 10
"""Rounds of polling until it is looked again who is there."""
_LONGEST = 1 << 20
"""Bytes of a line that is put together of parts."""
_BLOCK = 1 << 16


# What is kept ------------------------------------------------------------------------------------------------------------


def begin(folder: str, most: int) -> None:
    """Before a conmon is launched, which counts from 0: what is there becomes the older part, if it is half full."""
    path = f"{folder}/log"
    keep(folder)
    with suppress(FileNotFoundError):
        if os.stat(path).st_size > most // 2:
            os.rename(path, f"{path}.1")
            os.unlink(f"{path}.held")


def keep(folder: str) -> None:
    """Of what conmon began anew since the last time, the part before stays. Whoever looks does this; its supervisor looks again
    and again.
    """
    path = f"{folder}/log"
    # Nothing was printed yet, or a file has one name only here.
    with suppress(OSError):
        if _inode(f"{path}.held") != os.stat(path).st_ino:
            _hold(folder, path)


def _hold(folder: str, path: str) -> None:
    """One at a time: whoever saw an older file than others do would put the newest in place of the part before."""
    import fcntl

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        current, held = os.stat(path).st_ino, _inode(f"{path}.held")
        if held not in (current, 0):
            os.rename(f"{path}.held", f"{path}.1")
        if held != current:
            os.link(path, f"{path}.held")
    finally:
        os.close(fd)


def _older(path: str) -> list[str]:
    """The files with what was before, the oldest first."""
    current = _inode(path)
    return [one for one in (f"{path}.1", f"{path}.held") if _inode(one) not in (current, 0)]


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


Record = tuple[float, str, bool, bytes]
"""Unix seconds, stream, whether the line ends here, text."""


# Lines -------------------------------------------------------------------------------------------------------------------


class Reader:
    """The lines of a container's log, in order, whatever file they are in. `tail`: the last ones only; `since` Unix seconds."""

    def __init__(self, folder: str, *, tail: int | None = None, since: float = 0.0) -> None:
        self.folder = folder
        self.since = since
        self.parts: dict[str, bytes] = {}
        self.time = 0.0
        self.path = f"{folder}/log"
        keep(folder)
        files = [file for path in (*_older(self.path), self.path) if (file := _open(path))]
        self.files = files if tail is None else _last(files, tail)

    def lines(self) -> Iterator[LogLine]:
        """What has come since the last time, but for what has no end yet."""
        for when, stream, whole, text in self.records():
            self.time = when
            text = self.parts.pop(stream, b"") + text
            if not whole and len(text) < _LONGEST:
                self.parts[stream] = text
            elif self.time >= self.since:
                yield LogLine(self.time, stream, text.decode(errors="replace"))

    def unfinished(self) -> Iterator[LogLine]:
        """What was printed of lines that have no end."""
        for stream, text in self.parts.items():
            if text and self.time >= self.since:
                yield LogLine(self.time, stream, text.decode(errors="replace"))

    def records(self) -> Iterator[Record]:
        """The same as conmon wrote it: whole lines, and parts of lines."""
        while True:
            while len(self.files) > 1:
                yield from _rest(self.files[0])
                self.files.pop(0).close()
            if self.files:
                yield from _rest(self.files[0])
            if self._current():
                return
            if following := _open(self.path):
                self.files.append(following)  # the one before is read once more: it may have grown until then
                keep(self.folder)

    def close(self) -> None:
        for file in self.files:
            file.close()
        self.files = []

    def _current(self) -> bool:
        """Whether what is open is what conmon writes to."""
        there = _inode(self.path)
        return not there or (bool(self.files) and os.fstat(self.files[-1].fileno()).st_ino == there)


def _rest(file: BinaryIO) -> Iterator[Record]:
    while (line := file.readline()).endswith(b"\n"):
        yield parse(line)
    file.seek(-len(line), os.SEEK_CUR)  # conmon is at it


def read(
    folder: str, *, tail: int | None = None, since: float = 0.0, going: Callable[[], bool] | None = None
) -> Iterator[LogLine]:
    """A container's lines. With `going`, those that come too, for as long as it says True."""
    reader = Reader(folder, tail=tail, since=since)
    try:
        while going is not None and going():
            yield from reader.lines()
            time.sleep(_POLL)
        yield from reader.lines()
        yield from reader.unfinished()
    finally:
        reader.close()


def attach(folder: str, going: Callable[[], bool]) -> Iterator[tuple[Stream, bytes]]:
    """What a container prints from now on, in pieces, for as long as `going` says True.

    conmon's attach socket would say it too; but it waits for whoever is slow to read, and with it the container does.
    """
    reader = Reader(folder, tail=0)
    try:
        on = True
        while on:
            on = going()
            for _, stream, whole, text in reader.records():
                yield "stderr" if stream == "stderr" else "stdout", text + b"\n" * whole
            time.sleep(_POLL if on else 0)
    finally:
        reader.close()


def follow(
    present: Callable[[], Mapping[str, str]], *, tail: int | None = None, since: float = 0.0
) -> Iterator[tuple[str, LogLine]]:
    """The lines of several containers as they come, with their names; until there is none any more.

    `present` says which there are: name -> folder. Of one that comes later all lines are told.
    """
    readers: dict[str, Reader] = {}
    last: int | None = tail
    try:
        while found := present():
            for name in readers.keys() - found.keys():
                readers.pop(name).close()
            for name in found.keys() - readers.keys():
                readers[name] = Reader(found[name], tail=last, since=since)
            last = None
            for _ in range(_LOOK):
                yield from merged({name: [*reader.lines()] for name, reader in readers.items()})
                time.sleep(_POLL)
    finally:
        for reader in readers.values():
            reader.close()


def merged(lines: Mapping[str, Iterable[LogLine]]) -> Iterator[tuple[str, LogLine]]:
    """Lines of several, each with its name, in the order of their times."""

    def named(name: str) -> Iterator[tuple[str, LogLine]]:
        return ((name, line) for line in lines[name])

    return heapq.merge(*map(named, lines), key=lambda one: one[1].time)


def parse(line: bytes) -> Record:
    """`TIME STREAM P|F TEXT` (CRI logging format)."""
    stamp, _, rest = line.rstrip(b"\n").partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    return _time(stamp), stream.decode("ascii", "replace"), tag != b"P", text


def _time(stamp: bytes) -> float:
    from datetime import datetime  # whoever starts a container comes here, too

    # Nine digits of nanoseconds; datetime takes six.
    text = stamp.decode("ascii", "replace")
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        return datetime.fromisoformat(f"{head}{dot}{digits[:6]}{rest[len(digits) :]}").timestamp()
    except ValueError:
        return 0.0


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def _last(files: list[BinaryIO], count: int) -> list[BinaryIO]:
    """Those of the files that have the last `count` lines, each moved to the first of these."""
    kept: list[BinaryIO] = []
    for file in reversed(files):
        if count > 0 or not kept:
            count -= _seek_last(file, count)
            kept.insert(0, file)
        else:
            file.close()
    return kept


def _seek_last(file: BinaryIO, count: int) -> int:
    """Move to the beginning of the last `count` lines, reading backwards in blocks; how many there are."""
    end = file.seek(0, os.SEEK_END)
    if not count or not end:
        return 0
    position, found = end, 0
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(file.fileno(), position - start, start)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if start + index == end - 1:
                continue  # the newline that ends the last line
            found += 1
            if found == count:
                file.seek(start + index + 1)
                return found
        position = start
    file.seek(0)
    return found + 1
