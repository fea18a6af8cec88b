"""`devenv shell` on a real terminal: the prompt, job control, the size, the exit code."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import New
from tests.e2e.place import Place

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def place(new: New) -> Place:
    made = new(manifest="name: harbour\nfrom: bootstrap:bookworm\n")
    made("up")
    return made


class Terminal:
    """`devenv WORDS` as the session leader of a terminal of 80 × 24."""

    def __init__(self, place: Place, *words: str) -> None:
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(place.folder)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            argv = [sys.executable, "-m", "devenv", *words]
            os.execve(sys.executable, argv, place.env({"TERM": "xterm"}))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def see(self, pattern: str) -> str:
        """Wait until this is on the screen; what is before and including it is then forgotten. The match."""
        deadline = time.monotonic() + 20
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, (pattern, self.text)
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 65536).decode(errors="replace")
        self.text = self.text[match.end() :]
        return match[0]

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def end(self) -> int:
        """The exit code."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it goes on")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def shell(place: Place) -> Iterator[Terminal]:
    terminal = Terminal(place, "shell")
    yield terminal
    terminal.close()


def test_shell_says_where_it_is_and_gives_its_code(shell: Terminal) -> None:
    shell.see(r"harbour.*/workspace.*[#$] ")
    shell.type("tty; exit 5\n")
    shell.see(r"/dev/(pts/\d+|console)")
    assert shell.end() == 5


def test_shell_has_job_control(shell: Terminal) -> None:
    shell.see(r"[#$] ")
    shell.type("sleep 77\n")
    shell.see("sleep 77")
    time.sleep(0.5)
    shell.type("\x1a")
    shell.see(r"Stopped +sleep 77")
    shell.type("fg\n")
    shell.see(r"sleep 77\r\n")
    time.sleep(0.5)
    shell.type("\x03")
    shell.type("echo code $?\n")
    shell.see(r"code 130")
    shell.type("exit 0\n")
    assert shell.end() == 0


def test_shell_has_the_terminals_size_and_follows_it(shell: Terminal) -> None:
    shell.see(r"[#$] ")
    shell.type("stty size\n")
    shell.see(r"24 80")
    shell.resize(31, 97)
    time.sleep(0.3)
    shell.type("stty size\n")
    shell.see(r"31 97")


def test_exec_on_a_terminal_leaves_it_as_it_was(place: Place) -> None:
    terminal = Terminal(place, "exec", "--", "sh", "-c", "test -t 0 && echo on a terminal")
    try:
        before = termios.tcgetattr(terminal.fd)
        terminal.see("on a terminal")
        assert terminal.end() == 0
        assert termios.tcgetattr(terminal.fd)[:4] == before[:4]
    finally:
        terminal.close()
