"""Programs of the host: argv in, code and output out. The only module that starts any; never through a shell."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from devenv.errors import EngineError, Unsupported


class Completed(NamedTuple):
    """How a program ended: its code (128 + N for signal N) and what it printed."""

    code: int
    stdout: bytes
    stderr: bytes


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment given to programs: nothing of the user's but what says where things are."""
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR") if name in os.environ}
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        **kept,
        **(extra or {}),
    }


def find(name: str, hint: str = "") -> str:
    """The absolute path of a program of the host. Raises Unsupported with the package to install."""
    for folder in environment()["PATH"].split(":"):
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise Unsupported(f"find {name}: not installed", hint=hint or f"apt-get install {name}")


def run(
    argv: Sequence[str],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run to the end. With `check`, a code other than 0 raises EngineError with the last line it printed."""
    # Not subprocess, which takes 10 ms to import; files in memory, not pipes, so that nobody waits for anybody.
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        if input is not None:
            os.pwrite(files[0], input, 0)
        given = [(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)]
        # dup2 onto itself lets a descriptor through (posix_spawn_file_actions_adddup2(3), glibc 2.29).
        given += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in pass_fds]
        try:
            pid = os.posix_spawn(argv[0], list(argv), environment(env), file_actions=given)
        except OSError as error:
            raise EngineError(f"run {argv[0]}: {error.strerror}") from error
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = [os.pread(file, os.fstat(file).st_size, 0) for file in files[1:]]
    finally:
        for file in files:
            os.close(file)
    done = Completed(code if code >= 0 else 128 - code, said[0], said[1])
    if check and done.code != 0:
        last = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        verb = argv[1] if len(argv) > 1 else ""
        raise EngineError(f"run {os.path.basename(argv[0])} {verb}: {last or f'exit code {done.code}'}")
    return done


def foreground(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Run with our own stdin, stdout and stderr, and wait. Returns its code.

    Signals that the terminal sends to the whole group reach the program by themselves; those sent to us alone
    are passed on, so that `kill` on us ends it too.
    """
    # Not subprocess: posix_spawn needs no import on the hot path, and vforks.
    pid = os.posix_spawn(argv[0], list(argv), environment(env))
    return wait(pid)


FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


def wait(pid: int) -> int:
    """Wait for a child while passing our signals on to it; its code."""

    def forward(number: int, _frame: object) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def lines(
    argv: Sequence[str],
    output: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
) -> int:
    """Run to the end and give each line it prints to `output`. Returns its code.

    stdout and stderr come as one, unless `stdout` (a file descriptor) takes the former. Lines are cut at 8 KiB: a program
    that prints no newline must not fill our memory.
    """
    import subprocess

    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.STDOUT if stdout is None else subprocess.PIPE,
        env=environment(env),
    )
    pipe = child.stdout if stdout is None else child.stderr
    assert pipe is not None
    try:
        while line := pipe.readline(8192):
            output(line.decode(errors="replace").rstrip("\r\n"))
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    finally:
        pipe.close()
    return code if code >= 0 else 128 - code
