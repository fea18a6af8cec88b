"""Layers of the store -> a merged root that a container can have as its own (overlayfs.rst, mount_setattr(2)).

All mounts are made in the command's private mount namespace, on a tmpfs of its own: nothing is seen on the host,
and nothing is left when the command dies.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from devenv.beneath import IN_ROOT, NO_SYMLINKS, open_beneath, remove_tree
from devenv.errors import EngineError, NotFound, Unsupported
from devenv.model.manifest import Mount, Source

from .. import mount

_NAMESPACE = "/proc/thread-self/ns/mnt"

INIT = "init"
"""The name of the init layer among the layers: the top lowerdir of every container."""

_INIT_FOLDERS = ("dev", "proc", "sys", "run", "run/devenv", "etc")
_INIT_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "run/devenv/init", "run/devenv/certificates.pem")


def make_init_layer(layers: str) -> None:
    """Make the layer that gives every container real mount points, whatever links its image has in their place."""
    final = f"{layers}/{INIT}"
    if os.path.isdir(final):
        return
    draft = f"{layers}/.{INIT}-{os.getpid()}"
    os.mkdir(draft, 0o755)
    for folder in _INIT_FOLDERS:
        os.mkdir(f"{draft}/{folder}", 0o755)
    for file in _INIT_FILES:
        os.close(os.open(f"{draft}/{file}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    for folder in ("", *_INIT_FOLDERS):
        os.chmod(f"{draft}/{folder}", 0o755)
        os.utime(f"{draft}/{folder}", (0, 0))
    try:
        os.rename(draft, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


class Staging:
    """Empty places to mount on, on a tmpfs that only this mount namespace sees; what is mounted there goes with `close`.

    Search permission for all: a container's init walks to its root as its own user.
    """

    def __init__(self, folder: str, copies: str, idmap: bool) -> None:
        self.folder = folder
        self.copies = copies
        self.idmap = idmap
        self._places: list[str] = []

    def place(self) -> str:
        """A new empty folder."""
        path = f"{self.folder}/{len(self._places)}"
        os.mkdir(path, 0o711)
        self._places.append(path)
        return path

    def at(self, path: str) -> str:
        """A folder that everybody sees, to mount on for us alone."""
        os.makedirs(path, 0o711, exist_ok=True)
        self._places.append(path)
        return path

    def file(self, content: bytes, *, mode: int = 0o444, owner: int = 0, group: int | None = None) -> str:
        """A new file in memory."""
        path = f"{self.place()}/file"
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, content)
            os.fchown(fd, owner, owner if group is None else group)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        return path

    def empty(self) -> str:
        """An empty file to bind a file on."""
        return self.file(b"", mode=0o600)

    def memory(self) -> str:
        """A new folder on a tmpfs of its own, which goes with whoever it is mounted for."""
        path = self.place()
        mount.mount("tmpfs", path, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC, "mode=755")
        return path

    def close(self) -> None:
        """Unmount it all, last first. A running container has mounts of its own and loses nothing."""
        for path in reversed(self._places):
            for target in (path, f"{path}/file"):
                try:
                    mount.umount2(target, mount.MNT_DETACH)
                except OSError:
                    continue  # a place where nothing was mounted
        self._places.clear()


class Stage:
    """This command's mount namespace. Threads that were started before it was made enter it; each takes a Staging."""

    def __init__(self, folder: str, copies: str, *, idmap: bool) -> None:
        self.folder = folder
        self.copies = copies
        self.idmap = idmap
        self.host_namespace = mount.enter_private_namespace()
        self._namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        self._count = itertools.count(1)
        os.makedirs(folder, 0o711, exist_ok=True)
        mount.mount("tmpfs", folder, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "mode=711")

    def enter(self) -> None:
        """Take the calling thread to where our mounts are, if it was there before we left the host's."""
        if os.stat(_NAMESPACE).st_ino != os.fstat(self._namespace).st_ino:
            mount.join(self._namespace)

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """Places that are unmounted at the end of the block."""
        folder = f"{self.folder}/{next(self._count)}"
        os.mkdir(folder, 0o711)
        staging = Staging(folder, self.copies, self.idmap)
        try:
            yield staging
        finally:
            staging.close()


def merged(
    staging: Staging,
    layers: str,
    names: Sequence[str],
    *,
    userns: int | None = None,
    start: int = 0,
    upper: str = "",
    work: str = "",
    root: str = "",
    volatile: bool = False,
) -> str:
    """Mount these layers (names in the folder `layers`, bottom first) merged, at `root` or anywhere; returns the root.

    With a user namespace's fd, which maps 0 to `start`, the layers' ids are seen through its mapping; the upperdir
    already holds mapped ids. `volatile`: what is written needn't survive the machine (mount.overlay).
    """
    lower = layers if userns is None else _mapped(staging, layers, names, userns, start)
    root = staging.at(root) if root else staging.place()
    folders = [f"{lower}/{name}" for name in reversed(names)]
    if not folders:
        folders = [staging.place()]
    if not upper and len(folders) == 1:
        mount.bind(folders[0], root, attributes=("ro", "nodev"))
        return root
    try:
        mount.overlay(folders, root, upperdir=upper, workdir=work, volatile=volatile)
    except OSError as error:
        unable = upper and error.errno in (errno.EINVAL, errno.EOPNOTSUPP)  # a file system that can't hold an upperdir
        hint = "put the store on ext4, xfs, btrfs or tmpfs with DEVENV_HOME; see `devenv doctor`" if unable else ""
        raise EngineError(f"mount overlay of {len(folders)} layers: {error.strerror}", hint=hint) from error
    return root


def _mapped(staging: Staging, layers: str, names: Sequence[str], userns: int, start: int) -> str:
    """A folder with the layers under their names and the namespace's ids: one idmapped bind for any number of them.

    Where kernel or file system can't, copies that stay for the slot's next container.
    """
    if staging.idmap:
        lower = staging.place()
        try:
            mount.bind(layers, lower, userns=userns)
            return lower
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise EngineError(f"map ids of {layers}: {error.strerror}") from error
    from ..store import layer  # seldom: not on the hot path

    lower = f"{staging.copies}/{start}"
    os.makedirs(lower, 0o711, exist_ok=True)
    for name in names:
        if not os.path.isdir(f"{lower}/{name}"):
            draft = f"{lower}/.draft"  # whoever has the slot is alone here; a draft of before is a dead command's
            remove_tree(draft)
            layer.shift(f"{layers}/{name}", draft, start)
            os.rename(draft, f"{lower}/{name}")
    return lower


def new_upper(folder: str, start: int) -> tuple[str, str]:
    """An empty upperdir and workdir in `folder`; the upper's root belongs to `start`, so it is the container's root's."""
    upper, work = f"{folder}/upper", f"{folder}/work"
    os.makedirs(folder, 0o700, exist_ok=True)
    for path in (upper, work):
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
    os.chmod(upper, 0o755)
    os.chown(upper, start, start)
    return upper, work


def bind_file(staging: Staging, path: str) -> str:
    """A read-only bind of a host file, in a place that a container's init can reach."""
    target = staging.empty()
    found = _open_plain(path)
    try:
        mount.bind(f"/proc/self/fd/{found}", target, attributes=("ro", "nosuid", "nodev"))
    finally:
        os.close(found)
    return target


def bind_folder(
    staging: Staging, path: str, *, userns: int | None = None, readonly: bool = False, name: str = ""
) -> str:
    """A bind of a host file or folder, its ids mapped; messages call it `name`."""
    target = staging.place() if os.path.isdir(path) else staging.empty()
    attributes = ("nosuid", "nodev", "ro") if readonly else ("nosuid", "nodev")
    try:
        if userns is not None and not staging.idmap:
            raise OSError(errno.EOPNOTSUPP, "DEVENV_IDMAP=off")
        mount.bind(path, target, attributes=attributes, userns=userns)
    except OSError as error:
        raise Unsupported(
            f"mount {name or path}: its file system can't map ids ({error.strerror})",
            hint="put the project on ext4, xfs, btrfs or tmpfs; `devenv doctor` says more",
        ) from error
    return target


def bind_beneath(staging: Staging, root: str, path: str, *, readonly: bool) -> str:
    """A bind of what is at `path` in a merged root, whatever links are on the way."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_beneath(fd, path.lstrip("/") or ".", os.O_PATH)
    except OSError as error:
        raise NotFound(f"mount {path} from a stage: {error.strerror}") from error
    finally:
        os.close(fd)
    try:
        return bind_folder(staging, f"/proc/self/fd/{found}", readonly=readonly)
    finally:
        os.close(found)


def source_owner(source: Source) -> tuple[int, int]:
    """Who owns a source tree on the host: files made inside will be theirs. Raises NotFound."""
    status = _status(source.path, "source:")
    if not stat.S_ISDIR(status.st_mode):
        raise NotFound(f"mount source {source.path}: not a folder", hint="name a folder in `source:`")
    return status.st_uid, status.st_gid


def mount_owner(wanted: Mount) -> tuple[int, int]:
    """Who owns the folder or file of the host that is mounted. Raises NotFound."""
    status = _status(wanted.path, "volumes:")
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise NotFound(f"mount {wanted.path}: neither a folder nor a file", hint="name one in `volumes:`")
    return status.st_uid, status.st_gid


def _status(path: str, key: str) -> os.stat_result:
    fd = _open_plain(path, key)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _open_plain(path: str, key: str = "source:") -> int:
    """The file or folder itself, through no link: one of a tree's own processes could have put it there, to be shown more of the host."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(root, path.lstrip("/") or ".", os.O_PATH, resolve=NO_SYMLINKS | IN_ROOT)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotFound(
                f"mount {path}: it is, or leads through, a link", hint=f"name {os.path.realpath(path)}"
            ) from error
        raise NotFound(
            f"mount {path}: {error.strerror}", hint=f"it is never created; make it, or correct `{key}`"
        ) from error
    finally:
        os.close(root)


def mount_source(staging: Staging, source: Source, userns: int, folder: str, start: int) -> str:
    """Mount a source tree for a container by its mode; `userns` maps its owner to the container's user.

    copy-on-write: writes go to an upperdir under `folder` and are never seen on the host.
    """
    fd = _open_plain(source.path)
    try:
        tree = bind_folder(
            staging, f"/proc/self/fd/{fd}", userns=userns, readonly=source.mode != "rw", name=source.path
        )
    finally:
        os.close(fd)
    if source.mode != "copy-on-write":
        return tree
    upper, work = new_upper(folder, start)
    root = staging.place()
    mount.overlay([tree], root, upperdir=upper, workdir=work)
    return root


def mount_path(staging: Staging, wanted: Mount, userns: int) -> str:
    """Mount a folder or file of the host for a container; `userns` maps its owner to the container's user."""
    fd = _open_plain(wanted.path, "volumes:")
    try:
        path = f"/proc/self/fd/{fd}"
        return bind_folder(staging, path, userns=userns, readonly=wanted.readonly, name=wanted.path)
    finally:
        os.close(fd)
