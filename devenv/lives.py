"""What was written down of a process, a monitor, a folder -> whether it is still that very one. Only looks; imports nothing."""

from __future__ import annotations

import os


def boot_id() -> str:
    """This boot's id."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), stat field 22); None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int | None, start: int | None, boot: str | None, this_boot: str) -> bool:
    """Whether the process that was recorded is the one that lives now (a pid alone may have been reused)."""
    return pid is not None and boot == this_boot and process_start(pid) == start


def watched(bundle: str) -> bool:
    """Whether the conmon of this bundle lives (its pid may be another program's by now)."""
    try:
        with open(f"{bundle}/conmon.pid", encoding="ascii") as file:
            pid = int(file.read().strip())
        with open(f"/proc/{pid}/stat", "rb") as stat:
            name, _, rest = stat.read().partition(b"(")[2].rpartition(b")")
    except (OSError, ValueError):
        return False
    return name == b"conmon" and rest.split()[0] not in (b"Z", b"X")


def identity(path: str) -> tuple[int, int]:
    """Device and inode: while a folder is mounted no other one gets them. Zeros where there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def held(path: str) -> bool:
    """Whether somebody holds the lock of this file (flock): its supervisor, for as long as it lives."""
    from fcntl import LOCK_NB, LOCK_SH, flock

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flock(file, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
