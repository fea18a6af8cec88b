"""Equal files of layers made on the same root are stored once, and nothing that is packed of them changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.engine.native.store.layer import descriptor
from devenv.engine.native.store.twins import SMALLEST, share

BIG = os.urandom(SMALLEST * 70)
TIME = 1_600_000_000


def put(path: Path, content: bytes = BIG, mtime: float = TIME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    put(tmp_path / "old/usr/lib/same")
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    put(tmp_path / "new/usr/lib/same")
    return tmp_path / "new"


def one_file(left: Path, right: Path) -> bool:
    return left.stat().st_ino == right.stat().st_ino


def test_share_stores_equal_files_once_and_packs_the_same(old: Path, new: Path) -> None:
    put(new / "usr/lib/own", BIG[::-1])
    os.utime(new / "usr/lib", (TIME, TIME))
    before = descriptor(str(new)), descriptor(str(old))

    assert share(str(new), [str(old)]) == len(BIG)
    assert one_file(new / "usr/lib/same", old / "usr/lib/same")
    assert os.stat(new / "usr/lib").st_mtime == TIME
    assert sorted(os.listdir(new / "usr/lib")) == ["own", "same"]
    assert (descriptor(str(new)), descriptor(str(old))) == before


def test_share_takes_the_first_layer_that_has_it(old: Path, new: Path, tmp_path: Path) -> None:
    put(tmp_path / "other/usr/lib/same", BIG[:-1] + b"x")
    (tmp_path / "without").mkdir()
    others = [f"{tmp_path}/gone", f"{tmp_path}/without", f"{tmp_path}/other", str(old)]

    assert share(str(new), others) == len(BIG)
    assert one_file(new / "usr/lib/same", old / "usr/lib/same")


@pytest.mark.parametrize(
    "what", ["content", "size", "time", "nanoseconds", "mode", "owner", "attribute", "kind", "small"]
)
def test_share_leaves_what_is_not_the_same_in_all(old: Path, new: Path, what: str) -> None:
    mine, theirs = new / "usr/lib/same", old / "usr/lib/same"
    if what == "content":
        put(mine, BIG[:-1] + bytes([BIG[-1] ^ 1]))
    elif what == "size":
        put(mine, BIG + b"x")
    elif what == "time":
        os.utime(mine, (TIME, TIME + 1))
    elif what == "nanoseconds":
        os.utime(mine, ns=(1, TIME * 10**9 + 1))
    elif what == "mode":
        mine.chmod(0o4755)
    elif what == "owner":
        if os.geteuid():
            pytest.skip("needs root")
        os.chown(mine, 1, 0)
    elif what == "attribute":
        os.setxattr(mine, "user.note", b"mine")
    elif what == "kind":
        theirs.rename(old / "elsewhere")
        theirs.symlink_to(old / "elsewhere")
    else:
        put(mine, b"x" * (SMALLEST - 1))
        put(theirs, b"x" * (SMALLEST - 1))
    before = descriptor(str(new))

    assert share(str(new), [str(old)]) == 0
    assert descriptor(str(new)) == before


def test_share_makes_no_file_out_of_two_and_no_two_out_of_one(old: Path, new: Path) -> None:
    """Names of one inode are a hard link in the archive, and so other bytes."""
    put(old / "a/one")
    os.link(old / "a/one", old / "a/two")
    put(new / "a/one")
    put(new / "a/two")
    put(old / "b/one")
    put(old / "b/two")
    put(new / "b/one")
    os.link(new / "b/one", new / "b/two")
    before = descriptor(str(new))

    assert share(str(new), [str(old)]) == 2 * len(BIG)  # usr/lib/same, and one of a/
    assert not one_file(new / "a/one", new / "a/two")
    assert one_file(new / "b/one", new / "b/two")
    assert descriptor(str(new)) == before


def test_share_follows_no_link_of_the_other_layer(new: Path, tmp_path: Path) -> None:
    """Where the new layer has a folder, the other may have a link to a folder of the host."""
    put(tmp_path / "host/lib/same")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/usr").symlink_to(tmp_path / "host")

    assert share(str(new), [f"{tmp_path}/old"]) == 0
    assert (tmp_path / "host/lib/same").stat().st_nlink == 1


def test_share_leaves_a_file_of_its_own_name_alone(old: Path, new: Path) -> None:
    put(new / "usr/lib/.devenv-twin", b"mine")

    assert share(str(new), [str(old)]) == 0
    assert (new / "usr/lib/.devenv-twin").read_bytes() == b"mine"
