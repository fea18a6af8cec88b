"""What the host's npm makes ready, none of it measured: Node.js for the peers' image, a project with one more dependency."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

from . import recipes
from .contenders import HOME, environment


def node_files() -> str:
    """Node.js and npm as npm packages, laid out as Node.js's own archive; the folder. Kept between runs."""
    folder = f"{HOME}/node"
    if not os.path.exists(folder):
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        draft, archive = f"{HOME}/node.new", f"node-linux-{machine}"
        _npm("install", "--prefix", draft, "--no-save", f"{archive}@{recipes.NODE}", f"npm@{recipes.NPM}")
        os.rename(f"{draft}/node_modules/npm", f"{draft}/node_modules/{archive}/npm")
        os.rename(f"{draft}/node_modules/{archive}", folder)
        shutil.rmtree(draft)
    return folder


def one_more(source: str, folder: str, name: str) -> str:
    """A package.json and its lock copied, with this dependency more; the folder."""
    os.makedirs(folder, exist_ok=True)
    for file in recipes.NPM_FILES:
        shutil.copy(f"{source}/{file}", folder)
    _npm("install", "--package-lock-only", name, folder=folder)
    return folder


def _npm(*argv: str, folder: str = HOME) -> None:
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
    subprocess.run(["npm", *argv, *quiet], cwd=folder, env=environment(), check=True, capture_output=True)
