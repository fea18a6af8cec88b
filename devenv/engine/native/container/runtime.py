"""The OCI runtime's command line (runc(8), crun(1)): argument lists, and what their failures mean."""

from __future__ import annotations

import os
import signal

from devenv.errors import EngineError, Unsupported

from .. import process

KNOWN = ("runc", "crun")


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
        """argv: a further process, described by a file (runtime-spec, process)."""
        return self.argv("exec", "--process", process_file, identifier)

    def start(self, identifier: str) -> None:
        """Let a created container's process go."""
        process.run(self.argv("start", identifier))

    def kill(self, identifier: str, number: int) -> None:
        """Send a signal to the init process; that it is gone already is fine."""
        done = process.run(self.argv("kill", identifier, str(int(number))), check=False)
        said = done.stderr.decode(errors="replace")
        if done.code and not any(
            word in said for word in ("not running", "does not exist", "process already finished", "not found")
        ):
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
        try:
            return sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []


def choose(name: str, root: str) -> Runtime:
    """The runtime by name or path; "" for runc, or crun where there is no runc. Raises Unsupported."""
    if "/" in name:
        if not os.access(name, os.X_OK):
            raise Unsupported(f"find runtime {name}: not an executable file")
        return Runtime(name, root)
    if name:
        return Runtime(process.find(name), root)
    for known in KNOWN:
        try:
            return Runtime(process.find(known), root)
        except Unsupported:
            continue
    raise Unsupported("find an OCI runtime: neither runc nor crun is installed", hint="apt-get install runc")
