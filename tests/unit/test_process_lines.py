"""What a program prints, line by line, until it ends: nothing of it is lost, and nobody else is waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.engine.native import process


def told(script: str, *arguments: str) -> tuple[int, list[str]]:
    """(code, lines) of a shell's script."""
    found: list[str] = []
    code = process.lines(["/bin/sh", "-c", script, "sh", *arguments], found.append)
    return code, found


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """A file for the pid of a process that a program leaves behind; it is ended after the test."""
    file = tmp_path / "left"
    yield file
    os.kill(int(file.read_text()), signal.SIGKILL)


def test_lines_are_given_whole_and_the_code_is_the_programs() -> None:
    assert told("echo one; echo two >&2; printf three; exit 3") == (3, ["one", "two", "three"])
    assert told("kill -9 $$") == (137, [])


def test_lines_end_where_they_end_and_are_cut_at_eight_kibibytes() -> None:
    assert told(r"printf 'a\r\n\n\nb\n'") == (0, ["a", "", "", "b"])
    longest = 8192
    for size in (longest - 1, longest, longest + 1, 3 * longest):
        code, lines = told('head -c "$1" /dev/zero | tr "\\0" x; printf "%s" "$2"; echo; echo end', str(size), "")
        assert (code, "".join(lines)) == (0, "x" * size + "end")
        assert [len(line) for line in lines] == [*([longest] * (size // longest)), *filter(None, [size % longest]), 3]


def test_what_it_leaves_behind_is_not_waited_for(left: Path) -> None:
    assert told('sleep 600 & echo $! > "$1"; echo said; exit 4', str(left)) == (4, ["said"])
    os.kill(int(left.read_text()), 0)  # nor ended


def test_what_it_leaves_behind_may_print_without_end(left: Path) -> None:
    code, lines = told('yes & echo $! > "$1"; echo said', str(left))
    assert code == 0
    assert "said" in lines


def test_all_that_it_printed_is_given_however_long_that_takes(left: Path) -> None:
    """A pipe is full at its end, and whoever reads it takes longer than those who are left may print."""
    found: list[str] = []

    def slowly(line: str) -> None:
        if not found:
            while not left.exists() or not left.read_text().strip():
                pass
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # it has ended
        found.append(line)

    script = 'seq 9000; sleep 600 & echo $! > "$1"'
    assert process.lines(["/bin/sh", "-c", script, "sh", str(left)], slowly) == 0
    assert found == [str(number) for number in range(1, 9001)]


def test_one_that_closes_its_output_is_waited_for() -> None:
    assert told("echo said; exec >&- 2>&-; sleep 0.1; exit 5") == (5, ["said"])
