"""A prepared graph -> an image, in a Workshop: what is in the store is taken, stages that must run do so side by side."""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext

from devenv.beneath import make_parents, text_beneath
from devenv.engine.workshop import Bind, Workshop
from devenv.errors import DevenvError, EngineError, StepFailed
from devenv.model.build import Configure, Copy, Keyed, Mount, Run, Stage, Workdir
from devenv.model.events import Event, Sink
from devenv.model.image import Image, Rootfs
from devenv.model.lock import EPOCH, Remote

from .caches import private
from .caption import called, title
from .configure import SCRATCH as SCRATCH_CONFIG
from .configure import configure
from .copy import copy
from .ignore import is_wildcard
from .key import SCRATCH, independent
from .layers import sole
from .located import located
from .owner import owner_of
from .prepare import PACKAGES, TOOLS, Base, Prepared, locked
from .share import reads

_PATIENCE = 0.1  # seconds between two attempts to end the steps that run
_HEARD = 50  # lines of a step's output that are looked at when it fails


class Cancelled(DevenvError):
    """Another stage failed, or the user interrupted."""


def root(prepared: Prepared, workshop: Workshop, sink: Sink, *, jobs: int) -> Rootfs:
    """The target's root, for a look into it: no image is made of it."""
    return Build(prepared, workshop, sink, threading.Semaphore(max(1, jobs)), {}, "", False, packing=False).everything()


class Build:
    """One build: its stages as futures, each worked on by a thread of its own."""

    def __init__(
        self,
        prepared: Prepared,
        workshop: Workshop,
        sink: Sink,
        places: threading.Semaphore,
        secrets: Mapping[str, bytes],
        keep_failed: str,
        no_cache: bool,
        packing: bool = True,
        image: str = "",
    ) -> None:
        """`image`: whose steps these are, where messages must tell them from another's."""
        self.prepared = prepared
        self.workshop = workshop
        self.sink = sink
        self.places = places
        self.secrets = secrets
        self.keep_failed = keep_failed
        self.no_cache = no_cache
        self.own = image
        self.stop, self.over = threading.Event(), threading.Event()
        self.lock = threading.RLock()
        self.futures: dict[str, Future[Rootfs]] = {}
        self.threads: list[threading.Thread] = []
        self.stages = {stage.name: stage for stage in prepared.graph.stages}
        self.kept = _ancestry(prepared) if packing else frozenset()

    def image(self, references: Sequence[str]) -> Image:
        """The target as an image of these names."""
        return self.workshop.commit(self.everything(), self.prepared.key, references, self.prepared.clock)

    def everything(self) -> Rootfs:
        """The target's root, everything it needs built. No thread is left when this returns or raises."""
        self.workshop.open()
        try:
            target = self.stage(self.prepared.graph.stages[-1].name)
            target.add_done_callback(lambda _: self.over.set())
            self.over.wait()  # for the target, or for a failure of anything that it needs
            if not target.done():
                raise Cancelled("build: stopped")
            return target.result()
        except BaseException as error:
            self.end()
            if isinstance(error, Cancelled) and (cause := self._cause()):
                raise cause from cause.__cause__
            raise
        finally:
            for thread in self.threads:
                thread.join()

    def _cause(self) -> BaseException | None:
        """The failure that others were stopped for."""
        failures = (future.exception() for future in self.futures.values())
        return next((one for one in failures if one and not isinstance(one, Cancelled)), None)

    def end(self) -> None:
        """Whatever is under way ends, and nothing more is begun. From any thread."""
        self.stop.set()
        # Again and again: a step may be just about to start.
        while any(thread.is_alive() for thread in self.threads):
            self.workshop.cancel()
            time.sleep(_PATIENCE)

    # Stages and bases ----------------------------------------------------------------------------

    def stage(self, name: str) -> Future[Rootfs]:
        """The root of a stage; started when first asked for."""
        return self._future(f"stage {name}", lambda: self._stage(self.stages[name]))

    def base(self, name: str) -> Future[Rootfs]:
        """The root of a base or of a context that is an image."""
        return self._future(f"base {name}", lambda: self.brought(self.prepared.bases[name]))

    def _future(self, name: str, work: Callable[[], Rootfs]) -> Future[Rootfs]:
        with self.lock:
            if name in self.futures:
                return self.futures[name]
            future: Future[Rootfs] = Future()
            self.futures[name] = future
            thread = threading.Thread(target=_settle, args=(future, work, self.over), name=name)
            self.threads.append(thread)
            thread.start()
            return future

    def brought(self, base: Base) -> Rootfs:
        if self.stop.is_set():
            raise Cancelled("build: stopped")
        if base.prepared is None:
            return self.workshop.base(base.reference, self.sink)
        nested = self.nested(base.prepared)
        nested.stop = self.stop
        return nested.everything()

    def nested(self, prepared: Prepared) -> Build:
        shared = (self.workshop, self.sink, self.places, self.secrets, self.keep_failed, self.no_cache)
        return Build(prepared, *shared, image=self.own)

    def title(self, keyed: Keyed) -> str:
        """What a step is called in events."""
        return called(self.own, title(keyed.step))

    def _named(self, name: str) -> Future[Rootfs]:
        return self.stage(name) if name in self.stages else self.base(name)

    def _stage(self, stage: Stage) -> Rootfs:
        steps = [keyed for keyed in self.prepared.steps if keyed.stage == stage.index]
        # Whatever missing steps read is started now, so that it is ready, or under way, when they come to it.
        for keyed in steps:
            if self._found(keyed) is None:
                for name in reads(keyed):
                    if name in self.stages or name in self.prepared.bases:
                        self._named(name)
        self._begin_copies(stage.name in self.kept, steps)
        rootfs = self._start(stage)
        for keyed in steps:
            rootfs = self._step(keyed, rootfs)
        if stage.name in self.kept:
            self._pack(rootfs)
        return rootfs

    def made(self, keyed: Keyed, rootfs: Rootfs, layer: int) -> None:
        """A step's layer is there. Nothing more is to be done, when that is all that's wanted (again.py wants more)."""

    def _begin_copies(self, kept: bool, steps: Sequence[Keyed]) -> None:
        """A copy that depends on nothing below it is made as soon as its source is there, whatever the base does."""
        for keyed in steps:
            operation = keyed.step.operation
            if isinstance(operation, Copy) and independent(operation) and self._found(keyed) is None:

                def copied(keyed: Keyed = keyed) -> Rootfs:
                    layer = self.timed(keyed, Rootfs(SCRATCH))
                    if kept:
                        self.workshop.pack(layer)
                    return Rootfs(keyed.key, (layer,))

                self._future(f"copy {keyed.key}", copied)

    def _pack(self, rootfs: Rootfs) -> None:
        """These layers will be in the image: compute their digests while other stages still run."""
        for layer in rootfs.layers:

            def packed(layer: int = layer) -> Rootfs:
                self.workshop.pack(layer)
                return rootfs

            self._future(f"pack {layer}", packed)

    def _start(self, stage: Stage) -> Rootfs:
        if stage.base_is_stage:
            return self.stage(stage.base).result()
        if stage.base == "scratch":
            return Rootfs(SCRATCH, (), SCRATCH_CONFIG)
        return self.base(stage.base).result()

    # Steps ---------------------------------------------------------------------------------------

    def _found(self, keyed: Keyed) -> int | None:
        if isinstance(keyed.step.operation, Configure) or self.no_cache:
            return None
        return self.workshop.layer(keyed.key)

    def _step(self, keyed: Keyed, rootfs: Rootfs) -> Rootfs:
        operation = keyed.step.operation
        config = configure(rootfs.config, keyed.step)
        if isinstance(operation, Configure):
            return rootfs._replace(config=config)
        layer = self._found(keyed)
        begun = self.futures.get(f"copy {keyed.key}")
        if begun is not None:
            layer = begun.result().layers[0]
        elif layer is not None:
            self.sink(Event("cached", self.title(keyed)))
        else:
            layer = self.timed(keyed, rootfs)
        self.made(keyed, rootfs, layer)
        return Rootfs(keyed.result, (*rootfs.layers, layer), config)

    def timed(self, keyed: Keyed, rootfs: Rootfs) -> int:
        for source in reads(keyed):
            if source in self.stages or source in self.prepared.bases:
                self._named(source).result()
        name = self.title(keyed)
        with self.places:
            if self.stop.is_set():
                raise Cancelled("build: stopped")
            self.sink(Event("started", name))
            begun = time.monotonic()
            try:
                if self.no_cache:
                    self.workshop.forget(keyed.key)
                layer = self._do(name, keyed, rootfs)
            except DevenvError as error:
                if self.stop.is_set() and _ended(error):
                    self.sink(Event("stopped", name, seconds=time.monotonic() - begun))
                    raise Cancelled("build: stopped") from error
                self.sink(Event("failed", name, str(error), time.monotonic() - begun))
                raise located(self.prepared, keyed, error) from error
            self.sink(Event("done", name, seconds=time.monotonic() - begun))
            return layer

    def _do(self, title: str, keyed: Keyed, rootfs: Rootfs) -> int:
        operation = keyed.step.operation
        if isinstance(operation, Run):
            with ExitStack() as held:
                return self._run(title, keyed, operation, rootfs, held)
        under = () if isinstance(operation, Copy) and independent(operation) else rootfs.layers
        with self.workshop.edit(keyed.key, under, self.prepared.clock) as root:
            if isinstance(operation, Copy):
                self._copy(operation, root)
            elif isinstance(operation, Workdir):
                _make_folder(root, operation.path)
        layer = self.workshop.layer(keyed.key)
        assert layer is not None  # edit() has just made it
        return layer

    def _run(self, title: str, keyed: Keyed, run: Run, rootfs: Rootfs, held: ExitStack) -> int:
        env = {"SOURCE_DATE_EPOCH": str(self.prepared.clock), **dict(keyed.step.env)}
        binds = []
        for mount in run.mounts:
            if mount.kind == "secret" and mount.id not in self.secrets:
                if mount.required:
                    raise EngineError(f"mount secret {mount.id}: not given", hint=f"--secret id={mount.id},src=FILE")
                continue
            if mount.env:
                env[mount.env] = self.secrets[mount.id].decode(errors="surrogateescape")
            if mount.target:
                binds.append(self._bind(mount, held))
        binds += [
            Bind("secret", f"/dev/pipes/{heredoc.name}", content=heredoc.content.encode(), mode=0o755)
            for heredoc in run.heredocs
        ]
        said: deque[str] = deque(maxlen=_HEARD)

        def heard(line: str) -> None:
            said.append(line)
            self.sink(Event("output", title, line))

        try:
            return self.workshop.run(
                keyed.key,
                rootfs.layers,
                run,
                env=env,
                user=keyed.step.user,
                workdir=keyed.step.workdir,
                binds=binds,
                output=heard,
                keep_failed=self.keep_failed,
                parent=keyed.parent,
                clock=self.prepared.clock,
            )
        except StepFailed as error:
            error.output = tuple(said)
            raise

    def _bind(self, mount: Mount, held: ExitStack) -> Bind:
        """`held`: until when a cache that is had alone stays so, and packages stay where they are."""
        owner = (mount.uid, mount.gid)
        if mount.kind == "tmpfs":
            return Bind("tmpfs", mount.target, size=mount.size, mode=mount.mode, owner=owner)
        if mount.kind == "secret":
            return Bind("secret", mount.target, content=self.secrets[mount.id], mode=mount.mode, owner=owner)
        if mount.kind == "cache":
            mode = 0o755 if mount.mode is None else mount.mode
            if mount.sharing == "private":
                folder = held.enter_context(private(mount.id, lambda name: self.workshop.cache(name, mode, owner)))
            else:
                folder = self.workshop.cache(mount.id, mode, owner)
            return Bind("cache", mount.target, folder, readonly=mount.readonly, locked=mount.sharing == "locked")
        if mount.source_from in self.stages or mount.source_from in self.prepared.bases:
            layers = self._named(mount.source_from).result().layers
            return Bind("bind", mount.target, mount.source, layers, readonly=mount.readonly)
        if mount.source_from == TOOLS:
            return Bind("bind", mount.target, self.workshop.tool(mount.source.strip("/")))
        if mount.source_from == PACKAGES:
            parcel = locked(self.prepared.parcels, mount)
            if parcel.kind == "debs":
                return Bind("bind", mount.target, parcel=parcel)  # the root that they are for decides how it has them
            return Bind("bind", mount.target, held.enter_context(self.workshop.parcel(parcel)))
        return Bind("bind", mount.target, mount.source, (self._taken(mount),), readonly=mount.readonly)

    def _taken(self, mount: Mount) -> int:
        """What a step mounts of a context, as a layer: without what the ignore file names, and safe from the step."""
        context = self.prepared.contexts[mount.source_from]
        source = mount.source.strip("/")
        # The mount then looks for `source` in the layer, as it would in the context.
        operation = Copy((source or ".",), f"/{source}" if source else "/", parents=False)
        key = f"context-{self.prepared.digests[mount.source_from, mount]}"
        found = self.workshop.layer(key)
        if found is None:
            with self.workshop.edit(key, ()) as root:
                copy(operation, context.root, root, matcher=context.matcher, owner=(0, 0), epoch=EPOCH)
                self._unchanged(mount.source_from, mount)
            found = self.workshop.layer(key)
        assert found is not None
        return found

    def _copy(self, operation: Copy, root: str) -> None:
        with ExitStack() as stack:
            fetched = {url: self.workshop.kept(self._remote(url, operation.checksum)) for url in operation.urls}
            name = operation.source_from
            if name in self.stages or name in self.prepared.bases:
                layers = self._named(name).result().layers
                source = stack.enter_context(self._source(operation, layers))
                linkable = independent(operation) and not operation.chown and operation.chmod is None
                owner = owner_of(operation.chown, *_accounts(root)) if operation.chown else None
                copy(operation, source, root, matcher=None, owner=owner, epoch=None, hardlink=linkable)
                return
            if name == PACKAGES:
                self.workshop.place(locked(self.prepared.parcels, operation), root, operation.target)
                return
            context = self.prepared.contexts[name]
            owner = owner_of(operation.chown, *_accounts(root)) if operation.chown else (0, 0)
            copy(
                operation,
                context.root,
                root,
                matcher=context.matcher,
                owner=owner,
                epoch=EPOCH,
                unpack=self.workshop.unpack,
                fetched=fetched,
            )
            if operation.sources:
                self._unchanged(name, operation)

    def _remote(self, url: str, checksum: str) -> Remote:
        if not checksum and url in self.prepared.files:
            return self.prepared.files[url]
        return self.workshop.remote(url, checksum.removeprefix("sha256:"))

    def _unchanged(self, name: str, operation: Copy | Mount) -> None:
        """What was read of a context is what went into the key, or an edit meanwhile would be in the cache for good."""
        if self.prepared.contexts[name].digest(operation) != self.prepared.digests[name, operation]:
            raise EngineError("copy from the context: it changed while it was read", hint="run the command again")

    def _source(self, operation: Copy, layers: Sequence[int]) -> AbstractContextManager[str]:
        """Where to copy from: the one layer that has it all, whose files can be linked, or the layers merged."""
        if len(operation.sources) == 1 and independent(operation) and not is_wildcard(operation.sources[0]):
            folders = [self.workshop.folder(layer) for layer in layers]
            found = sole(folders, posixpath.normpath(f"/{operation.sources[0]}").strip("/"))
            if found is not None:
                return nullcontext(found)
        return self.workshop.view(layers)


def _ancestry(prepared: Prepared) -> frozenset[str]:
    """The target stage and the stages it is built upon: whose layers are the image's."""
    stages = {stage.name: stage for stage in prepared.graph.stages}
    found = [prepared.graph.stages[-1]]
    while found[-1].base_is_stage:
        found.append(stages[found[-1].base])
    return frozenset(stage.name for stage in found)


def _ended(error: DevenvError) -> bool:
    """Whether that can be because it was ended, rather than a step's own end."""
    return not isinstance(error, StepFailed) or error.code > 128


def _settle(future: Future[Rootfs], work: Callable[[], Rootfs], failed: threading.Event) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
        failed.set()


def _accounts(root: str) -> tuple[str, str]:
    """The texts of /etc/passwd and /etc/group in a root, "" where there is none."""
    return text_beneath(root, "etc/passwd"), text_beneath(root, "etc/group")


def _make_folder(root: str, path: str) -> None:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(make_parents(fd, os.fsencode(path.strip("/") or ".")))
    except OSError as error:
        raise EngineError(f"make folder {path}: {error.strerror}") from error
    finally:
        os.close(fd)
