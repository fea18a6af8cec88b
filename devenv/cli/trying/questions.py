"""What only a package manager knows, asked of it in an environment that is up: versions there are, what a lock would be."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from shlex import join, quote

from devenv import console
from devenv.cli.session import Machine
from devenv.desired import SHELL
from devenv.errors import EngineError
from devenv.lock.tags import newer
from devenv.model.container import Process
from devenv.trial import versions

from .runs import content
from .sides import Standing

_FOLDER = "/tmp/devenv-npm"
_SAID = 5


def listed(one: Standing, kind: versions.Ecosystem, name: str, machine: Machine) -> tuple[str, ...]:
    """All versions of a package, the oldest first. Raises EngineError."""
    printed = _asked(one, f"list the versions of {name}", (*SHELL, versions.COMMANDS[kind], name), machine)
    return versions.listed(kind, name, "\n".join(printed), newer)


def relocked(one: Standing, file: str, specs: Sequence[str], machine: Machine) -> Mapping[str, bytes]:
    """A package.json and its lock as `npm install` would leave them with these packages (`NAME@VERSION`), by path from the
    project's folder. Nothing is installed, and no script runs. Raises EngineError.
    """
    lock = one.setup.manifest.node.lock if one.setup.manifest.node else None
    names = ("package.json", posixpath.basename(lock or "package-lock.json"))
    folder = os.path.dirname(file)
    target = next((source.target for source in one.setup.manifest.sources if source.path == "."), "")
    if not target:
        raise EngineError(
            f"resolve {', '.join(specs)}: the project's folder isn't seen inside", hint="add it to `source:`"
        )
    files = " ".join(quote(posixpath.join(target, folder, name)) for name in names)
    npm = join(
        ("npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *specs)
    )
    script = f"rm -rf {_FOLDER} && mkdir {_FOLDER} && cp {files} {_FOLDER} && cd {_FOLDER} && {npm}"
    _asked(one, f"resolve {', '.join(specs)}", (*SHELL, script), machine)
    found = {posixpath.join(folder, name): content(one.workspace, f"{_FOLDER}/{name}", machine) for name in names}
    return {path: data for path, data in found.items() if data is not None}


def _asked(one: Standing, what: str, argv: Sequence[str], machine: Machine) -> list[str]:
    """What it printed. Raises EngineError when it fails."""
    printed: list[str] = []
    if machine.engine.execute(one.workspace.id, Process(tuple(argv), user="0"), printed.append):
        said = "".join(f"\n  {console.clean(line)}" for line in printed[-_SAID:])
        raise EngineError(f"{what}: its package manager says{said}", hint="is there network inside?")
    return printed
