"""A .deb without its compression is the same package; one that lies, breaks or was changed is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from devenv.archive import tar
from devenv.engine.native.packages import deb
from devenv.engine.native.packages.files import Files
from devenv.errors import StoreError
from devenv.model.lock import Deb

CONTROL = "Package: hello\nVersion: 1:2.0-1\nArchitecture: all\nDescription: x\n two\n .\n three\nSize: 7\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def archive(*entries: tuple[str, bytes]) -> bytes:
    """A tar of these files."""
    out = b""
    for name, data in entries:
        out += tar.header(tar.Entry(name.encode(), size=len(data))) + data + bytes(tar.padding(len(data)))
    return out + tar.END


def member(name: str, data: bytes, size: str = "") -> bytes:
    length = (size or str(len(data))).encode()
    return (
        b"%-16s%-12d%-6d%-6d%-8s%-10s`\n" % (name.encode(), 0, 0, 0, b"100644", length) + data + b"\n" * (len(data) % 2)
    )


def package(*members: bytes) -> bytes:
    return b"!<arch>\n" + b"".join(members)


DATA = archive(("./usr/share/hello", b"hello" * 100), ("./odd", b"1"))


def whole(suffix: str = ".xz", control: str = CONTROL, data: bytes = DATA) -> bytes:
    pack = PACKERS[suffix]
    return package(
        member("debian-binary", b"2.0\n"),
        member(f"control.tar{suffix}", pack(archive(("./control", control.encode()), ("./md5sums", b"")))),
        member(f"data.tar{suffix}", pack(data)),
    )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(str(tmp_path / "packages"))


def locked(files: Files, content: bytes, name: str = "hello", version: str = "1:2.0-1", arch: str = "all") -> Deb:
    """The package as a lock has it, fetched."""
    digest = hashlib.sha256(content).hexdigest()
    with files.writer(name, digest, len(content)) as file:
        file.write(content)
    return Deb(name, version, arch, len(content), digest, f"pool/main/h/{name}/{name}.deb")


@pytest.mark.parametrize("suffix", PACKERS)
def test_deb_is_the_same_without_compression(files: Files, suffix: str) -> None:
    (found,) = deb.repacked([locked(files, whole(suffix))], files)

    with open(found.path, "rb") as file:
        assert file.read() == whole("")
    assert found.control == CONTROL
    assert found.size == os.stat(found.path).st_size == len(whole(""))
    assert found.sha256 == hashlib.sha256(whole("")).hexdigest()
    assert os.stat(found.path).st_mode & 0o7777 == 0o644


def test_deb_is_what_dpkg_reads(files: Files, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: real\nVersion: 1.0~rc1\nArchitecture: all\nMaintainer: x\nDescription: y\n"
    )
    (root / "file").write_bytes(os.urandom(300_001))
    subprocess.run(["dpkg-deb", "--build", str(root), str(tmp_path / "real.deb")], check=True, capture_output=True)
    built = (tmp_path / "real.deb").read_bytes()

    (found,) = deb.repacked([locked(files, built, "real", "1.0~rc1")], files)

    for options in (["--fsys-tarfile"], ["--ctrl-tarfile"], ["--field"]):
        ours, theirs = (
            subprocess.run(["dpkg-deb", *options, path], check=True, capture_output=True).stdout
            for path in (found.path, str(tmp_path / "real.deb"))
        )
        assert ours == theirs


def test_deb_is_repacked_once(files: Files) -> None:
    one = locked(files, whole())
    (first,) = deb.repacked([one], files)
    inode = os.stat(first.path).st_ino

    assert deb.repacked([one], files) == (first,)
    assert os.stat(first.path).st_ino == inode
    assert sorted(os.listdir(f"{files.folder}/unpacked")) == [f"{one.sha256}.control", f"{one.sha256}.deb"]
    assert os.listdir(f"{files.folder}/drafts") == []


@pytest.mark.parametrize("kind", ["deb", "control"])
@pytest.mark.parametrize("how", ["flipped", "short"])
def test_deb_that_was_changed_in_the_store_is_refused_by_name_or_made_anew(files: Files, kind: str, how: str) -> None:
    one = locked(files, whole())
    deb.repacked([one], files)
    path = f"{files.folder}/unpacked/{one.sha256}.{kind}"
    with open(path, "r+b") as file:
        if how == "flipped":
            file.seek(-3, os.SEEK_END)
            file.write(b"!")
        else:
            file.truncate(os.stat(path).st_size // 2)

    if how == "flipped" or kind == "control":
        with pytest.raises(StoreError, match=r"^use hello 1:2.0-1: .*isn't what was put there"):
            deb.repacked([one], files)
    (found,) = deb.repacked([one], files)

    assert found.sha256 == hashlib.sha256(whole("")).hexdigest()
    assert found.control == CONTROL


def test_deb_that_was_changed_after_it_was_fetched_is_refused_by_name(files: Files) -> None:
    one = locked(files, whole())
    with open(files.path(one.sha256), "r+b") as file:
        file.write(b"?")

    with pytest.raises(StoreError, match=r"^use hello 1:2.0-1: "):
        deb.repacked([one], files)


_BINARY, _CONTROL = member("debian-binary", b"2.0\n"), member("control.tar", archive(("control", CONTROL.encode())))
_ZEROS = lzma.compress(bytes(96 << 20))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "isn't a Debian package"),
        (b"PK\3\4" + bytes(100), "isn't a Debian package"),
        (package(), "nothing where debian-binary"),
        (package(member("debian-binary", b"3.0\n")), "a format other than 2"),
        (package(_BINARY, member("data.tar", DATA), _CONTROL), r"data.tar where control.tar"),
        (package(_BINARY, _CONTROL), "nothing where data.tar"),
        (package(_BINARY, _CONTROL, member("data.tar.lz4", DATA)), "data.tar.lz4 where data.tar"),
        (package(_BINARY, _CONTROL, member("data.tar", DATA, "99999999")), "whose size lies"),
        (package(_BINARY, _CONTROL, member("data.tar", DATA, "-1")), "whose size lies"),
        (package(_BINARY, _CONTROL, b"x" * 60), "no member's header"),
        (package(_BINARY, _CONTROL, member("\x1b[2J", b"")), r"\\x1b\[2J where data.tar"),
        (whole()[:-40], "whose size lies"),
        (
            package(_BINARY, _CONTROL, member("data.tar.xz", lzma.compress(DATA)[:-9])),
            "data.tar.xz: the xz stream ends",
        ),
        (package(_BINARY, _CONTROL, member("data.tar.xz", b"no xz at all")), "data.tar.xz: "),
        (package(_BINARY, _CONTROL, member("data.tar.xz", lzma.compress(DATA) + b"more")), "comes after its end"),
        (package(_BINARY, _CONTROL, member("data.tar.zst", PACKERS[".zst"](DATA)[:-9])), "data.tar.zst: "),
        (package(_BINARY, _CONTROL, member("data.tar.gz", gzip.compress(DATA)[:20] + bytes(400))), "data.tar.gz: "),
        (package(_BINARY, _CONTROL, member("data.tar.xz", _ZEROS)), "data.tar.xz is a bomb"),
        (package(_BINARY, _CONTROL, member("data.tar.gz", gzip.compress(bytes(96 << 20)))), "data.tar.gz is a bomb"),
        (package(_BINARY, member("control.tar.xz", _ZEROS)), "control.tar.xz is a bomb"),
        (
            package(_BINARY, member("control.tar", archive(("./postinst", b""))), member("data.tar", DATA)),
            "no file `control`",
        ),
        (package(_BINARY, member("control.tar", b"\1" * 600), member("data.tar", DATA)), "control.tar: "),
        (whole(control="no field\n"), "a line that is no field"),
        (whole(control=CONTROL + "\nPackage: bash\nFilename: /etc/passwd\n"), "a line that is no field"),
        (whole(control=CONTROL.replace("hello", "bash")), "it is bash 1:2.0-1 all, not hello 1:2.0-1 all"),
        (whole(control=CONTROL.replace("1:2.0-1", "2.0-1")), "it is hello 2.0-1 all"),
    ],
)
def test_deb_that_lies_is_refused_by_name(files: Files, content: bytes, why: str) -> None:
    one = locked(files, content + b"\n" * (not content))

    with pytest.raises(StoreError, match=f"^read hello 1:2.0-1: .*{why}"):
        deb.repacked([one], files)
    assert not os.path.exists(f"{files.folder}/drafts") or os.listdir(f"{files.folder}/drafts") == []


@pytest.mark.parametrize(("name", "version"), [("../../x", "1"), ("Hello", "1"), ("hello", "1/../../2"), ("hello", "")])
def test_deb_of_an_impossible_name_is_refused(files: Files, name: str, version: str) -> None:
    one = locked(files, whole())._replace(name=name, version=version)

    with pytest.raises(StoreError, match="no package is called that"):
        deb.repacked([one], files)


def test_deb_may_have_members_that_are_for_others(files: Files) -> None:
    content = package(_BINARY, member("_gpgorigin", b"abc"), _CONTROL, member("data.tar/", DATA), member("_more", b""))

    (found,) = deb.repacked([locked(files, content)], files)

    assert found.control == CONTROL


def test_repository_lists_what_is_in_it(files: Files, tmp_path: Path) -> None:
    other = CONTROL.replace("hello", "a-first").replace("1:2.0-1", "3")
    debs = [locked(files, whole()), locked(files, whole(".gz", other), "a-first", "3")]
    folder = str(tmp_path / "apt")

    for order in (debs, debs[::-1]):
        deb.repository(folder, deb.repacked(order, files))
        assert sorted(os.listdir(folder)) == ["Packages", "a-first_3_all.deb", "hello_1%3a2.0-1_all.deb"]
        text = (tmp_path / "apt/Packages").read_text()
        first, second, rest = text.split("\n\n")
        assert (first.splitlines()[0], rest) == ("Package: a-first", "")
        path = f"{folder}/hello_1%3a2.0-1_all.deb"
        assert second.splitlines()[-4:] == [
            " three",
            "Filename: ./hello_1%3a2.0-1_all.deb",
            f"Size: {os.stat(path).st_size}",
            f"SHA256: {hashlib.sha256(whole('')).hexdigest()}",
        ]
        assert "Size: 7" not in second
        assert os.stat(path).st_nlink == 2
