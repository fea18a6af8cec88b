"""conmon (conmon(8)) holds a detached container's output and exit code. Launching it, and how it ended."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from devenv.errors import EngineError

from .. import mount, process
from .runtime import Runtime

LOG_SIZE = 8 << 20
"""Bytes after which conmon begins a container's log anew; one that was full stays beside it (log.py)."""

_OOM = "oom"


def launch(runtime: Runtime, identifier: str, *, bundle: str, folder: str) -> int:
    """Create a container under a conmon of its own; returns its init's pid. Raises EngineError with the runtime's words.

    `folder` gets `log` (Kubernetes' log format) and `exit/<id>`; the bundle's folder conmon's sockets and pid files.
    """
    os.makedirs(f"{folder}/exit", 0o700, exist_ok=True)
    for last in (f"{folder}/exit/{identifier}", f"{bundle}/{_OOM}"):
        with suppress(FileNotFoundError):
            os.unlink(last)
    read, write = os.pipe()
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
        # It goes to this program alone (dup2 onto itself lets a descriptor through): other threads start others meanwhile.
        null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        env = process.environment({"_OCI_SYNCPIPE": str(write)})
        with mount.within(bundle):  # where conmon makes its file `oom`
            pid = os.posix_spawn(argv[0], argv, env, file_actions=[*null, (os.POSIX_SPAWN_DUP2, write, write)])
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


def ended(folder: str, identifier: str) -> float | None:
    """When a container ended, Unix seconds; None as long as conmon hasn't written its code."""
    try:
        return os.stat(f"{folder}/exit/{identifier}").st_mtime
    except FileNotFoundError:
        return None


def out_of_memory(bundle: str) -> bool:
    """Whether conmon saw that the container, or a process in it, was killed for want of memory; told once."""
    try:
        os.unlink(f"{bundle}/{_OOM}")
    except FileNotFoundError:
        return False
    return True


def wait_monitor(bundle: str, timeout: float) -> None:
    """Wait until the conmon of a container that ended has written its exit code and gone."""
    try:
        with open(f"{bundle}/conmon.pid", encoding="ascii") as file:
            pid = int(file.read().strip() or "0")
    except (FileNotFoundError, ValueError):
        return
    if pid > 0:
        wait_exit(pid, timeout)


def wait_exit(pid: int, timeout: float, cancelling: int = -1) -> bool:
    """Wait until a process (not our child) is gone; whether it is. No longer once `cancelling`, a descriptor, can be read."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        for awaited in (fd, cancelling):
            if awaited >= 0:
                poll.register(awaited, select.POLLIN)
        return any(ready == fd for ready, _ in poll.poll(max(0, int(timeout * 1000))))
    finally:
        os.close(fd)
