"""A store -> what there is of it on the host just now, to be held against what there was before. And the host restarted under it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from devenv.engine.native.records.state import State
from devenv.engine.native.slot import ids
from devenv.engine.native.slot.address import bridge_name, table_name
from devenv.lives import boot_id, process_start
from devenv.paths import Paths

_KEPT = ("bases", "blobs", "caches", "hashes", "layers", "locks", "oci", "packages", "receipts", "tools")
"""Folders of a store that are about images."""

_OWN = ("state.db", "key")
"""Files that are the store's, for all environments."""

_PATIENCE = 10.0
"""Seconds that what ends by itself has for that."""


def standing(paths: Paths, environments: Collection[str]) -> frozenset[str]:
    """A line for each process, mount, link, namespace, cgroup, rule, row and file, but for images and slots ready for others.

    Cgroups are the host's: those of containers of these environments (ids) are meant.
    """
    state = State(paths.state)
    try:
        spare = {number for number, _, container in state.known_slots() if container is None}
        found = {*_rows(state), *_processes(paths, {number for number, *_ in state.known_slots()})}
    finally:
        state.close()
    pins = {f"{paths.slots}/{number}" for number in spare}
    links = {f"{bridge_name(paths.run)}-{number}" for number in spare}
    found |= {f"mount {place}" for place in _mounts(paths) if os.path.dirname(place) not in pins}
    found |= {f"link {name}" for name in os.listdir("/sys/class/net") if _ours(paths, name) and name not in links}
    found |= {f"cgroup {name}" for name in _cgroups(environments)}
    found |= {*_ruleset(paths), *_files(paths, pins)}
    return frozenset(found)


def left(paths: Paths, environment: str, before: frozenset[str], *, volumes: bool = False) -> list[str]:
    """What there is that wasn't there before, once what ends by itself has ended. With `volumes`, those and what is known of it may stay."""
    rows = (f"row {table} {environment}" for table in ("environment", "built", "told"))
    places = (f"file {paths.home}/{place}/{environment}" for place in ("volumes", "environments"))
    kept = (*rows, *places) if volumes else ()
    deadline = time.monotonic() + _PATIENCE
    while True:
        more = sorted(line for line in standing(paths, [environment]) - before if not line.startswith(kept))
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.1)


def restart_host(paths: Paths, environments: Collection[str]) -> None:
    """As far as one can without: no process, mount, link, rule, cgroup or run-time file is there, and it is another boot.

    The test is on a `machine` of its own: whatever network and firewall that has is taken down.
    """
    state = State(paths.state)
    slots = {number for number, *_ in state.known_slots()}
    # At the same moment, as far as they can tell; a second time, as some may have started others meanwhile.
    for number in (signal.SIGSTOP, signal.SIGSTOP, signal.SIGKILL):
        for pid in _pids(paths, slots):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + _PATIENCE
    while any(process_start(pid) is not None for pid in _pids(paths, slots)) and time.monotonic() < deadline:
        time.sleep(0.01)
    for cgroup in _cgroups(environments):
        os.rmdir(cgroup)
    for place in sorted(_mounts(paths), reverse=True):
        _do("umount", "--lazy", place)
    for name in filter(lambda name: _ours(paths, name), os.listdir("/sys/class/net")):
        with suppress(subprocess.CalledProcessError):  # the other end of one that went
            _do("ip", "link", "delete", name)
    _do("nft", "flush", "ruleset")
    _do("ip", "rule", "flush")
    for table, priority in (("main", "32766"), ("default", "32767")):
        _do("ip", "rule", "add", "priority", priority, "table", table)
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("0")
    shutil.rmtree(paths.run)
    shutil.rmtree(paths.secrets("/dev/shm"), ignore_errors=True)
    _another_boot(state)
    state.close()


def _another_boot(state: State) -> None:
    """What rows say of this boot they say of another."""
    for (table,) in state.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for _, column, kind, *_ in state.db.execute(f"PRAGMA table_info({table})").fetchall():
            if kind == "TEXT":
                state.db.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, 'another') WHERE instr({column}, ?)",
                    (boot_id(), boot_id()),
                )


def _do(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _ours(paths: Paths, link: str) -> bool:
    return link == bridge_name(paths.run) or link.startswith(f"{bridge_name(paths.run)}-")


def _rows(state: State) -> Iterator[str]:
    for table, columns in (("container", "id"), ("environment", "id"), ("built", "*"), ("told", "*")):
        for row in state.db.execute(f"SELECT {columns} FROM {table}"):
            yield f"row {table} {row[0]}"
    for number, _, container in state.known_slots():
        if container is not None:
            yield f"row slot {number} {container}"
    for name in ("published", "loans", "members"):
        for slot in json.loads(state.setting(name) or "{}").get("slots", {}):
            yield f"setting {name} {slot}"


def _processes(paths: Paths, slots: Collection[int]) -> Iterator[str]:
    for pid in _pids(paths, slots):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            yield f"process {pid} {file.read().replace(bytes(1), b' ').decode(errors='replace')}"


def _pids(paths: Paths, slots: Collection[int]) -> Iterator[int]:
    """Processes that run with ids of these slots, and those that were told where the store is."""
    folder = os.path.dirname(paths.home).encode()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                ours = folder in file.read()
        except OSError:
            continue
        if process_start(pid) is not None and (
            (uid - ids.START) // ids.COUNT in slots or (ours and pid != os.getpid())
        ):
            yield pid


def _mounts(paths: Paths) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [place for place in (line.split()[4] for line in file) if place.startswith((paths.home, paths.run))]


def _cgroups(environments: Collection[str]) -> list[str]:
    return [
        f"{folder}/{name}"
        for folder, names, _ in os.walk("/sys/fs/cgroup")
        if os.path.basename(folder) == "devenv"
        for name in names
        if name.startswith(tuple(environments))
    ]


def _ruleset(paths: Paths) -> Iterator[str]:
    """The chains of our table, and what is in its maps and sets."""
    table = table_name(bridge_name(paths.run))
    argv = ["nft", "--json", "list", "table", "inet", table]
    done = subprocess.run(argv, capture_output=True, text=True)
    for one in json.loads(done.stdout)["nftables"] if done.returncode == 0 else ():
        for kind in ("chain", "map", "set"):
            if kind in one:
                yield f"{kind} {one[kind]['name']}"
                yield from (f"element of {one[kind]['name']} {element}" for element in one[kind].get("elem", ()))


def _files(paths: Paths, pins: Collection[str]) -> Iterator[str]:
    secrets = paths.secrets("/dev/shm")
    for top in (paths.home, paths.run, secrets):
        for folder, names, files in os.walk(top):
            if folder == paths.home:
                names[:] = [name for name in names if name not in _KEPT]
            names[:] = [name for name in names if f"{folder}/{name}" not in pins]
            listed = files if folder == top else (*names, *files)  # the first folders are the store's
            yield from (f"file {folder}/{name}" for name in listed if not name.startswith(_OWN))
    if os.path.isdir(secrets):
        yield f"file {secrets}"
