"""Tar headers, by hand: what we write others read, what others write we read, what lies is refused."""

from __future__ import annotations

import io
import tarfile

import pytest

from devenv.archive import tar


class Bytes:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def take(self, size: int) -> bytes:
        return self._file.read(size)


def entries(data: bytes) -> list[tar.Entry]:
    source = Bytes(data)
    found = []
    while (entry := tar.read(source)) is not None:
        source.take(entry.size + tar.padding(entry.size))
        found.append(entry)
    return found


SECOND = 1_000_000_000
CASES = [
    tar.Entry(b"a", mode=0o4755, uid=65535, gid=1, size=0, mtime=1_700_000_000 * SECOND),
    tar.Entry(b"folder/", tar.FOLDER, 0o1777),
    tar.Entry(b"x" * 100),
    tar.Entry(b"d" * 155 + b"/" + b"x" * 100),
    tar.Entry(b"d" * 156 + b"/" + b"x" * 100),
    tar.Entry(b"d/" * 60 + b"x" * 200),
    tar.Entry(b"d/" * 100, tar.FOLDER),
    tar.Entry("naïve/ünï".encode()),
    tar.Entry(b"not utf-8: \xff\xfe"),
    tar.Entry(b"line\nbreak"),
    tar.Entry(b"s", tar.SYMLINK, 0o777, link=b"target"),
    tar.Entry(b"s", tar.SYMLINK, 0o777, link=b"t" * 101),
    tar.Entry(b"h", tar.LINK, link=b"a"),
    tar.Entry(b"c", tar.CHARACTER, 0o666, major=1, minor=3),
    tar.Entry(b"b", tar.BLOCK, 0o660, major=259, minor=1_048_575),
    tar.Entry(b"f", tar.FIFO, 0o600),
    tar.Entry(b"x", xattrs=((b"security.capability", bytes(range(20))), (b"user.k", b"a=b\nc"))),
    tar.Entry(b"late", mtime=9_000_000_000 * SECOND),
]


@pytest.mark.parametrize("entry", CASES, ids=range(len(CASES)))
def test_tar_header_reads_back(entry: tar.Entry) -> None:
    assert entries(tar.header(entry) + tar.END) == [entry]


@pytest.mark.parametrize("entry", CASES, ids=range(len(CASES)))
def test_tar_header_is_what_tarfile_reads(entry: tar.Entry) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar.header(entry) + tar.END), errors="surrogateescape") as archive:
        member = archive.getmembers()[0]

    assert member.name.encode("utf-8", "surrogateescape") == entry.path.rstrip(b"/")
    assert member.linkname.encode() == entry.link
    assert (member.mode, member.uid, member.gid, member.uname) == (entry.mode, entry.uid, entry.gid, "")
    assert int(member.mtime) == entry.mtime // SECOND
    if entry.kind in (tar.CHARACTER, tar.BLOCK):
        assert (member.devmajor, member.devminor) == (entry.major, entry.minor)


def test_tar_header_of_a_huge_file_says_its_size_in_pax() -> None:
    assert tar.read(Bytes(tar.header(tar.Entry(b"huge", size=9 << 30)))) == tar.Entry(b"huge", size=9 << 30)


def test_tar_header_uses_pax_only_where_ustar_cannot() -> None:
    assert len(tar.header(tar.Entry(b"d" * 155 + b"/" + b"x" * 100))) == 512
    assert len(tar.header(tar.Entry(b"d" * 156 + b"/" + b"x" * 100))) == 3 * 512


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_read_understands_what_tarfile_writes(format: int) -> None:
    info = tarfile.TarInfo("folder/" * 20 + "file")
    info.size, info.mtime, info.uid, info.mode = 3, 1_700_000_000, 1000, 0o640
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        archive.addfile(info, io.BytesIO(b"abc"))

    expected = tar.Entry(info.name.encode(), tar.FILE, 0o640, 1000, 0, 3, 1_700_000_000 * SECOND)
    assert entries(out.getvalue()) == [expected]


def test_tar_read_understands_long_gnu_names_and_links() -> None:
    info = tarfile.TarInfo("n" * 300)
    info.type, info.linkname = tarfile.SYMTYPE, "l" * 300
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info)

    (entry,) = entries(out.getvalue())
    assert (entry.path, entry.link) == (b"n" * 300, b"l" * 300)


def test_tar_read_takes_fractions_of_seconds() -> None:
    info = tarfile.TarInfo("a")
    info.mtime = 1_700_000_000.25
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)

    assert entries(out.getvalue())[0].mtime == 1_700_000_000_250_000_000


def test_tar_read_accepts_an_archive_without_an_end() -> None:
    assert entries(tar.header(tar.Entry(b"a"))) == [tar.Entry(b"a")]


def checked(block: bytes) -> bytes:
    """A header with the checksum it should have."""
    total = sum(block[:148]) + sum(block[156:512]) + 256
    return block[:148] + b"%06o\0 " % total + block[156:]


def patched(at: int, data: bytes) -> bytes:
    block = tar.header(tar.Entry(b"a"))
    return checked(block[:at] + data + block[at + len(data) :])


def extension(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    block = checked(tar.header(tar.Entry(b"x", size=length))[:156] + kind + tar.header(tar.Entry(b"x"))[157:])
    return block + data + bytes(tar.padding(len(data)))


def pax(records: bytes) -> bytes:
    return extension(b"x", records) + tar.header(tar.Entry(b"a"))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"garbage" * 100, "checksum"),
        (tar.header(tar.Entry(b"a"))[:300], "ends inside a header"),
        (bytes(512) + tar.header(tar.Entry(b"a")), "lone block"),
        (patched(124, b"-0000000001\0"), "octal"),
        (patched(124, b"\xff" * 12), "negative"),
        (patched(124, b"0x1\0"), "octal"),
        (patched(124, b"1_0\0"), "octal"),
        (patched(124, b"99\0"), "octal"),
        (patched(156, b"S"), "not supported"),
        (patched(156, b"V"), "not supported"),
        (extension(b"x", b"", 2 << 20), "extension header of"),
        (extension(b"x", b"", 600), "inside an extension"),
        (extension(b"L", b"name\0") * 20, "too many extension"),
        (extension(b"x", b"9 path=b\n"), "inside an entry"),
        (pax(b"path=b\n"), "without its length"),
        (pax(b"99 path=b\n"), "length lies"),
        (pax(b"5 path=b\n"), "length lies"),
        (pax(b"0 path=b\n"), "length lies"),
        (pax(b"11 size=-1\n"), "isn't a number"),
        (pax(b"9 uid=\xb2\n"), "length lies"),
        (pax(b"8 uid=x\n"), "isn't a number"),
        (pax(b"13 mtime=nan\n"), "isn't a number"),
        (pax(b"15 mtime=tudor\n"), "isn't a number"),
        (pax(b"11 path=a\0\n"), "NUL"),
        (pax(b"22 GNU.sparse.major=1\n"), "sparse"),
        (extension(b"L", b"x" * 5000) + tar.header(tar.Entry(b"a")), "longer than"),
    ],
)
def test_tar_read_refuses(data: bytes, cause: str) -> None:
    with pytest.raises(tar.BadTar, match=cause):
        entries(data)


@pytest.mark.parametrize(
    ("mtime", "expected"), [(b"-5", 0), (b"1e99", 1 << 34), (b"99999999999999999", 1 << 34), (b"Infinity", 1 << 34)]
)
def test_tar_read_clamps_odd_times(mtime: bytes, expected: int) -> None:
    record = b" mtime=" + mtime + b"\n"
    (entry,) = entries(pax(b"%d%b" % (len(record) + 2, record)))

    assert entry.mtime == expected * SECOND


def test_tar_read_ignores_sizes_of_what_has_no_data() -> None:
    folder = patched(156, tar.FOLDER)
    with_size = checked(folder[:124] + b"00000001000\0" + folder[136:])

    assert [entry.path for entry in entries(with_size + tar.header(tar.Entry(b"b")))] == [b"a", b"b"]


def test_tar_show_hides_what_a_terminal_would_obey() -> None:
    assert tar.show(b"a\x1b[31m\n\xff") == "a\\x1b[31m\\x0a\\xff"
