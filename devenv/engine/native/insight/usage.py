"""What the kernel counts of a container, in cgroups v1, v2 or both, and on its network devices -> Usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from devenv.model.seen import Usage

_UNIFIED = ""
"""What the one hierarchy of v2 is called among the controllers of v1."""

_NO_LIMIT = 1 << 60
"""v1 has no word for none: what is larger than any machine."""


Mounted = Mapping[str, tuple[str, str]]
"""Controller (v2: "") -> the cgroup that is mounted, and where."""


def usage(pid: int, identifier: str, mounted: Mounted, before: str) -> Usage | None:
    """Of the container whose init this is; None when it is gone. `before`: the file with what its devices counted at its start."""
    try:
        found = groups(_text(f"/proc/{pid}/cgroup"), mounted)
        counted_before = traffic(_said(before))
        received, sent = (
            now - then for now, then in zip(traffic(_text(f"/proc/{pid}/net/dev")), counted_before, strict=True)
        )
    except OSError:
        return None
    # Its pid may be another's by now.
    own = {name: path for name, path in found.items() if path.endswith(f"/devenv/{identifier}")}
    if not own:
        return None
    counted = counters(lambda controller, file: _counted(own, controller, file))
    if not counted.read and not counted.written:
        counted = _by_processes(counted, next(iter(own.values())))
    return counted._replace(time=time.monotonic(), received=received, sent=sent)


def _by_processes(counted: Usage, group: str) -> Usage:
    """v1's blkio counts nothing on newer kernels but what is throttled, a v2 tree without the controller nothing at all.

    A process also counts for those of its children that it has waited for, and a container's init for all that nobody else does.
    """
    with suppress(OSError):
        pids = _text(f"{group}/cgroup.procs").split()
        found = [moved(_said(f"/proc/{pid}/io")) for pid in pids]
        return counted._replace(read=sum(read for read, _ in found), written=sum(written for _, written in found))
    return counted


def _said(path: str) -> str:
    with suppress(OSError):  # it ended meanwhile
        return _text(path)
    return ""


def mounted_here() -> Mounted:
    """Where this host has its cgroups."""
    return hierarchies(_text("/proc/self/mountinfo"))


def _counted(found: Mapping[str, str], controller: str, file: str) -> str:
    """The text of a controller's file; "" where there is none."""
    return _said(f"{found[controller]}/{file}") if controller in found else ""


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


# Where -----------------------------------------------------------------------------------------------------------------


def hierarchies(mountinfo: str) -> Mounted:
    """/proc/PID/mountinfo (proc(5)) -> what is mounted of cgroups."""
    found: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ")[:3]
        root, place = fields.split(" ")[3:5]
        names = {"cgroup2": (_UNIFIED,), "cgroup": tuple(options.split(","))}.get(kind, ())
        for name in names:
            found.setdefault(name, (root.rstrip("/"), place))
    return found


def groups(cgroup: str, mounted: Mounted) -> dict[str, str]:
    """/proc/PID/cgroup -> controller -> the folder of the process's cgroup (cgroups(7))."""
    found = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in mounted:
                root, place = mounted[name]
                found[name] = place + path.removeprefix(root)
    return found


# How much --------------------------------------------------------------------------------------------------------------


def counters(text: Callable[[str, str], str]) -> Usage:
    """Usage of what `text(controller, file)` says: v1's own files first, as a v2 tree beside them has no controllers."""
    cpu, microseconds = text("cpuacct", "cpuacct.usage"), _named(text(_UNIFIED, "cpu.stat")).get("usage_usec")
    memory, stat = text("memory", "memory.usage_in_bytes"), _named(text("memory", "memory.stat"))
    limit, idle = _limit(text("memory", "memory.limit_in_bytes")), stat.get("total_inactive_file", 0)
    if not memory:
        memory, stat = text(_UNIFIED, "memory.current"), _named(text(_UNIFIED, "memory.stat"))
        limit, idle = _limit(text(_UNIFIED, "memory.max")), stat.get("inactive_file", 0)
    read, written = _data(text)
    pids = text("pids", "pids.current") or text(_UNIFIED, "pids.current")
    return Usage(
        time=0.0,
        cpu=int(cpu) / 1e9 if cpu else None if microseconds is None else microseconds / 1e6,
        memory=max(0, int(memory) - idle) if memory else None,
        memory_limit=limit,
        read=read,
        written=written,
        pids=int(pids) if pids else None,
        pids_limit=_limit(text("pids", "pids.max") or text(_UNIFIED, "pids.max")),
    )


def _data(text: Callable[[str, str], str]) -> tuple[int | None, int | None]:
    """Bytes read from and written to disks."""
    for name in ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"):
        if said := text("blkio", name):
            return blocks(said)
    said = text(_UNIFIED, "io.stat")
    return volume(said) if said else (None, None)


def blocks(said: str) -> tuple[int, int]:
    """v1, lines of `8:0 Read 4096`."""
    words = [line.split() for line in said.splitlines()]
    read, written = (
        sum(int(word[2]) for word in words if len(word) == 3 and word[1] == kind) for kind in ("Read", "Write")
    )
    return read, written


def volume(said: str) -> tuple[int, int]:
    """v2, lines of `8:0 rbytes=4096 wbytes=0 rios=…`."""
    fields = [dict(word.partition("=")[::2] for word in line.split()[1:]) for line in said.splitlines()]
    read, written = (sum(int(one.get(name, "0")) for one in fields) for name in ("rbytes", "wbytes"))
    return read, written


def moved(said: str) -> tuple[int, int]:
    """/proc/PID/io (proc(5)): what was fetched from disks, and what goes to them."""
    counted = _named(said.replace(":", ""))
    return counted.get("read_bytes", 0), counted.get("write_bytes", 0)


def traffic(said: str) -> tuple[int, int]:
    """/proc/PID/net/dev -> bytes received and sent by all devices but lo."""
    lines = (line.partition(":") for line in said.splitlines()[2:])
    counted = [rest.split() for name, _, rest in lines if name.strip() != "lo"]
    return sum(int(words[0]) for words in counted), sum(int(words[8]) for words in counted)


def _named(said: str) -> dict[str, int]:
    """Lines of `NAME NUMBER`."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in said.splitlines()) if value}


def _limit(said: str) -> int | None:
    value = said.strip()
    return None if value in ("", "max") or int(value) >= _NO_LIMIT else int(value)
