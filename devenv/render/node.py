"""Locked npm packages → those that are put in place, and those whose install scripts run in a stage of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from devenv.model import npm
from devenv.model.lock import Module, NodeLock
from devenv.model.manifest import Manifest, Node, Pairs

from .needs import NODE, compiles, major, node_needs


class _NodeLayer(NamedTuple):
    """`scripts`: the folders of the packages whose install scripts run. `asked`: what of the manifest is in it.

    `repositories`: (folder, what npm fetches into it). `online`: the names of all these, for people.
    """

    number: int
    scripts: tuple[str, ...]
    asked: tuple[str, ...]
    repositories: Pairs
    online: tuple[str, ...]


class _Modules(NamedTuple):
    """The layers of npm packages that are just put in place, and those with install scripts."""

    plain: tuple[_NodeLayer, ...]
    built: tuple[_NodeLayer, ...]
    asked: tuple[str, ...]
    """What is in the layers with install scripts."""


class NodeParts(NamedTuple):
    parent: str
    headers: str
    version: str
    lock: str
    tools: _Modules
    project: _Modules
    network: bool


def node_parts(manifest: Manifest, node: Node, lock: NodeLock) -> NodeParts:
    release = major(node.version or NODE)
    return NodeParts(
        parent="apt" if (manifest.apt and compiles(manifest.apt)) or node_needs(manifest) else "base",
        version=node.version or NODE,
        # node-gyp takes its own configuration from npm's until npm 11, which refuses names it doesn't know.
        headers="npm_config_nodedir" if release < 24 else "npm_package_config_node_gyp_nodedir",
        lock=node.lock if node.lock and lock.project else "",
        tools=_modules(lock.tools if node.packages else (), tuple(sorted(set(node.packages)))),
        project=_modules(lock.project if node.lock else (), (node.lock or "",)),
        network=node.network,
    )


def _modules(modules: Sequence[Module], asked: tuple[str, ...]) -> _Modules:
    found = []
    for number in sorted({module.layer for module in modules}):
        here = [module for module in modules if module.layer == number]
        paths = {module.path for module in here}
        told = tuple(one for one in asked if f"node_modules/{one[0]}{one[1:].partition('@')[0]}" in paths)
        scripts = sorted(module for module in here if module.scripts)
        repositories = tuple((one.path, f"git+{one.url}#{one.commit}") for one in scripts if one.commit)
        online = tuple(sorted({_online(one) for one in scripts}))
        found.append(_NodeLayer(number, tuple(one.path for one in scripts), told or asked, repositories, online))
    plain, built = (tuple(layer for layer in found if bool(layer.scripts) == kind) for kind in (False, True))
    return _Modules(plain, built, tuple(one for one in asked if any(one in layer.asked for layer in built)))


def _online(module: Module) -> str:
    """`esbuild`, `shop @ https://git.example/shop@c0ffee123456`: what has network where the manifest allows it."""
    return f"{npm.name(module)} @ {module.url}@{module.commit[:12]}" if module.commit else npm.name(module)
