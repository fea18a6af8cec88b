"""`ps`: what is written down, held against the kernel → its table. None where there is something to do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from devenv.cli import listing
from devenv.engine.native.records import observe
from devenv.engine.native.records.state import State
from devenv.engine.native.slot.address import Network, bridge_name, parse_subnet
from devenv.engine.native.trouble import trouble
from devenv.model.container import Environment, Supervisor
from devenv.paths import Paths, locate


class _Seen(NamedTuple):
    """What is to be listed, and who watches over it, by environment."""

    pairs: list[listing.Pair]
    watching: dict[str, Supervisor]
    others: bool
    """Whether there is anything at all."""
    inside: bool
    """Whether we are in a project, or in the folder of what was one."""


def ps(folder: str, env: Mapping[str, str], *, inside: bool, everything: bool, as_json: bool) -> int | None:
    """`folder` is the project we are in or, not `inside` of any, just where we are."""
    paths = locate(env, os.geteuid())
    if not os.path.exists(paths.state):
        return None
    with trouble("list containers"):
        seen = _seen(paths, folder, inside=inside, everything=everything)
    if not all(one.running for one in seen.watching.values()):
        return None
    gone = {home.folder for home, _ in seen.pairs if not os.path.isdir(home.folder)}
    if as_json:
        from devenv import console
        from devenv.cli import document

        console.json(document.containers(seen.pairs, gone, seen.watching), sys.stdout)
    else:
        listing.containers(seen.pairs, gone, seen.watching, time.time(), env, others=seen.others, inside=seen.inside)
    return 0


def _seen(paths: Paths, folder: str, *, inside: bool, everything: bool) -> _Seen:
    state = State(paths.state)
    subnet = state.setting("subnet")
    network = Network(bridge_name(paths.run), parse_subnet(subnet)) if subnet else None
    homes = {one.id: one for one in observe.environments(state)}
    here = next((one.id for one in homes.values() if (one.folder, one.variant) == (folder, "")), "")
    pairs = [
        (homes.get(one.environment, Environment(one.environment, one.environment or "-", "-")), one)
        for one in observe.containers(state, paths, network)
    ]
    found = listing.shown(pairs, everything, here, folder if inside or here else "")
    shown = {home.id for home, _ in found}
    watching = {home: one for home in shown if (one := observe.supervisor(paths, home))}
    return _Seen(found, watching, bool(pairs), bool(inside or here))
