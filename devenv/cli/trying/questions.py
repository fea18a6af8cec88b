"""What only a package manager knows, asked of it in an environment that is up: versions there are, what a lock would be."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from shlex import join, quote

from devenv import console
from devenv import desired as wanting
from devenv.cli.blame import NETWORK
from devenv.cli.session import Machine
from devenv.desired import SHELL
from devenv.errors import THE_NETWORK, EngineError
from devenv.lock.tags import newer
from devenv.model.container import Container, Process
from devenv.model.image import PROJECT
from devenv.trial import versions

from .runs import content
from .sides import Standing

_FOLDER = "/tmp/devenv-npm"
_SAID = 5


def listed(
    one: Standing, kind: versions.Ecosystem, name: str, machine: Machine, image: str = PROJECT
) -> tuple[str, ...]:
    """All versions of a package that an image's package manager knows of, the oldest first. Raises EngineError."""
    argv = (*SHELL, versions.COMMANDS[kind], name)
    service = wanting.owner(image)
    replicas = (each for each in machine.engine.containers(one.environment.id) if each.service == service)
    where = next(replicas, None) if service else one.workspace
    if where is None:
        raise EngineError(f"list the versions of {name}: no container of {service} is up")
    printed = _asked(where, f"list the versions of {name}", argv, machine)
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
    _asked(one.workspace, f"resolve {', '.join(specs)}", (*SHELL, script), machine)
    found = {posixpath.join(folder, name): content(one.workspace, f"{_FOLDER}/{name}", machine) for name in names}
    return {path: data for path, data in found.items() if data is not None}


def _asked(where: Container, what: str, argv: Sequence[str], machine: Machine) -> list[str]:
    """What it printed. Raises EngineError when it fails."""
    printed: list[str] = []
    if machine.engine.execute(where.id, Process(tuple(argv), user="0"), printed.append):
        said = "".join(f"\n  {console.clean(line)}" for line in printed[-_SAID:])
        failed = NETWORK.search("\n".join(printed))
        hint = f"{THE_NETWORK} failed: try again, `devenv doctor` checks it" if failed else "does it know this version?"
        raise EngineError(f"{what}: its package manager says{said}", hint=hint)
    return printed
