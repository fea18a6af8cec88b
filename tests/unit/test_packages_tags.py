"""Which file of a version suits a target."""

from __future__ import annotations

import platform
import sys

import pytest

from devenv.lock.tags import _ranks, best

WHEELS = {
    "any": "demo-1-py3-none-any.whl",
    "both": "demo-1-py2.py3-none-any.whl",
    "two": "demo-1-py2-none-any.whl",
    "old": "demo-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "older": "demo-1-cp311-cp311-manylinux1_x86_64.whl",
    "new": "demo-1-cp311-cp311-manylinux_2_28_x86_64.whl",
    "newest": "demo-1-cp311-cp311-manylinux_2_39_x86_64.whl",
    "arm": "demo-1-cp311-cp311-manylinux_2_28_aarch64.whl",
    "abi3": "demo-1-cp37-abi3-manylinux_2_17_x86_64.whl",
    "abi3-later": "demo-1-cp312-abi3-manylinux_2_17_x86_64.whl",
    "312": "demo-1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "free": "demo-1-cp313-cp313t-manylinux_2_28_x86_64.whl",
    "musl": "demo-1-cp311-cp311-musllinux_1_2_x86_64.whl",
    "mac": "demo-1-cp311-cp311-macosx_11_0_arm64.whl",
    "windows": "demo-1-cp311-cp311-win_amd64.whl",
    "pypy": "demo-1-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl",
    "built": "demo-1-3-py3-none-any.whl",
    "tar": "demo-1.tar.gz",
    "zip": "demo-1.zip",
    "egg": "demo-1-py3.11.egg",
    "odd": "demo.whl",
}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("any old new", "new"),
        ("any old newest", "old"),
        ("any older old", "old"),
        ("older any", "older"),
        ("abi3 any", "abi3"),
        ("abi3 old", "old"),
        ("abi3-later any", "any"),
        ("312 arm musl mac windows pypy tar", "tar"),
        ("any both", "any"),
        ("two tar", "tar"),
        ("any built", "built"),
        ("zip tar egg", "tar"),
        ("zip", "zip"),
        ("odd any", "any"),
        ("two 312 egg", ""),
        ("", ""),
    ],
)
def test_tags_take_the_best_that_suits(there: str, wanted: str) -> None:
    files = [WHEELS[name] for name in there.split()]
    for ordered in (files, files[::-1]):
        assert best(ordered) == (WHEELS[wanted] if wanted else None)


@pytest.mark.parametrize(
    ("there", "target", "wanted"),
    [
        ("arm new", ("3.11", "arm64", (2, 36)), "arm"),
        ("older tar", ("3.11", "arm64", (2, 36)), "tar"),
        ("new any", ("3.11", "i386", (2, 36)), "any"),
        ("new old", ("3.11", "amd64", (2, 27)), "old"),
        ("newest new", ("3.11", "amd64", (2, 39)), "newest"),
        ("312 abi3-later any", ("3.12", "amd64", (2, 36)), "312"),
        ("abi3-later abi3", ("3.13", "amd64", (2, 36)), "abi3-later"),
        ("free any", ("3.13", "amd64", (2, 36)), "any"),
    ],
)
def test_tags_are_those_of_the_target(there: str, target: tuple[str, str, tuple[int, int]], wanted: str) -> None:
    assert best([WHEELS[name] for name in there.split()], *target) == WHEELS[wanted]


def test_tags_of_this_host_are_those_its_python_says() -> None:
    from packaging.tags import sys_tags

    library, version = platform.libc_ver()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    if library != "glibc" or not architecture:
        pytest.skip("another kind of host")
    major, minor = (int(part) for part in version.split(".")[:2])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert set(_ranks(python, architecture, (major, minor))) == set(sys_tags())
