"""Where the build executor works: layers by key, bases brought in, steps run, images committed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from devenv.beneath import remove_tree
from devenv.engine import Bind
from devenv.errors import EngineError, StepFailed, StoreError
from devenv.model.build import Run
from devenv.model.events import Event, Sink
from devenv.model.image import LAYER, Descriptor, Image, ImageConfig, Rootfs
from devenv.model.manifest import Lending, Pairs
from devenv.paths import Paths

from . import mount, observe
from .container import bundle, runtime, snapshot
from .container.snapshot import Stage
from .container.step import Step
from .host import bootstrap, lent, tools
from .slot import pool
from .slot.ids import COUNT, host_start
from .state import State, this_process
from .store import image, layer
from .store.config import config_json
from .store.layout import Store
from .store.unpack import unpack
from .trouble import trouble

EPOCH = 0
"""Times in layers and images aren't later than this: the same content has the same digest whenever it is built."""

_BOOTSTRAP_VERSION = "2"


class Shop:
    """The Workshop on this host. Its methods may be called by several threads at once."""

    def __init__(
        self,
        paths: Paths,
        env: Mapping[str, str],
        stage: Callable[[], Stage],
        begin: Callable[[State], None],
        architecture: str,
    ) -> None:
        self.paths = paths
        self.env = env
        self.architecture = architecture
        self.lending = Lending()
        self.stage = stage
        self._begin = begin
        self._store = Store(paths.layout)
        self._local = threading.local()
        self.running: set[str] = set()
        self._programs: set[int] = set()
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """SQLite connections belong to the thread that made them."""
        if not hasattr(self._local, "state"):
            self._local.state = State(self.paths.state)
        found: State = self._local.state
        return found

    def open(self) -> None:
        self._begin(self.state)
        self.stage()

    def lend(self, lending: Lending) -> None:
        self.lending = lending

    # Layers --------------------------------------------------------------------------------------

    @trouble("look up a layer")
    def layer(self, key: str) -> int | None:
        self._begin(self.state)
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
    def edit(self, key: str, layers: Sequence[int]) -> Iterator[str]:
        with trouble("make a layer"), self._draft(key, anyway=True) as draft:
            upper, work = snapshot.new_upper(draft.folder, 0)
            with self.stage().staging() as staging:
                names = [str(number) for number in layers]
                yield (
                    snapshot.merged(staging, self.paths.layers, names, upper=upper, work=work, volatile=True)
                    if names
                    else upper
                )
            # Only overlayfs leaves marks of its own that must go.
            draft.keep(upper, layer.adopt(upper, 0, COUNT) if layers else int(any(os.scandir(upper))))

    @trouble("run a step")
    def run(
        self,
        key: str,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: Sequence[Bind],
        output: Callable[[str], None],
        keep_failed: str = "",
    ) -> int:
        with self._draft(key) as draft:
            if draft.found is not None:
                return draft.found
            slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self.stage().host_namespace)
            try:
                step = Step(self, draft.folder, slot, tuple(layers), run, env, user, workdir, tuple(binds))
                code = step.execute(f"build-{draft.identifier}", output)
                if code and not keep_failed:
                    raise _failed(code)
                size = layer.adopt(step.upper, host_start(slot), COUNT)
            finally:
                self.state.release_slot(slot)
            if code:
                draft.key = None
                draft.keep(step.upper, size)
                # A secret that was given as a variable must not come into an image.
                secret = {mount.env for mount in run.mounts}
                told = {name: value for name, value in env.items() if name not in secret}
                self._keep_failed(keep_failed, (*layers, draft.identifier), told, user, workdir)
                raise _failed(code, hint=f"look inside: devenv run --image {keep_failed} -- sh")
            draft.keep(step.upper, size)
            return draft.result

    def cancel(self) -> None:
        # Called while an error is on its way, again and again: that one is told.
        for identifier in tuple(self.running):
            with suppress(EngineError):
                runtime.choose("", self.paths.runtime).kill(identifier, signal.SIGKILL)
        with self._lock:
            for program in self._programs:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(program, signal.SIGKILL)

    @contextmanager
    def _cancelled(self) -> Iterator[Callable[[int], None]]:
        """For the pids of programs: while this lasts, cancel() kills them."""
        begun: list[int] = []

        def started(pid: int) -> None:
            begun.append(os.pidfd_open(pid))
            with self._lock:
                self._programs.add(begun[-1])

        try:
            yield started
        finally:
            with self._lock:
                self._programs.difference_update(begun)
            for program in begun:
                os.close(program)

    def forget(self, key: str) -> None:
        self.state.forget_key(key)

    def unpack(self, archive: BinaryIO, folder: int) -> None:
        unpack(archive, f"/proc/self/fd/{folder}")

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

    def memory(self, folder: str) -> str:
        return self.paths.hashes(hashlib.sha256(os.fsencode(folder)).hexdigest()[:32])

    def reaches(self, address: str) -> bool:
        from .slot import reach  # ipaddress, only for the rare ADD of a URL

        return reach.reaches(address, self.state.setting("subnet") or "", self.env.get(reach.VARIABLE, ""))

    @trouble("fetch a tool")
    def tool(self, name: str) -> str:
        bundle = lent.bundle("host")
        # uv knows the usual authorities only, unless it is told; a host may have one of its own.
        env = {"SSL_CERT_FILE": bundle, **self.env} if bundle else self.env
        tools.ensure(self.paths.tools, name, env)
        return f"{self.paths.tools}/{name}"

    # Bases ---------------------------------------------------------------------------------------

    def peek(self, reference: str) -> Rootfs:
        kind, _, value = reference.partition(":")
        if kind == "bootstrap":
            sources = bootstrap.sources(value, bootstrap.archive(self.lending.mirror))
            return Rootfs(
                _hash("bootstrap", _BOOTSTRAP_VERSION, self.architecture, sources), (), self._bootstrap_config()
            )
        if kind == "oci":
            found = self._manifest(value)
            return Rootfs(_hash("oci", found.descriptor.digest), (), found.config)
        raise StoreError(
            f"find base {reference}: registries are not supported yet", hint="`contexts:` can say where it comes from"
        )

    @trouble("bring in a base")
    def base(self, reference: str, sink: Sink) -> Rootfs:
        rootfs = self.peek(reference)
        kind, _, value = reference.partition(":")
        if kind == "bootstrap":
            layers: tuple[int, ...] = (self._bootstrap(rootfs.key, value, sink),)
        else:
            layers = self._import(value, sink)
        return Rootfs(rootfs.key, layers, rootfs.config)

    def _bootstrap(self, key: str, suite: str, sink: Sink) -> int:
        with self._draft(key) as draft:
            if draft.found is not None:
                return draft.found
            name = f"bootstrap:{suite}"
            sink(Event("started", name))
            begun = time.monotonic()
            slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self.stage().host_namespace)
            try:
                self._mmdebstrap(suite, slot, draft.folder, lambda line: sink(Event("output", name, line)))
            finally:
                self.state.release_slot(slot)
            with open(f"{draft.folder}/root.tar", "rb") as stream:
                made = unpack(stream, f"{draft.folder}/upper")
            draft.keep(f"{draft.folder}/upper", made.size)
            sink(Event("done", name, seconds=time.monotonic() - begun))
            return draft.result

    def _mmdebstrap(self, suite: str, slot: int, draft: str, tell: Callable[[str], None]) -> None:
        with self.stage().staging() as staging, self._cancelled() as started:
            # The namespace's root can't walk through our 0700 folders; it gets a place of its own to work in.
            folder = f"{draft}/bootstrap"
            os.mkdir(folder, 0o700)
            os.chown(folder, host_start(slot), host_start(slot))
            place = staging.place()
            mount.bind(folder, place, attributes=("nosuid",))
            bootstrap.make(
                suite,
                bootstrap.sources(suite, bootstrap.archive(self.lending.mirror)),
                user_namespace=f"{self.paths.slot(slot)}/user",
                folder=place,
                output=f"{draft}/root.tar",
                architecture=self.architecture,
                options=(*lent.apt_proxies(self.proxies()), *lent.apt_age()),
                tell=tell,
                epoch=EPOCH,
                started=started,
            )

    def _bootstrap_config(self) -> ImageConfig:
        return ImageConfig(env=(("PATH", bundle.PATH),), cmd=("/bin/bash",), architecture=self.architecture)

    def _manifest(self, value: str) -> image.ImageManifest:
        folder, tag = (value, "") if os.path.isdir(value) else value.rpartition(":")[::2]
        if not os.path.isfile(f"{folder}/oci-layout"):
            raise StoreError(
                f"read oci:{value}: no image layout there", hint="it is the folder that holds `oci-layout`"
            )
        return image.read(Store(folder), tag, f"linux/{self.architecture}")

    def _import(self, value: str, sink: Sink) -> tuple[int, ...]:
        found = self._manifest(value)
        folder = value if os.path.isdir(value) else value.rpartition(":")[0]
        source = Store(folder)
        layers = []
        for descriptor, diff_id in zip(found.layers, found.diff_ids, strict=True):
            with self._draft(_hash("layer", diff_id)) as draft:
                if draft.found is None:
                    sink(Event("started", f"layer {diff_id[7:19]}"))
                    begun = time.monotonic()
                    with source.open(descriptor) as stream:
                        made = unpack(stream, f"{draft.folder}/upper", diff_id=diff_id)
                    draft.keep(f"{draft.folder}/upper", made.size)
                    sink(Event("done", f"layer {diff_id[7:19]}", seconds=time.monotonic() - begun))
                layers.append(draft.result)
        return tuple(layers)

    # Images --------------------------------------------------------------------------------------

    @trouble("commit an image")
    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str]) -> Image:
        self._store.init()
        descriptors = [self._packed(number) for number in rootfs.layers]
        descriptor = image.write(self._store, rootfs.config, descriptors, EPOCH)
        mount.sync(self.paths.home)
        size = sum(packed.size for packed in descriptors)
        config = config_json(rootfs.config, [packed.digest for packed in descriptors], [], EPOCH).decode()
        # The names first: one without a row is rubbish, a row whose name was never written would stay without.
        for reference in references or (descriptor.digest[7:19],):
            self._store.tag(reference, descriptor)
        if self.state.image_of(key) not in (None, descriptor.digest):
            remove_tree(f"{self.paths.home}/receipts")  # they speak of another image of this key
        self.state.commit_image(descriptor.digest, key, rootfs.layers, config, size, references)
        return Image(descriptor.digest, tuple(references), rootfs.config, rootfs.layers, time.time(), size, key)

    def pack(self, layer: int) -> None:
        self._packed(layer)

    def _packed(self, number: int) -> Descriptor:
        """The layer's blob; made when there is none yet."""
        blob_of = self.state.layer_blob(number)
        if blob_of is not None and self._store.has(Descriptor(LAYER, *blob_of)):
            return Descriptor(LAYER, *blob_of)
        self._store.init()
        with self._store.writer(LAYER) as blob:
            layer.pack(self.paths.layer(number), blob, epoch=None)
        self.state.set_blob(number, blob.descriptor.digest, blob.descriptor.size)
        return blob.descriptor

    def _keep_failed(self, name: str, layers: Sequence[int], env: Mapping[str, str], user: str, workdir: str) -> None:
        config = ImageConfig(
            tuple(env.items()), user=user, workdir=workdir, cmd=("/bin/sh",), architecture=self.architecture
        )
        self.commit(Rootfs("", tuple(layers), config), "", (name,))

    # Inside --------------------------------------------------------------------------------------

    @contextmanager
    def _draft(self, key: str, *, anyway: bool = False) -> Iterator[_Draft]:
        """A folder to make the layer `key` in, alone: who comes second waits, and finds it made.

        `anyway`: it gets a folder all the same, for a caller that can't stop; what is in it then goes.
        """
        path = f"{self.paths.locks}/{key[:40]}"
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self.layer(key)
            if found is not None and not anyway:
                yield _Draft(self, key, found, "", found)
                return
            identifier, folder, owner = self._new_draft()
            try:
                yield _Draft(self, key, identifier, folder, found)
            finally:
                remove_tree(folder)
                os.close(owner)
                self.state.drop_reserved(identifier)
        finally:
            os.close(lock)

    def _new_draft(self) -> tuple[int, str, int]:
        """A new number, its draft folder, and the lock that says somebody is at work there."""
        while True:
            identifier = self.state.reserve_layer()
            folder = f"{self.paths.drafts}/{identifier}"
            os.mkdir(folder, 0o700)
            try:
                owner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            fcntl.flock(owner, fcntl.LOCK_EX)
            if os.path.isdir(folder):
                return identifier, folder, owner
            os.close(owner)  # swept before it was locked

    def proxies(self) -> Pairs:
        return lent.proxy_variables(self.env) if self.lending.proxy == "host" else ()


class _Draft:
    """A layer being made: `found` is the one that was there already."""

    def __init__(self, shop: Shop, key: str | None, identifier: int, folder: str, found: int | None) -> None:
        self.shop = shop
        self.key = key
        self.identifier = identifier
        self.folder = folder
        self.found = found
        self.result = identifier

    def keep(self, upper: str, size: int) -> None:
        """`upper` is whole: it becomes the layer."""
        if self.found is not None:
            return
        target = self.shop.paths.layer(self.identifier)
        remove_tree(target)  # of a store whose database was lost: nothing vouches for it
        os.rename(upper, target)
        self.result = self.shop.state.layer_made(self.identifier, self.key, size)


def _failed(code: int, hint: str = "") -> StepFailed:
    return StepFailed(f"exit code {code}", code=code, hint=hint)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
