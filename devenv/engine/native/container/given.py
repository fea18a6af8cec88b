"""What is mounted into a container's root besides its layers: system files, sources, volumes, what of the host, secrets -> attachments."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from devenv.beneath import open_beneath, remove_tree, text_beneath
from devenv.model.container import ContainerSpec
from devenv.model.manifest import Mount, Pairs
from devenv.paths import Paths

from .. import process
from ..host import archives, lent
from ..slot import namespace
from ..slot.ids import COUNT
from . import snapshot, spec
from .snapshot import Staging

INIT = "/run/devenv/init"
"""Where the init is that every container has."""

SECRETS = "/run/secrets"

_SOURCES = "etc/apt/sources.list"


class Place(NamedTuple):
    """Where a container is made: its id, its slot, its address and gateway ("" without network), what of the host it is lent.

    `hosts` is the file that it shares with the others of its environment, "" for one of its own.
    """

    identifier: str
    slot: int
    address: str
    lent: Pairs = ()
    gateway: str = ""
    hosts: str = ""
    secrets: Mapping[str, bytes] = MappingProxyType({})


class Rooted(NamedTuple):
    """A root that is mounted: its path, where more can be, the container's lasting folder, its user namespace, ids, user."""

    root: str
    staging: Staging
    own: str
    userns: int
    start: int
    who: spec.Identity


Mapper = Callable[[tuple[int, int]], int]


def attachments(paths: Paths, rooted: Rooted, wanted: ContainerSpec, place: Place) -> list[spec.Attachment]:
    """All of them, in the order in which they are to be mounted."""
    with _mappings(rooted) as mapping:
        given = [
            *_sources(rooted, wanted, mapping),
            *_image_volumes(paths, rooted, wanted),
            *(_mount(paths, rooted, wanted, mount, mapping) for mount in wanted.mounts),
        ]
    # Outer targets first, or they would hide the inner ones.
    given.sort(key=lambda attachment: attachment.target.count("/"))
    return [*_system_files(rooted, wanted, place), *given, *_secrets(rooted, place.secrets)]


def package_sources(root: str, mirror: str) -> dict[str, bytes]:
    """What lies over the sources.list of a root whose base we made: no mirror's name is ever in an image."""
    found = archives.lent(text_beneath(root, _SOURCES), mirror)
    return {f"/{_SOURCES}": found} if found else {}


@contextmanager
def _mappings(rooted: Rooted) -> Iterator[Mapper]:
    """Owner on the host -> the fd of a user namespace in which it is the container's user. Each costs a fork."""
    made: dict[tuple[int, int], int] = {}

    def mapping(owner: tuple[int, int]) -> int:
        if owner not in made:
            made[owner] = namespace.mapping(owner, (rooted.start + rooted.who.uid, rooted.start + rooted.who.gid), 1)
        return made[owner]

    try:
        yield mapping
    finally:
        for fd in made.values():
            os.close(fd)


def _system_files(rooted: Rooted, wanted: ContainerSpec, place: Place) -> list[spec.Attachment]:
    staging = rooted.staging
    files = {
        "/etc/hostname": f"{wanted.hostname}\n".encode(),
        "/etc/resolv.conf": lent.resolv_conf(place.gateway) if place.address else b"",
        **(package_sources(rooted.root, wanted.mirror) if place.address else {}),
    }
    if not place.hosts:
        files["/etc/hosts"] = lent.hosts(wanted.hostname, (wanted.name,), place.address)
    attached = [
        spec.Attachment(staging.file(content, owner=rooted.start), target, readonly=True)
        for target, content in files.items()
    ]
    if place.hosts:
        # The file itself, not what it says at this moment: others come and go.
        attached.append(spec.Attachment(snapshot.bind_file(staging, place.hosts), "/etc/hosts", readonly=True))
    init = os.path.realpath(process.find("catatonit"))
    attached.append(spec.Attachment(snapshot.bind_file(staging, init), INIT, readonly=True))
    if wanted.certificates:
        bundle = snapshot.bind_file(staging, wanted.certificates)
        attached.append(spec.Attachment(bundle, lent.CERTIFICATES, readonly=True))
    return attached


def _sources(rooted: Rooted, wanted: ContainerSpec, mapping: Mapper) -> list[spec.Attachment]:
    attached = []
    for number, source in enumerate(wanted.sources):
        userns = mapping(snapshot.source_owner(source))
        tree = snapshot.mount_source(rooted.staging, source, userns, f"{rooted.own}/source-{number}", rooted.start)
        attached.append(spec.Attachment(tree, source.target, readonly=source.mode == "ro"))
    return attached


def _image_volumes(paths: Paths, rooted: Rooted, wanted: ContainerSpec) -> list[spec.Attachment]:
    attached = []
    for name, target in wanted.volumes:
        # Without an environment nobody could ask for the volume again: it goes with the container.
        folder = paths.volume(wanted.environment, name) if wanted.environment else f"{rooted.own}/volume-{name}"
        attached.append(spec.Attachment(_volume(rooted, folder, target), target))
    return attached


def _mount(paths: Paths, rooted: Rooted, wanted: ContainerSpec, mount: Mount, mapping: Mapper) -> spec.Attachment:
    if mount.volume:
        tree = _volume(rooted, paths.volume(wanted.environment, mount.volume), mount.target, readonly=mount.readonly)
    else:
        tree = snapshot.mount_path(rooted.staging, mount, mapping(snapshot.mount_owner(mount)))
    return spec.Attachment(tree, mount.target, readonly=mount.readonly)


def _volume(rooted: Rooted, folder: str, target: str, *, readonly: bool = False) -> str:
    if not os.path.isdir(folder):
        _make_volume(rooted, folder, target)
    return snapshot.bind_folder(rooted.staging, folder, userns=rooted.userns, readonly=readonly)


def _make_volume(rooted: Rooted, folder: str, target: str) -> None:
    """Whole or not at all: what a killed command left half copied isn't taken for the volume. Of several makers one wins."""
    above, name = os.path.split(folder)
    draft = f"{rooted.own}/draft-{name}"
    remove_tree(draft)
    os.mkdir(draft)
    os.chmod(draft, 0o755)
    _like_image(draft, rooted.root, target, rooted.start)
    os.makedirs(above, 0o700, exist_ok=True)
    lock = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A rename would replace an empty folder, also one that another container writes to by now.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):
            remove_tree(draft)
        else:
            os.rename(draft, folder)
    finally:
        os.close(lock)


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
    from ..store.adopt import adopt  # most containers have no new volume, and it brings hashlib and decimal

    # The root shows ids shifted into the container's range; volumes hold the image's own.
    adopt(folder, start, COUNT)


def _secrets(rooted: Rooted, secrets: Mapping[str, bytes]) -> list[spec.Attachment]:
    """In memory that ends with the container's mounts; for its user alone."""
    if not secrets:
        return []
    folder = rooted.staging.memory()
    uid, gid = rooted.start + rooted.who.uid, rooted.start + rooted.who.gid
    for name, content in secrets.items():
        fd = os.open(f"{folder}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o400)
        with open(fd, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), uid, gid)
    return [spec.Attachment(folder, SECRETS, readonly=True)]
