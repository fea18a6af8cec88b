"""Where the build executor works: layers by key, bases brought in, steps run, images committed."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO

from devenv.beneath import remove_tree
from devenv.engine.workshop import Bind
from devenv.errors import EngineError, StepFailed, StoreError
from devenv.model.build import Run, Shared
from devenv.model.events import Event, Sink
from devenv.model.image import Difference, Image, ImageConfig, Offer, Rootfs
from devenv.model.lock import EPOCH, BaseLock, Parcel, Remote, Section
from devenv.model.manifest import Lending

from ..container import bundle, runtime, snapshot
from ..host import archives
from ..slot.ids import COUNT, host_start
from ..store import image, transient
from ..store.adopt import Begun, Normal, adopt, begin
from ..store.compare import compare
from ..store.layout import Store
from ..store.merge import merge
from ..store.twins import share
from ..store.unpack import unpack
from ..trouble import trouble
from . import ahead, bases, commit, pythons, supply
from .draft import drafting, new_draft
from .inquiry import ask
from .site import Site
from .step import Step

_SIBLINGS = 4  # layers made on the same root that a new one is compared with


class Shop:
    """The Workshop on this host. Its methods may be called by several threads at once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.unread = site.paths.unread

    def open(self) -> None:
        self.site.begin()
        self.site.stage()

    def lend(self, lending: Lending) -> None:
        self.site.lending = lending

    def use(self, section: Section) -> None:
        self.site.use(section)

    def apart(self) -> Shop:
        return Shop(self.site.apart())

    # Layers --------------------------------------------------------------------------------------

    def layer(self, key: str) -> int | None:
        return self.site.layer(key)

    def folder(self, layer: int) -> str:
        return self.site.paths.layer(layer)

    def view(self, layers: Sequence[int]) -> AbstractContextManager[str]:
        return self.site.view(layers)

    @contextmanager
    def edit(self, key: str, layers: Sequence[int], clock: int = EPOCH) -> Iterator[str]:
        with trouble("make a layer"), drafting(self.site, key, anyway=True) as draft:
            begun = begin()
            upper, work = snapshot.new_upper(draft.folder, 0)
            with self.site.stage().staging() as staging:
                names = [str(number) for number in layers]
                yield (
                    snapshot.merged(staging, self.site.paths.layers, names, upper=upper, work=work, volatile=True)
                    if names
                    else upper
                )
            if layers:
                size = adopt(upper, 0, COUNT, self._normal(begun, layers, transient.nothing, clock))
            else:  # without overlayfs no marks of its own; and files may be links to other layers', which nobody may touch
                size = int(any(os.scandir(upper)))
            draft.keep(upper, size)

    def _normal(self, begun: Begun, layers: Sequence[int], fates: transient.Fates, clock: int) -> Normal:
        return Normal(clock, begun.earliest(), fates, tuple(self.site.paths.layer(n) for n in reversed(layers)))

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
        parent: str = "",
        clock: int = EPOCH,
    ) -> int:
        with drafting(self.site, key) as draft:
            if draft.found is not None:
                return draft.found
            with self.site.slot() as slot:

                def execute(above: Sequence[int], mounted: Sequence[Bind]) -> tuple[str, int]:
                    names = (*layers, *above)
                    step = Step(self.site, draft.folder, slot, names, run, env, user, workdir, tuple(mounted))
                    return step.upper, step.execute(_named("build", draft.identifier), output)

                begun, upper, code, below, size = ahead.executed(self.site, draft, layers, run, binds, execute, clock)
                if code and not keep_failed:
                    raise _failed(code)
                # What a failed step left is looked at by people: its logs stay.
                normal = self._normal(begun, layers, transient.fates(offline=run.network == "none"), clock)
                over = normal._replace(lowers=(below, *normal.lowers)) if below else normal
                size += adopt(upper, host_start(slot), COUNT, None if code else over)
                if below:
                    merge(upper, below, normal.lowers)
            if code:
                draft.key = None
                draft.keep(upper, size)
                # A secret that was given as a variable must not come into an image.
                secret = {mount.env for mount in run.mounts}
                told = {name: value for name, value in env.items() if name not in secret}
                self._keep_failed(keep_failed, (*layers, draft.identifier), told, user, workdir)
                raise _failed(code, hint=f"look inside: devenv run --image {keep_failed} -- sh")
            if parent:
                share(upper, [self.site.paths.layer(number) for number in self.site.state.siblings(parent, _SIBLINGS)])
            draft.keep(upper, size, parent)
            return draft.result

    @trouble("ask a step")
    def ask(
        self,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        binds: Sequence[Bind],
        output: Callable[[str], None],
        answer: str,
    ) -> str:
        self.open()
        identifier, folder, owner = new_draft(self.site)
        try:
            with self.site.slot() as slot:
                return ask(
                    self.site, (_named("ask", identifier), folder), slot, layers, run, env, binds, output, answer
                )
        finally:
            remove_tree(folder)
            os.close(owner)
            self.site.state.drop_reserved(identifier)

    # What the lock names -------------------------------------------------------------------------

    def archives(self) -> tuple[str, ...]:
        found = archives.archive(self.site.lending.mirror)
        return tuple(root for root in (found.main, found.security) if root)

    @contextmanager
    def parcel(self, parcel: Parcel) -> Iterator[str]:
        with trouble("fetch packages"), supply.folder(self.site, parcel) as folder:
            yield folder

    @trouble("put packages in place")
    def place(self, parcel: Parcel, root: str, target: str) -> None:
        supply.put(self.site, parcel, root, target)

    def cancel(self) -> None:
        # Called while an error is on its way, again and again: that one is told.
        for identifier in tuple(self.site.running):
            with suppress(EngineError):
                runtime.choose("", self.site.paths.runtime).kill(identifier, signal.SIGKILL)
        self.site.ending.end()

    def cache(self, identifier: str, mode: int, owner: tuple[int, int]) -> str:
        return self.site.cache(identifier, mode, owner)

    def reaches(self, address: str) -> bool:
        return self.site.reaches(address)

    def tool(self, name: str) -> str:
        return self.site.tool(name)

    def forget(self, key: str) -> None:
        self.site.state.forget_key(key)

    def unpack(self, archive: BinaryIO, folder: int) -> None:
        unpack(archive, f"/proc/self/fd/{folder}")

    def memory(self, folder: str) -> str:
        return self.site.paths.hashes(hashlib.sha256(os.fsencode(folder)).hexdigest()[:32])

    # Bases ---------------------------------------------------------------------------------------

    def peek(self, reference: str) -> Rootfs:
        kind, _, value = reference.partition(":")
        if kind == "bootstrap":
            inputs = bases.inputs(self._base_lock(value), self.site.architecture)
            return Rootfs(_hash(*inputs), (), self._bootstrap_config())
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

    @trouble("make a base again")
    def base_again(self, reference: str, sink: Sink) -> int:
        return self._bootstrap(os.urandom(32).hex(), reference.partition(":")[2], sink)

    def discard(self, layer: int) -> None:
        self.site.state.drop_layer(layer)
        remove_tree(self.site.paths.layer(layer))

    @trouble("find npm's registry")
    def registry(self) -> str:
        return supply.registry(self.site)

    @trouble("fetch a file")
    def remote(self, url: str, sha256: str = "") -> Remote:
        return supply.measured(self.site, url, sha256)

    @trouble("fetch a file")
    def kept(self, remote: Remote) -> str:
        return supply.kept(self.site, remote)

    @trouble("find a Python")
    def interpreter(self, version: str) -> tuple[str, Remote]:
        return pythons.find(self.site, version)

    def image_digest(self, reference: str) -> str:
        return self._manifest(reference.partition(":")[2]).descriptor.digest

    @trouble("resolve a base")
    def resolve_base(self, suite: str, sink: Sink) -> BaseLock:
        return self._resolve(suite, sink, anew=True)

    def _base_lock(self, suite: str) -> BaseLock:
        """What the lock says, else what was resolved at the first use of this suite and mirror."""
        found = self.site.bases.get(suite) or bases.remembered(self._base_path(suite))
        return found or self._resolve(suite, lambda _: None, anew=False)

    def _base_path(self, suite: str) -> str:
        return self.site.paths.base(f"{suite}-{_hash(self.site.architecture, self.site.lending.mirror or '')[:16]}")

    def _resolve(self, suite: str, sink: Sink, *, anew: bool) -> BaseLock:
        path = self._base_path(suite)
        self.open()
        with drafting(self.site, _hash("resolve", path)) as draft:
            found = None if anew else bases.remembered(path)  # somebody else was quicker
            if found is None:
                sink(Event("started", f"resolve bootstrap:{suite}"))
                begun = time.monotonic()
                with self.site.slot() as slot:
                    found = bases.resolve(self.site, suite, slot, draft.folder)
                bases.remember(path, found)
                sink(Event("done", f"resolve bootstrap:{suite}", seconds=time.monotonic() - begun))
            return found

    def _bootstrap(self, key: str, suite: str, sink: Sink) -> int:
        with drafting(self.site, key) as draft:
            if draft.found is not None:
                return draft.found
            name = f"bootstrap:{suite}"
            sink(Event("started", name))
            begun = time.monotonic()
            with self.site.slot() as slot:
                lock, tell = self._base_lock(suite), lambda line: sink(Event("output", name, line))
                root, size = bases.make(self.site, lock, slot, draft.folder, tell)
            draft.keep(root, size)
            sink(Event("done", name, seconds=time.monotonic() - begun))
            return draft.result

    def _bootstrap_config(self) -> ImageConfig:
        return ImageConfig(env=(("PATH", bundle.PATH),), cmd=("/bin/bash",), architecture=self.site.architecture)

    def _manifest(self, value: str) -> image.ImageManifest:
        folder, tag = (value, "") if os.path.isdir(value) else value.rpartition(":")[::2]
        if not os.path.isfile(f"{folder}/oci-layout"):
            raise StoreError(
                f"read oci:{value}: no image layout there", hint="it is the folder that holds `oci-layout`"
            )
        return image.read(Store(folder), tag, f"linux/{self.site.architecture}")

    def _import(self, value: str, sink: Sink) -> tuple[int, ...]:
        found = self._manifest(value)
        folder = value if os.path.isdir(value) else value.rpartition(":")[0]
        source = Store(folder)
        layers = []
        for descriptor, diff_id in zip(found.layers, found.diff_ids, strict=True):
            with drafting(self.site, _hash("layer", diff_id)) as draft:
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
    def commit(self, rootfs: Rootfs, key: str, references: Sequence[str], clock: int = EPOCH) -> Image:
        return commit.commit(self.site, rootfs, key, references, clock)

    def pack(self, layer: int) -> None:
        commit.packed(self.site, layer)

    @trouble("save an image")
    def export(self, digest: str, target: str, name: str) -> None:
        self.site.begin()
        commit.export(self.site, digest, target, name)

    def offered(self, place: str) -> Mapping[str, Offer]:
        from . import share  # threads and what they need: only for builds that share their work

        return share.offered(place)

    @trouble("take from a cache")
    def take(self, wanted: Sequence[tuple[Shared, Offer]], sink: Sink) -> None:
        from . import share

        share.take(self.site, wanted, sink)

    @trouble("write a cache")
    def give(self, place: str, shared: Sequence[Shared], images: Mapping[str, str], sink: Sink) -> None:
        from . import share

        share.give(self.site, place, shared, images, sink)

    @trouble("compare layers")
    def compare(self, left: int, right: int) -> tuple[Difference, ...]:
        return compare(self.site.paths.layer(left), self.site.paths.layer(right))

    def _keep_failed(self, name: str, layers: Sequence[int], env: Mapping[str, str], user: str, workdir: str) -> None:
        config = ImageConfig(
            tuple(env.items()), user=user, workdir=workdir, cmd=("/bin/sh",), architecture=self.site.architecture
        )
        self.commit(Rootfs("", tuple(layers), config), "", (name,))


def _named(what: str, number: int) -> str:
    """A step's name, which is its cgroup's too: numbers are of one store, and a machine may have several."""
    return f"{what}-{number}-{os.urandom(4).hex()}"


def _failed(code: int, hint: str = "") -> StepFailed:
    return StepFailed(f"exit code {code}", code=code, hint=hint)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
