"""What every room of the engine stands on: places, a state for each thread, the stage, the store's lock; and ids -> what is known by them."""

from __future__ import annotations

import os
from _thread import _local, allocate_lock  # threading takes 1 ms to import, and everybody comes here
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from devenv.beneath import remove_tree
from devenv.errors import NotFound, StoreError
from devenv.model.container import Container, ContainerSpec
from devenv.model.image import Image
from devenv.paths import Paths

from .. import mount
from ..container import runtime, snapshot
from ..container.snapshot import Stage
from ..records import observe, record
from ..records.state import State
from ..slot import namespace, pool
from ..slot.address import Network
from ..store.hold import Hold
from ..trouble import trouble
from . import sweep
from .cancellation import Cancellation
from .together import Together


class Ground:
    """One per command; nothing is made before it is needed. For any number of threads."""

    def __init__(self, paths: Paths, env: Mapping[str, str]) -> None:
        self.paths = paths
        self.env = env
        # A container's init walks to its root as another user; and no user's habits may show in an image.
        os.umask(0o022)
        with trouble("make the store"):
            _make_home(paths)
        self._local = _local()
        self._lock = allocate_lock()
        self.state  # noqa: B018  a damaged or newer one is told now
        self.hold = Hold(f"{paths.locks}/store")
        self._stage: Stage | None = None
        self._swept = False
        self._together: dict[str, Together] = {}
        self.cancellation = Cancellation()
        self.leaving: set[int] = set()

    @property
    def state(self) -> State:
        """SQLite connections belong to the thread that made them."""
        try:
            found: State = self._local.state
        except AttributeError:
            found = self._local.state = State(self.paths.state)
        return found

    def close(self) -> None:
        self.state.close()
        self.hold.close()
        self.cancellation.close()

    # Before anything is made or used -------------------------------------------------------------

    def begin(self) -> None:
        """Whoever makes or uses something says so first: gc waits, and what killed commands left is removed."""
        self.hold.share()
        self._sweep()

    @contextmanager
    def using(self) -> Iterator[None]:
        """The same for as long as the block lasts. A row or an owner's file has to speak for what is used from then on."""
        with self.hold.using():
            self._sweep()
            yield

    def _sweep(self) -> None:
        with self._lock:
            if not self._swept:
                self._swept = True
                sweep.sweep(self.paths, self.state, mount_namespace=self.host_namespace)

    def stage(self) -> Stage:
        """The place for mounts. The first call makes a mount namespace, every call takes its thread there."""
        with self._lock:
            if self._stage is None:
                snapshot.make_init_layer(self.paths.layers)
                # Shared before we leave, or slots pinned later on the host would not be seen from here.
                namespace.prepare(self.paths.slots)
                self._stage = Stage(self.paths.mounts, self.paths.copies, idmap=self.env.get("DEVENV_IDMAP") != "off")
                runtime.admit()
        self._stage.enter()
        return self._stage

    @property
    def host_namespace(self) -> int | None:
        """The host's mount namespace, None as long as we are in it ourselves."""
        return None if self._stage is None else self._stage.host_namespace

    def together(self, what: str) -> Together:
        """For work that threads may do for each other."""
        return self._together.setdefault(what, Together())

    # What is known by an id ----------------------------------------------------------------------

    def container(self, identifier: str) -> Container:
        found = observe.container(self.state, self.paths, self.network(), identifier)
        if found is None:
            raise NotFound(f"find container {identifier}: there is none", hint="devenv ps --all")
        return found

    def image(self, digest: str) -> Image:
        """One that can be used: its layers are whole."""
        found = observe.image(self.state, digest)
        if found is None:
            raise NotFound(f"find image {digest}: not in the store", hint="devenv images shows those that are")
        if damaged := [number for number in found.layers if not observe.whole(self.state, self.paths, number)]:
            remove_tree(f"{self.paths.home}/receipts")  # or `up` would believe in it
            raise StoreError(
                f"use image {digest}: its layer {damaged[0]} isn't whole any more", hint="`devenv up` builds it again"
            )
        return found

    def spec(self, container: str) -> tuple[ContainerSpec, int]:
        """What a container was made from, and its slot."""
        text, slot = self.state.db.execute("SELECT spec, slot FROM container WHERE id = ?", (container,)).fetchone()
        return record.spec_value(text), slot

    def runtime(self, identifier: str, spec: ContainerSpec) -> runtime.Runtime:
        return runtime.having(identifier, spec.runtime, self.paths.runtime)

    def network(self) -> Network | None:
        """This store's network, None before the first container had one."""
        return pool.network(self.paths, self.state) if self.state.setting("subnet") else None


def _make_home(paths: Paths) -> None:
    """The folders that must be there. The store is for its owner alone; run-time folders can be walked through."""
    for folder in (paths.home, paths.layers, paths.drafts, paths.locks, f"{paths.home}/containers"):
        os.makedirs(folder, 0o700, exist_ok=True)
    mount.spread(paths.drafts)
    if os.stat(paths.home).st_mode & 0o077:  # the user's own folder, made beforehand
        os.chmod(paths.home, 0o700)
    # A container's init walks to its root in its bundle as its own user; what is in there is 0600.
    for folder in (paths.run, f"{paths.run}/bundles"):
        os.makedirs(folder, 0o711, exist_ok=True)
