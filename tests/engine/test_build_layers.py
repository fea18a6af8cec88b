"""Which layer has all of a path: the only case in which a copy may link files instead of copying them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.build.layers import sole

pytestmark = pytest.mark.engine


@pytest.fixture
def layers(tmp_path: Path) -> list[str]:
    """Two layers; opt/venv/file is in the lower one, something else in the upper."""
    for name, path in (("lower", "opt/venv/file"), ("upper", "opt/other/file")):
        file = tmp_path / name / path
        file.parent.mkdir(parents=True)
        file.write_text(name)
    return [str(tmp_path / "lower"), str(tmp_path / "upper")]


def test_sole_finds_the_one_layer(layers: list[str]) -> None:
    assert sole(layers, "opt/venv") == layers[0]
    assert sole(layers, "opt") is None  # both have some of it
    assert sole(layers, "absent") is None
    assert sole(layers, "") is None


def test_sole_is_in_doubt_when_a_layer_removed_it_or_what_it_is_in(layers: list[str], tmp_path: Path) -> None:
    removal = tmp_path / "removal"
    removal.mkdir()
    os.mknod(removal / "opt", 0o20000, os.makedev(0, 0))
    assert sole([*layers, str(removal)], "opt/venv") is None


def test_sole_is_in_doubt_when_a_layer_hides_what_is_below(layers: list[str]) -> None:
    os.setxattr(f"{layers[1]}/opt", "trusted.overlay.opaque", b"y")
    assert sole(layers, "opt/venv") is None


def test_sole_is_in_doubt_about_links(layers: list[str]) -> None:
    os.symlink("opt", f"{layers[0]}/way")
    assert sole(layers, "way/venv") is None
