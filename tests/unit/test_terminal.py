"""The relay of a terminal, with a runtime of the test's own: no container needed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

RUNTIME = """
import os, pty, socket, sys
master, slave = pty.openpty()
with socket.socket(socket.AF_UNIX) as door:
    door.connect(sys.argv[1])
    socket.send_fds(door, [b"terminal"], [master])
os.close(master)
pid = os.fork()
if pid == 0:
    os.login_tty(slave)
    os.execvp(sys.argv[2], sys.argv[2:])
os.close(slave)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

DEVENV = """
import sys
from devenv.engine.native.container.terminal import Relay
from devenv.engine.native.process import foreground
folder, runtime, *words = sys.argv[1:]
with Relay(folder) as relay:
    code = foreground([sys.executable, runtime, relay.path, *words] if runtime else words, resized=relay.resize)
sys.exit(code)
"""


class Typist:
    """Somebody at a terminal of 24 × 80, before a command that has a terminal inside."""

    def __init__(self, folder: Path, *words: str, runtime: bool = True) -> None:
        (folder / "runtime").write_text(RUNTIME)
        (folder / "devenv").write_text(DEVENV)
        self.screen, own = pty.openpty()
        termios.tcsetwinsize(own, (24, 80))
        self.before = termios.tcgetattr(own)
        self.own = own
        argv = [sys.executable, str(folder / "devenv"), str(folder), str(folder / "runtime") if runtime else "", *words]
        env = {**os.environ, "PYTHONPATH": ROOT}
        self.process = subprocess.Popen(argv, stdin=own, stdout=own, stderr=own, env=env, start_new_session=True)

    def read(self, seconds: float = 20) -> bytes:
        """What is on the screen next, b"" when nothing comes."""
        return os.read(self.screen, 65536) if select.select([self.screen], [], [], seconds)[0] else b""

    def see(self, word: bytes) -> bytes:
        """All that is on the screen up to this word."""
        seen = b""
        while word not in seen:
            more = self.read()
            assert more, seen
            seen += more
        return seen

    def end(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        return self.process.wait(timeout=1)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.screen)
        os.close(self.own)


@pytest.fixture
def typists() -> Iterator[list[Typist]]:
    found: list[Typist] = []
    yield found
    for one in found:
        one.close()


def test_terminal_passes_both_ways_and_gives_the_code(tmp_path: Path, typists: list[Typist]) -> None:
    typist = Typist(tmp_path, "sh", "-c", "echo ready; read word; echo got $word; exit 7")
    typists.append(typist)

    typist.see(b"ready")
    os.write(typist.screen, b"hello\r")
    typist.see(b"got hello")

    assert typist.end() == 7
    assert termios.tcgetattr(typist.own) == typist.before
    assert [name for name in os.listdir(tmp_path) if name.startswith("console")] == []


def test_terminal_has_our_size_and_follows_it(tmp_path: Path, typists: list[Typist]) -> None:
    typist = Typist(tmp_path, "sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done")
    typists.append(typist)

    typist.see(b"24 80")
    termios.tcsetwinsize(typist.own, (31, 97))
    typist.process.send_signal(signal.SIGWINCH)  # the kernel's, if this were its controlling terminal

    typist.see(b"31 97")


def test_terminal_takes_a_paste_larger_than_all_buffers(tmp_path: Path, typists: list[Typist]) -> None:
    # Four times what is typed comes back, while nobody reads what is typed.
    script = "stty raw -echo; echo ready; while IFS= read -r line; do echo $line$line$line$line; done"
    typist = Typist(tmp_path, "bash", "-c", script)
    typists.append(typist)
    typist.see(b"ready")
    line = b"x" * 99 + b"\n"
    left, seen = line * 5000 + b"end\n", b""

    while b"endendendend" not in seen:
        ready, writable, _ = select.select([typist.screen], [typist.screen] if left else [], [], 20)
        assert ready or writable, (len(left), len(seen))
        if ready:
            seen += os.read(typist.screen, 65536)
        if writable:
            left = left[os.write(typist.screen, left[:512]) :]

    assert seen.count(b"x") == 4 * 5000 * 99


def test_terminal_of_a_program_that_is_over_at_once_shows_all_it_printed(tmp_path: Path, typists: list[Typist]) -> None:
    for _ in range(20):
        typist = Typist(tmp_path, "echo", "all of it")
        typists.append(typist)
        typist.see(b"all of it")
        assert typist.end() == 0


def test_terminal_waits_for_nothing_when_the_runtime_fails_at_once(tmp_path: Path, typists: list[Typist]) -> None:
    for _ in range(20):
        typist = Typist(tmp_path, "/bin/false", runtime=False)
        typists.append(typist)
        assert typist.end() == 1
