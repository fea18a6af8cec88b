"""Layers are made in folders that ext4 puts far from each other."""

from __future__ import annotations

import pytest

from devenv.engine.native.mount import spread
from tests.engine.conftest import output
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def test_spread_is_set_where_layers_are_made(project: Project) -> None:
    if output("stat", "-f", "-c", "%T", project.paths.home).strip() != "ext2/ext3":
        pytest.skip("only ext4 has it")
    project.attempt("ps")

    assert "T" in output("lsattr", "-d", project.paths.drafts).split()[0]
    spread(project.paths.drafts)
    assert "T" in output("lsattr", "-d", project.paths.drafts).split()[0]


def test_spread_asks_nothing_of_file_systems_without_it() -> None:
    spread("/dev/shm")
    spread("/proc/self")
