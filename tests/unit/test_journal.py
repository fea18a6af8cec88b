"""What happened is told in order, whole, from a moment on, and the file stays small."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.beneath import remove_tree
from devenv.engine import Happening
from devenv.engine.native.records import journal
from devenv.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(f"{tmp_path}/h", f"{tmp_path}/r")


def happening(number: int, detail: str = "") -> Happening:
    return Happening(float(number), f"web-{number}", "start", detail)


def test_journal_tells_since_a_moment_what_was_written(paths: Paths) -> None:
    assert list(journal.read(paths, "e")) == []
    for number in range(5):
        journal.tell(paths, "e", happening(number))
    journal.tell(paths, "other", happening(9))
    assert list(journal.read(paths, "e")) == [happening(number) for number in range(5)]
    assert list(journal.read(paths, "e", since=3.0)) == [happening(3), happening(4)]


def test_journal_passes_over_what_it_cannot_read(paths: Paths) -> None:
    journal.tell(paths, "e", happening(1))
    with open(paths.events("e"), "a", encoding="utf-8") as file:
        file.write('{"time": 1.5, "new": "field"}\nnonsense\n')
    journal.tell(paths, "e", happening(2))
    with open(paths.events("e"), "a", encoding="utf-8") as file:
        file.write('{"time": 3.0, "obj')  # being written
    assert list(journal.read(paths, "e")) == [happening(1), happening(2)]


def test_journal_stays_small_and_keeps_what_is_newest(paths: Paths) -> None:
    long = "x" * 10_000
    for number in range(350):
        journal.tell(paths, "e", happening(number, long))
    sizes = [os.stat(path).st_size for path in (paths.events("e"), f"{paths.events('e')}.1")]
    assert max(sizes) <= journal.MOST + 20_000
    told = [one.time for one in journal.read(paths, "e")]
    assert told == [float(number) for number in range(350 - len(told), 350)]
    assert len(told) > 100


def test_journal_of_many_writers_at_once_loses_and_mixes_nothing(paths: Paths) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 400):
            journal.tell(paths, "e", happening(number, "y" * 200))

    writers = [threading.Thread(target=write, args=(1000 * one,)) for one in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(one.time for one in journal.read(paths, "e")) == [
        float(1000 * one + number) for one in range(8) for number in range(400)
    ]


def test_journal_is_followed_across_a_new_beginning_until_it_is_forgotten(paths: Paths) -> None:
    journal.tell(paths, "e", happening(0))
    followed = journal.read(paths, "e", follow=True)
    assert next(followed) == happening(0)
    journal.tell(paths, "e", happening(1))
    assert next(followed) == happening(1)
    journal.tell(paths, "e", happening(2, "x" * journal.MOST))  # the file is begun anew
    journal.tell(paths, "e", happening(3))
    assert [one.time for one in (next(followed), next(followed))] == [2.0, 3.0]
    remove_tree(os.path.dirname(paths.events("e")))
    assert _rest(followed) == []


def _rest(followed: Iterator[Happening]) -> list[Happening]:
    return list(followed)
