"""Copies from trees and tars into trees that somebody else changes meanwhile, and wishes us no good."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.archive.tar import BadTar
from devenv.beneath import IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS
from devenv.engine.native.copy import parcel, place
from devenv.engine.native.copy.walk import Freight, Made, Origin, walk
from devenv.engine.native.copy.write import Target, write
from devenv.errors import NotTrusted


class Copier:
    """Copies `from` to `to` in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "from", folder / "to"
        self.source.mkdir()
        self.target.mkdir()
        self.left: list[tuple[str, str]] = []
        self.made: Made = set()

    def leave(self, path: bytes, why: str) -> None:
        self.left.append((path.decode(), why))

    def walk(self, path: Path | None = None, start: int = 0) -> Iterator[Freight]:
        found = os.open(path or self.source, os.O_PATH | os.O_NOFOLLOW)
        try:
            yield from walk(found, Origin(start, (), self.leave, self.made))
        finally:
            os.close(found)

    def write(self, freight: Iterator[Freight], base: str = "copy", resolve: int = NO_SYMLINKS) -> Path:
        root = os.open(self.target, os.O_PATH | os.O_DIRECTORY)
        try:
            write(freight, Target(root, base.encode(), resolve), self.made)
        finally:
            os.close(root)
        return self.target / base


@pytest.fixture
def copier(tmp_path: Path) -> Copier:
    return Copier(tmp_path)


def test_copy_has_files_folders_and_links_with_their_modes_and_times(copier: Copier) -> None:
    (copier.source / "sub").mkdir(mode=0o750)
    (copier.source / "sub/file").write_text("hello")
    (copier.source / "sub/file").chmod(0o604)
    (copier.source / "link").symlink_to("/nowhere")
    os.link(copier.source / "sub/file", copier.source / "sub/other")
    os.utime(copier.source / "sub/file", ns=(1, 1_234_567_891))
    os.utime(copier.source / "sub", ns=(1, 5_000_000_000))

    made = copier.write(copier.walk())

    assert (made / "sub/file").read_text() == "hello"
    assert stat.S_IMODE((made / "sub/file").stat().st_mode) == 0o604
    assert (made / "sub/file").stat().st_mtime_ns == 1_234_567_891
    assert (stat.S_IMODE((made / "sub").stat().st_mode), (made / "sub").stat().st_mtime_ns) == (0o750, 5_000_000_000)
    assert os.readlink(made / "link") == "/nowhere"
    assert (made / "sub/file").samefile(made / "sub/other")
    assert copier.left == []


def test_copy_leaves_holes_holes(copier: Copier) -> None:
    with open(copier.source / "sparse", "wb") as file:
        file.seek(1 << 40)
        file.write(b"end")
        file.seek(1 << 20)
        file.write(b"middle")
    made = copier.write(copier.walk()) / "sparse"
    assert (made.stat().st_size, made.stat().st_blocks < 100) == ((1 << 40) + 3, True)
    with open(made, "rb") as file:
        file.seek(1 << 20)
        assert file.read(8) == b"middle\0\0"
        file.seek(1 << 40)
        assert file.read() == b"end"


def test_copy_drops_setuid(copier: Copier) -> None:
    (copier.source / "su").write_text("")
    (copier.source / "su").chmod(0o6755)
    assert stat.S_IMODE((copier.write(copier.walk()) / "su").stat().st_mode) == 0o755


def test_copy_leaves_out_what_is_no_file_and_says_so(copier: Copier) -> None:
    os.mkfifo(copier.source / "fifo")
    os.mknod(copier.source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(copier.source / "socket"))
        assert os.listdir(copier.write(copier.walk())) == []
    assert copier.left == [("fifo", "a fifo"), ("null", "a device"), ("socket", "a socket")]


def test_copy_of_a_file_that_grows_is_as_long_as_it_was(copier: Copier) -> None:
    with open(copier.source / "log", "wb", buffering=0) as file:
        file.write(b"x" * 100)
        freight = copier.walk()
        next(freight)
        entry, pieces = next(freight)
        file.write(b"y" * 100)
        assert (entry.size, b"".join(data for _, data in pieces)) == (100, b"x" * 100)


def test_copy_of_a_file_that_shrinks_says_so(copier: Copier) -> None:
    (copier.source / "log").write_bytes(b"x" * 100)
    freight = copier.walk()
    next(freight)
    _, pieces = next(freight)
    os.truncate(copier.source / "log", 10)
    assert b"".join(data for _, data in pieces) == b"x" * 10
    assert [*freight] == []
    assert copier.left == [("log", "cut off while it was copied: its end is zeros")]


def test_copy_follows_no_link_that_takes_the_place_of_a_folder(copier: Copier, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("key")
    (copier.source / "a").mkdir()
    freight = copier.walk()
    next(freight)
    (copier.source / "a").rmdir()
    (copier.source / "a").symlink_to(tmp_path / "secret")
    assert [(one.entry.path, one.entry.kind) for one in freight] == [(b"a", b"2")]


def test_copy_ends_where_it_would_copy_itself(copier: Copier) -> None:
    (copier.source / "file").write_text("one")
    (copier.source / "out").mkdir()
    copier.target = copier.source / "out"
    made = copier.write(copier.walk(), "copy")
    assert sorted(os.listdir(made)) == ["file", "out"]
    assert copier.left == [("out/copy", "it is where the copy goes")]


def test_copy_of_a_deep_tree_ends(copier: Copier) -> None:
    path = copier.source
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    copier.write(copier.walk())
    assert [why for _, why in copier.left] == ["more than 256 folders deep"]


def test_copy_replaces_a_link_and_writes_nothing_where_it_leads(copier: Copier, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("as it was")
    (copier.source / "file").write_text("new")
    (copier.target / "copy").symlink_to(tmp_path / "victim")
    made = copier.write(copier.walk(copier.source / "file"))
    assert (made.is_symlink(), made.read_text(), (tmp_path / "victim").read_text()) == (False, "new", "as it was")


def test_copy_goes_through_no_link_where_it_may_not(copier: Copier, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (copier.source / "sub").mkdir()
    (copier.source / "sub/file").write_text("new")
    (copier.target / "copy").mkdir()
    (copier.target / "copy/sub").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="File exists"):
        copier.write(copier.walk())
    assert os.listdir(tmp_path / "victim") == []


def test_copy_stays_within_the_root_whatever_links_there_are(copier: Copier, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (copier.source / "file").write_text("new")
    (copier.target / "bin").symlink_to(tmp_path / "victim")
    inside = copier.target / str(tmp_path).lstrip("/") / "victim"
    inside.mkdir(parents=True)
    copier.write(copier.walk(copier.source / "file"), "bin/file", IN_ROOT | NO_MAGICLINKS)
    assert (os.listdir(inside), os.listdir(tmp_path / "victim")) == (["file"], [])


def test_copy_reaches_nothing_outside_while_folders_become_links(copier: Copier, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (copier.source / "sub").mkdir()
    for number in range(30):
        (copier.source / f"sub/{number}").write_text("x")
    (copier.target / "copy").mkdir()
    ended = threading.Event()

    def swap() -> None:
        there, link = copier.target / "copy/sub", copier.target / "link"
        while not ended.is_set():
            link.unlink(missing_ok=True)
            link.symlink_to(victim)
            try:
                os.rename(there, copier.target / f"was-{os.urandom(4).hex()}")
                os.rename(link, there)
                os.unlink(there)
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(60):
        copier.made.clear()
        try:
            copier.write(copier.walk())
        except OSError:
            continue
    ended.set()
    thread.join()
    assert (os.listdir(victim), stat.S_IMODE(victim.stat().st_mode)) == ([], 0o700)


def test_copy_that_fails_leaves_what_was_there(copier: Copier) -> None:
    (copier.source / "file").write_text("new")
    (copier.target / "copy").write_text("old")

    def broken() -> Iterator[Freight]:
        for one in copier.walk(copier.source / "file"):
            yield one._replace(pieces=_failing())

    with pytest.raises(OSError, match="disk"):
        copier.write(broken())
    assert ((copier.target / "copy").read_text(), os.listdir(copier.target)) == ("old", ["copy"])


def _failing() -> Iterator[tuple[int, bytes]]:
    yield 0, b"n"
    raise OSError(5, "disk")


def test_copy_makes_no_folder_of_a_file(copier: Copier) -> None:
    (copier.target / "copy").write_text("old")
    with pytest.raises(OSError, match="File exists"):
        copier.write(copier.walk())


# Tars ------------------------------------------------------------------------------------------------------------------


def test_copy_to_a_tar_is_read_by_others(copier: Copier) -> None:
    (copier.source / "file").write_text("hello")
    with open(copier.source / "sparse", "wb") as file:
        file.seek(70000)
        file.write(b"end")
    os.link(copier.source / "file", copier.source / "again")
    out = io.BytesIO()
    parcel.pack(copier.walk(), b"name", out)
    out.seek(0)
    with tarfile.open(fileobj=out) as read:
        assert read.getnames() == ["name", "name/again", "name/file", "name/sparse"]
        assert (read.getmember("name/file").linkname, read.getmember("name/file").uid) == ("name/again", 0)
        sparse = read.extractfile("name/sparse")
        assert sparse and sparse.read() == bytes(70000) + b"end"


def test_copy_to_a_tar_of_what_is_in_a_folder_is_without_the_folder(copier: Copier) -> None:
    (copier.source / "file").write_text("hello")
    out = io.BytesIO()
    parcel.pack(copier.walk(), b"", out)
    out.seek(0)
    with tarfile.open(fileobj=out) as read:
        assert read.getnames() == ["file"]


def test_copy_to_a_tar_has_the_ids_of_inside(copier: Copier) -> None:
    (copier.source / "own").write_text("")
    os.chown(copier.source / "own", 1000 + 5, 1000 + 6)
    owners = {one.entry.path: (one.entry.uid, one.entry.gid) for one in copier.walk(start=1000)}
    assert owners == {b"": (65534, 65534), b"own": (5, 6)}


def made_tar(*members: tarfile.TarInfo, mode: str = "w") -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as written:  # type: ignore[call-overload]
        for member in members:
            written.addfile(member, io.BytesIO(b"x" * member.size))
    out.seek(0)
    return out


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname, made.mode = kind, size, link, 0o4755
    return made


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_copy_from_a_tar_makes_what_is_in_it(copier: Copier, mode: str) -> None:
    given = made_tar(
        member("./a/b/file", size=5),
        member("link", tarfile.SYMTYPE, link="a"),
        member("hard", tarfile.LNKTYPE, link="a/b/file"),
        member("null", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
        mode=mode,
    )
    copier.write(parcel.unpack(given, copier.leave), "")
    assert (copier.target / "a/b/file").read_text() == "xxxxx"
    assert stat.S_IMODE((copier.target / "a/b/file").stat().st_mode) == 0o755
    assert (copier.target / "hard").samefile(copier.target / "a/b/file")
    assert copier.left == [("null", "a device"), ("fifo", "a fifo")]


def test_copy_from_a_tar_stays_within_the_root(copier: Copier, tmp_path: Path) -> None:
    given = made_tar(member("link", tarfile.SYMTYPE, link="../victim"), member("link/file", size=1))
    (tmp_path / "victim").mkdir()
    with pytest.raises(OSError):
        copier.write(parcel.unpack(given, copier.leave), "")
    assert os.listdir(tmp_path / "victim") == []


@pytest.mark.parametrize(
    "given",
    [
        made_tar(member("../file", size=1)),
        made_tar(member("hard", tarfile.LNKTYPE, link="a/../../file")),
        io.BytesIO(made_tar(member("file", size=5000)).getvalue()[:2000]),
        io.BytesIO(b"no tar at all" * 100),
    ],
)
def test_copy_from_a_tar_that_is_none_or_names_what_is_above_fails(copier: Copier, given: io.BytesIO) -> None:
    given.seek(0)
    with pytest.raises(BadTar):
        copier.write(parcel.unpack(given, copier.leave), "")
    assert os.listdir(copier.target) == []


# Places on the host ----------------------------------------------------------------------------------------------------


def found(path: Path | str, *shared: Path, follow: bool = True) -> tuple[str, str]:
    """The folder's real path, and the name in it."""
    spot = place.find(str(path), [str(one) for one in shared], follow=follow)
    try:
        return os.readlink(f"/proc/self/fd/{spot.folder}"), spot.name.decode()
    finally:
        os.close(spot.folder)


def test_copy_place_follows_links_that_are_the_user_s(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "far").symlink_to(tmp_path / "link/file")
    assert found(tmp_path / "link/file") == (f"{tmp_path}/real", "file")
    assert found(tmp_path / "link/new") == (f"{tmp_path}/real", "new")
    assert found(tmp_path / "far") == (f"{tmp_path}/real", "file")
    assert found(tmp_path / "far", follow=False) == (str(tmp_path), "far")
    assert found(tmp_path / "link") == (f"{tmp_path}/real", ".")
    assert found(f"{tmp_path}/link/../real/./") == (f"{tmp_path}/real", ".")


def test_copy_place_follows_no_link_in_a_folder_that_containers_write_to(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/link").symlink_to("/etc")
    (tmp_path / "home").symlink_to("tree")
    for path in ("tree/link", "tree/link/passwd", "home/link/passwd", "tree/sub/../link/x"):
        with pytest.raises(NotTrusted, match=r"tree/link: it is a link, in a folder that a container writes to"):
            found(tmp_path / path, tmp_path / "tree")
    assert found(tmp_path / "home/sub/new", tmp_path / "tree") == (f"{tmp_path}/tree/sub", "new")
    assert found(tmp_path / "tree/link", tmp_path / "tree", follow=False) == (f"{tmp_path}/tree", "link")


def test_copy_place_needs_the_folders_above(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for path, kind in (("a/b", FileNotFoundError), ("file/b", NotADirectoryError), ("loop/b", OSError)):
        with pytest.raises(kind):
            found(tmp_path / path)
