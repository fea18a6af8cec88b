"""One RUN of a build: a root, its mounts and the process's words -> its exit code, and what it wrote in an upperdir."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath, remove_tree
from devenv.engine.workshop import Bind
from devenv.errors import CommandFailed, Unsupported
from devenv.model.build import Run
from devenv.model.manifest import Pairs

from .. import process
from ..container import bundle, given, owning, runtime, snapshot, spec
from ..container.snapshot import Staging
from ..host import lent
from ..slot import doors, pool
from ..slot.ids import host_start
from .site import Site

_APT_CONF = "/run/devenv/apt.conf"


class Step:
    """One RUN: its root, its bundle, its run."""

    def __init__(
        self,
        site: Site,
        folder: str,
        slot: int,
        layers: tuple[int, ...],
        run: Run,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: tuple[Bind, ...],
    ) -> None:
        self.site = site
        self.folder = folder
        self.slot = slot
        self.start = host_start(slot)
        self.layers = layers
        self.operation = run
        self.env = env
        self.user = user
        self.workdir = workdir
        self.binds = binds
        # What the step itself says wins over what the host lends.
        named = (*site.proxies(), *lent.registry_variables(site.env))
        told = tuple(pair for pair in named if pair[0] not in env)
        self.lent, self.loans = lent.through(told, pool.network(site.paths, site.state).gateway)
        self.upper, self.work = snapshot.new_upper(folder, self.start)

    def execute(self, identifier: str, output: Callable[[str], None]) -> int:
        """Run it; the upperdir then has what it wrote, and nothing of what was mounted for it."""
        paths = self.site.paths
        engine = runtime.choose("", paths.runtime)
        lock = owning.own(paths.bundle(identifier), owning.Owner(engine.path))
        userns = os.open(f"{paths.slot(self.slot)}/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.site.stage().staging() as staging, self._locks():
                names = [*map(str, self.layers), snapshot.INIT]
                root = snapshot.merged(
                    *(staging, paths.layers, names),
                    userns=userns,
                    start=self.start,
                    upper=self.upper,
                    work=self.work,
                    volatile=True,  # the commit syncs
                )
                bundle.refuse_links(paths, self.layers)
                config = self._config(identifier, staging, root, userns)
                mounted = [*(one.target for one in config.attachments), *(one.target for one in config.tmpfs)]
                missing = _missing(root, mounted)
                if refused := self._refused(root, config):
                    output(refused.message)
                    return refused.exit_code
                folder = bundle.save(paths, identifier, spec.config_json(config))
                self.site.running.add(identifier)
                if self.operation.network == "default":
                    there = self.site.stage().host_namespace
                    doors.open_doors(paths, self.site.state, self.slot, (), self.loans, mount_namespace=there)
                code = process.lines(engine.run(identifier, folder), output)
            _remove_empty(self.upper, missing)
            return code
        finally:
            self.site.running.discard(identifier)
            engine.delete(identifier)
            doors.close(paths, self.site.state, self.slot)
            remove_tree(paths.bundle(identifier))
            os.close(userns)
            os.close(lock)

    def _refused(self, root: str, config: spec.BundleSpec) -> CommandFailed | None:
        """Why the command can't be run at all: printed like a shell's own words, with a shell's code."""
        hidden = [tmpfs.target for tmpfs in config.tmpfs]
        try:
            bundle.refuse(root, config.process, config.process.argv, config.attachments, self.workdir, hidden)
        except CommandFailed as error:
            return error
        return None

    def _config(self, identifier: str, staging: Staging, root: str, userns: int) -> spec.BundleSpec:
        who = bundle.find_identity(root, self.user)
        certificates = lent.bundle(self.site.lending.certificates)
        slot = self.site.paths.slot(self.slot)
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
            seccomp=bundle.filter_for(root, self.site.architecture, chroot=True),
            attachments=(*self._files(staging, root, certificates, online), *self._attachments(staging, userns)),
            tmpfs=tuple(
                spec.Tmpfs(bind.target, bind.size, bind.mode if bind.mode is not None else 0o1777, bind.owner)
                for bind in self.binds
                if bind.kind == "tmpfs"
            ),
        )

    def _environment(self, who: spec.Identity, certificates: str) -> Pairs:
        borrowed = (*lent.certificate_variables(certificates), *self.lent)
        apt = (("APT_CONFIG", _APT_CONF),) if lent.apt_settings(certificates, self.lent, lent.apt_age()) else ()
        own = tuple(self.env.items())
        return bundle.merge((("PATH", bundle.PATH), ("HOME", who.home)), borrowed, apt, own)

    def _files(self, staging: Staging, root: str, certificates: str, online: bool) -> list[spec.Attachment]:
        network = pool.network(self.site.paths, self.site.state)
        files = {
            "/etc/hosts": lent.hosts("build", (), ""),
            "/etc/hostname": b"build\n",
            "/etc/resolv.conf": lent.resolv_conf(network.gateway) if online else b"",
        }
        settings = lent.apt_settings(certificates, self.lent, lent.apt_age())
        if settings:
            files[_APT_CONF] = settings
        if online:
            files |= given.package_sources(root, self.site.lending.mirror or "")
        attached = [
            spec.Attachment(staging.file(content, owner=self.start), target, readonly=True)
            for target, content in files.items()
        ]
        if certificates:
            attached.append(
                spec.Attachment(snapshot.bind_file(staging, certificates), lent.CERTIFICATES, readonly=True)
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
            *(staging, self.site.paths.layers, names),
            userns=userns,
            start=self.start,
            upper=upper,
            work=work,
            volatile=bool(upper),
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
