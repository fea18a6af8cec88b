"""A ContainerSpec, an image's layers and a slot -> a bundle whose root and mounts are ready (runtime-spec, bundle.md)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from functools import cache

from devenv.beneath import open_beneath, text_beneath
from devenv.command import HIDDEN, check, mounted
from devenv.errors import EngineError
from devenv.model.container import ContainerSpec, Process
from devenv.model.image import ImageConfig
from devenv.model.manifest import Pairs
from devenv.paths import Paths

from .. import Json
from ..host import lent
from ..slot.ids import host_start
from . import identity, owning, seccomp, snapshot, spec
from .given import INIT, Place, Rooted, attachments
from .snapshot import Staging

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REAL = ("dev", "etc", "proc", "run", "sys")


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
    start, slot = host_start(place.slot), paths.slot(place.slot)
    folder = paths.container(place.identifier)
    # Before they are mounted: a folder that is exchanged meanwhile counts as lost, not as the one that is seen.
    seen = [*(source.path for source in wanted.sources), *(mount.path for mount in wanted.mounts if mount.path)]
    owning.note_sources(paths.bundle(place.identifier), seen)
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
        rooted = Rooted(root, staging, folder, userns, start, who)
        attached = attachments(paths, rooted, wanted, place)
        asked = _process(wanted, place, config, who)
        refuse(root, asked, wanted.process.argv or (INIT,), attached, config.workdir)
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
        attachments=tuple(attached),
        limits=wanted.limits,
    )
    return save(paths, place.identifier, spec.config_json(bundle))


def save(paths: Paths, identifier: str, config: Json) -> str:
    """Write a config.json into a bundle folder of its own; returns the folder. Others may not read it: it holds the environment."""
    folder = paths.bundle(identifier)
    os.makedirs(folder, 0o711, exist_ok=True)
    with open(f"{folder}/config.json", "w", encoding="utf-8", opener=owning.private) as file:
        file.write(json.dumps(config))  # in C; dump() would be Python's own
    return folder


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
    _refuse_links(paths.layers, tuple(layers))


@cache
def _refuse_links(folder: str, layers: tuple[int, ...]) -> None:
    for name in _REAL:
        for number in reversed(layers):
            try:
                mode = os.lstat(f"{folder}/{number}/{name}").st_mode
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
    check(root, argv, dict(asked.env).get("PATH", ""), asked.cwd, mounted(root, attached), made=made)


def find_identity(root: str, user: str) -> spec.Identity:
    """USER resolved by the /etc/passwd and /etc/group in this root, read without leaving it."""
    return identity.resolve(user, text_beneath(root, "etc/passwd"), text_beneath(root, "etc/group"))


def _process(wanted: ContainerSpec, place: Place, config: ImageConfig, who: spec.Identity) -> spec.ProcessSpec:
    argv = wanted.process.argv
    # The waiting init, or one that reaps and passes signals on for a command that was not made to be pid 1.
    command = (INIT, "--", *argv) if argv else (INIT, "-P")
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
