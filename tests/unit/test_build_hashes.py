"""What is kept of a context's contents from run to run: whole or nothing, never too much, whoever writes at the same time."""

from __future__ import annotations

import json
import os
import time
from multiprocessing import get_context
from pathlib import Path

from devenv.build.hashes import MAX_FILES, keep, load
from devenv.build.prepare import prepare
from tests.fake_engine import FakeEngine, FakeWorkshop

FOUND = {f"/context/{number}": f"1:2:100644:{number}:5:6 {number:064x}" for number in range(50)}


def test_hashes_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "hashes" / "one")
    odd = {**FOUND, "/context/\udcff\n": "x y"}
    assert load(path) == {}
    keep(path, {}, odd, odd)
    assert load(path) == odd
    assert (os.stat(path).st_mode & 0o777, os.listdir(tmp_path / "hashes")) == (0o600, ["one"])


def test_hashes_that_are_damaged_are_none(tmp_path: Path) -> None:
    path = tmp_path / "one"
    keep(str(path), {}, FOUND, FOUND)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            assert load(str(path)) == {}
    path.unlink()
    path.mkdir()
    assert load(str(path)) == {}
    keep(str(path), {}, FOUND, FOUND)  # can't be written: nothing happens


def test_hashes_are_written_only_when_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "one"
    keep(str(path), {}, FOUND, FOUND)
    before = path.stat().st_ino
    keep(str(path), dict(FOUND), FOUND, FOUND)
    assert path.stat().st_ino == before


def test_hashes_never_grow_without_end(tmp_path: Path) -> None:
    old = {f"/gone/{number}": "x" for number in range(10_200)}
    keep(str(tmp_path / "one"), {}, {**old, **FOUND}, FOUND)
    assert load(str(tmp_path / "one")) == FOUND
    for number in range(MAX_FILES + 5):
        path = tmp_path / f"c{number}"
        keep(str(path), {}, FOUND, FOUND)
        os.utime(path, (number, number))
    left = {one.name for one in tmp_path.iterdir()}
    assert len(left) <= MAX_FILES + 1
    assert f"c{MAX_FILES + 4}" in left
    assert "c0" not in left


def _write(path: str, number: int) -> None:
    found = {name: f"{number} {value}" for name, value in FOUND.items()}
    for _ in range(200):
        keep(path, {}, found, found)


def test_hashes_written_at_the_same_time_are_those_of_one(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    keep(path, {}, FOUND, FOUND)
    writers = [get_context("spawn").Process(target=_write, args=(path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found = load(path)
        assert found.keys() == FOUND.keys()
        assert len({value.split()[0] for value in found.values()}) == 1 or found == FOUND
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert os.listdir(tmp_path) == ["one"]


def test_prepare_reads_no_file_again_that_the_store_knows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    file = tmp_path / "Containerfile"
    file.write_text("FROM scratch\nCOPY a.txt /\n")
    shop = FakeWorkshop(FakeEngine(), str(tmp_path / "store"))

    def key() -> str:
        folder = str(tmp_path)
        return prepare(file.read_text(), str(file), contexts={}, folder=folder, args={}, target="", workshop=shop).key

    fresh = key()
    memory = shop.memory(str(tmp_path))
    assert str(tmp_path / "a.txt") not in load(memory)  # it changed this very moment
    time.sleep(2.1)
    assert key() == fresh
    known = load(memory)
    # A wrong digest there comes out: so the file wasn't read.
    wrong = {path: value.rpartition(" ")[0] + " " + "0" * 64 for path, value in known.items()}
    keep(memory, known, wrong, wrong)
    assert key() != fresh
    (tmp_path / "a.txt").write_text("a")
    assert key() == fresh
    assert json.dumps(load(memory)) == json.dumps(wrong)
