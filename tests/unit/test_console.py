"""What reaches a terminal: clean text, aligned tables, progress as lines or live."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest

from devenv import console
from devenv.model.events import Event


def shown(events: Sequence[Event], env: dict[str, str] | None = None, *, verbose: bool = False) -> str:
    stream = io.StringIO()
    with console.progress(stream, env or {}, itertools.count().__next__, verbose=verbose) as sink:
        for event in events:
            sink(event)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain ünïcode 日本", "plain ünïcode 日本"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP$q\x1b\\x", "x"),
        ("a\x1b[2Jb\x1bcc", "abc"),
        ("\x9b31mred", "red"),
        ("10%\r20%\r\n", "20%"),
        ("10%\r20%", "20%"),
        ("bell\x07 nul\x00", "bell\\x07 nul\\x00"),
        ("a\nb", "a\\nb"),
        ("exe.\u202etxt", "exe.\\u202etxt"),
        ("tab\tstays", "tab\tstays"),
        ("half an escape \x1b[3", "half an escape 3"),
        ("\udcff", "\\udcff"),
    ],
)
def test_clean_lets_no_control_through(dirty: str, expected: str) -> None:
    assert console.clean(dirty) == expected


def test_clean_leaves_no_escape_whatever_comes() -> None:
    for pair in itertools.product("\x1b[]\\P;m\x07\x9b\x9d\x9c\r\n\x00a", repeat=4):
        assert not {"\x1b", "\x9b", "\x9d", "\x07", "\x00"} & set(console.clean("".join(pair)))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "0"}, False),
    ],
)
def test_colours_follow_the_environment(env: dict[str, str], expected: bool) -> None:
    assert console.colours(io.StringIO(), env) is expected


def test_table_aligns_columns_and_cleans_cells() -> None:
    out = io.StringIO()
    console.table(("NAME", "STATUS"), [("a-long-name", "up"), ("b\x1b[2J", "down")], out)
    assert out.getvalue() == "NAME         STATUS\na-long-name  up\nb            down\n"


def test_table_fits_a_terminal_and_leaves_a_pipe_whole() -> None:
    rows = "[('shop', '/home/ann/projects/of-the-year/with-a-long-name/shop', 'http://127.0.0.1:40000→8000')]"
    script = (
        "import sys; from devenv import console;"
        f"[console.table(('A', 'B', 'C'), {rows}, out, shrink=(1,)) for out in (sys.stderr, sys.stdout)]"
    )
    seen, piped = on_a_terminal(script)
    assert [len(line) for line in seen.splitlines()][1] == 80
    assert "/home/ann/pr" in seen and "with-a-long-name/shop" in seen and "http://127.0.0.1:40000→8000" in seen
    assert "/home/ann/projects/of-the-year/with-a-long-name/shop" in piped


def test_json_is_ascii() -> None:
    out = io.StringIO()
    console.json({"name": "\x9bé"}, out)
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue()) == {"name": "\x9bé"}


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (125.0, "2 min 05 s")])
def test_seconds_are_readable(value: float, text: str) -> None:
    assert console.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (12345, "12.3 kB"), (3e9, "3.0 GB"), (2e13, "20.0 TB")]
)
def test_size_is_readable(value: float, text: str) -> None:
    assert console.size(value) == text


def test_fold_breaks_at_spaces_on_a_terminal_only() -> None:
    text = "one two  three (0.5 s)"
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 22))
    with os.fdopen(slave, "w") as terminal:
        assert console.fold(text, terminal, 0, 4) == text
        assert console.fold(text, terminal, 4, 6) == "one two  three\n      (0.5 s)"
        assert console.fold("x" * 40, terminal, 4, 6) == "x" * 40
    os.close(master)
    assert console.fold(text * 10, io.StringIO(), 4, 6) == text * 10


def test_progress_without_a_terminal_is_one_line_each() -> None:
    text = shown(
        [
            Event("cached", "apt:1"),
            Event("started", "python:1"),
            Event("output", "python:1", "Resolved 9 packages"),
            Event("done", "python:1", seconds=1.25),
        ]
    )
    assert text == "· apt:1  cached\n→ python:1\n✓ python:1  1.2 s\n"


def test_progress_verbose_shows_every_line() -> None:
    assert "  apt:1 │ Get:1" in shown([Event("started", "apt:1"), Event("output", "apt:1", "Get:1")], verbose=True)


def test_progress_shows_the_last_fifty_lines_of_what_failed_and_cleans_them() -> None:
    output = [Event("output", "apt:1", f"\x1b[31mline {number}") for number in range(60)]
    lines = shown([Event("started", "apt:1"), *output, Event("failed", "apt:1", seconds=2.0)]).splitlines()
    assert lines[:2] == ["→ apt:1", "✗ apt:1  2.0 s"]
    assert lines[2:] == [f"  │ line {number}" for number in range(10, 60)]


def test_progress_repeats_nothing_of_what_was_stopped() -> None:
    events = [Event("started", "a"), Event("output", "a", "said"), Event("stopped", "a", seconds=2.0)]
    assert shown(events) == "→ a\n✗ a  stopped, 2.0 s\n"


def test_progress_shows_how_far_a_thing_is_only_live_or_when_asked_for_all() -> None:
    events = [Event("started", "web"), Event("state", "web", "2 running, 1 starting"), Event("failed", "web")]
    assert shown(events) == "→ web\n✗ web\n"
    assert "  web │ 2 running, 1 starting\n" in shown(events, verbose=True)
    seen, _ = on_a_terminal(LIVE.replace("SLEEP", "1.2").replace('"output", "apt:1"', '"state", "apt:1"'))
    assert "apt:1  0." in seen and "unpacking git" in seen


def test_progress_without_colour_has_no_escapes_and_with_it_has() -> None:
    events = [Event("started", "a"), Event("done", "a", seconds=1.0)]
    assert "\x1b" not in shown(events, {"NO_COLOR": "1"})
    assert "\x1b[32m" in shown(events, {"FORCE_COLOR": "1"})


LIVE = """
import sys, time
from devenv import console
from devenv.model.events import Event
with console.progress(sys.stderr, {"TERM": "xterm"}, time.monotonic) as sink:
    sink(Event("started", "apt:1"))
    sink(Event("output", "apt:1", "unpacking \\x1b]0;evil\\x07git"))
    time.sleep(SLEEP)
    sink(Event("done", "apt:1", seconds=1.0))
print("rich" in sys.modules)
"""


def on_a_terminal(script: str) -> tuple[str, str]:
    """What a Python script writes to a terminal on stderr, and to a pipe on stdout."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    argv, env = [sys.executable, "-c", script], {**kept, "TERM": "xterm"}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=slave, text=True) as process:
        os.close(slave)
        chunks = []
        try:
            while chunk := os.read(master, 65536):
                chunks.append(chunk)
        except OSError:  # EIO: the last writer of the terminal has gone
            pass
        out, _ = process.communicate()
    os.close(master)
    return b"".join(chunks).decode(), out


def test_progress_on_a_terminal_shows_what_runs_and_its_last_line() -> None:
    seen, rich = on_a_terminal(LIVE.replace("SLEEP", "1.2"))
    assert "apt:1  0." in seen
    assert "unpacking git" in seen
    assert "evil" not in seen
    assert "✓\x1b[0m apt:1" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1  # the cursor is back
    assert rich == "True\n"


def test_progress_on_a_terminal_is_quiet_and_fits_it() -> None:
    script = LIVE.replace(
        "time.sleep(SLEEP)", 'sink(Event("cached", "apt:0")); sink(Event("done", "apt:2", seconds=0.1))'
    )
    seen, _ = on_a_terminal(script.replace('"done", "apt:1"', '"done", "apt:1 " + "x" * 99'))
    assert "apt:0" not in seen and "apt:2" not in seen
    assert [line for line in re.sub(r"\x1b\[[0-9;]*m", "", seen).split("\r\n") if line][-1].endswith("xx…  1.0 s")
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in seen.split("\r\n"))


def test_progress_of_quick_work_needs_no_rich() -> None:
    seen, rich = on_a_terminal(LIVE.replace("SLEEP", "0"))
    assert "✓\x1b[0m apt:1" in seen
    assert rich == "False\n"
