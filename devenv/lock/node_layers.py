"""Locked npm packages → the layer of each, so that one more, or another version, redoes what depends on it and no more. Pure.

There are two kinds of layers. One with install scripts is put together in a stage, upon all such layers before it, and its
scripts run there; so it holds all that they may use: what they need, and what that needs in turn. The others are just put in
place. Packages that can't be told apart once they are installed stay together: those inside of another's folder with
that one, and outermost ones with commands of one name, of which npm's order decides whose it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from devenv.model import npm
from devenv.model.lock import Module

from .node_graph import outermost

Needs = Mapping[str, Collection[str]]
"""An outermost package → those that it needs."""


def layered(before: Sequence[Module], after: Sequence[Module], needs: Needs, most: int = 8) -> tuple[Module, ...]:
    """`after`, each in the layer its place had before, as long as it is of the right kind; what is new makes layers of its own.

    From `most` on, the last of each kind takes what comes.
    """
    beside = _beside(after)
    used = _used({outermost(module.path) for module in after if module.scripts}, needs, beside)
    with_scripts = {module.layer for module in before if module.scripts}
    had = {outermost(module.path): module.layer for module in before}
    kept = {one: had[one] for one in beside if one in had and (had[one] in with_scripts) == (one in used)}
    layers = {one: min((kept[other] for other in others if other in kept), default=0) for one, others in beside.items()}
    for kind in (False, True):
        fresh = _fresh(layers, used, most, scripts=kind)
        layers |= {one: fresh for one, layer in layers.items() if not layer and (one in used) == kind}
    layers |= _stacked({one: layers[one] for one in beside if one in used}, after, needs)
    return tuple(module._replace(layer=layers[outermost(module.path)]) for module in after)


def known(modules: Sequence[Module]) -> Needs:
    """Who needs whom as far as layers tell, of packages that nobody is asked about again: with scripts, all of its own layer."""
    together: dict[int, set[str]] = {}
    for module in modules:
        together.setdefault(module.layer, set()).add(outermost(module.path))
    return {outermost(module.path): together[module.layer] for module in modules if module.scripts}


def _beside(modules: Sequence[Module]) -> dict[str, frozenset[str]]:
    """Each outermost package → those that stay with it, itself among them."""
    owners: dict[str, set[str]] = {}
    for module in modules:
        for command, _ in module.bins if len(npm.names(module.path)) == 1 else ():
            owners.setdefault(command, set()).add(outermost(module.path))
    links: dict[str, set[str]] = {outermost(module.path): set() for module in modules}
    for sharing in owners.values():
        for one in sharing:
            links[one] |= sharing
    return {one: _reached({one}, links) for one in links}


def _used(scripts: Collection[str], needs: Needs, beside: Mapping[str, Collection[str]]) -> frozenset[str]:
    """What install scripts of these may use: a command of one name may be the other's."""
    return _reached(scripts, {one: {*needs.get(one, ()), *others} for one, others in beside.items()}) & beside.keys()


def _reached(starts: Collection[str], edges: Needs) -> frozenset[str]:
    found, waiting = set(starts), list(starts)
    while waiting:
        further = set(edges.get(waiting.pop(), ())) - found
        found |= further
        waiting += further
    return frozenset(found)


def _fresh(layers: Mapping[str, int], used: Collection[str], most: int, *, scripts: bool) -> int:
    """The layer for what is new of one kind."""
    last = max(layers.values(), default=0)
    same = max((layer for one, layer in layers.items() if (one in used) == scripts), default=0)
    return last + 1 if last < most or not same else same


def _stacked(layers: Mapping[str, int], modules: Sequence[Module], needs: Needs) -> dict[str, int]:
    """The layers with scripts, such that scripts find all they may use in their own layer and those before it.

    Where a package that had its scripts run needs what came later, all of them are one layer again.
    """
    if any(layers.get(below, 0) > layer for one, layer in layers.items() for below in needs.get(one, ())):
        return dict.fromkeys(layers, min(layers.values()))
    # What is left of a layer whose scripts went is there for those of a later one.
    running = {layers[outermost(module.path)] for module in modules if module.scripts}
    return {one: min((other for other in running if other >= layer), default=layer) for one, layer in layers.items()}
