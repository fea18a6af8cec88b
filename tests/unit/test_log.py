"""What conmon wrote: lines out of it, also while it is begun anew, which is done here as conmon 2.1 does it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from devenv.engine.native.container.log import Reader, begin, follow, keep, merged, read


class Conmon:
    """Writes a log in a folder as conmon does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.file = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *texts: str, stream: str = "stdout", tag: str = "F") -> None:
        for text in texts:
            stamp = f"2026-11-30T06:{self.number // 60:02d}:{self.number % 60:02d}.123456789+00:00"
            os.write(self.file, f"{stamp} {stream} {tag} {text}\n".encode())
            self.number += 1

    def begin_anew(self) -> None:
        os.close(self.file)
        self.file = os.open(self.folder / "log.tmp", os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
        os.rename(self.folder / "log.tmp", self.folder / "log")


@pytest.fixture
def conmon(tmp_path: Path) -> Conmon:
    return Conmon(tmp_path)


def texts(folder: Path, *, tail: int | None = None, since: float = 0.0) -> list[str]:
    return [line.text for line in read(str(folder), tail=tail, since=since)]


def test_log_has_the_lines_in_order_each_with_its_stream_and_time(conmon: Conmon, tmp_path: Path) -> None:
    conmon.write("one", "two")
    conmon.write("err", stream="stderr")
    found = [*read(str(tmp_path))]
    assert [(line.stream, line.text) for line in found] == [("stdout", "one"), ("stdout", "two"), ("stderr", "err")]
    assert found[1].time - found[0].time == 1.0


def test_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert texts(tmp_path) == []


def test_log_puts_parts_of_a_line_together_by_stream(conmon: Conmon, tmp_path: Path) -> None:
    conmon.write("he", tag="P")
    conmon.write("oops", stream="stderr")
    conmon.write("llo")
    assert texts(tmp_path) == ["oops", "hello"]


def test_log_shows_a_line_that_has_no_end(conmon: Conmon, tmp_path: Path) -> None:
    conmon.write("name? ", tag="P")
    assert texts(tmp_path) == ["name? "]


@pytest.mark.parametrize(("tail", "expected"), [(0, []), (1, ["5"]), (4, ["2", "3", "4", "5"]), (9, [*"12345"])])
def test_log_tail_reaches_back_into_what_was_before(
    conmon: Conmon, tmp_path: Path, tail: int, expected: list[str]
) -> None:
    keep(str(tmp_path))
    conmon.write("1", "2", "3")
    conmon.begin_anew()
    conmon.write("4", "5")
    assert texts(tmp_path, tail=tail) == expected


def test_log_tail_of_more_than_a_block(conmon: Conmon, tmp_path: Path) -> None:
    conmon.write(*(f"{number} {'x' * 900}" for number in range(300)))
    assert [text.split()[0] for text in texts(tmp_path, tail=200)] == [str(number) for number in range(100, 300)]


def test_log_since_a_moment(conmon: Conmon, tmp_path: Path) -> None:
    conmon.write("one", "two", "three")
    moment = [line.time for line in read(str(tmp_path))][1]
    assert texts(tmp_path, since=moment) == ["two", "three"]


def test_log_keeps_the_part_before_and_no_more(conmon: Conmon, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        conmon.write(text)
        keep(str(tmp_path))
        conmon.begin_anew()
    conmon.write("four")
    assert texts(tmp_path) == ["three", "four"]
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.held"]
    assert os.path.samefile(tmp_path / "log", tmp_path / "log.held")


def test_log_of_one_that_is_started_again_and_again_is_bounded(tmp_path: Path) -> None:
    for _ in range(50):
        begin(str(tmp_path), 1000)
        conmon = Conmon(tmp_path)  # which counts what it wrote itself
        conmon.write("x" * 300)
        keep(str(tmp_path))
    sizes = {os.stat(tmp_path / name).st_ino: os.stat(tmp_path / name).st_size for name in os.listdir(tmp_path)}
    assert sum(sizes.values()) < 3000
    assert len(texts(tmp_path)) > 1


def test_log_is_followed_across_its_beginnings(conmon: Conmon, tmp_path: Path) -> None:
    reader = Reader(str(tmp_path))
    found: list[str] = []
    for number in range(6):
        conmon.write(str(number))
        if number % 2:
            found += [line.text for line in reader.lines()]
            conmon.begin_anew()
    conmon.write("last")
    found += [line.text for line in reader.lines()]
    reader.close()
    assert found == ["0", "1", "2", "3", "4", "5", "last"]


def test_log_follow_goes_on_until_it_stops_and_has_the_last_words(conmon: Conmon, tmp_path: Path) -> None:
    rounds = iter([True, True, False])

    def going() -> bool:
        if not next(rounds):
            conmon.write("last")
            return False
        conmon.write("more")
        return True

    assert [line.text for line in read(str(tmp_path), going=going)] == ["more", "more", "last"]


def test_log_follow_of_several_has_those_that_come_later(tmp_path: Path) -> None:
    made: dict[str, Conmon] = {}

    def present() -> dict[str, str]:
        if "b" in made:
            return {}
        if "a" in made:
            _make(tmp_path, made, "b", "later")
            return {name: str(tmp_path / name) for name in made}
        _make(tmp_path, made, "a", "1", "2")
        return {"a": str(tmp_path / "a")}

    assert [(name, line.text) for name, line in follow(present, tail=1)] == [("a", "2"), ("b", "later")]


def _make(folder: Path, made: dict[str, Conmon], name: str, *lines: str) -> None:
    (folder / name).mkdir()
    made[name] = Conmon(folder / name)
    made[name].write(*lines)


def test_log_of_several_is_merged_by_time(tmp_path: Path) -> None:
    made: dict[str, Conmon] = {}
    _make(tmp_path, made, "a", "0", "1")
    _make(tmp_path, made, "b")
    made["b"].number = 1
    made["b"].write("1", "2")
    found = merged({name: read(str(tmp_path / name)) for name in made})
    assert [f"{name}{line.text}" for name, line in found] == ["a0", "a1", "b1", "b2"]


def test_log_loses_no_line_while_conmon_writes(conmon: Conmon, tmp_path: Path) -> None:
    """Begun anew every hundred lines, at any moment of a reader that looks all the time: twice at least between two beginnings."""
    ended, looks = threading.Event(), [0]

    def work() -> None:
        for number in range(2000):
            conmon.write(str(number))
            if number % 100 == 99:
                before = looks[0]
                while looks[0] < before + 2:
                    time.sleep(0.001)
                conmon.begin_anew()
        ended.set()

    thread = threading.Thread(target=work)
    found: list[str] = []
    reader = Reader(str(tmp_path))
    thread.start()
    while not ended.is_set():
        found += [line.text for line in reader.lines()]
        looks[0] += 1
    thread.join()
    found += [line.text for line in reader.lines()]
    reader.close()
    assert found == [str(number) for number in range(2000)]
