"""Two layers, and in words what isn't the same."""

from __future__ import annotations

import gzip
import io
import os
import py_compile
import stat
import zipfile
from pathlib import Path

import pytest

from devenv.engine.native.store.compare import compare
from devenv.engine.native.store.layer import descriptor
from devenv.model.image import Difference

TIME = 1_600_000_000


class Pair:
    """Two folders that are the same so far."""

    def __init__(self, place: Path) -> None:
        self.left, self.right = place / "left", place / "right"
        self.put("same/file", b"same\n")

    def put(self, path: str, left: bytes | None, right: bytes | None = None) -> None:
        for folder, content in ((self.left, left), (self.right, left if right is None else right)):
            if content is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)

    def compared(self) -> tuple[Difference, ...]:
        """Times are made the same where a test didn't set them."""
        for folder in (self.left, self.right):
            for path in (folder, *folder.rglob("*")):
                if path.lstat().st_mtime > TIME + 100:
                    os.utime(path, (TIME, TIME), follow_symlinks=False)
        found = compare(str(self.left), str(self.right))
        # It finds something just when the layers are other archives.
        assert (found == ()) == (descriptor(str(self.left)) == descriptor(str(self.right)))
        return found

    def only(self) -> Difference:
        (found,) = self.compared()
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_compare_of_equal_layers_finds_nothing(pair: Pair) -> None:
    os.utime(pair.left / "same/file", ns=(0, TIME * 10**9 + 1))
    os.utime(pair.right / "same/file", ns=(5, TIME * 10**9 + 2))  # a layer has whole seconds

    assert pair.compared() == ()


def test_compare_says_where_something_is_only(pair: Pair) -> None:
    (pair.left / "a").mkdir()
    pair.put("a/mine", b"x")
    (pair.right / "a/mine").unlink()
    (pair.right / "zzz").mkdir()
    (pair.right / "zzz/link").symlink_to("nowhere")

    assert pair.compared() == (
        Difference("/a/mine", "only in the first", before="-rw-r--r--"),
        Difference("/zzz", "only in the second", after="drwxr-xr-x"),
        Difference("/zzz/link", "only in the second", after="lrwxrwxrwx"),
    )


def test_compare_keeps_two_trees_in_step(pair: Pair) -> None:
    """Names whose order is another with a slash after them."""
    for name in ("a", "a-b", "a.b", "ab"):
        pair.put(f"{name}/x", b"x")
    pair.put("a-b/y", b"", None)
    (pair.right / "a-b/y").unlink()

    assert [(one.path, one.kind) for one in pair.compared()] == [("/a-b/y", "only in the first")]


def test_compare_tells_modes_times_and_links(pair: Pair) -> None:
    pair.put("mode", b"")
    (pair.left / "mode").chmod(0o4755)
    pair.put("time", b"")
    os.utime(pair.left / "time", (0, 0))
    for folder, target in ((pair.left, "/one"), (pair.right, "/other")):
        (folder / "link").symlink_to(target)
    pair.put("kind", b"")
    (pair.right / "kind").unlink()
    (pair.right / "kind").mkdir()

    assert {one.path: one[1:4] for one in pair.compared()} == {
        "/mode": ("mode", "-rwsr-xr-x", "-rw-r--r--"),
        "/time": ("time", "1970-01-01 00:00:00 UTC", "2020-09-13 12:26:40 UTC"),
        "/link": ("link", "/one", "/other"),
        "/kind": ("mode", "-rw-r--r--", "drwxr-xr-x"),
    }


def test_compare_tells_names_that_are_one_file_in_one_layer_only(pair: Pair) -> None:
    pair.put("first", b"x")
    pair.put("second", b"x")
    (pair.left / "second").unlink()
    os.link(pair.left / "first", pair.left / "second")

    assert pair.only() == Difference("/second", "link", "a hard link to /first", "a file of its own")


def test_compare_tells_attributes(pair: Pair) -> None:
    os.setxattr(pair.left / "same/file", "user.note", b"\1\2")

    assert pair.only() == Difference("/same/file", "attributes", "user.note=0102", "none")


def test_compare_of_texts_is_a_diff_of_what_changed(pair: Pair) -> None:
    lines = [f"line {number}" for number in range(5000)]
    pair.put("etc/text", "\n".join(lines).encode())
    lines[3000] = "now 12:00"
    pair.put("etc/text", None, "\n".join(lines).encode())
    found = pair.only()

    assert (found.path, found.kind) == ("/etc/text", "content")
    assert found.lines == (
        "@@ -2999,5 +2999,5 @@",
        " line 2998",
        " line 2999",
        "-line 3000",
        "+now 12:00",
        " line 3001",
        " line 3002",
    )


def test_compare_of_texts_of_one_size_says_the_line(pair: Pair) -> None:
    pair.put("etc/issue", b"at 12:00\n", b"at 12:01\n")

    assert pair.only() == Difference(
        "/etc/issue", "content", "at 12:00", "at 12:01", ("@@ -1 +1 @@", "-at 12:00", "+at 12:01")
    )


def test_compare_of_texts_shows_a_newline_that_is_missing(pair: Pair) -> None:
    pair.put("text", b"end\n", b"end")

    assert pair.only().lines == ("@@ -1 +1 @@", "-end", "+end (without a newline)")


@pytest.mark.timeout(10)
def test_compare_of_texts_is_short_and_quick_whatever_they_are(pair: Pair) -> None:
    one = b"".join(b"%d\n" % (number * 7919 % 10007) for number in range(100_000))
    pair.put("text", one, b"".join(b"%d\n" % (number * 104729 % 10007) for number in range(100_000)))
    pair.put("wide", b"x" * 100_000 + b"\n", b"x" * 100_000 + b"y\n")
    found = pair.compared()

    assert [len(one.lines) <= 20 for one in found] == [True, True]
    assert found[0].lines[-1].startswith("… and ")
    assert all(len(line) < 300 for one in found for line in one.lines)


def pyc(text: str, mtime: int, place: Path) -> bytes:
    source = place / "m.py"
    source.write_text(text)
    os.utime(source, (mtime, mtime))
    made = py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    assert made
    data = Path(made).read_bytes()
    source.unlink()
    return data


def zipped(minute: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a", (2020, 1, 1, 0, minute, 0)), "content")
    return buffer.getvalue()


def test_compare_of_other_files_says_what_and_where(pair: Pair, tmp_path: Path) -> None:
    code, again = pyc("A = 1", 5, tmp_path), pyc("A = 1", 6, tmp_path)
    pair.put("a.gz", gzip.compress(b"x", mtime=1), gzip.compress(b"x", mtime=2))
    pair.put("b.pyc", code, again)
    pair.put("c.pyc", code, code[:-1] + b"\xff")
    pair.put("d.whl", zipped(1), zipped(2))
    pair.put("e.so", b"\x7fELF" + bytes(100), b"\x7fELF" + bytes(99) + b"\1")
    pair.put("f.bin", b"\0\1\2", b"\0\1")
    found = {one.path: one for one in pair.compared()}

    assert found["/a.gz"].lines[0].startswith("gzip, the time in its header: from byte 4: 01 00 00 00")
    assert found["/b.pyc"].lines[0].startswith("compiled Python, the source's time: from byte 8: 05 00 00 00")
    assert found["/c.pyc"].lines[0].startswith("compiled Python, the code: from byte ")
    assert found["/d.whl"].lines[0].startswith("zip archive, a file's time: from byte 10: ")
    assert found["/e.so"].lines == ("ELF program: from byte 103: 00 → 01",)
    assert found["/f.bin"] == Difference("/f.bin", "size", "3 bytes", "2 bytes", ("binary: from byte 2: 02 → the end",))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_compare_tells_owners_whiteouts_and_folders_that_hide(pair: Pair) -> None:
    os.chown(pair.left / "same/file", 5, 6)
    pair.put("gone", b"")
    (pair.left / "gone").unlink()
    os.mknod(pair.left / "gone", stat.S_IFCHR, 0)
    os.setxattr(pair.left / "same", "trusted.overlay.opaque", b"y")
    os.setxattr(pair.left / "same/file", "trusted.overlay.origin", b"a note, and no part of the layer")

    assert pair.compared() == (
        Difference("/gone", "mode", "whiteout: removes what is below", "-rw-r--r--"),
        Difference("/same", "attributes", "trusted.overlay.opaque=79", "none"),
        Difference("/same/file", "owner", "5:6", "0:0"),
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_compare_tells_of_the_root_what_a_layer_has_of_it(pair: Pair) -> None:
    os.utime(pair.left, (5, 5))
    assert pair.compared() == ()
    pair.left.chmod(0o700)
    assert pair.only() == Difference("/", "mode", "drwx------", "drwxr-xr-x")
