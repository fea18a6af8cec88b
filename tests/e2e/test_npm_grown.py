"""npm packages that come one by one: each redoes what depends on it, and the image is the one that is built from nothing."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import New
from tests.e2e.place import Place

pytestmark = [pytest.mark.engine, pytest.mark.network]


def depend(place: Place, *packages: str) -> None:
    """Add dependencies, as people do: with the npm of the environment."""
    place("run", "--", "npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", *packages)


def test_npm_packages_that_came_one_by_one_are_the_image_that_is_built_from_nothing(new: New) -> None:
    place = new("node-api")
    place("build")
    depend(place, "zod@4")
    assert place("build").ran == {"environment"}
    depend(place, "bufferutil@4")
    done = place("build")
    assert done.ran == {"environment", "node-project"}
    steps = {line.split()[2] for line in done.err.splitlines() if line.startswith("✓ node-project")}
    assert steps == {"3/4", "4/4"}  # nobody's scripts are run again
    depend(place, "zod@4.0.0")
    assert place("build").ran == {"environment"}
    assert place("run", "--", "node", "-p", "require('zod/package.json').version").out.strip() == "4.0.0"
    assert place("build", "--check").out.splitlines()[1:] == ["every step gave the same bytes again"]


def test_npm_tools_that_came_one_by_one_are_layers_too(new: New) -> None:
    place = new(manifest='name: tools\nfrom: bootstrap:bookworm\nnode: {version: "20", packages: [json5@2]}\n')
    place("build")
    place.change("devenv.yml", "json5@2", "json5@2, esbuild@0.25")
    assert place("build").ran == {"environment", "node-tools"}
    place.change("devenv.yml", "esbuild@0.25", "esbuild@0.25, rimraf@5")
    assert place("build").ran == {"environment"}
    for command in ("json5", "esbuild", "rimraf"):
        assert place("run", "--", command, "--help").out.strip()
