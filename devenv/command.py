"""A command as it was typed, and where -> whether a container has it, and where inside it runs. Only looks; imports nothing.

What is answered here saves a start that would fail, with a message of ours instead of the runtime's words. Links are
followed by hand, as a process inside would: from outside, the kernel would take absolute ones from the host's root.
Whoever changes the tree meanwhile is told by the runtime.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:  # the quick door must not wait for it
    from collections.abc import Iterable, Mapping, Sequence

    Mounts = Mapping[str, str]

HIDDEN = ""
"""In Mounts, in place of a folder of the host: what is there can only be told inside."""

_KERNEL = {"/proc": HIDDEN, "/dev": HIDDEN, "/sys": HIDDEN}
_LINKS = 40  # path_resolution(7)


class _Unsure(Exception):
    """It can't be told from outside."""


def verdict(root: str, name: str, path: str, cwd: str, mounts: Mounts | None = None) -> int:
    """0 when a command can be run, as far as can be told; 127 when there is none, 126 when it isn't executable (sh(1)).

    `root` is a folder of the host, `path` the variable PATH, `mounts` what stands where in the root (see `mounted`).
    """
    candidates = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":") if name]
    code = 127
    try:
        for candidate in candidates:
            status = _walk(root, f"{cwd}/{candidate}" if candidate[0] != "/" else candidate, mounts or _KERNEL)[1]
            if status is None or ("/" not in name and stat.S_ISDIR(status.st_mode)):
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                return 0
            code = 126
    except (_Unsure, OSError, ValueError):
        return 0
    return code


def is_folder(root: str, path: str, mounts: Mounts | None = None) -> bool:
    """Whether this absolute path is a folder in the root, as far as can be told."""
    try:
        status = _walk(root, path, mounts or _KERNEL)[1]
    except (_Unsure, OSError, ValueError):
        return True
    return status is not None and stat.S_ISDIR(status.st_mode)


def check(
    root: str,
    argv: Sequence[str],
    path: str,
    cwd: str,
    mounts: Mounts | None = None,
    *,
    made: str = "",
    where: str = "the container",
) -> None:
    """Raise CommandFailed (127, 126) for a command, NotFound for a folder, that isn't there.

    `made` is one that will be; `where` is what the root is called.
    """
    if cwd != made and not is_folder(root, cwd, mounts):
        from devenv.errors import NotFound

        raise NotFound(f"use workdir {cwd}: {where} has no such folder", hint="--workdir, `workdir:`: name one it has")
    code = verdict(root, argv[0], path, cwd, mounts)
    if not code:
        return
    from devenv.errors import CommandFailed

    name = argv[0] or "''"
    if code == 126:
        hint = f"a program needs `chmod +x {name}`; a script can be given to its interpreter: sh {name}"
        raise CommandFailed(f"{name}: isn't an executable file in {where}", code=code, hint=hint)
    if "/" in name:
        within = "" if name.startswith("/") else f" in {cwd}"
        raise CommandFailed(f"{name}: no such command in {where}{within}", code=code, hint="correct the path")
    raise CommandFailed(
        f"{name}: no such command in {where}'s PATH ({path})",
        code=code,
        hint=f"have it installed by the manifest (apt:, python:, node:), or name its path, as in ./{name}",
    )


def mounted(root: str, attached: Iterable[tuple[str, str]]) -> dict[str, str]:
    """(folder or file of the host, target) of a container to be, outer targets first -> the same by where it really stands.

    A target that leads through links is mounted where they lead.
    """
    mounts = dict(_KERNEL)
    for source, target in attached:
        try:
            mounts[_walk(root, target, mounts)[0]] = source
        except (_Unsure, OSError, ValueError):
            mounts["/"] = HIDDEN
    return mounts


def matching(cwd: str, project: str, sources: Iterable[tuple[str, str]]) -> str:
    """The folder inside that is the host's folder `cwd`, "" where that is none of (path, target) `sources`.

    Nor for the project's own folder: who is there is where the manifest says. Nor where it isn't UTF-8, which JSON must be.
    """
    found = ("", "")
    for path, target in sources:
        if (cwd == path or cwd.startswith(f"{path}/")) and len(path) > len(found[0]):
            found = (path, target)
    if cwd == project or not found[0] or any("\udc80" <= letter <= "\udcff" for letter in cwd):
        return ""
    return found[1].rstrip("/") + cwd[len(found[0]) :]


def _walk(root: str, path: str, mounts: Mounts) -> tuple[str, os.stat_result | None]:
    """Where an absolute path leads, free of links, and what is there."""
    real: list[str] = []
    todo = path.split("/")[::-1]
    links, status = 0, None
    if "/" in mounts:
        raise _Unsure
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del real[-1:]
            status = None
            continue
        place = "/".join(("", *real, part))
        status = _look(_host(root, place, mounts))
        if status is None:
            return "/".join((place, *reversed(todo))), None
        if not stat.S_ISLNK(status.st_mode):
            real.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise _Unsure
        target = os.readlink(_host(root, place, mounts))
        if target.startswith("/"):
            real.clear()
        todo += target.split("/")[::-1]
        status = None
    here = "/" + "/".join(real)
    return here, status or os.lstat(_host(root, here, mounts))


def _look(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _host(root: str, place: str, mounts: Mounts) -> str:
    """Where on the host a place in the root is."""
    above = place
    while above:
        source = mounts.get(above)
        if source == HIDDEN:
            raise _Unsure
        if source is not None:
            return source + place[len(above) :]
        above = above.rpartition("/")[0]
    return root + place
