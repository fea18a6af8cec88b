"""Whether a project's files are the ones they were."""

from __future__ import annotations

import os
from pathlib import Path

from devenv.cli.trying.tree import seen


def test_the_same_as_long_as_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("x")
    os.symlink("/etc", tmp_path / "link")
    first = seen([str(tmp_path)])
    assert first == seen([str(tmp_path)]) and first.files == 3


def test_any_change_shows(tmp_path: Path) -> None:
    file = tmp_path / "a"
    looks = [seen([str(tmp_path)])]
    file.write_text("x")
    looks.append(seen([str(tmp_path)]))
    file.write_text("xy")
    looks.append(seen([str(tmp_path)]))
    file.chmod(0o600)
    looks.append(seen([str(tmp_path)]))
    file.rename(tmp_path / "other")
    looks.append(seen([str(tmp_path)]))
    (tmp_path / "new").mkdir()
    looks.append(seen([str(tmp_path)]))
    os.symlink("x", tmp_path / "new/l")
    looks.append(seen([str(tmp_path)]))
    assert len(set(looks)) == 7


def test_git_may_look_but_not_move(tmp_path: Path) -> None:
    (tmp_path / ".git/refs/heads").mkdir(parents=True)
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main")
    first = seen([str(tmp_path)])
    (tmp_path / ".git/index").write_text("x")
    (tmp_path / "swap").write_text("x")
    (tmp_path / "swap").unlink()
    assert seen([str(tmp_path)]) == first
    (tmp_path / ".git/refs/heads/main").write_text("abc")
    assert seen([str(tmp_path)]) != first


def test_what_isnt_there_is_something_too(tmp_path: Path) -> None:
    assert seen([str(tmp_path / "none")]) != seen([str(tmp_path)])
