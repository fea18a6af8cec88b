"""A file is written whole or not at all, in UTF-8 whatever the locale; nothing but a file is ever replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devenv.cli.written import write_new
from devenv.errors import DevenvError, InputError


def test_a_new_file_is_written_and_one_that_is_there_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "devenv.yml"
    write_new(str(target), "one\n", force=False)
    with pytest.raises(InputError, match="is there already"):
        write_new(str(target), "two\n", force=False)
    assert target.read_text() == "one\n"
    write_new(str(target), "three\n", force=True)
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("three\n", 0o644)
    assert os.listdir(tmp_path) == ["devenv.yml"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.mkfifo(path), "is no file"),
        (lambda path: os.mkdir(path), "is a folder"),
        (lambda path: os.symlink("elsewhere", path), "is a link"),
        (lambda path: os.symlink("/dev/null", path), "is a link"),
    ],
    ids=["fifo", "folder", "nowhere", "device"],
)
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: object, said: str) -> None:
    target = tmp_path / "report.html"
    assert callable(make)
    make(target)
    before = target.lstat()
    with pytest.raises(InputError, match=f"report.html.*{said}, which isn't replaced"):
        write_new(str(target), "x", force=True)
    assert target.lstat() == before
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_left_when_it_cant_be_written(tmp_path: Path, force: bool) -> None:
    with pytest.raises(DevenvError, match=r"write .*: No such file"):
        write_new(str(tmp_path / "none" / "file"), "x", force=force)
    with pytest.raises(UnicodeEncodeError):
        write_new(str(tmp_path / "file"), "\udcff", force=force)
    assert os.listdir(tmp_path) == []


def test_it_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    target = tmp_path / "file"
    script = "import sys; from devenv.cli.written import write_new; write_new(sys.argv[1], '\\u2713', force=True)"
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(target)], check=True, env=env)
    assert target.read_bytes() == "✓".encode()
