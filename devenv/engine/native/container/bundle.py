"""A ContainerSpec, an image's layers and a slot -> a bundle whose root and mounts are ready (runtime-spec, bundle.md)."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from devenv.beneath import open_beneath, remove_tree, text_beneath
from devenv.command import HIDDEN, check, mounted
from devenv.errors import EngineError
from devenv.lives import identity as identity_of
from devenv.model.container import ContainerSpec, Process
from devenv.model.image import ImageConfig
from devenv.model.manifest import Pairs
from devenv.paths import Paths

from .. import Json, process
from ..host import archives, lent
from ..slot import namespace
from ..slot.ids import COUNT, host_start
from ..store.adopt import adopt
from . import identity, seccomp, snapshot, spec
from .snapshot import Staging

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INIT = "/run/devenv/init"
_SOURCES = "etc/apt/sources.list"
_REAL = ("dev", "etc", "proc", "run", "sys")


class Place(NamedTuple):
    """Where a container is made: its id, its slot, its address and gateway ("" without network), what of the host it is lent."""

    identifier: str
    slot: int
    address: str
    lent: Pairs = ()
    gateway: str = ""


def write(
    paths: Paths,
    staging: Staging,
    wanted: ContainerSpec,
    place: Place,
    config: ImageConfig,
    layers: Sequence[int],
    *,
    lasting: bool = True,
) -> str:
    """Mount the container's root and sources and write its config.json; returns the bundle's folder.

    The writable layer stays in `paths.container(id)`; a container made again there finds what it wrote before, if it is to be `lasting`.
    """
    start = host_start(place.slot)
    folder = paths.container(place.identifier)
    slot = paths.slot(place.slot)
    # Before they are mounted: a folder that is exchanged meanwhile counts as lost, not as the one that is seen.
    note_sources(paths.bundle(place.identifier), [source.path for source in wanted.sources])
    userns = os.open(f"{slot}/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        upper, work = snapshot.new_upper(folder, start)
        names = [*map(str, layers), snapshot.INIT]
        # A path that exists on the host too: a runtime that later execs starts out there (runc: cmd.Dir).
        root = snapshot.merged(
            staging,
            paths.layers,
            names,
            userns=userns,
            start=start,
            upper=upper,
            work=work,
            root=f"{paths.bundle(place.identifier)}/rootfs",
            volatile=not lasting,
        )
        refuse_links(paths, layers)
        who = find_identity(root, wanted.process.user or config.user)
        given = [
            *_sources(staging, wanted, folder, start, who),
            *_volumes(paths, staging, wanted, folder, userns, root, start),
        ]
        # Outer targets first, or they would hide the inner ones.
        given.sort(key=lambda attachment: attachment.target.count("/"))
        attachments = [*_system_files(staging, wanted, place, root, start), *given]
        asked = _process(wanted, place, config, who)
        refuse(root, asked, wanted.process.argv or (_INIT,), attachments, config.workdir)
    finally:
        os.close(userns)
    bundle = spec.BundleSpec(
        rootfs=root,
        hostname=wanted.hostname,
        process=asked,
        user_namespace=f"{slot}/user",
        id_start=start,
        network_namespace=f"{slot}/net" if wanted.network == "bridge" else "",
        cgroup=f"/devenv/{place.identifier}",
        seccomp=filter_for(root, config.architecture, chroot=False),
        attachments=tuple(attachments),
        limits=wanted.limits,
    )
    return save(paths, place.identifier, spec.config_json(bundle))


def save(paths: Paths, identifier: str, config: Json) -> str:
    """Write a config.json into a bundle folder of its own; returns the folder. Others may not read it: it holds the environment."""
    folder = paths.bundle(identifier)
    os.makedirs(folder, 0o711, exist_ok=True)
    with open(f"{folder}/config.json", "w", encoding="utf-8", opener=private) as file:
        json.dump(config, file)
    return folder


def private(path: str, flags: int) -> int:
    """An opener for what holds an environment: nobody else may read it."""
    return os.open(path, flags, 0o600)


def note_sources(folder: str, sources: Sequence[str]) -> None:
    """Write down which source folders a container is started with."""
    os.makedirs(folder, 0o711, exist_ok=True)
    with open(f"{folder}/sources", "w", encoding="utf-8", opener=private) as file:
        json.dump([(path, *identity_of(path)) for path in sources], file)


def sources(folder: str) -> tuple[tuple[str, int, int], ...]:
    """What `note_sources` wrote: path, device and inode of each; while it is mounted no other folder gets its inode."""
    try:
        with open(f"{folder}/sources", encoding="utf-8") as file:
            return tuple((path, device, inode) for path, device, inode in json.load(file))
    except (OSError, ValueError):
        return ()


def lost_source(folder: str) -> str:
    """The first source that is another folder by now, or none at all: deleted, cloned again, moved. "" when all are as they were."""
    return next((path for path, *noted in sources(folder) if noted != list(identity_of(path))), "")


class Owner(NamedTuple):
    """What a bundle's `owner` file says, also when its command has died: its runtime, the layers it has in use."""

    runtime: str = ""
    layers: tuple[int, ...] = ()


def own(folder: str, owner: Owner) -> int:
    """A bundle folder that this command owns while it lives, as the fd of a lock."""
    while True:
        lock = _lock(folder, fcntl.LOCK_EX)
        if lock is not None:
            os.ftruncate(lock, 0)  # a killed command's may be longer
            os.write(lock, json.dumps(owner).encode())
            return lock


def take(folder: str) -> int | None:
    """The lock of a folder whose owner is dead, None while it lives."""
    return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def owner(folder: str) -> Owner:
    """What `own` wrote; nothing when the command died before."""
    try:
        with open(f"{folder}/owner", encoding="utf-8") as file:
            path, layers = json.load(file)
    except (OSError, ValueError):
        return Owner()
    return Owner(str(path), tuple(int(number) for number in layers))


def _lock(folder: str, how: int) -> int | None:
    try:
        os.makedirs(folder, 0o711, exist_ok=True)
        lock = os.open(f"{folder}/owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # swept just now
    try:
        fcntl.flock(lock, how)
        # Who swept the folder had the lock before us; what is there now, if anything, is another's.
        if os.stat(f"{folder}/owner").st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def filter_for(root: str, architecture: str, *, chroot: bool) -> Json:
    """The system call filter for what is in this root."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_beneath(fd, seccomp.LOADERS.get(architecture, "none"), os.O_PATH))
        sister = True
    except OSError:
        sister = False
    finally:
        os.close(fd)
    return seccomp.profile(architecture, chroot=chroot, sister=sister)


def refuse_links(paths: Paths, layers: Sequence[int]) -> None:
    """An image whose /dev, /etc, … are no folders would lose what is there to our init layer: refused."""
    for name in _REAL:
        for number in reversed(layers):
            try:
                mode = os.lstat(f"{paths.layer(number)}/{name}").st_mode
            except OSError:
                continue
            if not stat.S_ISDIR(mode) and not stat.S_ISCHR(mode):  # a whiteout is as good as nothing
                kind = "a link" if stat.S_ISLNK(mode) else "no folder"
                raise EngineError(f"use image: its /{name} is {kind}", hint="make it a folder in the image")
            break


def refuse(
    root: str,
    asked: spec.ProcessSpec,
    argv: Sequence[str],
    attachments: Sequence[spec.Attachment],
    made: str,
    hidden: Sequence[str] = (),
) -> None:
    """Raise now what starting this command would fail with; `made` is a folder that the runtime makes. See command.check.

    `hidden` are targets of mounts that nobody can look into yet.
    """
    attached = [*((one.source, one.target) for one in attachments), *((HIDDEN, target) for target in hidden)]
    check(root, argv, dict(asked.env).get("PATH", ""), asked.cwd, mounted(root, attached), made)


def find_identity(root: str, user: str) -> spec.Identity:
    """USER resolved by the /etc/passwd and /etc/group in this root, read without leaving it."""
    return identity.resolve(user, text_beneath(root, "etc/passwd"), text_beneath(root, "etc/group"))


def _process(wanted: ContainerSpec, place: Place, config: ImageConfig, who: spec.Identity) -> spec.ProcessSpec:
    argv = wanted.process.argv
    # The waiting init, or one that reaps and passes signals on for a command that was not made to be pid 1.
    command = (_INIT, "--", *argv) if argv else (_INIT, "-P")
    env = merge(
        (("PATH", PATH), ("HOME", who.home), ("HOSTNAME", wanted.hostname)),
        config.env,
        place.lent,
        lent.certificate_variables(wanted.certificates),
        (("debian_chroot", f"devenv:{wanted.hostname}"),),
        wanted.process.env,
    )
    cwd = wanted.process.workdir or config.workdir or "/"
    return spec.ProcessSpec(command, env, who, cwd, terminal=wanted.process.terminal)


def process_of(folder: str) -> Json:
    """The process a bundle's config.json describes."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        described: Json = json.load(file)["process"]
    return described


def search_path(described: Json) -> str:
    """The PATH of a described process, as the runtime searches it; "" when it has none."""
    found: str = next((entry[5:] for entry in described["env"] if entry.startswith("PATH=")), "")
    return found


def merge(*environments: Pairs) -> Pairs:
    """Later ones win; a name keeps its first place."""
    merged: dict[str, str] = {}
    for environment in environments:
        merged.update(environment)
    return tuple(merged.items())


def further_process(base: Json, wanted: Process, who: spec.Identity | None) -> Json:
    """The `process` of an exec: the container's own, with what `wanted` says on top."""
    result: Json = {**base, "args": list(wanted.argv), "terminal": wanted.terminal}
    env = tuple((name, value) for name, _, value in (entry.partition("=") for entry in base["env"]))
    home = (("HOME", who.home),) if who is not None else ()
    result["env"] = [f"{name}={value}" for name, value in merge(env, home, wanted.env)]
    if wanted.workdir:
        result["cwd"] = wanted.workdir
    if who is not None:
        shaped = spec.process_json(spec.ProcessSpec((), (), who, "/"))
        result["user"] = shaped["user"]
        result["capabilities"] = shaped["capabilities"]
    return result


def package_sources(root: str, mirror: str) -> dict[str, bytes]:
    """What lies over the sources.list of a root whose base we made: no mirror's name is ever in an image."""
    found = archives.lent(text_beneath(root, _SOURCES), mirror)
    return {f"/{_SOURCES}": found} if found else {}


def _system_files(
    staging: Staging, wanted: ContainerSpec, place: Place, root: str, start: int
) -> list[spec.Attachment]:
    files = {
        "/etc/hosts": lent.hosts(wanted.hostname, (wanted.name,), place.address),
        "/etc/hostname": f"{wanted.hostname}\n".encode(),
        "/etc/resolv.conf": lent.resolv_conf(place.gateway) if place.address else b"",
        **(package_sources(root, wanted.mirror) if place.address else {}),
    }
    attached = [
        spec.Attachment(staging.file(content, owner=start), target, readonly=True) for target, content in files.items()
    ]
    init = os.path.realpath(process.find("catatonit"))
    attached.append(spec.Attachment(snapshot.bind_file(staging, init), _INIT, readonly=True))
    if wanted.certificates:
        bundle = snapshot.bind_file(staging, wanted.certificates)
        attached.append(spec.Attachment(bundle, lent.CERTIFICATES, readonly=True))
    return attached


def _sources(
    staging: Staging, wanted: ContainerSpec, folder: str, start: int, who: spec.Identity
) -> list[spec.Attachment]:
    attached = []
    for number, source in enumerate(wanted.sources):
        owner = snapshot.source_owner(source)
        userns = namespace.mapping(owner, (start + who.uid, start + who.gid), 1)
        try:
            tree = snapshot.mount_source(staging, source, userns, f"{folder}/source-{number}", start)
        finally:
            os.close(userns)
        attached.append(spec.Attachment(tree, source.target, readonly=source.mode == "ro"))
    return attached


def _volumes(
    paths: Paths, staging: Staging, wanted: ContainerSpec, own: str, userns: int, root: str, start: int
) -> list[spec.Attachment]:
    attached = []
    for name, target in wanted.volumes:
        # Without an environment nobody could ask for the volume again: it goes with the container.
        folder = paths.volume(wanted.environment, name) if wanted.environment else f"{own}/volume-{name}"
        if not os.path.isdir(folder):
            _make_volume(folder, f"{own}/draft-{name}", root, target, start)
        attached.append(spec.Attachment(snapshot.bind_folder(staging, folder, userns=userns), target))
    return attached


def _make_volume(folder: str, draft: str, root: str, target: str, start: int) -> None:
    """Whole or not at all: what a killed command left half copied isn't taken for the volume."""
    remove_tree(draft)
    os.mkdir(draft)
    os.chmod(draft, 0o755)
    _like_image(draft, root, target, start)
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    try:
        os.rename(draft, folder)
    except OSError:
        if not os.path.isdir(folder):  # another command was quicker, and its volume counts
            raise
        remove_tree(draft)


def _like_image(folder: str, root: str, target: str, start: int) -> None:
    """A new volume begins as a copy of the image's folder there, owner and mode included (as Docker's do)."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_beneath(fd, target.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    finally:
        os.close(fd)
    try:
        process.run(["/bin/cp", "-a", f"/proc/self/fd/{found}/.", f"{folder}/"], pass_fds=(found,))
    finally:
        os.close(found)
    # The root shows ids shifted into the container's range; volumes hold the image's own.
    adopt(folder, start, COUNT)
