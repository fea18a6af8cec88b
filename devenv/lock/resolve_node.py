"""npm packages that are asked for → locked: npm is asked, where a package-lock.json doesn't say it all."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from devenv.engine.workshop import Bind
from devenv.model import npm
from devenv.model.lock import Module, NodeLock, Section
from devenv.model.manifest import Pairs
from devenv.render.needs import NODE

from . import node, node_layers
from .desk import EVERYTHING, Desk, ask


def modules(asked: Pairs, section: Section, desk: Desk, upgrade: frozenset[str]) -> NodeLock:
    """npm is only asked for what isn't known: a package-lock.json says all about itself."""
    wanted = desk.manifest.node
    assert wanted is not None
    before = section.node if section.node and upgrade != EVERYTHING else NodeLock()
    said, now = dict(before.asked), dict(asked)
    registry = desk.workshop.registry()
    groups: dict[str, dict[str, str]] = {}
    if not before.runtime or said.get("version") != now.get("version") or upgrade & {"node", "npm"}:
        groups["runtime"] = node.wishes(node.runtime_packages(wanted.version or NODE, section.arch))
    tools = before.tools if wanted.packages else ()
    named = any(npm.name(module) in upgrade for module in tools)
    if wanted.packages and (said.get("packages") != now.get("packages") or named):
        gone = node.gone(said.get("packages", ""), wanted.packages)
        wishes = node.wishes(wanted.packages, before.tools, {*gone, *upgrade})
        more = None if gone or named else _more_tools(wanted.packages, wishes, tools, section, desk)
        if more is None:
            groups["tools"] = wishes
        tools = more or tools
    answers = dict(zip(groups, _npm(tuple(groups.values()), section, desk), strict=True)) if groups else {}
    runtime = before.runtime
    if "runtime" in answers:
        runtime = node.runtime(answers["runtime"], section.arch, registry)
    if "tools" in answers:
        tools = node.tools(wanted.packages, answers["tools"], section.arch, () if named else before.tools, registry)
        tools = node_layers.layered(before.tools, tools, node.needs(answers["tools"]))
    project: tuple[Module, ...] = ()
    if wanted.lock:
        text = desk.contents[posixpath.normpath(wanted.lock)].decode(errors="replace")
        project = node.project(text, section.arch, wanted.lock, registry, repositories=wanted.network)
        project = node_layers.layered(before.project, project, node.needs(text))
    return NodeLock(asked, runtime, tools, project)


def _more_tools(
    packages: Sequence[str], wishes: Mapping[str, str], before: tuple[Module, ...], section: Section, desk: Desk
) -> tuple[Module, ...] | None:
    """The tools there are, and what is new, of which alone npm is asked; None when it is to be asked for all."""
    fresh = node.fresh(wishes, before)
    if not (before and fresh):
        return None
    (answer,) = _npm((fresh,), section, desk)
    found = node.added(packages, answer, section.arch, before, desk.workshop.registry())
    return found and node_layers.layered(before, found, {**node_layers.known(before), **node.needs(answer)})


def _npm(groups: Sequence[Mapping[str, str]], section: Section, desk: Desk) -> tuple[str, ...]:
    rootfs = desk.root(section._replace(apt=None, python=None, node=None), "base")
    binds = (
        Bind("bind", node.TOOL, desk.workshop.tool("node")),
        Bind("cache", "/root/.npm", desk.workshop.cache("npm", 0o755, (0, 0)), readonly=False),
    )
    argv = ("sh", "-c", f'"$@" > {node.ANSWER}', "sh", *node.ask(node.COMMAND, groups))
    return node.answers(ask(desk, rootfs, argv, binds, node.ANSWER), len(groups))


def newest(section: Section, desk: Desk) -> Mapping[tuple[str, str], str]:
    """(group, name) of node.packages' → the newest that the registry has, whatever the manifest allows."""
    asked = map(node.spec, desk.manifest.node.packages if section.node and desk.manifest.node else ())
    # An alias is another's name.
    tools = sorted({name for name, wanted in asked if not wanted.startswith("npm:")})
    if not tools:
        return {}
    (answer,) = _npm((dict.fromkeys(tools, "latest"),), section, desk)
    modules = {one.path: one for one in node.tools(tools, answer, section.arch, (), desk.workshop.registry())}
    paths = {name: f"{npm.FOLDER}/{name}" for name in tools}
    return {("node.packages", name): modules[path].version for name, path in paths.items() if path in modules}
