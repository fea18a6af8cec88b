"""A Node.js project's own files → the `node:` of its first manifest, and what goes with it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from . import clues, detect_servers
from .detected import Draft, comment, listed, within

_MANAGERS = {
    "pnpm-lock.yaml": ("pnpm", "pnpm install --frozen-lockfile"),
    "yarn.lock": ("yarn", "yarn install --frozen-lockfile"),
    "bun.lock": ("bun", "bun install --frozen-lockfile"),
    "bun.lockb": ("bun", "bun install --frozen-lockfile"),
}
"""Whose lock file it is, and what installs from it."""

FILES = ("package.json", "package-lock.json", *_MANAGERS, ".nvmrc", ".node-version", *detect_servers.NODE)
NESTED = ("package.json", "package-lock.json", *_MANAGERS, *detect_servers.NODE)

_PORTS = {"next": "3000", "vite": "5173", "express": "3000", "fastify": "3000", "@angular/cli": "4200"}


def detect(files: Mapping[str, str], images: list[str], found: Draft) -> None:
    """Say what Node.js the project needs, if it is one, in the folder itself or in the first beneath that is."""
    named = [
        path for path in files if posixpath.basename(path) == "package.json" and not clues.trouble(path, files[path])
    ]
    homes = sorted(map(posixpath.dirname, named))
    if not homes:
        return
    folder = homes[0]
    own = within(files, folder)
    package = clues.from_json(own["package.json"])
    version, source = _version({**files, **own}, package, images)
    found.node.append(
        f'version: "{version}"  # from {source}' if version else '# version: "22"  # default: the newest long-term one'
    )
    go = f"cd {folder} && " if folder and re.fullmatch(r"[\w.-]+", folder) else ""
    runner = _install(own, package, folder, go, found)
    test = clues.at(package, "scripts", "test")
    if isinstance(test, str) and "no test specified" not in test and not found.test:
        found.test = f"{go}{runner} test"
    if not found.tests[0]:
        found.tests = (f"{go}{runner} test", "package.json has that script")
    wanted = {**clues.table(package, "dependencies"), **clues.table(package, "devDependencies")}
    found.usual += [port for name, port in _PORTS.items() if name in wanted][:1]
    if "express" in wanted and found.server is None:
        installed = "package-lock.json" in own
        found.server = detect_servers.express(own, package, runner, go, installed)
    if others := homes[1:] if not package.get("workspaces") else []:
        found.notes.append(f"there is more of Node.js in {', '.join(comment(home) + '/' for home in others[:5])}")


def _install(own: Mapping[str, str], package: dict[str, Any], folder: str, go: str, found: Draft) -> str:
    """How its packages are installed; the program that does it."""
    if "package-lock.json" in own:
        found.node.append(f"lock: {listed([posixpath.join(folder, 'package-lock.json')])[1:-1]}")
        if re.search(r'"resolved": *"git', own["package-lock.json"]):
            found.node.append("network: true  # what comes from a repository can't be locked")
            found.apt.append("git")
            found.apt_why = "git fetches some of the npm packages" if len(found.apt) == 1 else found.apt_why
        return "npm"
    lock = next((name for name in _MANAGERS if name in own), "")
    if not lock:
        found.hooks.append(f"{go}npm install")
        return "npm"
    manager, install = _MANAGERS[lock]
    pinned = re.match(rf"{manager}@(\d+(\.\d+)*)", str(package.get("packageManager")))
    if manager == "yarn" and pinned and not pinned[1].startswith("1"):  # its later versions have another name
        program, install = "@yarnpkg/cli-dist", "yarn install --immutable"
    else:
        program = manager
    wanted = f"{program}@{pinned[1]}" if pinned else program
    found.node.append(f"packages: {listed([wanted])}  # installs from {lock}, by the hook below")
    found.hooks.append(go + install)
    return manager


def _version(files: Mapping[str, str], package: dict[str, Any], images: list[str]) -> tuple[str, str]:
    """The version and the file that says it, the most explicit first."""
    tools = clues.tool_version(files.get(".tool-versions", ""), "nodejs", "node")
    engines = clues.at(package, "engines", "node")
    pinned = re.match(r"\s*[\^~=v]?\s*(\d{1,2})(?=$|[.\s])", engines) if isinstance(engines, str) else None
    named = (
        *((clues.node_version(files.get(name, "")), name) for name in (".nvmrc", ".node-version")),
        (clues.node_version(tools), ".tool-versions"),
        *((clues.node_version(clues.feature(files, name, "node")), "devcontainer.json") for name in clues.DEVCONTAINER),
        *((clues.node_in(image), comment(image)) for image in images),
        (pinned[1] if pinned else "", "package.json"),
    )
    return next(((version, source) for version, source in named if version), ("", ""))
