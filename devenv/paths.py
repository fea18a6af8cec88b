"""Where everything lives. The only module that knows the insides of DEVENV_HOME and the run-time folder."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # the quick door must not wait for it
    from collections.abc import Mapping


class Paths:
    """The places under `home` (lasting) and `run` (until reboot). Joining only: nothing is made or read here."""

    __slots__ = ("home", "run")

    def __init__(self, home: str, run: str) -> None:
        self.home = home
        self.run = run

    @property
    def state(self) -> str:
        """The SQLite database that says what is valid."""
        return f"{self.home}/state.db"

    @property
    def unread(self) -> tuple[str, ...]:
        """What no copy reads: the home, the database in it, the run-time folder. A process that closes one of its files, whoever opened it,
        loses the locks that SQLite has on it (sqlite.org/howtocorrupt.html, 2.2).
        """
        return (self.home, self.state, f"{self.state}-wal", f"{self.state}-shm", self.run)

    @property
    def layout(self) -> str:
        """The OCI image layout (image-spec, image-layout.md)."""
        return f"{self.home}/oci"

    @property
    def layers(self) -> str:
        """One folder per layer, named by its id, in overlayfs form with the image's own ids."""
        return f"{self.home}/layers"

    def layer(self, identifier: int) -> str:
        return f"{self.layers}/{identifier}"

    def container(self, identifier: str) -> str:
        """A container's lasting folder: upper, work, log."""
        return f"{self.home}/containers/{identifier}"

    def volume(self, environment: str, name: str) -> str:
        return f"{self.home}/volumes/{environment}/{name}"

    def cache(self, identifier: str) -> str:
        return f"{self.home}/caches/{identifier}"

    @property
    def copies(self) -> str:
        """Layers copied with a slot's ids, a folder per slot, where ids can't be mapped."""
        return f"{self.home}/copies"

    @property
    def tools(self) -> str:
        """Programs that build steps are lent (uv, a first npm), by name and version."""
        return f"{self.home}/tools"

    @property
    def packages(self) -> str:
        """What a lock names: fetched files by content, and what they were unpacked to (engine/native/packages/)."""
        return f"{self.home}/packages"

    def base(self, name: str) -> str:
        """What a suite's base was found to be made of, where no lock says it."""
        return f"{self.home}/bases/{name}.json"

    def hashes(self, identifier: str) -> str:
        """What the contents of a build context's files were found to be: a cache."""
        return f"{self.home}/hashes/{identifier}"

    @property
    def drafts(self) -> str:
        """Layers being made. Whatever is here without a living owner is rubbish."""
        return f"{self.home}/drafts"

    @property
    def locks(self) -> str:
        return f"{self.home}/locks"

    @property
    def slots(self) -> str:
        """Pinned namespaces, one folder per slot, a shared mount of its own."""
        return f"{self.run}/slots"

    def slot(self, number: int) -> str:
        """The slot's folder; `user` and `net` in it are the pinned namespaces."""
        return f"{self.slots}/{number}"

    @property
    def runtime(self) -> str:
        """The OCI runtime's --root."""
        return f"{self.run}/runtime"

    def traffic(self, identifier: str) -> str:
        """What its network devices had counted when it was started (/proc/PID/net/dev)."""
        return f"{self.bundle(identifier)}/traffic"

    def bundle(self, identifier: str) -> str:
        """A container's bundle (runtime-spec, bundle.md) and run-time files."""
        return f"{self.run}/bundles/{identifier}"

    def hosts(self, environment: str) -> str:
        """The /etc/hosts that the containers of an environment share."""
        return f"{self.run}/hosts/{environment}"

    def events(self, environment: str) -> str:
        """What happened to an environment's containers; `.1` beside it is what was before."""
        return f"{self.home}/environments/{environment}/events"

    def supervisor(self, environment: str) -> str:
        """Locked by an environment's supervisor for as long as it lives; its pid is in it."""
        return f"{self.run}/supervisors/{environment}"

    def trials(self, environment: str) -> str:
        """Trials of a project, a folder each by number, and `locks`, what their variants were locked to; by the id of its environment."""
        return f"{self.home}/trials/{environment}"

    def kept(self, environment: str = "") -> str:
        """What `try --keep` left, a file for each environment (cli/kept.py); the folder of all."""
        return f"{self.home}/trials/kept/{environment}.json" if environment else f"{self.home}/trials/kept"

    @property
    def key(self) -> str:
        """What makes fingerprints of secrets this store's own."""
        return f"{self.home}/key"

    def secrets(self, memory: str = "") -> str:
        """Secrets, a folder per environment: in the run-time folder or, where that isn't in memory, in a place that is."""
        own = self.run.replace("%", "%25").replace("/", "%2F")
        return f"{memory}/devenv-secrets-{own}" if memory else f"{self.run}/secrets"

    def receipt(self, folder: str) -> str:
        """What the last `up` of a project folder looked at (cli/receipt.py); "" for a path too long for a name."""
        return _named(f"{self.home}/receipts", folder)

    def door(self, folder: str) -> str:
        """How to enter a project's running container: for the quick door. "" for a path too long for a name."""
        return _named(f"{self.run}/doors", folder)

    @property
    def mounts(self) -> str:
        """Where a command in its own mount namespace puts its mounts."""
        return f"{self.run}/mounts"


def _named(place: str, folder: str) -> str:
    name = folder.replace("%", "%25").replace("/", "%2F")
    return f"{place}/{name}" if len(os.fsencode(name)) <= 250 else ""


def locate(env: Mapping[str, str], uid: int) -> Paths:
    """The places for this user: DEVENV_HOME and DEVENV_RUN, or root's, or the XDG folders. Raises InputError."""
    home = _absolute(env, "DEVENV_HOME")
    run = _absolute(env, "DEVENV_RUN")
    if home and not run:
        # A home of its own gets a run-time folder of its own, or two stores would fight over one set of slots.
        run = f"{home}/run"
    if uid == 0:
        return Paths(home or "/var/lib/devenv", run or "/run/devenv")
    data = env.get("XDG_DATA_HOME") or f"{env.get('HOME', '/')}/.local/share"
    runtime = env.get("XDG_RUNTIME_DIR") or f"/tmp/devenv-{uid}"
    return Paths(home or os.path.abspath(f"{data}/devenv"), run or os.path.abspath(f"{runtime}/devenv"))


def _absolute(env: Mapping[str, str], name: str) -> str:
    """The variable's path, "" when it isn't set. A relative one would be another store in every folder."""
    path = env.get(name, "")
    if path and not path.startswith("/"):
        from devenv.errors import Fault, InputError

        raise InputError(Fault(name, 0, 0, f"{path} is a relative path", f"export {name}={os.path.abspath(path)}"))
    return os.path.abspath(path) if path else ""
