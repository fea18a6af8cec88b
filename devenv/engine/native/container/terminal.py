"""A container's terminal, relayed from and to ours: for runtimes that don't let its size follow.

The runtime gives us the terminal's other end over a socket (runc(8), `--console-socket`).
"""

from __future__ import annotations

import fcntl
import os
import select
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
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # of a process that had our number
        self._door.bind(self.path)
        self._door.listen(1)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)
        self._thread.join()
        termios.tcsetattr(0, termios.TCSADRAIN, self._own)
        os.unlink(self.path)
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
        if self._over in select.select([self._door.fileno(), self._over], [], [])[0]:
            return  # the runtime failed before it made one
        with self._door.accept()[0] as connection:
            self._terminal = socket.recv_fds(connection, 4096, 1)[1][0]
        self.resize()
        tty.setraw(0)
        sources = [0, self._terminal, self._over]
        while self._terminal in sources:
            patience = None if self._over in sources else _PATIENCE
            ready = select.select(sources, [], [], patience)[0]
            if not ready:
                return
            if self._terminal in ready and not _copy(self._terminal, 1):
                return  # nobody has it open any more
            if 0 in ready and not _copy(0, self._terminal):
                sources.remove(0)
            if self._over in ready:
                sources = [self._terminal]


def _copy(source: int, target: int) -> bool:
    """Pass on what there is; whether there may be more."""
    try:
        data = os.read(source, _BUFFER)
        while data:
            data = data[os.write(target, data) :]
            if not data:
                return True
    except OSError:  # EIO: a terminal without the other end
        pass
    return False
