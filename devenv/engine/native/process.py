"""Programs of the host: argv in, code and output out. The only module that starts any; never through a shell."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv.errors import EngineError, Unsupported

LINGERING = 0.2
"""Seconds for which those that a program leaves behind may still print: `tee`, where a shell doesn't wait for it."""

_LONGEST = 8192
"""Bytes of a line."""

_BLOCK = 65536
"""Bytes that are read at once: a pipe holds no more (pipe(7))."""


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


def ourselves(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """argv of a module of ours as a program of its own, and the variables by which it is found."""
    root = os.path.abspath(__file__)
    for _ in __name__.split("."):
        root = os.path.dirname(root)
    # -P: the current folder is a project of unknown people, and must not be where Python looks for modules.
    return [sys.executable, "-P", "-s", "-m", module, *arguments], {"PYTHONPATH": root}


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


FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)

_TYPED = {signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH}
"""What the kernel itself sends when somebody types ^C or resizes: to the terminal's whole group, our program included."""
_SI_KERNEL = 0x80  # sigaction(2)


def foreground(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    orphaned: Callable[[], None] | None = None,
    resized: Callable[[], None] | None = None,
) -> int:
    """Run with our own stdin, stdout and stderr, and wait. Returns its code.

    Signals sent to us alone are passed on, so that `kill` on us ends it too; what a terminal sent reached it by itself.
    `orphaned` is called, in a process of its own, when we are killed meanwhile: the program can't be left alone.
    `resized` is called when our terminal's size changed.
    """
    # nohup(1) has SIGHUP ignored. A script's `&` has SIGINT so, too, but who sends that to us by name means it.
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    awaited = {*FORWARDED} - ignored
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*awaited, signal.SIGCHLD})
    try:
        # Not subprocess: posix_spawn needs no import on the hot path, and vforks.
        pid = os.posix_spawn(argv[0], list(argv), environment(env), setsigmask=before)
        guard = _guard(pid, orphaned) if orphaned else None
        code = _wait(pid, awaited, resized)
        if guard:
            os.kill(guard, signal.SIGKILL)
            os.waitpid(guard, 0)
        while signal.sigtimedwait(awaited, 0):
            pass  # it came too late
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return code if code >= 0 else 128 - code


def _wait(pid: int, awaited: set[signal.Signals], resized: Callable[[], None] | None) -> int:
    """Wait for a child while passing on the awaited signals, which are blocked; its code."""
    while True:
        came = signal.sigwaitinfo({*awaited, signal.SIGCHLD})
        if came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif came.si_signo == signal.SIGWINCH and resized:
            resized()
        elif came.si_code != _SI_KERNEL or came.si_signo not in _TYPED:
            os.kill(pid, came.si_signo)  # not reaped yet, so the pid is still its own


def _guard(pid: int, orphaned: Callable[[], None]) -> int:
    """A process that waits until we are gone, kills what we leave behind, and ends. Its pid: whoever is done kills it.

    Forked while the program starts, so that nobody waits for it.
    """
    program = os.pidfd_open(pid)
    read, _write = os.pipe()  # ours is closed by our end, whatever that is
    guard = os.fork()
    if guard:
        os.close(program)
        os.close(read)
        return guard
    try:
        os.setsid()
        _alone({program, read})
        os.read(read, 1)
        orphaned()  # runc sees its container end, and leaves the terminal as it was; a relayed one stays raw
        if not _ends(program, 500):
            signal.pidfd_send_signal(program, signal.SIGKILL)
            orphaned()
    finally:
        os._exit(0)


def _alone(kept: set[int]) -> None:
    """Let go of every other file: locks, and pipes whose readers wait for their end."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own


def _ends(program: int, timeout: int) -> bool:
    from select import POLLIN, poll

    waiting = poll()
    waiting.register(program, POLLIN)
    return bool(waiting.poll(timeout))


def lines(
    argv: Sequence[str],
    output: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    started: Callable[[int], None] | None = None,
) -> int:
    """Run to the end and give each line it prints to `output`. Returns its code. `started` is told its pid.

    All that was printed before its end is given. What it leaves behind may print for `LINGERING` more, and isn't waited
    for: `server & pytest` ends with pytest. stdout and stderr come as one, unless `stdout` (a file descriptor) takes the
    former. Lines are cut at 8 KiB: a program that prints no newline must not fill our memory.
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
        if started is not None:
            started(child.pid)
        for line in _split(_printed(pipe.fileno(), child.pid)):
            output(line.decode(errors="replace").rstrip("\r"))
        code = child.wait()
    except BaseException:
        # Whoever is told the pid ends it by SIGKILL, as unshare must be; the runtime passes SIGTERM on.
        (child.terminate if started is None else child.kill)()
        child.wait()
        raise
    finally:
        pipe.close()
    return code if code >= 0 else 128 - code


def _printed(output: int, pid: int) -> Iterator[bytes]:
    """What comes out of a pipe until nobody holds its other end, or our child has ended and left somebody there."""
    import fcntl
    import struct
    import termios
    import time
    from select import POLLIN, poll

    program = os.pidfd_open(pid)
    try:
        waiting = poll()
        waiting.register(output, POLLIN)
        waiting.register(program, POLLIN)
        due, deadline = 0, None
        while due > 0 or deadline is None or time.monotonic() < deadline:
            ready = [fd for fd, _ in waiting.poll(deadline and max(0.0, deadline - time.monotonic()) * 1000)]
            if program in ready:
                waiting.unregister(program)
                # What is in the pipe now, it may have printed itself: that is given, however long it takes.
                (due,) = struct.unpack("i", fcntl.ioctl(output, termios.FIONREAD, bytes(4)))
                deadline = time.monotonic() + LINGERING
            if output in ready:
                block = os.read(output, _BLOCK)
                if not block:
                    return
                due -= len(block)
                yield block
    finally:
        os.close(program)


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks → lines without their ends, of _LONGEST bytes at most."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield from _cut(line)
        while len(rest) > _LONGEST:
            yield rest[:_LONGEST]
            rest = rest[_LONGEST:]
    if rest:
        yield rest


def _cut(line: bytes) -> Iterator[bytes]:
    yield line[:_LONGEST]
    for start in range(_LONGEST, len(line), _LONGEST):
        yield line[start : start + _LONGEST]


def attempt(
    argv: Sequence[str], seconds: float, most: int, end: Callable[[], None], cancelling: int = -1
) -> tuple[int | None, bytes]:
    """Run for so long at most; its code (None: it took longer), and the first `most` bytes that it printed.

    `end` is called in any case, to kill what it has started elsewhere. It has no more time once `cancelling`, a descriptor,
    can be read. For any number of threads.
    """
    read, write = os.pipe()
    given = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, write, fd) for fd in (1, 2)),
    ]
    try:
        pid = os.posix_spawn(argv[0], list(argv), environment(), file_actions=given)
    except OSError as error:
        os.close(read)
        raise EngineError(f"run {argv[0]}: {error.strerror}") from error
    finally:
        os.close(write)
    program = os.pidfd_open(pid)
    try:
        said, in_time = _watched(program, read, seconds, most, cancelling)
        end()
        if not in_time and not _ends(program, 1000):
            signal.pidfd_send_signal(program, signal.SIGKILL)
            end()  # it hadn't come far enough before
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(program)
        os.close(read)
    return (code if code >= 0 else 128 - code) if in_time else None, said


def _watched(program: int, output: int, seconds: float, most: int, cancelling: int) -> tuple[bytes, bool]:
    """What a program prints until it ends, all read and little kept; and whether it did end in time."""
    import time
    from select import POLLIN, poll

    deadline, said = time.monotonic() + seconds, b""
    waiting = poll()
    for awaited in (program, output, cancelling):
        if awaited >= 0:
            waiting.register(awaited, POLLIN)
    os.set_blocking(output, False)
    while (left := deadline - time.monotonic()) > 0:
        ready = [fd for fd, _ in waiting.poll(left * 1000)]
        if output in ready:
            block = os.read(output, 65536)
            said += block[: most - len(said)]
            if not block:  # it closed its output, and goes on
                waiting.unregister(output)
        elif program in ready:
            return said, True
        elif ready:
            break
    return said, False
