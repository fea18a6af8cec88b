"""Copies out of containers and into them, whether they run or not. Whoever is in there can't lead us anywhere else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from devenv.archive import tar
from devenv.archive.stream import Stream
from devenv.beneath import IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS, open_beneath
from devenv.errors import EngineError, NotFound
from devenv.lives import process_start
from devenv.model.seen import Copied

from .. import mount
from ..container import bundle, snapshot
from ..container.given import Place, Rooted, attachments
from ..records import record, vault
from ..running import footing
from ..running.ground import Ground
from ..slot.ids import COUNT, host_start
from . import parcel, place, walk, write
from .parcel import Output
from .walk import Freight, Made, Origin
from .write import Target

_KERNEL = {
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "pstore",
}
_WITHIN = IN_ROOT | NO_MAGICLINKS
_FIXES = {
    errno.EROFS: "it is read-only inside",
    errno.EBUSY: "something is mounted there",
    errno.EOVERFLOW: "nobody of the container can have files there: the folder is of somebody else's on the host",
    errno.ENOSPC: "free some space: `df -h` shows what is full",
}


class _Inside(NamedTuple):
    """A container's root (a descriptor), the host's id that is root there, devices of the kernel's own file systems."""

    name: str
    root: int
    start: int
    kernel: frozenset[int] = frozenset()


class _Sum:
    """What was copied, and what wasn't."""

    def __init__(self, told: Callable[[Copied], None]) -> None:
        self.told = told
        self.copied = Copied()

    def counted(self, freight: Iterable[Freight]) -> Iterator[Freight]:
        for one in freight:
            yield one
            if one.entry.kind == tar.FILE:
                files, size = self.copied.files + 1, self.copied.size + one.entry.size
                self.copied = self.copied._replace(files=files, size=size)
                self.told(self.copied)

    def leave(self, path: bytes, why: str) -> None:
        self.copied = self.copied._replace(left=(*self.copied.left, (tar.show(path), why)))


def fetch(ground: Ground, container: str, path: str, target: str | Output, told: Callable[[Copied], None]) -> Copied:
    done, made = _Sum(told), Made()
    with _inside(ground, container) as inside, _trouble(f"{inside.name}:{path}"):
        contents, name = _named(path)
        follow = 0 if not path.endswith("/") and not contents else os.O_DIRECTORY
        found = open_beneath(inside.root, path.lstrip("/"), os.O_PATH | (follow or os.O_NOFOLLOW), resolve=_WITHIN)
        try:
            folder, unread = _copyable(found, inside, path), _unread(ground)
            freight = done.counted(walk.walk(found, Origin(inside.start, inside.kernel, done.leave, made, unread)))
            if not isinstance(target, str):
                parcel.pack(freight, b"" if contents else name, target)
                return done.copied
            with _outside(ground, target, follow=True) as there:
                aimed = _aim(there, target, name, folder=folder, contents=contents)
                write.write(freight, aimed, made)
        finally:
            os.close(found)
    return done.copied


def send(
    ground: Ground,
    container: str,
    path: str,
    source: str | Stream,
    told: Callable[[Copied], None],
    *,
    owners: bool = False,
) -> Copied:
    done, made = _Sum(told), Made()
    with _inside(ground, container) as inside, _trouble(f"{inside.name}:{path}"):
        there = Target(inside.root, os.fsencode(os.path.normpath(f"/{path}")).lstrip(b"/"), _WITHIN)
        if not isinstance(source, str):
            if not there.is_folder():
                raise NotFound(f"copy to {inside.name}:{path}: no folder", hint="what a tar has goes into a folder")
            freight = done.counted(parcel.unpack(source, done.leave))
            with mount.acting_as(*_owner(there, inside, within=True)):
                write.write(freight, there, made, _archived(inside) if owners else write.as_is)
            return done.copied
        contents, name = _named(source)
        with _opened(ground, source, follow=contents or source.endswith("/")) as found:
            folder = _copyable(found, None, source)
            aimed = _aim(there, path, name, folder=folder, contents=contents)
            freight = done.counted(walk.walk(found, Origin(0, (), done.leave, made, _unread(ground))))
            with mount.acting_as(*_owner(aimed, inside, within=aimed.base == there.base and there.is_folder())):
                write.write(freight, aimed, made)
    return done.copied


def _archived(inside: _Inside) -> write.Acting:
    return lambda entry: mount.acting_as(*(inside.start + _id(one) for one in (entry.uid, entry.gid)))


def _id(number: int) -> int:
    if number >= COUNT:
        raise EngineError(f"copy: the tar has files of the user {number}, and a container has {COUNT}")
    return number


def _named(path: str) -> tuple[bool, bytes]:
    """Whether only what is in a folder is meant (`folder/.`), and what the thing is called."""
    plain = os.path.normpath(f"/{path}")
    return path.endswith("/.") or path == "." or plain == "/", os.fsencode(os.path.basename(plain))


def _copyable(found: int, inside: _Inside | None, path: str) -> bool:
    """Whether it is a folder. Raises EngineError for what no copy can be made of."""
    info = os.fstat(found)
    why = walk.kind(info) or ("the kernel's" if inside and info.st_dev in inside.kernel else "")
    if why:
        hint = "`devenv exec CONTAINER cat …` reads what the kernel says there" if "kernel" in why else ""
        raise EngineError(f"copy {path}: it is {why}", hint=hint)
    return stat.S_ISDIR(info.st_mode)


def _aim(there: Target, text: str, name: bytes, *, folder: bool, contents: bool) -> Target:
    """Where it goes: into a folder that is there, else under the name that was given (docker-cp(1))."""
    if there.is_folder():
        return there if contents and folder else there._replace(base=there.at(name))
    known = there.info()
    if text.endswith("/") and (known is not None or not folder):
        raise NotFound(f"copy to {text}: no folder", hint="make it first: mkdir -p")
    if folder and known is not None:
        raise EngineError(f"copy to {text}: it is a file, and what is copied is a folder")
    return there


def _owner(there: Target, inside: _Inside, *, within: bool) -> tuple[int, int]:
    """Whose it will be: whoever owns the folder that it goes to, the container's root where that is nobody of it."""
    above = there if within else there._replace(base=there.base.rpartition(b"/")[0])
    info = above.info()
    ids = (info.st_uid, info.st_gid) if info else (-1, -1)
    known = all(0 <= one - inside.start < COUNT - 2 for one in ids)
    return ids if known else (inside.start, inside.start)


# Outside ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _outside(ground: Ground, path: str, *, follow: bool) -> Iterator[Target]:
    try:
        spot = place.find(path, _shared(ground), follow=follow)
    except OSError as error:
        raise NotFound(f"copy {path}: {error.strerror}") from error
    try:
        if place.is_beneath(spot.folder, _unread(ground)):
            raise walk.of_store(path)
        yield Target(spot.folder, b"" if spot.name == b"." else spot.name, NO_SYMLINKS, _unread(ground))
    finally:
        os.close(spot.folder)


@contextmanager
def _opened(ground: Ground, path: str, *, follow: bool) -> Iterator[int]:
    with _outside(ground, path, follow=follow) as there:
        flags = os.O_PATH | os.O_NOFOLLOW | (os.O_DIRECTORY if follow else 0)
        found = open_beneath(there.root, there.base, flags, resolve=NO_SYMLINKS)
    try:
        info = os.fstat(found)
        if (info.st_dev, info.st_ino) in _unread(ground):
            raise walk.of_store(path)
        yield found
    finally:
        os.close(found)


def _unread(ground: Ground) -> frozenset[tuple[int, int]]:
    return place.identities((*ground.paths.unread, *vault.places(ground.paths)))


def _shared(ground: Ground) -> set[str]:
    """Folders of the host that containers write to: what is in them isn't to be trusted."""
    specs = [record.spec_value(text) for (text,) in ground.state.db.execute("SELECT spec FROM container")]
    trees = {source.path for spec in specs for source in spec.sources if source.mode == "rw"}
    # Volumes are beneath the store.
    return (
        trees
        | {one.path for spec in specs for one in spec.mounts if one.path and not one.readonly}
        | {ground.paths.home}
    )


# Inside ----------------------------------------------------------------------------------------------------------------


@contextmanager
def _inside(ground: Ground, container: str) -> Iterator[_Inside]:
    found, (spec, slot) = ground.container(container), ground.spec(container)
    start = host_start(slot)
    if found.pid is None:
        with _assembled(ground, container) as root:
            yield _Inside(spec.name, root, start)
        return
    try:
        root = os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f"copy: {spec.name} ended just now", hint="try again") from error
    try:
        row = ground.state.db.execute("SELECT pid, pid_start FROM container WHERE id = ?", (container,)).fetchone()
        if row != (found.pid, process_start(found.pid)):  # the number is another's by now
            raise EngineError(f"copy: {spec.name} ended just now", hint="try again")
        yield _Inside(spec.name, root, start, _kernel(found.pid))
    finally:
        os.close(root)


def _kernel(pid: int) -> frozenset[int]:
    """Devices of the file systems in a container that hold no files."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.partition(" - ") for line in file]
    numbers = [fields.split()[2].split(":") for fields, _, rest in lines if rest.split()[0] in _KERNEL]
    return frozenset(os.makedev(int(major), int(minor)) for major, minor in numbers)


@contextmanager
def _assembled(ground: Ground, container: str) -> Iterator[int]:
    """The root of a container that doesn't run, with its volumes and sources, for us alone; the caller has its turn."""
    paths, (spec, slot) = ground.paths, ground.spec(container)
    folder, start = paths.container(container), host_start(slot)
    with ground.using():
        footing.wire(ground, container, slot)
        image = ground.image(spec.image)
        with ground.stage().staging() as staging:
            userns = os.open(f"{paths.slot(slot)}/user", os.O_RDONLY | os.O_CLOEXEC)
            root = -1
            try:
                upper, work = snapshot.new_upper(folder, start)
                names = [*map(str, image.layers), snapshot.INIT]
                merged = snapshot.merged(
                    staging, paths.layers, names, userns=userns, start=start, upper=upper, work=work
                )
                who = bundle.find_identity(merged, spec.process.user or image.config.user)
                rooted = Rooted(merged, staging, folder, userns, start, who)
                root = os.open(merged, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                for one in attachments(paths, rooted, spec, Place(container, slot, "")):
                    _attach(root, one.source, os.fsencode(one.target).lstrip(b"/"), start)
                yield root
            finally:
                os.close(userns)
                if root >= 0:
                    os.close(root)  # before what is mounted there goes


def _attach(root: int, source: str, target: bytes, start: int) -> None:
    """Mount a folder or file at a place in the root, which is made as the runtime would."""
    try:
        found = open_beneath(root, target, os.O_PATH, resolve=_WITHIN)
    except FileNotFoundError:
        above, _, name = target.rpartition(b"/")
        with mount.acting_as(start, start):
            _make_folders(root, target if os.path.isdir(source) else above)
            if not os.path.isdir(source):
                folder = open_beneath(root, above, os.O_PATH | os.O_DIRECTORY, resolve=_WITHIN)
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=folder))
                os.close(folder)
        found = open_beneath(root, target, os.O_PATH, resolve=_WITHIN)
    try:
        mount.mount(source, f"/proc/self/fd/{found}", "", mount.MS_BIND)
    finally:
        os.close(found)


def _make_folders(root: int, path: bytes) -> None:
    parts = path.split(b"/")
    for count in range(1, len(parts) + 1):
        above = open_beneath(root, b"/".join(parts[: count - 1]), os.O_PATH | os.O_DIRECTORY, resolve=_WITHIN)
        try:
            os.mkdir(parts[count - 1], 0o755, dir_fd=above)
        except FileExistsError:
            pass
        finally:
            os.close(above)


@contextmanager
def _trouble(what: str) -> Iterator[None]:
    """The kernel's words, and a broken tar's, as ours."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever takes our tar has gone
    except tar.BadTar as error:
        raise EngineError(f"copy to {what}: the tar on stdin: {error}") from error
    except OSError as error:
        where = tar.show(error.filename) if isinstance(error.filename, bytes) else error.filename
        at = f"{where}: " if where and where not in what else ""
        kind = NotFound if error.errno in (errno.ENOENT, errno.ENOTDIR) else EngineError
        raise kind(f"copy {what}: {at}{error.strerror}", hint=_FIXES.get(error.errno or 0, "")) from error
