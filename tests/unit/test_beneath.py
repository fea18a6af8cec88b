"""Paths beneath a folder, made and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.beneath import make_parents, remove_tree, text_beneath


def test_make_parents_makes_any_number_of_folders(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    deep = b"/".join([b"d"] * 1200)
    try:
        os.close(make_parents(root, deep, 0o700))
        assert os.path.isdir(os.path.join(os.fsencode(tmp_path), deep))
        found = (tmp_path / "d/d").stat()
        assert (found.st_mode & 0o777, found.st_mtime) == (0o700, 0)
    finally:
        remove_tree(str(tmp_path / "d"))  # too deep for pytest
        os.close(root)


def test_make_parents_goes_through_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    (tmp_path / "link").symlink_to("nowhere")
    try:
        with pytest.raises(NotADirectoryError):
            make_parents(root, b"link/x")
    finally:
        os.close(root)


def test_text_of_what_is_no_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/file")
    (tmp_path / "file").write_text("text")

    assert [text_beneath(str(tmp_path), name) for name in ("folder", "fifo", "missing", "link")] == ["", "", "", "text"]
