"""Layers from elsewhere: what is kept, what is refused, and that nothing is ever written outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from devenv.archive import tar
from devenv.archive.stream import Limits
from devenv.engine.native.store.unpack import Unpacked, unpack
from devenv.errors import EngineError, StoreError

pytestmark = pytest.mark.engine

OPAQUE = "trusted.overlay.opaque"
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
SECOND = 1_000_000_000


def folder(path: str, mode: int = 0o755) -> tar.Entry:
    return tar.Entry(path.encode(), tar.FOLDER, mode)


def file(path: str, mode: int = 0o644, uid: int = 0) -> tar.Entry:
    return tar.Entry(path.encode(), tar.FILE, mode, uid)


def symlink(path: str, target: str) -> tar.Entry:
    return tar.Entry(path.encode(), tar.SYMLINK, 0o777, link=target.encode())


def link(path: str, target: str) -> tar.Entry:
    return tar.Entry(path.encode(), tar.LINK, link=target.encode())


Piece = tar.Entry | tuple[tar.Entry, bytes]


def archive(*pieces: Piece) -> bytes:
    """Headers as they are given, contents beside them."""
    data = b""
    for piece in pieces:
        entry, content = piece if isinstance(piece[0], tar.Entry) else (piece, b"")
        assert isinstance(entry, tar.Entry)
        assert isinstance(content, bytes)
        data += tar.header(entry._replace(size=len(content) or entry.size)) + content + bytes(tar.padding(len(content)))
    return data + tar.END


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """An empty folder beside something precious that must not change."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    before = precious.stat()
    yield tmp_path / "a" / "layer"
    assert precious.read_text() == "precious"
    after = precious.stat()
    assert (after.st_mode, after.st_uid, after.st_nlink) == (before.st_mode, before.st_uid, before.st_nlink)
    assert sorted(os.listdir(tmp_path)) in (["a", "precious"], ["precious"])
    assert os.listdir(tmp_path / "a") == ["layer"]


def put(target: Path, *pieces: Piece, limits: Limits = Limits()) -> Unpacked:  # noqa: B008
    return unpack(io.BytesIO(archive(*pieces)), str(target), limits=limits)


def is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return OPAQUE in os.listxattr(path) and os.getxattr(path, OPAQUE) == b"y"


# What is kept ----------------------------------------------------------------------------------------------------


def test_unpack_gives_diff_id_size_and_entries(target: Path) -> None:
    data = archive(folder("d/"), (file("d/a"), b"abc"), (file("b"), b"x" * 3_000_000), link("c", "b"))

    result = unpack(io.BytesIO(data), str(target))

    assert result == Unpacked(f"sha256:{hashlib.sha256(data).hexdigest()}", 3_000_003, 4)
    assert (target / "b").read_bytes() == b"x" * 3_000_000
    assert (target / "c").stat().st_ino == (target / "b").stat().st_ino


def test_unpack_keeps_setuid_owners_times_capabilities_and_attributes(target: Path) -> None:
    xattrs = ((b"security.capability", CAPABILITY), (b"user.note", b"kept"), (b"security.selinux", b"dropped"))
    put(
        target,
        tar.Entry(b"tool", tar.FILE, 0o6755, 1000, 65_535, mtime=1_600_000_000 * SECOND, xattrs=xattrs),
        tar.Entry(b"tmp/", tar.FOLDER, 0o3777, 7, 8, mtime=5 * SECOND),
        file("tmp/later"),
    )

    info = (target / "tool").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o6755, 1000, 65_535)
    assert info.st_mtime_ns == 1_600_000_000 * SECOND
    assert sorted(os.listxattr(target / "tool")) == ["security.capability", "user.note"]
    assert os.getxattr(target / "tool", "security.capability") == CAPABILITY
    info = (target / "tmp").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime) == (0o3777, 7, 8, 5)


def test_unpack_does_not_depend_on_the_umask_or_a_setgid_parent(target: Path) -> None:
    target.mkdir(parents=True)
    os.chown(target, 0, 50)
    target.chmod(0o2750)
    umask = os.umask(0o077)
    fifo = tar.Entry(b"f", tar.FIFO, 0o666)
    put(target, folder("d/"), file("implied/file"), fifo, file("x", 0o666), file(".wh.w"), file("w/file"))
    os.umask(umask)

    for name, mode in ((".", 0o755), ("d", 0o755), ("implied", 0o755), ("f", 0o666), ("x", 0o666), ("w", 0o755)):
        assert stat.S_IMODE((target / name).stat().st_mode) & 0o777 == mode, name


def test_unpack_takes_the_roots_own_entry(target: Path) -> None:
    put(target, folder("./", 0o555), file("./a"))

    assert stat.S_IMODE(target.stat().st_mode) == 0o555
    assert os.listdir(target) == ["a"]


def test_unpack_gives_implied_folders_the_same_time_always(target: Path) -> None:
    put(target, file("a/b/c"))

    assert [(target / name).stat().st_mtime for name in ("a", "a/b")] == [0, 0]


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7"])
@pytest.mark.parametrize("compression", [[], ["--gzip"], ["--zstd"]])
def test_unpack_reads_what_gnu_tar_makes(target: Path, tmp_path: Path, format: str, compression: list[str]) -> None:
    source = tmp_path / "a" / "layer-source"
    (source / ("folder" * 10)).mkdir(parents=True)
    (source / ("folder" * 10) / ("name" * 5)).write_text("content")
    (source / "link").symlink_to("folder")
    os.link(source / ("folder" * 10) / ("name" * 5), source / "hard")
    (source / "ünï").write_text("ü")
    made = subprocess.run(
        ["tar", "-c", f"--format={format}", *compression, "-C", source, "."], capture_output=True, check=True
    )

    unpack(io.BytesIO(made.stdout), str(target))

    diff = subprocess.run(["diff", "-r", "--no-dereference", source, target], capture_output=True, text=True)
    assert diff.stdout == ""
    assert (target / "hard").stat().st_nlink == 2
    assert target.stat().st_mtime == int(source.stat().st_mtime) or format == "pax"
    subprocess.run(["rm", "-r", source], check=True)


def test_unpack_reads_several_gzip_members_and_zstd_frames(target: Path) -> None:
    data = archive((file("a"), b"x" * 5_000))
    half = len(data) // 2
    expected = f"sha256:{hashlib.sha256(data).hexdigest()}"
    zipped = gzip.compress(data[:half]) + gzip.compress(data[half:]) + bytes(100)
    frames = zstandard.compress(data[:half]) + zstandard.compress(data[half:])

    assert unpack(io.BytesIO(zipped), str(target / "1")).diff_id == expected
    assert unpack(io.BytesIO(frames), str(target / "2")).diff_id == expected


def test_unpack_reads_an_empty_layer(target: Path) -> None:
    assert unpack(io.BytesIO(tar.END), str(target)).entries == 0


def test_unpack_reads_its_stream_to_the_very_end(target: Path) -> None:
    for number, data in enumerate(
        (archive(file("a")) + bytes(3 << 20), gzip.compress(archive(file("a"))) + bytes(3 << 20))
    ):
        stream = io.BytesIO(data)
        unpack(stream, str(target / str(number)))
        assert stream.read() == b""


def test_unpack_lets_the_last_of_several_entries_win(target: Path) -> None:
    put(
        target,
        (file("a"), b"first"),
        (file("a"), b"second"),
        folder("d/"),
        (file("d/inside"), b"gone"),
        (file("d"), b"now a file"),
        (file("e"), b"file"),
        folder("e/"),
        (file("e/inside"), b"here"),
        symlink("s", "a"),
        (file("s"), b"no longer a link"),
        folder("kept/"),
        file("kept/inside"),
        folder("kept/", 0o700),
    )

    assert (target / "a").read_text() == "second"
    assert (target / "d").read_text() == "now a file"
    assert (target / "e/inside").read_text() == "here"
    assert (target / "s").read_text() == "no longer a link"
    assert not (target / "s").is_symlink()
    assert (target / "kept/inside").exists()
    assert stat.S_IMODE((target / "kept").stat().st_mode) == 0o700


def test_unpack_follows_a_link_that_was_replaced_to_where_it_leads_now(target: Path) -> None:
    put(target, folder("one/"), folder("two/"), symlink("l", "one"), file("l/a"), symlink("l", "two"), file("l/b"))

    assert (os.listdir(target / "one"), os.listdir(target / "two")) == (["a"], ["b"])


# Whiteouts -------------------------------------------------------------------------------------------------------


def test_unpack_makes_whiteouts_and_opaque_folders(target: Path) -> None:
    put(target, file("etc/.wh.passwd"), folder("opt/"), file("opt/.wh..wh..opq"), file("opt/new"), file(".wh..wh.plnk"))

    assert is_whiteout(target / "etc/passwd")
    assert is_opaque(target / "opt")
    assert (target / "opt/new").exists()
    assert sorted(os.listdir(target)) == ["etc", "opt"]


@pytest.mark.parametrize("order", [1, -1])
def test_unpack_whiteout_never_hides_what_its_own_layer_brings(target: Path, order: int) -> None:
    put(target, *[file("a"), file(".wh.a")][::order], *[folder("d/"), file(".wh.d")][::order])

    assert (target / "a").is_file()
    assert is_opaque(target / "d")


def test_unpack_file_below_a_whiteout_makes_an_opaque_folder(target: Path) -> None:
    put(target, file(".wh.a"), file("a/b/c"))

    assert is_opaque(target / "a")
    assert (target / "a/b/c").is_file()


def test_unpack_opaque_mark_before_its_folder_stays(target: Path) -> None:
    put(target, file("d/.wh..wh..opq"), folder("d/", 0o700))

    assert is_opaque(target / "d")
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700


def test_unpack_opaque_mark_in_a_link_stays_inside(target: Path) -> None:
    put(target, folder("real/"), symlink("l", "/real"), file("l/.wh..wh..opq"))

    assert is_opaque(target / "real")


# Escapes ---------------------------------------------------------------------------------------------------------


def test_unpack_takes_absolute_names_as_names_in_the_layer(target: Path) -> None:
    put(target, file("/precious"), file("//etc/./passwd"))

    assert sorted(os.listdir(target)) == ["etc", "precious"]


@pytest.mark.parametrize("way", ["..", "../..", "/", "/..", "../../../../../../..", "/proc/../..", "."])
def test_unpack_through_a_link_stays_inside(target: Path, way: str) -> None:
    put(target, folder("proc/"), symlink("out", way), file("out/precious"), symlink("d/out", "../.."), file("d/out/x"))

    assert sorted(os.listdir(target)) == ["d", "out", "precious", "proc", "x"]


def test_unpack_through_a_link_to_a_folder_of_the_layer_works(target: Path) -> None:
    put(target, folder("usr/lib/"), symlink("lib", "/usr/lib"), file("lib/a"), file("lib/b/c"))

    assert (target / "usr/lib/a").exists()
    assert (target / "usr/lib/b/c").exists()
    assert (target / "lib").is_symlink()


def test_unpack_does_not_write_through_a_link_at_the_last_place(target: Path) -> None:
    put(target, symlink("out", "../../precious"), (file("out"), b"evil"))

    assert (target / "out").read_text() == "evil"
    assert not (target / "out").is_symlink()


@pytest.mark.parametrize(
    ("pieces", "cause"),
    [
        ([file("../evil")], r"\.\./evil: `\.\.`"),
        ([file("a/../../evil")], r"`\.\.`"),
        ([file("..")], r"`\.\.`"),
        ([folder("../../a/")], r"`\.\.`"),
        ([link("a", "../../precious")], r"`\.\.`"),
        ([link("a", "/precious")], "a hard link to /precious, which is not in this layer"),
        ([symlink("s", "../../precious"), link("a", "s"), (file("a/x"), b"")], "a: not a folder"),
        ([symlink("s", "../.."), link("a", "s/precious")], "a hard link to s/precious"),
        ([symlink("s", "/proc/self/root"), file("s/evil")], "s: not a folder"),
        ([symlink("s", "missing"), file("s/evil")], "s: not a folder"),
        ([symlink("s", "s"), file("s/evil")], "s/evil: Too many levels"),
        ([file("a"), file("a/b")], "a: not a folder"),
        ([symlink("l", "."), file("l/l"), file("l/b")], "l: not a folder"),
        ([folder("d/"), link("l", "d")], "not a file of this layer"),
        ([link("l", "l")], "not in this layer"),
        ([file("a"), link("a", "a")], "not in this layer"),
        ([link("l", "")], "a hard link to"),
        ([file(".wh.a"), link("l", "a")], "not a file of this layer"),
        ([symlink("s", "")], "to nothing"),
        ([file(".")], "in place of the root"),
        ([file("")], "in place of the root"),
        ([symlink("/", "x")], "the place of the root"),
        ([file(".wh.")], "a whiteout of nothing"),
        ([file(".wh..")], "a whiteout of nothing"),
        ([file("d/.wh...")], "a whiteout of nothing"),
        ([folder(".wh.d/"), file(".wh.d/x")], "inside of a whiteout"),
        ([tar.Entry(b"a", tar.CHARACTER)], "0:0 character device"),
        ([tar.Entry(b"dev/null", tar.CHARACTER)], "0:0 character device"),
        ([tar.Entry(b"d/", tar.FOLDER, xattrs=((OPAQUE.encode(), b"y"),))], "d/: the attribute trusted.overlay.opaque"),
        ([tar.Entry(b"f", xattrs=((b"trusted.overlay.redirect", b"/etc"),))], "trusted.overlay.redirect"),
        ([tar.Entry(b"f", xattrs=((b"trusted.overlay.metacopy", b"x"),))], "trusted.overlay.metacopy"),
        ([tar.Entry(b"d/", tar.FOLDER, xattrs=((b"user.overlay.opaque", b"y"),))], "user.overlay.opaque"),
        ([tar.Entry(b"f", xattrs=((b"security.capability", b"\0" * 20),))], "file capability"),
        ([tar.Entry(b"f", xattrs=((b"security.capability", b"x"),))], "file capability"),
        ([tar.Entry(b"f", xattrs=((b"user." + b"x" * 300, b"y"),))], "f: "),
        ([file("big", uid=65_536)], "big: it belongs to 65536:0"),
        ([tar.Entry(b"group", gid=1_000_000)], "group: it belongs to 0:1000000"),
        ([file("x" * 256)], "File name too long"),
        ([file("d/" * 300 + "f")], "256 folders deep"),
    ],
)
def test_unpack_refuses(target: Path, pieces: list[Piece], cause: str) -> None:
    with pytest.raises(StoreError, match=cause):
        put(target, *pieces)


def test_unpack_drops_device_nodes(target: Path) -> None:
    nodes = [
        tar.Entry(b"dev/null", tar.CHARACTER, 0o666, major=1, minor=3),
        tar.Entry(b"sda", tar.BLOCK, 0o666, major=8, minor=0),
    ]
    put(target, folder("dev/"), *nodes, file("after"))

    assert sorted(os.listdir(target)) == ["after", "dev"]
    assert os.listdir(target / "dev") == []


def test_unpack_takes_a_capability_of_version_3_without_a_root(target: Path) -> None:
    value = struct.pack("<I", 0x03000001) + CAPABILITY[4:] + bytes(4)
    put(target, tar.Entry(b"f", xattrs=((b"security.capability", value),)))

    assert os.getxattr(target / "f", "security.capability") == CAPABILITY


def test_unpack_shows_no_escape_sequence_of_a_name(target: Path) -> None:
    with pytest.raises(StoreError) as caught:
        put(target, file("\x1b]0;evil\x07", uid=70_000))
    assert "\x1b" not in str(caught.value)


# Limits and lies -------------------------------------------------------------------------------------------------


def test_unpack_refuses_more_entries_than_the_limit(target: Path) -> None:
    pieces = [file(str(number)) for number in range(11)]

    with pytest.raises(StoreError, match="more than 10 entries"):
        put(target, *pieces, limits=Limits(entries=10))
    assert put(target / "fits", *pieces[:10], limits=Limits(entries=10)).entries == 10


def test_unpack_refuses_a_size_over_the_limit_before_writing(target: Path) -> None:
    with pytest.raises(StoreError, match="more bytes than are accepted"):
        put(target, (file("a")._replace(size=1 << 40), b""))
    assert (target / "a").stat().st_size == 0


def test_unpack_refuses_a_stream_over_the_limit(target: Path) -> None:
    with pytest.raises(StoreError, match="more bytes than are accepted"):
        unpack(io.BytesIO(tar.END + bytes(5 << 20)), str(target), limits=Limits(bytes=1 << 20))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_unpack_refuses_a_bomb(target: Path, compress: type[object]) -> None:
    bomb = compress(tar.header(file("zeros")._replace(size=300 << 20)) + bytes(300 << 20) + tar.END)  # type: ignore[call-arg]
    assert isinstance(bomb, bytes)

    with pytest.raises(StoreError, match="bomb"):
        unpack(io.BytesIO(bomb), str(target))
    assert (target / "zeros").stat().st_size < 100 << 20


def test_unpack_refuses_a_zstd_frame_that_wants_much_memory(target: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = data.compress(archive(file("a"))) + data.flush()

    with pytest.raises(StoreError, match="memory"):
        unpack(io.BytesIO(frame), str(target))


@pytest.mark.parametrize("cut", [1, 40, 4000])
def test_unpack_refuses_a_zstd_stream_cut_short_without_a_diff_id(target: Path, cut: int) -> None:
    data = zstandard.compress(archive((file("a"), os.urandom(9000))) + bytes(1 << 20))

    with pytest.raises(StoreError, match="too early"):
        unpack(io.BytesIO(data[:-cut]), str(target))


def test_unpack_survives_a_chunk_full_of_tiny_gzip_members(target: Path) -> None:
    data = gzip.compress(b"") * 20_000 + gzip.compress(archive(file("a")))

    assert unpack(io.BytesIO(data), str(target)).entries == 1


@pytest.mark.parametrize("cut", [100, 600, 1_000, 1_536])
def test_unpack_refuses_a_stream_cut_short(target: Path, cut: int) -> None:
    data = archive((file("a"), bytes(range(256)) * 20))
    known = f"sha256:{hashlib.sha256(data).hexdigest()}"

    for number, part in enumerate((data[:cut], gzip.compress(data[:cut]), gzip.compress(data)[: -cut // 20])):
        with pytest.raises(StoreError):
            unpack(io.BytesIO(part), str(target / str(number)), diff_id=known)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes])
def test_unpack_refuses_an_end_that_is_missing(target: Path, compress: type[object]) -> None:
    data = archive((file("a"), b"abc"))
    packed = compress(data)  # type: ignore[call-arg]
    assert isinstance(packed, bytes)

    with pytest.raises(StoreError):
        unpack(io.BytesIO(packed[:-9]), str(target), diff_id=f"sha256:{hashlib.sha256(data).hexdigest()}")


def test_unpack_refuses_another_diff_id(target: Path) -> None:
    with pytest.raises(StoreError, match="its diff id is sha256:"):
        unpack(io.BytesIO(archive(file("a"))), str(target), diff_id="sha256:" + "0" * 64)


@pytest.mark.parametrize("data", [b"\x1f\x8bgarbage", b"\x28\xb5\x2f\xfdgarbage", b"garbage" * 200])
def test_unpack_refuses_garbage(target: Path, data: bytes) -> None:
    with pytest.raises(StoreError, match="unpack layer"):
        unpack(io.BytesIO(data), str(target))


def test_unpack_refuses_garbage_after_a_gzip_member(target: Path) -> None:
    with pytest.raises(StoreError, match="unpack layer"):
        unpack(io.BytesIO(gzip.compress(archive(file("a"))) + b"garbage"), str(target))


def test_unpack_on_a_full_disk_is_the_engines_error(target: Path) -> None:
    target.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", target], check=True)
    try:
        with pytest.raises(EngineError, match="big: No space left") as caught:
            put(target, (file("big"), os.urandom(3 << 20)))
        assert not isinstance(caught.value, StoreError)
    finally:
        subprocess.run(["umount", target], check=True)


def test_unpack_keeps_no_descriptor_open(target: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for number, piece in enumerate((file("a/b/c"), link("x", "y"), file("../x"))):
        try:
            put(target / str(number), piece)
        except StoreError:
            pass

    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_unpack_agrees_with_tarfile_about_a_large_random_tree(target: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(500):
            info = tarfile.TarInfo(f"{number % 7}/{'sub/' * (number % 5)}{number}" + "x" * (number % 200))
            info.size = number * 37
            made.addfile(info, io.BytesIO(bytes([number % 256]) * info.size))

    unpack(io.BytesIO(out.getvalue()), str(target))

    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archived:
        for member in archived:
            content = archived.extractfile(member)
            assert content is not None
            assert (target / member.name).read_bytes() == content.read()
