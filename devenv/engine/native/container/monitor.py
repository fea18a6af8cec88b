"""conmon (conmon(8)) holds a detached container's output and exit code. Launching it, and reading what it wrote."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

from devenv.engine import LogLine
from devenv.errors import EngineError

from .. import process
from .runtime import Runtime

LOG_SIZE = 16 << 20
"""Bytes after which conmon starts a container's log anew."""

_POLL = 0.05


def launch(runtime: Runtime, identifier: str, *, bundle: str, folder: str) -> int:
    """Create a container under a conmon of its own; returns its init's pid. Raises EngineError with the runtime's words.

    `folder` gets `log` (Kubernetes' log format) and `exit/<id>`; the bundle's folder conmon's sockets and pid files.
    """
    os.makedirs(f"{folder}/exit", 0o700, exist_ok=True)
    try:
        os.unlink(f"{folder}/exit/{identifier}")  # of its last run
    except FileNotFoundError:
        pass
    read, write = os.pipe()
    os.set_inheritable(write, True)
    argv = [
        process.find("conmon"),
        *("--api-version", "1", "--cid", identifier, "--cuuid", identifier, "--name", identifier),
        *("--runtime", runtime.path, "--runtime-arg", "--root", "--runtime-arg", runtime.root),
        *("--bundle", bundle, "--full-attach", "--exit-dir", f"{folder}/exit"),
        *("--container-pidfile", f"{bundle}/pid", "--conmon-pidfile", f"{bundle}/conmon.pid"),
        *("--log-path", f"k8s-file:{folder}/log", "--log-size-max", str(LOG_SIZE), "--log-level", "error"),
    ]
    try:
        # conmon tells the pid, or the runtime's error, on the pipe named by _OCI_SYNCPIPE, and then goes its own way.
        pid = os.posix_spawn(
            argv[0],
            argv,
            process.environment({"_OCI_SYNCPIPE": str(write)}),
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)],
            setsid=False,
        )
    finally:
        os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.readline()
    os.waitpid(pid, 0)
    return _created(identifier, said)


def _created(identifier: str, said: bytes) -> int:
    try:
        answer = json.loads(said)
        pid = int(answer.get("data", answer.get("pid", -1)))
    except (ValueError, AttributeError) as error:
        raise EngineError(f"create {identifier}: conmon said {said!r}") from error
    if pid <= 0:
        raise EngineError(f"create {identifier}: {answer.get('message', 'the runtime failed')}")
    return pid


def exit_code(folder: str, identifier: str) -> int | None:
    """The code a container ended with, None as long as conmon hasn't written one."""
    try:
        with open(f"{folder}/exit/{identifier}", encoding="ascii") as file:
            return int(file.read().strip() or "-1")
    except FileNotFoundError:
        return None


def wait_monitor(bundle: str, timeout: float) -> None:
    """Wait until the conmon of a container that ended has written its exit code and gone."""
    try:
        with open(f"{bundle}/conmon.pid", encoding="ascii") as file:
            pid = int(file.read().strip() or "0")
    except (FileNotFoundError, ValueError):
        return
    if pid > 0:
        wait_exit(pid, timeout)


def wait_exit(pid: int, timeout: float) -> bool:
    """Wait until a process (not our child) is gone; whether it is."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0, int(timeout * 1000))))
    finally:
        os.close(fd)


def read_log(path: str, *, tail: int | None, follow: Callable[[], bool] | None) -> Iterator[LogLine]:
    """Lines of a conmon log, in order. With `follow`, goes on for as long as it says True, across rotation."""
    partial, going = b"", True
    try:
        file = open(path, "rb")  # noqa: SIM115  closed below: it is replaced when conmon starts a new file
    except FileNotFoundError:
        return
    try:
        if tail is not None:
            _seek_tail(file.fileno(), tail)
            file.seek(os.lseek(file.fileno(), 0, os.SEEK_CUR))
        while True:
            line = file.readline()
            if line.endswith(b"\n"):
                _, partial, whole = _parse(line, partial)
                if whole is not None:
                    yield whole
                continue
            if going and (follow is None or not follow()):
                going = False  # once more: a line may have come since
                file.seek(file.tell() - len(line))
                continue
            if not going:
                return
            if os.path.exists(path) and os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = open(path, "rb")  # noqa: SIM115
                continue
            file.seek(file.tell() - len(line))
            time.sleep(_POLL)
    finally:
        file.close()


def _parse(line: bytes, partial: bytes) -> tuple[bytes, bytes, LogLine | None]:
    """`TIME STREAM P|F TEXT`: P is a part of a line that goes on (CRI logging format)."""
    stamp, _, rest = line.rstrip(b"\n").partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    text = partial + text
    if tag == b"P" and len(text) < 1 << 20:
        return text, text, None
    return text, b"", LogLine(_time(stamp), stream.decode("ascii", "replace"), text.decode(errors="replace"))


def _time(stamp: bytes) -> float:
    from datetime import datetime

    # Nine digits of nanoseconds; datetime takes six.
    text = stamp.decode("ascii", "replace")
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        return datetime.fromisoformat(f"{head}{dot}{digits[:6]}{rest[len(digits) :]}").timestamp()
    except ValueError:
        return 0.0


def _seek_tail(fd: int, count: int) -> None:
    """Move to the beginning of the last `count` lines, reading backwards in blocks."""
    end = os.lseek(fd, 0, os.SEEK_END)
    position, found = end, 0
    while position > 0:
        start = max(0, position - 65536)
        block = os.pread(fd, position - start, start)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if start + index == end - 1:
                continue  # the newline that ends the last line
            found += 1
            if found == count:
                os.lseek(fd, start + index + 1, os.SEEK_SET)
                return
        position = start
    os.lseek(fd, 0 if count else end, os.SEEK_SET)
