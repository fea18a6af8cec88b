"""The secrets of environments: kept in memory, so until the host goes down; told apart by fingerprints that give nothing away."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress

from devenv.beneath import remove_tree
from devenv.errors import EngineError, Unsupported
from devenv.paths import Paths

_MEMORY = "/dev/shm"
_IN_MEMORY = ("tmpfs", "ramfs")


def supply(paths: Paths, environment: str, secrets: Mapping[str, bytes]) -> None:
    """Keep these secrets of an environment, beside those that it has already."""
    if not secrets:
        return
    folder = f"{_place(paths)}/{environment}"
    os.makedirs(folder, 0o700, exist_ok=True)
    for name, content in secrets.items():
        draft = f"{folder}/.{name}-{os.urandom(4).hex()}"
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(content)
            os.rename(draft, f"{folder}/{name}")  # whoever reads meanwhile has the old one or the new one, whole
        except BaseException:
            os.unlink(draft)
            raise


def given(paths: Paths, environment: str, names: Sequence[str], container: str) -> dict[str, bytes]:
    """The secrets that a container asks for, by name. Raises EngineError when one isn't there."""
    if not names:
        return {}
    folder = f"{_place(paths)}/{environment}"
    found = {}
    for name in names:
        try:
            with open(f"{folder}/{name}", "rb") as file:
                found[name] = file.read()
        except FileNotFoundError as error:
            raise EngineError(
                f"start {container}: nobody gave it the secret {name}", hint="`devenv up` does, after each reboot"
            ) from error
    return found


def forget(paths: Paths, environment: str) -> None:
    """No secret of the environment is kept any more, nor a folder that has none."""
    if not environment:
        return
    for place in places(paths):
        if os.path.isdir(f"{place}/{environment}"):
            remove_tree(f"{place}/{environment}")
            with suppress(OSError):
                os.rmdir(place)  # others have some


def places(paths: Paths) -> tuple[str, str]:
    """Where secrets may be: in the run-time folder, or beside it."""
    return paths.secrets(), paths.secrets(_MEMORY)


def fingerprint(paths: Paths, secret: bytes) -> str:
    """The same for the same secret, in this store alone: without the store's key nobody can try guesses."""
    from _blake2 import blake2b  # hashlib loads OpenSSL too, 4 ms

    return blake2b(secret, key=_key(paths.key), digest_size=16).hexdigest()


def _place(paths: Paths) -> str:
    """The folder of all environments, made if need be; nobody else's."""
    if _in_memory(paths.run):
        place = paths.secrets()
    elif _in_memory(_MEMORY):
        place = paths.secrets(_MEMORY)  # anybody may make something there
    else:
        raise Unsupported(
            f"keep secrets: neither {paths.run} nor {_MEMORY} is in memory", hint=f"mount -t tmpfs tmpfs {_MEMORY}"
        )
    with suppress(FileExistsError):
        os.mkdir(place, 0o700)
    status = os.lstat(place)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise EngineError(f"keep secrets in {place}: it isn't ours alone", hint=f"remove it: rm -r {place}")
    return place


def _in_memory(folder: str) -> bool:
    try:
        device = os.stat(folder).st_dev
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="replace") as file:
        return any(line.split()[2] == number and line.partition(" - ")[2].split()[0] in _IN_MEMORY for line in file)


def _key(path: str) -> bytes:
    """The store's key, made at the first use."""
    for _ in range(2):
        with suppress(FileNotFoundError), open(path, "rb") as file:
            return file.read()
        draft = f"{path}-{os.urandom(4).hex()}"
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(os.urandom(32))
        try:
            with suppress(FileExistsError):  # another was quicker, and its key counts
                os.link(draft, path)
        finally:
            os.unlink(draft)
    raise EngineError(f"read {path}: it comes and goes")
