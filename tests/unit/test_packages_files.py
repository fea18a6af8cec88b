"""Fetched files kept by content: what is whole is kept, what was changed is found, by name."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from devenv.engine.native.packages.files import DAY, EPOCH, Files, unused
from devenv.engine.native.running.sweep import unlocked
from devenv.errors import StoreError

BODY = b"a package\n" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
INTEGRITY = f"sha512-{base64.b64encode(hashlib.sha512(BODY).digest()).decode()}"


def kept(folder: Path) -> Files:
    files = Files(str(folder))
    with files.writer("flask 3.0.0", SHA256, len(BODY)) as out:
        out.write(BODY)
    return files


def left(folder: Path) -> list[str]:
    return os.listdir(folder / "drafts")


def test_files_keep_what_is_whole_with_one_time_and_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files = kept(tmp_path)
    finally:
        os.umask(before)
    path = files.verified("flask 3.0.0", SHA256, len(BODY))
    assert path == files.path(SHA256) == f"{tmp_path}/files/{SHA256[:2]}/{SHA256}"
    assert files.has(SHA256, len(BODY)) and files.has(SHA256) and not files.has(SHA256, 1) and not files.has("")
    assert (os.stat(path).st_mtime, os.stat(path).st_mode & 0o7777) == (EPOCH, 0o644)
    assert left(tmp_path) == []


def test_files_keep_a_file_with_nothing_in_it(tmp_path: Path) -> None:
    """Another one that is empty was cut off."""
    files = kept(tmp_path)
    with files.writer("a list") as out:
        pass
    assert files.has(out.sha256, out.size)
    os.truncate(files.path(SHA256), 0)
    assert not files.has(SHA256)


def test_files_say_what_was_written_when_nothing_was_known(tmp_path: Path) -> None:
    with Files(str(tmp_path)).writer("left-pad 1.3.0") as out:
        out.write(BODY[:10])
        out.restart()
        out.write(BODY)
    assert (out.sha256, out.size) == (SHA256, len(BODY))
    assert Files(str(tmp_path)).has(SHA256, len(BODY))


@pytest.mark.parametrize(
    ("sha256", "size", "data", "said"),
    [
        ("0" * 64, len(BODY), BODY, f"its sha256 is {SHA256}, not 000"),
        (SHA256, len(BODY), BODY + b"x", "more than the 10000 bytes"),
        ("", len(BODY), BODY[:-1], "it has 9999 bytes, not 10000"),
    ],
)
def test_files_keep_nothing_that_is_wrong(tmp_path: Path, sha256: str, size: int, data: bytes, said: str) -> None:
    files = Files(str(tmp_path))
    with pytest.raises(StoreError, match=f"keep flask 3.0.0: {said}"), files.writer("flask 3.0.0", sha256, size) as out:
        out.write(data)
    assert left(tmp_path) == [] and not (tmp_path / "files").exists()


@pytest.mark.parametrize("data", [b"", b"other" + BODY[5:], BODY + b"x", BODY[:-1]])
def test_files_changed_afterwards_are_named_and_removed(tmp_path: Path, data: bytes) -> None:
    files = kept(tmp_path)
    Path(files.path(SHA256)).write_bytes(data)
    with pytest.raises(StoreError, match=r"use flask 3\.0\.0: its kept file has sha256") as caught:
        files.verified("flask 3.0.0", SHA256, len(BODY))
    assert "fetches it again" in caught.value.hint
    assert not os.path.exists(files.path(SHA256))
    with pytest.raises(StoreError, match="isn't in the store"):
        files.verified("flask 3.0.0", SHA256, len(BODY))


def test_files_with_a_folder_or_link_in_their_place_are_not_used(tmp_path: Path) -> None:
    files = kept(tmp_path)
    os.unlink(files.path(SHA256))
    os.makedirs(f"{files.path(SHA256)}/x")
    assert not files.has(SHA256)
    with pytest.raises(StoreError, match="use flask"):
        files.verified("flask", SHA256)
    assert not os.path.exists(files.path(SHA256))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 63, "A" * 64, "", f"{SHA256}\n"])
def test_files_have_no_other_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="not a sha256"):
        Files(str(tmp_path)).path(name)


def test_files_are_found_by_integrity_and_checked_by_it(tmp_path: Path) -> None:
    files = kept(tmp_path)
    assert files.find(INTEGRITY) == ""
    files.remember(INTEGRITY, SHA256)
    files.remember(INTEGRITY, SHA256)
    assert files.find(INTEGRITY) == SHA256
    files.verified("left-pad", SHA256, integrity=INTEGRITY)
    other = f"sha512-{base64.b64encode(hashlib.sha512(b'other').digest()).decode()}"
    files.remember(other, SHA256)
    with pytest.raises(StoreError, match="left-pad: its kept file isn't sha512-"):
        files.verified("left-pad", SHA256, integrity=other)
    assert files.find(other) == "" and files.has(SHA256)
    for wrong in ("", "sha512-", "md5-AAAA", "sha512-" + "A" * 86, "sha512-é==", "sha256-../.."):
        with pytest.raises(StoreError, match="is no integrity"):
            files.find(wrong)


def test_files_may_be_added_by_many_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=kept, args=(tmp_path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Files(str(tmp_path)).verified("flask", SHA256, len(BODY))
    assert left(tmp_path) == []


def test_files_drafts_of_the_living_are_locked_and_of_the_dead_are_not(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    with files.draft():
        assert list(unlocked(f"{tmp_path}/drafts")) == []
    child = os.fork()
    if not child:
        with files.draft():
            os._exit(0)
    os.waitpid(child, 0)
    found = list(unlocked(f"{tmp_path}/drafts"))
    assert len(found) == 1
    os.close(found[0][1])


def test_files_unused_for_a_month_are_found(tmp_path: Path) -> None:
    files = kept(tmp_path)
    files.remember(INTEGRITY, SHA256)
    tree = tmp_path / "unpacked" / "tree"
    tree.mkdir(parents=True)
    (tree / "file").write_bytes(b"")
    assert list(unused(str(tmp_path))) == []
    old = time.time() - 31 * DAY
    note = f"{tmp_path}/integrity/{hashlib.sha512(BODY).hexdigest()[:2]}/{hashlib.sha512(BODY).hexdigest()}"
    for path in (files.path(SHA256), note, str(tree)):
        os.utime(path, (old, EPOCH))
    assert sorted(unused(str(tmp_path))) == sorted([files.path(SHA256), note, str(tree)])
    files.find(INTEGRITY)
    files.verified("flask", SHA256)
    assert list(unused(str(tmp_path))) == [str(tree)]
    assert os.stat(files.path(SHA256)).st_mtime == EPOCH
