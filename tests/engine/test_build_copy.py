"""COPY where it takes root: owners, setuid bits, file capabilities, devices, and an overlay as target."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.build.copy import copy
from devenv.build.ignore import Matcher
from devenv.model.build import Copy, Heredoc

pytestmark = pytest.mark.engine


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "tool").write_text("tool")
    os.chown(tree / "dir" / "tool", 1000, 1001)
    (tree / "dir" / "tool").chmod(0o4755)
    (tree / "dir" / "link").symlink_to("tool")
    os.lchown(tree / "dir" / "link", 1000, 1001)
    return tree


@pytest.fixture
def target(tmp_path: Path) -> Path:
    tree = tmp_path / "target"
    tree.mkdir()
    return tree


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def test_copy_of_a_context_belongs_to_root_and_keeps_setuid(source: Path, target: Path) -> None:
    copy(Copy(("dir",), "/a/b/"), str(source), str(target), matcher=Matcher(()), owner=(0, 0), epoch=None)
    assert owner(target / "a/b/tool") == owner(target / "a/b/link") == (0, 0)
    assert (target / "a/b/tool").stat().st_mode & 0o7777 == 0o4755


def test_copy_with_chown_gives_all_it_makes(source: Path, target: Path) -> None:
    operation = Copy(("dir",), "/a/b/", heredocs=(Heredoc("h", "x"),))
    copy(operation, str(source), str(target), matcher=Matcher(()), owner=(33, 34), epoch=None)
    assert {owner(target / path) for path in ("a", "a/b", "a/b/tool", "a/b/link", "a/b/h")} == {(33, 34)}
    assert (target / "a/b/tool").stat().st_mode & 0o7777 == 0o4755


def test_copy_of_a_stage_keeps_owners_and_capabilities(source: Path, target: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(source / "dir" / "tool", "security.capability", capability)
    copy(Copy(("dir",), "/a/"), str(source), str(target), matcher=None, owner=None, epoch=None)
    assert owner(target / "a/tool") == owner(target / "a/link") == (1000, 1001)
    assert os.getxattr(target / "a/tool", "security.capability") == capability
    assert owner(target / "a") == (0, 0)


def test_copy_of_a_stage_leaves_devices_out(source: Path, target: Path) -> None:
    os.mknod(source / "dir" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    copy(Copy(("dir",), "/a/"), str(source), str(target), matcher=None, owner=None, epoch=None)
    assert sorted(os.listdir(target / "a")) == ["link", "tool"]


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A merged root over an image with a folder /app and a merged /usr; and its upper folder."""
    for name in ("lower/app/kept", "lower/usr/lib", "upper", "work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower" / "lib").symlink_to("usr/lib")
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", f"{tmp_path}/merged"], check=True)
    try:
        yield tmp_path / "merged", tmp_path / "upper"
    finally:
        subprocess.run(["umount", f"{tmp_path}/merged"], check=True)


def test_copy_into_an_overlay_makes_a_layer_of_what_changed(source: Path, overlay: tuple[Path, Path]) -> None:
    merged, upper = overlay
    (source / "dir" / "lib").mkdir()
    (source / "dir" / "lib" / "x").write_text("x")
    copy(Copy(("dir",), "/"), str(source), str(merged), matcher=Matcher(()), owner=(0, 0), epoch=0)
    copy(Copy(("dir/tool",), "/app/"), str(source), str(merged), matcher=Matcher(()), owner=(0, 0), epoch=0)
    found = sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))
    assert found == ["app", "app/tool", "link", "tool", "usr", "usr/lib", "usr/lib/x"]


def test_copy_from_an_overlay_needs_no_hard_links(overlay: tuple[Path, Path], target: Path) -> None:
    merged, _ = overlay
    (merged / "app" / "file").write_text("x")
    copy(Copy(("app",), "/x/"), str(merged), str(target), matcher=None, owner=None, epoch=None, hardlink=True)
    assert (target / "x" / "file").read_text() == "x"
