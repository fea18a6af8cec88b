"""The OCI runtime's command line (runc(8), crun(1)): argument lists, and what their failures mean."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from devenv.errors import EngineError, Unsupported

from .. import mount, process

KNOWN = ("crun", "runc")
"""In the order of preference: crun does in a third of the time what runc does."""

_GONE = (
    *("not running", "process already finished", "does not exist"),  # runc, both
    *("No such process", "No such file", "not found"),  # crun: pidfd_open(2), its state folder
)
"""What runtimes say of a signal to a container that has ended."""

_HYBRID = "/sys/fs/cgroup/unified/cgroup.controllers"
_LIMITED = {"cpu", "memory", "pids"}


class Runtime:
    """One runtime program with its state folder (`--root`)."""

    __slots__ = ("path", "root")

    def __init__(self, path: str, root: str) -> None:
        self.path = path
        self.root = root

    def argv(self, *words: str) -> list[str]:
        return [self.path, "--root", self.root, *words]

    def run(self, identifier: str, bundle: str, *options: str) -> list[str]:
        """argv: create, start and wait, in the foreground."""
        return self.argv("run", *options, "--bundle", bundle, identifier)

    def execute(self, identifier: str, process_file: str) -> list[str]:
        """argv: a further process, described by a file (runtime-spec, process); its pid comes to PROCESS_FILE.pid."""
        return self.argv("exec", "--process", process_file, "--pid-file", f"{process_file}.pid", identifier)

    def attend(
        self, argv: list[str], *, terminal: bool, folder: str, orphaned: Callable[[], None] | None = None
    ) -> int:
        """Let `run` or `execute` have our stdin and output; its code. `terminal`: its process has one.

        runc keeps a terminal's size as ours is; crun does since 1.8.7 only, so we do it.
        """
        if not terminal or os.path.basename(self.path) != "crun":
            return process.foreground(argv, orphaned=orphaned)
        from .terminal import Relay

        with Relay(folder) as relay:
            options = len(self.argv("run"))  # they follow the verb
            argv = [*argv[:options], "--console-socket", relay.path, *argv[options:]]
            return process.foreground(argv, orphaned=orphaned, resized=relay.resize)

    def start(self, identifier: str) -> None:
        """Let a created container's process go."""
        process.run(self.argv("start", identifier))

    def kill(self, identifier: str, number: int) -> None:
        """Send a signal to the init process; that it is gone already is fine."""
        done = process.run(self.argv("kill", identifier, str(int(number))), check=False)
        said = done.stderr.decode(errors="replace")
        if done.code and not any(word in said for word in _GONE):
            raise EngineError(f"signal {signal.Signals(number).name} to {identifier}: {said.strip()}")

    def delete(self, identifier: str) -> None:
        """Kill and forget a container; that it isn't known is fine."""
        if not os.path.isdir(f"{self.root}/{identifier}"):
            return  # both runc and crun keep a folder for each container they know
        done = process.run(self.argv("delete", "--force", identifier), check=False)
        if done.code and os.path.isdir(f"{self.root}/{identifier}"):
            raise EngineError(f"delete {identifier}: {done.stderr.decode(errors='replace').strip()}")

    def known(self) -> list[str]:
        """Ids of the containers the runtime has state of."""
        return _list(self.root)


def choose(name: str, root: str) -> Runtime:
    """The runtime by name or path; "" for the first of KNOWN that works here. Raises Unsupported.

    Each has a folder of its own in `root`: they don't read each other's state.
    """
    if "/" in name:
        if not os.access(name, os.X_OK):
            raise Unsupported(f"find runtime {name}: not an executable file")
        return Runtime(name, f"{root}/{os.path.basename(name)}")
    if name:
        return Runtime(process.find(name), f"{root}/{name}")
    for known in KNOWN:
        if known == "crun" and _hybrid() & _LIMITED:
            continue  # it would refuse
        try:
            return choose(known, root)
        except Unsupported:
            continue
    raise Unsupported("find an OCI runtime: neither crun nor runc is installed", hint="apt-get install crun")


def having(identifier: str, name: str, root: str) -> Runtime:
    """The runtime that made a container, also when another one would be chosen by now; else the chosen one."""
    chosen = choose(name, root)
    if os.path.isdir(f"{chosen.root}/{identifier}"):
        return chosen
    for other in _list(root):
        if os.path.isdir(f"{root}/{other}/{identifier}"):
            return choose(other, root)
    return chosen


def admit() -> None:
    """In a mount namespace of our own: let crun make containers under hybrid cgroups.

    It refuses a v2 tree with any controller (libcrun_cgroup_enter), one that nobody limits by (hugetlb) included, so it is shown none.
    """
    controllers = _hybrid()
    if controllers and not controllers & _LIMITED:
        mount.bind("/dev/null", _HYBRID)


def _hybrid() -> set[str]:
    """The controllers of the v2 tree beside v1's."""
    try:
        with open(_HYBRID, encoding="ascii") as file:
            return set(file.read().split())
    except OSError:
        return set()


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
