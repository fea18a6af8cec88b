"""A manifest → the Debian packages that its languages need, and whether what it asks for may be compiled with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devenv.errors import DevenvError
from devenv.model.manifest import Manifest

NODE = "24"
"""The long-term release used when the manifest names none. (26 wants libatomic1, and isn't a long-term one yet.)"""

_SUITE_PYTHON = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
_COMPILERS = {"build-essential", "gcc", "g++", "clang", "make", "cmake", "pkg-config", "pkgconf", "cargo", "rustc"} | {
    "gfortran",
    "git",
}


def managed(manifest: Manifest) -> bool:
    """Whether the interpreter is one of uv's: the base (or its Debian release) has no Python of that version."""
    own = _SUITE_PYTHON.get(manifest.base.value) if manifest.base.kind == "bootstrap" else None
    return manifest.python is not None and manifest.python.version is not None and manifest.python.version != own


def python_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which the virtual environment has no interpreter."""
    if manifest.python is None or manifest.base.kind != "bootstrap" or managed(manifest):
        return ()
    # uv, like pip, refuses a Python without distutils, which Debian had apart until 3.10.
    return ("python3", "python3-distutils") if manifest.base.value == "bullseye" else ("python3",)


def node_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which Node.js doesn't start: from 25 on it is linked with libatomic."""
    return ("libatomic1",) if manifest.node and major(manifest.node.version or NODE) >= 25 else ()


def system_packages(manifest: Manifest) -> tuple[str, ...]:
    """All Debian packages that the image must have, sorted."""
    return tuple(sorted({*manifest.apt, *python_needs(manifest), *node_needs(manifest)}))


def compiles(apt: Sequence[str]) -> bool:
    """Whether the user's packages hold something that other packages may be compiled or fetched with."""
    names = [re.split("[:=]", package)[0] for package in apt]
    return any(name in _COMPILERS or name.endswith("-dev") or re.match(r"(gcc|g\+\+|clang)-\d", name) for name in names)


def major(version: str) -> int:
    match = re.match(r"\d+", version.lstrip("v^~>=< "))
    if not match:
        raise DevenvError(f"render node: {version!r:.60} is not a version", hint='write it as in version: "20"')
    return int(match[0][:4])
