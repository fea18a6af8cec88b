"""What lay below a step's root for that step alone, and what the step left: one layer, as if the step had made it all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devenv.engine.native.store.merge import merge

pytestmark = pytest.mark.engine

OPAQUE = "trusted.overlay.opaque"


class Layers:
    """`upper` over `below` over `lower`."""

    def __init__(self, folder: Path) -> None:
        self.upper, self.below, self.lower = (folder / name for name in ("upper", "below", "lower"))
        for layer in (self.upper, self.below, self.lower):
            layer.mkdir()

    def merged(self) -> Path:
        merge(str(self.upper), str(self.below), [str(self.lower)])
        assert not self.below.exists()
        return self.upper


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def whiteout(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, 0)
    return path


def opaque(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    os.setxattr(path, OPAQUE, b"y")
    return path


def test_merge_moves_what_the_step_left_alone(layers: Layers) -> None:
    inode = write(layers.below / "usr/bin/tool", "tool").stat().st_ino
    write(layers.below / "opt/a/b/c")
    write(layers.upper / "usr/bin/other")
    merged = layers.merged()
    assert sorted(os.listdir(merged / "usr/bin")) == ["other", "tool"]
    assert (merged / "usr/bin/tool").stat().st_ino == inode
    assert (merged / "opt/a/b/c").exists()


def test_merge_keeps_what_the_step_made_of_a_file_and_of_a_folder(layers: Layers) -> None:
    write(layers.below / "etc/a", "old")
    write(layers.below / "etc/b/c", "old")
    write(layers.upper / "etc/a", "new")
    write(layers.upper / "etc/b", "a file")
    (layers.upper / "etc").chmod(0o700)
    os.utime(layers.upper / "etc", (7, 7))
    merged = layers.merged()
    assert ((merged / "etc/a").read_text(), (merged / "etc/b").read_text()) == ("new", "a file")
    assert (stat.S_IMODE((merged / "etc").stat().st_mode), (merged / "etc").stat().st_mtime) == (0o700, 7)


def test_merge_keeps_the_time_of_a_folder_it_fills(layers: Layers) -> None:
    write(layers.below / "usr/a/new")
    write(layers.below / "usr/z")
    write(layers.upper / "usr/a/own")
    for path in (layers.upper / "usr/a", layers.upper / "usr", layers.below / "usr/z", layers.below / "usr/a/new"):
        os.utime(path, (9, 9))
    merged = layers.merged()
    assert {name: (merged / name).stat().st_mtime for name in ("usr", "usr/a", "usr/a/new", "usr/z")} == {
        "usr": 9,
        "usr/a": 9,
        "usr/a/new": 9,
        "usr/z": 9,
    }


def test_merge_drops_a_whiteout_of_what_lay_below_only(layers: Layers) -> None:
    write(layers.below / "usr/gone")
    write(layers.below / "usr/folder/file")
    for name in ("gone", "folder"):
        whiteout(layers.upper / "usr" / name)
    assert os.listdir(layers.merged() / "usr") == []


def test_merge_keeps_a_whiteout_of_what_other_layers_have(layers: Layers) -> None:
    write(layers.below / "usr/both/file")
    write(layers.lower / "usr/both/other")
    write(layers.lower / "usr/lower")
    for name in ("both", "lower"):
        whiteout(layers.upper / "usr" / name)
    merged = layers.merged()
    assert sorted(os.listdir(merged / "usr")) == ["both", "lower"]
    assert stat.S_ISCHR((merged / "usr/both").stat().st_mode)


def test_merge_knows_that_a_whiteout_in_another_layer_hides_what_is_under_it(layers: Layers, tmp_path: Path) -> None:
    write(layers.below / "usr/file")
    whiteout(layers.upper / "usr/file")
    whiteout(layers.lower / "usr/file")
    write(tmp_path / "lowest/usr/file")
    merge(str(layers.upper), str(layers.below), [str(layers.lower), str(tmp_path / "lowest")])
    assert os.listdir(layers.upper / "usr") == []


def test_merge_leaves_out_what_an_opaque_folder_hides(layers: Layers) -> None:
    for name in ("alone", "both"):
        write(layers.below / name / "hidden")
        write(opaque(layers.upper / name) / "own")
    write(layers.lower / "both/lower")
    merged = layers.merged()
    assert (os.listdir(merged / "alone"), os.listdir(merged / "both")) == (["own"], ["own"])
    # Only where something else is hidden does the mark still mean something.
    assert (os.listxattr(merged / "alone"), os.listxattr(merged / "both")) == ([], [OPAQUE])


def test_merge_follows_no_link(layers: Layers, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside/file").parent
    write(layers.below / "usr/share/file")
    (layers.upper / "usr").mkdir()
    (layers.upper / "usr/share").symlink_to(outside)
    (layers.lower / "usr").symlink_to(outside)
    merged = layers.merged()
    assert os.readlink(merged / "usr/share") == str(outside)
    assert os.listdir(outside) == ["file"]
