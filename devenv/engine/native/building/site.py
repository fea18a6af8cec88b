"""What whoever builds here works with: the store, the place for mounts, what a build is lent, and what is under way."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from devenv.model.lock import BaseLock
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
        self.paths, self.unread = paths, paths.unread
        self.env = env
        self.architecture = architecture
        self.lending = Lending()
        self.stage = stage
        self._begin = begin
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

    @trouble("look up a layer")
    def layer(self, key: str) -> int | None:
        self._begin()
        found = self.state.layer(key)
        if found is None:
            return None
        if not observe.whole(self.state, self.paths, found):
            self.state.forget_key(key)  # or it would still count when it has been made anew
            return None
        self.state.layer_used(found)
        return found

    def folder(self, layer: int) -> str:
        return self.paths.layer(layer)

    @contextmanager
    def view(self, layers: Sequence[int]) -> Iterator[str]:
        with self.stage().staging() as staging:
            yield snapshot.merged(staging, self.paths.layers, [str(number) for number in layers])

    @contextmanager
    def slot(self) -> Iterator[int]:
        slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self.stage().host_namespace)
        try:
            yield slot
        finally:
            self.state.release_slot(slot)

    @trouble("make a cache")
    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
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
        bundle = lent.bundle("host")
        # uv knows the usual authorities only, unless it is told; a host may have one of its own.
        env = {"SSL_CERT_FILE": bundle, **self.env} if bundle else self.env
        tools.ensure(self.paths.tools, name, env)
        return f"{self.paths.tools}/{name}"

    def proxies(self) -> Pairs:
        return lent.proxy_variables(self.env) if self.lending.proxy == "host" else ()
