"""Several stores of one machine, set up at the same moment."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devenv.engine.native.records.state import State
from devenv.engine.native.slot import pool
from devenv.engine.native.slot.address import bridge_name
from devenv.engine.native.slot.ids import BLOCK
from devenv.paths import Paths
from tests.engine.conftest import leaks
from tests.engine.conftest import pool as run_pool
from tests.engine.project import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("machine")]


@pytest.fixture
def stores(home: Paths) -> Iterator[list[Paths]]:
    """Six that begin to look for a subnet, and for slots, at the same place."""
    folder = os.path.dirname(home.home)
    names = (f"{folder}/{number}" for number in itertools.count())
    preferring = ((name, int(bridge_name(f"{name}/r")[2:], 16) % (80 * 64)) for name in names)
    found: dict[int, list[Paths]] = {}
    for name, preference in preferring:
        found.setdefault(preference, []).append(Paths(f"{name}/h", f"{name}/r"))
        if len(found[preference]) == 6:
            break
    for paths in found[preference]:
        os.makedirs(paths.home)
        os.makedirs(paths.run)
    yield found[preference]
    for paths in found[preference]:
        run_pool(paths, "--teardown")
        assert leaks(paths) == []


def test_stores_set_up_at_the_same_moment_share_neither_subnet_nor_slot(stores: list[Paths]) -> None:
    env = Project(stores[0], stores[0].home, "").env()
    argv = [(sys.executable, "-m", pool.MODULE, "--home", one.home, "--run", one.run, "--spare", "4") for one in stores]
    running = [subprocess.Popen(words, env=env) for words in argv]
    assert [one.wait(60) for one in running] == [0] * len(stores)

    subnets, blocks = set(), set()
    for paths in stores:
        state = State(paths.state)
        subnets.add(str(pool.network(paths, state).subnet))
        blocks.add(state.spare_slots()[0] // BLOCK)
        state.close()
    assert (len(subnets), len(blocks)) == (len(stores), len(stores))
