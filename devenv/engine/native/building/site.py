"""What whoever builds here works with: the store, the place for mounts, what a build is lent, and what is under way."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy

from devenv.model.lock import BaseLock, Section
from devenv.model.manifest import Lending, Pairs
from devenv.paths import Paths

from ..container import snapshot
from ..container.snapshot import Stage
from ..host import lent, tools
from ..records import observe
from ..records.state import State, this_process
from ..slot import pool
from ..trouble import trouble
from .ending import Ending


class Site:
    """The ground on which the rooms of `building` stand. Its methods may be called by several threads at once."""

    def __init__(
        self,
        paths: Paths,
        env: Mapping[str, str],
        stage: Callable[[], Stage],
        begin: Callable[[], None],
        architecture: str,
    ) -> None:
        self.paths = paths
        self.env = env
        self.architecture = architecture
        self.lending = Lending()
        self.stage = stage
        self.begin = begin
        self._local = threading.local()
        self.running: set[str] = set()
        self.ending = Ending()
        self.bases: Mapping[str, BaseLock] = {}
        self.moments: tuple[int, ...] = ()

    @property
    def state(self) -> State:
        """SQLite connections belong to the thread that made them."""
        if not hasattr(self._local, "state"):
            self._local.state = State(self.paths.state)
        found: State = self._local.state
        return found

    def use(self, section: Section) -> None:
        """Packages and bases are those of this lock."""
        self.bases = {lock.suite: lock for lock in section.bases}
        debs = (section.apt, *(service.apt for service in section.services))
        resolved = (*(one.release for one in debs if one), *(lock.release for lock in section.bases))
        self.moments = tuple(sorted({moment for moment in resolved if moment}))

    def apart(self) -> Site:
        """The same for one of several builds: what is under way there is its own."""
        other = copy(self)
        other.running, other.ending = set(), Ending()
        return other

    @trouble("look up a layer")
    def layer(self, key: str) -> int | None:
        """The layer of this key, whole."""
        self.begin()
        found = self.state.layer(key)
        if found is None:
            return None
        if not observe.whole(self.state, self.paths, found):
            self.state.forget_key(key)  # or it would still count when it has been made anew
            return None
        self.state.layer_used(found)
        return found

    @contextmanager
    def view(self, layers: Sequence[int]) -> Iterator[str]:
        """A merged root, to be read."""
        with self.stage().staging() as staging:
            yield snapshot.merged(staging, self.paths.layers, [str(number) for number in layers])

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Ids and a network for a container, as long as the context lasts."""
        slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self.stage().host_namespace)
        try:
            yield slot
        finally:
            self.state.release_slot(slot)

    @trouble("make a cache")
    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
        """The folder of a cache mount; made where there is none, then with this mode and owner."""
        folder = self.paths.cache(hashlib.sha256(identifier.encode()).hexdigest()[:32])
        if not os.path.isdir(folder):
            os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
            try:
                os.mkdir(folder)
            except FileExistsError:
                return folder
            os.chown(folder, *owner)
            os.chmod(folder, mode)
        return folder

    def reaches(self, address: str) -> bool:
        """Whether a step's network leads to this IP address; if not, nothing that a project names is fetched from there."""
        from ..slot import reach  # ipaddress, only for the rare ADD of a URL

        return reach.reaches(address, self.state.setting("subnet") or "", self.env.get(reach.VARIABLE, ""))

    @trouble("fetch a tool")
    def tool(self, name: str) -> str:
        """The path of a program of ours, fetched at first use."""
        bundle = lent.bundle("host")
        # uv knows the usual authorities only, unless it is told; a host may have one of its own.
        env = {"SSL_CERT_FILE": bundle, **self.env} if bundle else self.env
        tools.ensure(self.paths.tools, name, env)
        return f"{self.paths.tools}/{name}"

    def proxies(self) -> Pairs:
        """Variables for what goes through the host's proxies, where they are lent."""
        return lent.proxy_variables(self.env) if self.lending.proxy == "host" else ()
