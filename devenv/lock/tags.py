"""The files of one version of a Python project → the one that suits a target: its best wheel, else its source archive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # 20 ms, for who locks or has no lock's file name
    from packaging.tags import Tag

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's names of architectures → Python's; those of others are the same, or have no wheels."""
_FIRST_GLIBC = 5  # manylinux1, PEP 513
_OLD = {(2, 5): "manylinux1", (2, 12): "manylinux2010", (2, 17): "manylinux2014"}
_SOURCES = (".tar.gz", ".zip")


def best(
    files: Sequence[str], python: str = "3.11", arch: str = "amd64", glibc: tuple[int, int] = (2, 36)
) -> str | None:
    """The file that pip would take for CPython `python` on Linux with this C library, whatever this host is; None if none suits.

    Of wheels whose tags are equally good the one with the highest build number (PEP 427), of equal ones the last by name.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    ranks = _ranks(python, arch, glibc)
    suiting = []
    for file in files:
        if not file.endswith(".whl"):
            continue
        try:
            _, _, build, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:  # of times before there were rules
            continue
        found = [ranks[tag] for tag in tags if tag in ranks]
        if found:
            suiting.append((-min(found), build, file))
    if suiting:
        return max(suiting)[-1]
    sources = sorted(file for file in files if file.endswith(_SOURCES))
    return next((file for suffix in _SOURCES for file in sources if file.endswith(suffix)), None)


def newer(one: str, other: str) -> bool:
    """Whether a version is newer than another (PEP 440, which reads npm's as well); of others, whether it isn't the same."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) > Version(other)
    except InvalidVersion:
        return one != other


@lru_cache(8)
def _ranks(python: str, arch: str, glibc: tuple[int, int]) -> dict[Tag, int]:
    """Tag → how far down it is in what this Python takes."""
    from packaging.tags import compatible_tags, cpython_tags

    version = tuple(int(part) for part in python.split(".")[:2])
    platforms = _platforms(_MACHINES.get(arch, arch), glibc)
    interpreter = f"cp{version[0]}{version[1]}"
    tags = (
        *cpython_tags(version, abis=[interpreter, *_pymalloc(version)], platforms=platforms),
        *compatible_tags(version, interpreter, platforms),
    )
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def _pymalloc(version: tuple[int, ...]) -> tuple[str, ...]:
    return (f"cp{version[0]}{version[1]}m",) if version < (3, 8) else ()


def _platforms(machine: str, glibc: tuple[int, int]) -> list[str]:
    """manylinux of this C library and all before it (PEP 600), each with its older name, after what was built for this very Linux."""
    first = _FIRST_GLIBC if machine in ("x86_64", "i686") else 17
    found = [f"linux_{machine}"]
    for minor in range(glibc[1], first - 1, -1):
        found.append(f"manylinux_{glibc[0]}_{minor}_{machine}")
        old = _OLD.get((glibc[0], minor))
        if old:
            found.append(f"{old}_{machine}")
    return found
