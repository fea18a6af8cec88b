"""The project's requirements files → which further files they name. Reads these files.

The format is pip's (requirements file format): `-r FILE` and `-c FILE` are relative to the file that has them.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable

from devenv.errors import Fault, InputError
from devenv.model.manifest import UNLOCKABLE, Manifest

SIZE = 1024 * 1024
"""Size limit of a requirements file in bytes."""
FILES = 100

_REPOSITORY = re.compile(r"(^|[\s@=])(git|hg|svn|bzr)\+[a-z]+:")
_INCLUDE = re.compile(r"(?:-r|-c|--requirements?|--constraints?)(?:\s*=\s*|\s+|(?=[^-\s=]))(\S+)")
_LOCAL = re.compile(r"(?:(?:-e|--editable)[\s=]\s*(?!git\+|https?:)\S+|\.{1,2}(?:[/\[]\S*|\s|$)|/\S*|file:\S+)")


def included_by(manifest: Manifest) -> tuple[str, ...]:
    """The files that a manifest's requirements files name, its project folder being here. Raises InputError."""
    python = manifest.python
    if python is None:
        return ()
    edited = dict(manifest.edited)

    def read(path: str) -> str | None:
        return edited[path].decode(errors="replace") if path in edited else _read(manifest.folder, path)

    return included(python.requirements, read, network=python.network)


def included(files: tuple[str, ...], read: Callable[[str], str | None], *, network: bool = False) -> tuple[str, ...]:
    """The files that `files` name, and those they name, sorted; `read` gives a file's text, None when there is none.

    Raises InputError: a named file isn't there or is outside of the project, a line installs a local folder, or without
    `network` a repository.
    """
    faults: list[Fault] = []
    found: dict[str, tuple[str, int]] = {}
    pending = [posixpath.normpath(file) for file in files if file.endswith((".txt", ".in"))]
    seen = set(pending)
    while pending and len(seen) <= FILES:
        file = pending.pop()
        text = read(file)
        if text is None:
            place, line = found.get(file, ("", 0))
            what = f"{file} doesn't exist, isn't a plain file or is larger than {SIZE // 1024} KiB"
            faults.append(Fault(place or file, line, 0, what, "make the file, or take its name out"))
            continue
        for number, path in _named(file, text, faults, network=network):
            if path not in seen:
                seen.add(path)
                found[path] = (file, number)
                pending.append(path)
    if len(seen) > FILES:
        faults.append(Fault(files[0], 0, 0, f"more than {FILES} requirements files name each other", "merge some"))
    if faults:
        raise InputError(*sorted(faults))
    return tuple(sorted(found))


def _named(file: str, text: str, faults: list[Fault], *, network: bool) -> list[tuple[int, str]]:
    """(line, path) of what a file includes; its faults are added to `faults`."""
    result = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).strip()
        if _LOCAL.match(words):
            hint = "leave it out and write `pip install -e .` under hooks: on_create: (the source tree is there then)"
            faults.append(Fault(file, number, 1, "this installs a local folder, which a build doesn't see", hint))
        elif _REPOSITORY.search(words.partition(";")[0]) and not network:
            faults.append(
                Fault(
                    file, number, 1, "this comes from a repository, which can't be locked", UNLOCKABLE.format("python")
                )
            )
        match = _INCLUDE.match(words)
        if not match or re.match("[a-z]+://", match[1]):
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), match[1]))
        if path.startswith(("/", "..")):
            faults.append(Fault(file, number, 1, f"{match[1]!r:.80} is outside the project folder", "move it inside"))
        elif not re.fullmatch(r"[\w./@+=~-]+", path):
            hint = "use letters, digits and . _ - @ + = ~ /"
            faults.append(Fault(file, number, 1, f"{match[1]!r:.80} has characters that a build can't take", hint))
        else:
            result.append((number, path))
    return result


def _read(folder: str, path: str) -> str | None:
    """A project file's text. Links that lead out of the project, pipes and devices count as absent."""
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, path))
    if not real.startswith(root.rstrip("/") + "/"):
        return None
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE:
            return None
        return file.read(SIZE).decode(errors="replace")
