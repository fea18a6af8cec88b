"""A container's terminal, relayed from and to ours: for runtimes that don't let its size follow.

The runtime gives us the terminal's other end over a socket (runc(8), `--console-socket`).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import termios
import threading
import tty
from contextlib import suppress
from types import TracebackType
from typing import Self

_BUFFER = 65536
_PATIENCE = 0.2
"""Seconds for which output is awaited that a process left behind, which may have children that hold the terminal."""


class Relay:
    """Listens at `path` for a terminal, and from then on our stdin and stdout are its; ended by leaving the context.

    `folder` is where the socket is made. Our own terminal is raw meanwhile, and as it was afterwards.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # By the descriptor: a socket's path has 107 bytes at most (unix(7)), ours may be longer.
        self.path = f"/proc/{os.getpid()}/fd/{self._folder}/console-{os.getpid()}"
        self._own = termios.tcgetattr(0)
        self._terminal: int | None = None
        self._over, self._end = os.pipe()
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._relay, name="terminal")

    def __enter__(self) -> Self:
        _unlink(self.path)  # of a process that had our number
        self._door.bind(self.path)
        self._door.listen(1)
        # Signals are waited for by the thread that starts the program: one that came to this one would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)
        self._thread.join()
        with suppress(termios.error):  # hung up
            termios.tcsetattr(0, termios.TCSADRAIN, self._own)
        _unlink(self.path)
        self._door.close()
        for fd in (self._over, self._folder, self._terminal):
            if fd is not None:
                os.close(fd)

    def resize(self) -> None:
        """Give it the size of ours; whoever is in its foreground hears of it from the kernel."""
        if self._terminal is not None:
            with suppress(OSError):  # gone meanwhile
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    def _relay(self) -> None:
        # The door first: a program that is over at once has left its terminal there, with all it printed.
        if self._door.fileno() not in select.select([self._door.fileno(), self._over], [], [])[0]:
            return  # the runtime failed before it made one
        with self._door.accept()[0] as connection:
            terminal = socket.recv_fds(connection, 4096, 1)[1][0]
        _unlink(self.path)
        os.set_blocking(terminal, False)
        self._terminal = terminal
        self.resize()
        with suppress(termios.error):
            tty.setraw(0)
        with suppress(OSError):  # EIO: nobody has the other end any more
            self._pass_on(terminal)

    def _pass_on(self, terminal: int) -> None:
        """Both ways at once: who types (or pastes) more than is read inside must still see what is printed there."""
        typed = b""
        sources, patience = {0, terminal, self._over}, None
        while True:
            awaited = sources - {0} if typed else sources
            ready, writable, _ = select.select(awaited, [terminal] if typed else [], [], patience)
            if not ready and not writable:
                return
            if terminal in ready:
                _print(os.read(terminal, _BUFFER))
            if writable:
                typed = typed[os.write(terminal, typed) :]
            if 0 in ready:
                typed = os.read(0, _BUFFER)
                if not typed:
                    sources.discard(0)
            if self._over in ready:
                sources, typed, patience = {terminal}, b"", _PATIENCE


def _print(data: bytes) -> None:
    if not data:
        raise OSError("the terminal's end")
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # somebody who shares it made it so
            select.select([], [1], [])


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
