"""COPY and ADD as Docker means them, and hostile trees on both sides."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard

from devenv.beneath import remove_tree
from devenv.build.copy import copy
from devenv.build.ignore import Matcher
from devenv.build.owner import owner_of
from devenv.errors import InputError, NotFound
from devenv.model.build import Copy, Heredoc

OLD = 1_000_000_000
EPOCH = 1_500_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    for name in ("a.txt", "b.txt", "dir/one", "dir/sub/two", "dir/sub/three.md"):
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(0o640)
        os.utime(file, (OLD, OLD))
    (tree / "dir" / "link").symlink_to("../../../outside")
    (tree / "dir" / "sub").chmod(0o750)
    (tree / "tolink").symlink_to("a.txt")
    return tree


@pytest.fixture
def target(tmp_path: Path) -> Path:
    tree = tmp_path / "target"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "old").write_text("old")
    return tree


def run(source: Path, target: Path, operation: Copy, **options: Any) -> None:
    settings: dict[str, Any] = {"matcher": Matcher(()), "owner": None, "epoch": None} | options
    if settings["owner"] is None and os.geteuid():
        # What is made along the way belongs to root, which only root can give.
        settings["owner"] = (os.geteuid(), os.getegid())
    copy(operation, str(source), str(target), **settings)


def tree(root: Path) -> list[str]:
    """Every path below a folder; folders end in a slash, links show where they lead."""
    found = []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            shown = str(path.relative_to(root))
            kind = f" -> {os.readlink(path)}" if path.is_symlink() else "/" if path.is_dir() else ""
            found.append(shown + kind)
    return sorted(found)


@pytest.mark.parametrize(
    ("sources", "to", "options", "expected"),
    [
        (["a.txt"], "/x", {}, ["x"]),
        (["a.txt"], "/x/", {}, ["x/", "x/a.txt"]),
        (["a.txt"], "/etc", {}, ["etc/a.txt"]),
        (["a.txt"], "/new/deep/x", {}, ["new/", "new/deep/", "new/deep/x"]),
        (["a.txt", "b.txt"], "/x/", {}, ["x/", "x/a.txt", "x/b.txt"]),
        (["*.txt"], "/etc/", {}, ["etc/a.txt", "etc/b.txt"]),
        (["dir"], "/x", {}, ["x/", "x/link -> ../../../outside", "x/one", "x/sub/", "x/sub/three.md", "x/sub/two"]),
        (["dir/"], "/etc", {"exclude": ("sub", "link")}, ["etc/one"]),
        (["dir"], "/x/", {"exclude": ("**/*.md", "link")}, ["x/", "x/one", "x/sub/", "x/sub/two"]),
        (["dir/sub", "a.txt"], "/", {}, ["a.txt", "three.md", "two"]),
        (["tolink"], "/x", {}, ["x"]),
        (["dir/*"], "/x/", {}, ["x/", "x/one", "x/three.md", "x/two"]),
        (["dir/sub/two"], "/x", {"parents": True}, ["x/", "x/dir/", "x/dir/sub/", "x/dir/sub/two"]),
        (["dir/./sub/two"], "/x/", {"parents": True}, ["x/", "x/sub/", "x/sub/two"]),
        (["dir/sub"], "/x/", {"parents": True, "exclude": ("**/*.md",)}, [
            "x/", "x/dir/", "x/dir/sub/", "x/dir/sub/two",
        ]),
        (["**/t*"], "/x/", {"parents": True}, [
            "x/", "x/dir/", "x/dir/sub/", "x/dir/sub/three.md", "x/dir/sub/two", "x/tolink",
        ]),
        (["none*"], "/x/", {}, []),
    ],
)  # fmt: skip
def test_copy_puts_things_where_docker_puts_them(
    source: Path, target: Path, sources: list[str], to: str, options: dict[str, Any], expected: list[str]
) -> None:
    if sources == ["dir/*"]:
        (source / "dir" / "link").unlink()  # a source that is a link is followed, and this one leads nowhere
    run(source, target, Copy(tuple(sources), to, **options))
    assert tree(target) == sorted(["etc/", "etc/old", *expected])


def test_copy_twice_is_the_same_as_once(source: Path, target: Path) -> None:
    for _ in range(2):
        run(source, target, Copy(("dir", "a.txt"), "/etc/"))
    assert tree(target) == ["etc/", "etc/a.txt", "etc/link -> ../../../outside", "etc/old", "etc/one", "etc/sub/",
                            "etc/sub/three.md", "etc/sub/two"]  # fmt: skip


def test_copy_keeps_modes_times_and_contents(source: Path, target: Path) -> None:
    os.utime(source / "dir" / "sub", (OLD, OLD))
    run(source, target, Copy(("dir",), "/x/"))
    two = target / "x" / "sub" / "two"
    assert two.read_text() == "dir/sub/two"
    assert (two.stat().st_mode & 0o7777, two.stat().st_mtime) == (0o640, OLD)
    sub = target / "x" / "sub"
    assert (sub.stat().st_mode & 0o7777, sub.stat().st_mtime) == (0o750, OLD)
    assert (target / "x").stat().st_mode & 0o7777 == 0o755


def test_copy_does_not_depend_on_the_umask(source: Path, target: Path) -> None:
    before = os.umask(0o077)
    try:
        run(source, target, Copy(("dir",), "/x/y/", heredocs=(Heredoc("h", "text"),)))
    finally:
        os.umask(before)
    modes = {path: (target / path).stat().st_mode & 0o7777 for path in ("x", "x/y", "x/y/sub", "x/y/one", "x/y/h")}
    assert modes == {"x": 0o755, "x/y": 0o755, "x/y/sub": 0o750, "x/y/one": 0o640, "x/y/h": 0o644}


def test_copy_sets_chmod_on_files_and_folders(source: Path, target: Path) -> None:
    run(source, target, Copy(("dir",), "/x/", chmod=0o711))
    assert {(target / path).stat().st_mode & 0o7777 for path in ("x", "x/one", "x/sub", "x/sub/two")} == {0o711}


def test_copy_of_a_context_has_the_epoch_as_its_time(source: Path, target: Path) -> None:
    run(source, target, Copy(("dir",), "/x/y/"), epoch=EPOCH)
    times = {(target / path).lstat().st_mtime for path in ("x", "x/y", "x/y/one", "x/y/link", "x/y/sub", "x/y/sub/two")}
    assert times == {EPOCH}


def test_copy_of_a_stage_has_no_time_after_the_epoch(source: Path, target: Path) -> None:
    os.utime(source / "dir" / "one", (EPOCH + 5, EPOCH + 5))
    run(source, target, Copy(("dir",), "/x/"), matcher=None, epoch=EPOCH)
    assert (target / "x" / "one").stat().st_mtime == EPOCH
    assert (target / "x" / "sub" / "two").stat().st_mtime == OLD


def test_copy_leaves_the_times_of_folders_that_were_there(source: Path, target: Path) -> None:
    os.utime(target / "etc", (OLD, OLD))
    os.utime(target, (OLD, OLD))
    run(source, target, Copy(("a.txt",), "/etc/"))
    run(source, target, Copy(("a.txt",), "/new/"))
    assert ((target / "etc").stat().st_mtime, target.stat().st_mtime) == (OLD, OLD)


def test_copy_leaves_out_what_the_ignore_file_says(source: Path, target: Path) -> None:
    run(source, target, Copy((".",), "/"), matcher=Matcher(("*", "!dir/sub/two")))
    assert tree(target) == ["dir/", "dir/sub/", "dir/sub/two", "etc/", "etc/old"]


def test_copy_replaces_files_and_links_but_not_through_them(source: Path, target: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (target / "etc" / "one").symlink_to(victim)
    (target / "etc" / "link").write_text("a file where a link comes")
    run(source, target, Copy(("dir",), "/etc/"))
    assert victim.read_text() == "safe"
    assert (target / "etc" / "one").read_text() == "dir/one"
    assert os.readlink(target / "etc" / "link") == "../../../outside"


@pytest.mark.parametrize("link", ["../../../../../..{}", "{}", "/..{}"])
def test_copy_follows_links_of_the_target_inside_it_only(source: Path, target: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (target / "app").symlink_to(link.format(outside))
    with pytest.raises(InputError, match=r"leads nowhere|isn't a folder"):
        run(source, target, Copy(("a.txt",), "/app/"))
    inside = target / str(outside).lstrip("/")
    inside.mkdir(parents=True)
    run(source, target, Copy(("a.txt", "dir"), "/app/"))
    assert (inside / "a.txt").read_text() == "a.txt"
    assert (inside / "sub" / "two").read_text() == "dir/sub/two"
    assert os.listdir(outside) == []


def test_copy_fills_a_merged_usr_through_its_link(source: Path, target: Path) -> None:
    (target / "usr" / "lib").mkdir(parents=True)
    (target / "lib").symlink_to("usr/lib")
    (source / "root" / "lib" / "deep").mkdir(parents=True)
    (source / "root" / "lib" / "deep" / "file").write_text("x")
    run(source, target, Copy(("root/",), "/"))
    assert (target / "lib").is_symlink()
    assert (target / "usr" / "lib" / "deep" / "file").read_text() == "x"


def test_copy_of_a_file_onto_a_link_writes_where_it_leads_inside(source: Path, target: Path) -> None:
    (target / "real").mkdir()
    (target / "etc" / "conf").symlink_to("../real/conf")
    run(source, target, Copy(("a.txt",), "/etc/conf"))
    assert (target / "real" / "conf").read_text() == "a.txt"
    assert (target / "etc" / "conf").is_symlink()


def test_copy_refuses_a_link_that_goes_round(source: Path, target: Path) -> None:
    (target / "x").symlink_to("y")
    (target / "y").symlink_to("x")
    with pytest.raises(InputError, match="goes round"):
        run(source, target, Copy(("a.txt",), "/x"))


def test_copy_never_reads_outside_the_source(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (source / "escape").symlink_to("../secret")
    (source / "updir").symlink_to("..")
    for name in ("escape", "updir/secret", "../secret"):
        with pytest.raises(NotFound):
            run(source, target, Copy((name,), "/x"))
    run(source, target, Copy(("updir/a.txt",), "/x"))
    assert (target / "x").read_text() == "a.txt"


@pytest.mark.parametrize(
    ("sources", "to", "message"),
    [
        (["a.txt"], "/etc/old/", "isn't a folder"),
        (["dir"], "/etc/old", "is a file"),
        (["*.txt"], "/x", "several files need a folder"),
        (["a.txt"], "/etc/old/below/x", "isn't a folder"),
    ],
)
def test_copy_refuses_a_target_that_does_not_fit(
    source: Path, target: Path, sources: list[str], to: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(source, target, Copy(tuple(sources), to))


def test_copy_makes_any_number_of_folders_on_the_way(source: Path, target: Path) -> None:
    deep = "/deep" + "/d" * 1200
    try:
        run(source, target, Copy(("a.txt",), f"{deep}/a"))
        assert (target / f"{deep[1:]}/a").read_text() == "a.txt"
        assert target.joinpath("deep").stat().st_mode & 0o777 == 0o755
    finally:
        remove_tree(str(target / "deep"))  # too deep for pytest


def test_copy_refuses_a_target_of_more_than_a_path_can_hold(source: Path, target: Path) -> None:
    with pytest.raises(InputError, match="can't be a folder: File name too long"):
        run(source, target, Copy(("a.txt",), "/d" * 4000 + "/a"))


def test_copy_refuses_a_file_over_a_folder(source: Path, target: Path) -> None:
    (target / "etc" / "one").mkdir()
    with pytest.raises(InputError, match="is a folder, and a file is copied there"):
        run(source, target, Copy(("dir",), "/etc/"))


def test_copy_leaves_no_descriptor_open(source: Path, target: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    run(source, target, Copy((".",), "/x/"))
    (target / "etc" / "one").mkdir()
    with pytest.raises(InputError):
        run(source, target, Copy(("dir",), "/etc/"))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_copy_keeps_hard_links_of_a_stage_only(source: Path, target: Path) -> None:
    os.link(source / "dir" / "one", source / "dir" / "other")
    run(source, target, Copy(("dir",), "/stage/"), matcher=None)
    run(source, target, Copy(("dir",), "/context/"))
    assert (target / "stage" / "one").stat().st_ino == (target / "stage" / "other").stat().st_ino
    assert (target / "context" / "one").stat().st_ino != (target / "context" / "other").stat().st_ino


def test_copy_links_files_instead_where_nothing_changes(source: Path, target: Path) -> None:
    os.utime(source / "dir" / "sub" / "two", (EPOCH + 5, EPOCH + 5))
    run(source, target, Copy(("dir",), "/x/"), matcher=None, hardlink=True, epoch=EPOCH)
    assert (target / "x" / "one").stat().st_ino == (source / "dir" / "one").stat().st_ino
    assert (target / "x" / "sub" / "two").stat().st_ino != (source / "dir" / "sub" / "two").stat().st_ino
    run(source, target, Copy(("dir",), "/y/", chmod=0o700), matcher=None, hardlink=True)
    assert (target / "y" / "one").stat().st_ino != (source / "dir" / "one").stat().st_ino
    assert (source / "dir" / "one").stat().st_mode & 0o777 == 0o640


def test_copy_never_links_files_of_a_context(source: Path, target: Path) -> None:
    run(source, target, Copy(("dir",), "/x/"), hardlink=True)
    assert (target / "x" / "one").stat().st_ino != (source / "dir" / "one").stat().st_ino


def test_copy_keeps_holes(source: Path, target: Path) -> None:
    with open(source / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(10 << 20)
        file.write(b"data")
        file.truncate(64 << 20)
    run(source, target, Copy(("sparse",), "/x"))
    assert (target / "x").stat().st_size == 64 << 20
    assert (target / "x").stat().st_blocks * 512 < 1 << 20
    with open(target / "x", "rb") as file:
        file.seek(10 << 20)
        assert file.read(5) == b"data\0"


def test_copy_of_a_stage_takes_fifos_and_leaves_sockets(source: Path, target: Path) -> None:
    os.mkfifo(source / "dir" / "fifo", 0o600)
    run(source, target, Copy(("dir",), "/x/"), matcher=None)
    assert (target / "x" / "fifo").is_fifo()


def test_copy_writes_heredocs(source: Path, target: Path) -> None:
    heredocs = (Heredoc("one", "first\n"), Heredoc("two", "second\n"))
    run(source, target, Copy(("a.txt",), "/x/", heredocs=heredocs, chmod=0o600), epoch=EPOCH)
    assert (target / "x" / "one").read_text() == "first\n"
    assert (target / "x" / "two").stat().st_mtime == EPOCH
    run(source, target, Copy((), "/etc/motd", heredocs=heredocs[:1]))
    assert (target / "etc" / "motd").read_text() == "first\n"


def test_add_writes_what_was_fetched(source: Path, target: Path) -> None:
    url = "https://example.com/path/file.txt?query=1#part"
    run(source, target, Copy((), "/x/", urls=(url,)), fetched={url: str(source / "a.txt")}, epoch=EPOCH)
    file = target / "x" / "file.txt"
    assert (file.read_text(), file.stat().st_mode & 0o777, file.stat().st_mtime) == ("a.txt", 0o600, EPOCH)
    with pytest.raises(InputError, match="names no file"):
        run(source, target, Copy((), "/x/", urls=("https://example.com/",)), fetched={"https://example.com/": "/"})


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        made.addfile(tarfile.TarInfo("inside"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.tar", lambda data: data),
        ("x.tar.gz", gzip.compress),
        ("no-suffix", bz2.compress),
        ("x.tar.xz", lzma.compress),
        ("x.tar.zst", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_add_hands_over_archives_and_copies_the_rest(
    source: Path, target: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (source / name).write_bytes(pack(archive()))
    (source / "plain.gz").write_bytes(pack(b"no tar archive " * 100))
    found: list[tuple[list[str], str]] = []

    def unpack(stream: BinaryIO, folder: int) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            found.append((opened.getnames(), os.readlink(f"/proc/self/fd/{folder}")))

    run(source, target, Copy((name, "plain.gz"), "/srv/", unpack=True), unpack=unpack)
    assert found == [(["inside"], str(target / "srv"))]
    assert tree(target / "srv") == ["plain.gz"]
    run(source, target, Copy((name,), "/raw/"), unpack=unpack)
    assert tree(target / "raw") == [name]


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfdbroken", b"\xfd7zXZ\0broken", b"BZhbroken", b"\0" * 1024]
)
def test_add_copies_what_only_looks_like_an_archive(source: Path, target: Path, data: bytes) -> None:
    (source / "x").write_bytes(data)

    def unpack(_stream: BinaryIO, _folder: int) -> None:
        raise AssertionError("unpacked")

    run(source, target, Copy(("x",), "/x", unpack=True), unpack=unpack)
    assert (target / "x").read_bytes() == data


PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:/bin/false\nbroken\nbad:x:a:b::/:\n"
GROUP = "root:x:0:\nstaff:x:50:a,b\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1000", (1000, 1000)),
        ("1000:50", (1000, 50)),
        ("www", (33, 34)),
        ("www:staff", (33, 50)),
        ("5:staff", (5, 50)),
        (":staff", (0, 50)),
        ("root", (0, 0)),
    ],
)
def test_owner_of_looks_names_up_in_the_image(spec: str, expected: tuple[int, int]) -> None:
    assert owner_of(spec, PASSWD, GROUP) == expected


@pytest.mark.parametrize("spec", ["nobody", "www:none", "bad", "65536", "4294967296", "1:99999", "-1", "9" * 5000])
def test_owner_of_refuses_what_the_image_does_not_know(spec: str) -> None:
    with pytest.raises(NotFound):
        owner_of(spec, PASSWD, GROUP)
