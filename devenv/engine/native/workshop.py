"""Where the build executor works: layers by key, bases brought in, steps run, images committed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath, remove_tree
from devenv.engine import Bind
from devenv.errors import StepFailed, StoreError, Unsupported
from devenv.model.build import Run
from devenv.model.events import Event, Sink
from devenv.model.image import LAYER, Descriptor, Image, ImageConfig, Rootfs
from devenv.model.manifest import Lending, Pairs

from . import (
    bootstrap,
    bundle,
    host,
    image,
    layer,
    lending,
    mount,
    observe,
    pool,
    process,
    runtime,
    snapshot,
    spec,
    tools,
)
from .ids import COUNT, host_start
from .paths import Paths
from .snapshot import Stage, Staging
from .state import State, this_process
from .store import Store
from .trouble import trouble
from .unpack import unpack

EPOCH = 0
"""Times in layers and images aren't later than this: the same content has the same digest whenever it is built."""

_BOOTSTRAP_VERSION = "1"
_APT_CONF = "/run/devenv/apt.conf"


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
        self._stage = stage
        self._begin = begin
        self._store = Store(paths.layout)
        self._local = threading.local()
        self.running: set[str] = set()

    @property
    def state(self) -> State:
        """SQLite connections belong to the thread that made them."""
        if not hasattr(self._local, "state"):
            self._local.state = State(self.paths.state)
        found: State = self._local.state
        return found

    def open(self) -> None:
        self._begin(self.state)
        self._stage()

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
        with self._stage().staging() as staging:
            yield snapshot.merged(staging, self.paths.layers, [str(number) for number in layers])

    @contextmanager
    def edit(self, key: str, layers: Sequence[int]) -> Iterator[str]:
        with trouble("make a layer"), self._draft(key) as draft:
            upper, work = snapshot.new_upper(draft.folder, 0)
            with self._stage().staging() as staging:
                names = [str(number) for number in layers]
                yield snapshot.merged(staging, self.paths.layers, names, upper=upper, work=work) if names else upper
            # Only overlayfs leaves marks of its own that must go.
            draft.keep(upper, layer.adopt(upper, 0, COUNT) if layers else 0)

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
            slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self._stage().host_namespace)
            try:
                step = _Step(self, draft.folder, slot, tuple(layers), run, env, user, workdir, tuple(binds))
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
        engine = runtime.choose("", self.paths.runtime)
        for identifier in tuple(self.running):
            engine.kill(identifier, signal.SIGKILL)

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

    @trouble("fetch a tool")
    def tool(self, name: str) -> str:
        tools.ensure(self.paths.tools, name, self.env)
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
            slot = pool.claim(self.paths, self.state, this_process(), mount_namespace=self._stage().host_namespace)
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
        with self._stage().staging() as staging:
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
                options=host.apt_proxies(self._proxies()),
                tell=tell,
                epoch=EPOCH,
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
        config = image.config_json(rootfs.config, [packed.digest for packed in descriptors], [], EPOCH).decode()
        # The names first: one without a row is rubbish, a row whose name was never written would stay without.
        for reference in references or (descriptor.digest[7:19],):
            self._store.tag(reference, descriptor)
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
    def _draft(self, key: str) -> Iterator[_Draft]:
        """A folder to make the layer `key` in, alone: who comes second waits, and finds it made."""
        path = f"{self.paths.locks}/{key[:40]}"
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self.layer(key)
            if found is not None:
                yield _Draft(self, key, found, "", found)
                return
            identifier, folder, owner = self._new_draft()
            try:
                yield _Draft(self, key, identifier, folder, None)
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

    def _proxies(self) -> Pairs:
        return host.proxy_variables(self.env) if self.lending.proxy == "host" else ()

    def variables(self, found: Pairs) -> Pairs:
        """Variables that name services of the host, as they are in a step."""
        return lending.reachable(self.paths, self.state, found, mount_namespace=self._stage().host_namespace)


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


class _Step:
    """One RUN: its root, its bundle, its run."""

    def __init__(
        self,
        shop: Shop,
        folder: str,
        slot: int,
        layers: tuple[int, ...],
        run: Run,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: tuple[Bind, ...],
    ) -> None:
        self.shop = shop
        self.folder = folder
        self.slot = slot
        self.start = host_start(slot)
        self.layers = layers
        self.operation = run
        self.env = env
        self.user = user
        self.workdir = workdir
        self.binds = binds
        self.proxies = shop.variables(shop._proxies())
        self.upper, self.work = snapshot.new_upper(folder, self.start)

    def execute(self, identifier: str, output: Callable[[str], None]) -> int:
        """Run it; the upperdir then has what it wrote, and nothing of what was mounted for it."""
        paths = self.shop.paths
        engine = runtime.choose("", paths.runtime)
        lock = bundle.own(paths.bundle(identifier), bundle.Owner(engine.path))
        userns = os.open(f"{paths.slot(self.slot)}/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.shop._stage().staging() as staging, self._locks():
                names = [*map(str, self.layers), snapshot.INIT]
                root = snapshot.merged(
                    staging, paths.layers, names, userns=userns, start=self.start, upper=self.upper, work=self.work
                )
                bundle.refuse_links(paths, self.layers)
                missing = _missing(root, [bind.target for bind in self.binds])
                config = self._config(identifier, staging, root, userns)
                folder = bundle.save(paths, identifier, spec.config_json(config))
                self.shop.running.add(identifier)
                code = process.lines(engine.run(identifier, folder), output)
            _remove_empty(self.upper, missing)
            return code
        finally:
            self.shop.running.discard(identifier)
            engine.delete(identifier)
            remove_tree(paths.bundle(identifier))
            os.close(userns)
            os.close(lock)

    def _config(self, identifier: str, staging: Staging, root: str, userns: int) -> spec.BundleSpec:
        who = bundle.find_identity(root, self.user)
        certificates = host.bundle(self.shop.lending.certificates)
        slot = self.shop.paths.slot(self.slot)
        online = self.operation.network == "default"
        return spec.BundleSpec(
            rootfs=root,
            hostname="build",
            process=spec.ProcessSpec(
                self.operation.argv, self._environment(who, certificates), who, self.workdir, capabilities=spec.BUILD
            ),
            user_namespace=f"{slot}/user",
            id_start=self.start,
            network_namespace=f"{slot}/net" if online else "",
            cgroup=f"/devenv/{identifier}",
            seccomp=bundle.filter_for(root, self.shop.architecture, chroot=True),
            attachments=(*self._files(staging, certificates, online), *self._attachments(staging, userns)),
            tmpfs=tuple(
                spec.Tmpfs(bind.target, bind.size, bind.mode if bind.mode is not None else 0o1777, bind.owner)
                for bind in self.binds
                if bind.kind == "tmpfs"
            ),
        )

    def _environment(self, who: spec.Identity, certificates: str) -> Pairs:
        """What the step itself says wins over what the host lends."""
        lent = (*host.certificate_variables(certificates), *self.proxies)
        apt = (("APT_CONFIG", _APT_CONF),) if host.apt_settings(certificates, self.proxies) else ()
        registries = self.shop.variables(host.registry_variables(self.shop.env))
        own = tuple(self.env.items())
        return bundle.merge((("PATH", bundle.PATH), ("HOME", who.home)), lent, apt, registries, own)

    def _files(self, staging: Staging, certificates: str, online: bool) -> list[spec.Attachment]:
        network = pool.network(self.shop.paths, self.shop.state)
        files = {
            "/etc/hosts": host.hosts("build", (), ""),
            "/etc/hostname": b"build\n",
            "/etc/resolv.conf": host.resolv_conf(network.gateway) if online else b"",
        }
        settings = host.apt_settings(certificates, self.proxies)
        if settings:
            files[_APT_CONF] = settings
        attached = [
            spec.Attachment(staging.file(content, owner=self.start), target, readonly=True)
            for target, content in files.items()
        ]
        if certificates:
            attached.append(
                spec.Attachment(snapshot.bind_file(staging, certificates), host.CERTIFICATES, readonly=True)
            )
        return attached

    def _attachments(self, staging: Staging, userns: int) -> list[spec.Attachment]:
        return [
            spec.Attachment(self._source(bind, staging, userns), bind.target, readonly=bind.readonly)
            for bind in self.binds
            if bind.kind != "tmpfs"
        ]

    def _source(self, bind: Bind, staging: Staging, userns: int) -> str:
        """The bind's source, where the container's init can reach it and with ids it knows."""
        uid, gid = (self.start + number for number in bind.owner)
        if bind.kind == "secret":
            return staging.file(bind.content, mode=bind.mode if bind.mode is not None else 0o400, owner=uid, group=gid)
        if bind.kind == "cache":
            return self._cache(bind, staging, userns)
        if not bind.layers:  # one of our own tools: for anybody to read
            return snapshot.bind_folder(staging, bind.source, readonly=True)
        names = [str(number) for number in bind.layers]
        upper, work = (
            ("", "")
            if bind.readonly
            else snapshot.new_upper(f"{self.folder}/{len(os.listdir(self.folder))}", self.start)
        )
        root = snapshot.merged(
            staging, self.shop.paths.layers, names, userns=userns, start=self.start, upper=upper, work=work
        )
        return snapshot.bind_beneath(staging, root, bind.source, readonly=bind.readonly)

    def _cache(self, bind: Bind, staging: Staging, userns: int) -> str:
        try:
            return snapshot.bind_folder(staging, bind.source, userns=userns, readonly=bind.readonly)
        except Unsupported:
            # Ids can't be mapped here: the step works as with an empty cache, and what it puts there goes with it.
            own = f"{self.folder}/{len(os.listdir(self.folder))}"
            os.mkdir(own, stat.S_IMODE(os.stat(bind.source).st_mode))
            os.chown(own, *(self.start + number for number in bind.owner))
            return snapshot.bind_folder(staging, own)

    @contextmanager
    def _locks(self) -> Iterator[None]:
        """`sharing=locked` caches are had by one step at a time, in one order, so that two steps can't wait for each other."""
        held = []
        try:
            for folder in sorted({bind.source for bind in self.binds if bind.locked}):
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                held.append(fd)
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            for fd in held:
                os.close(fd)


def _failed(code: int, hint: str = "") -> StepFailed:
    return StepFailed(f"exit code {code}", code=code, hint=hint)


def _missing(root: str, targets: Sequence[str]) -> list[str]:
    """The folders and files on the way to mount targets that aren't in the root: the runtime will make them."""
    missing: set[str] = set()
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target in targets:
            parts = target.strip("/").split("/")
            for end in range(len(parts), 0, -1):
                path = "/".join(parts[:end])
                try:
                    os.close(open_beneath(fd, path, os.O_PATH))
                except OSError:
                    missing.add(path)
                else:
                    break
    finally:
        os.close(fd)
    return sorted(missing, reverse=True)


def _remove_empty(upper: str, paths: Sequence[str]) -> None:
    """Remove the mount points that the runtime made, as far as nothing was put there. The step may have left links."""
    fd = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in paths:
            parent, _, name = path.rpartition("/")
            try:
                above = open_beneath(fd, parent or ".", os.O_PATH | os.O_DIRECTORY, resolve=NO_SYMLINKS | IN_ROOT)
            except OSError:
                continue  # never made, or replaced by the step
            try:
                _remove_stub(above, name)
            finally:
                os.close(above)
    finally:
        os.close(fd)


def _remove_stub(above: int, name: str) -> None:
    try:
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=above)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.unlink(name, dir_fd=above)
    except OSError:
        pass  # the step put something there, or took it away


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
