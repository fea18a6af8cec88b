"""A writable layer over the layers of an image: what of the image it has another way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devenv.engine.native.insight.touching import touched

START = 1000


class Image:
    """Two layers and a writable one, in overlayfs form; files are `path: text`."""

    def __init__(self, folder: Path) -> None:
        self.low, self.high, self.upper = folder / "1", folder / "2", folder / "upper"
        for one in (self.low, self.high, self.upper):
            one.mkdir()
        os.chown(self.upper, START, START)

    def touched(self) -> dict[str, str]:
        return {one.path: one.how for one in touched(str(self.upper), (str(self.low), str(self.high)), START)}


def put(layer: Path, path: str, text: str | None = None, start: int = 0) -> Path:
    """A file, or a folder, with those above."""
    made = layer / path
    for above in [*reversed(made.parents[: len(Path(path).parts) - 1]), *((made,) if text is None else ())]:
        if not above.exists():
            above.mkdir()
            os.chown(above, start, start)
    if text is not None:
        made.write_text(text)
        os.chown(made, start, start)
    return made


def whiteout(layer: Path, path: str) -> None:
    os.mknod(layer / path, stat.S_IFCHR, os.makedev(0, 0))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = Image(tmp_path)
    put(made.low, "etc/conf", "low")
    put(made.low, "etc/other", "other")
    put(made.low, "gone/file", "x")
    put(made.high, "etc/conf", "high")
    whiteout(made.high, "gone")
    return made


def test_touching_of_a_container_that_wrote_only_new_files_is_none(image: Image) -> None:
    put(image.upper, "etc/new", "x", START)
    put(image.upper, "var/log/app", "x", START)
    put(image.upper, "gone/file", "what the image had removed", START)
    assert image.touched() == {}


def test_touching_compares_with_what_is_seen_of_the_image(image: Image) -> None:
    put(image.upper, "etc/conf", "high", START)
    put(image.upper, "etc/other", "changed", START)
    assert image.touched() == {"/etc/other": "content"}


def test_touching_sees_modes_owners_links_and_kinds(image: Image) -> None:
    (image.low / "link").symlink_to("a")
    (image.upper / "link").symlink_to("b")
    os.lchown(image.upper / "link", START, START)
    put(image.low, "file", "x")
    put(image.upper, "file/in", "x", START)
    put(image.upper, "etc/conf", "high", START).chmod(0o600)
    os.chown(put(image.upper, "etc/other", "other", START), START + 33, START)
    (image.upper / "etc").chmod(0o700)
    assert image.touched() == {
        "/etc": "mode 0755 → 0700",
        "/etc/conf": "mode 0644 → 0600",
        "/etc/other": "owner 0:0 → 33:0",
        "/file": "a file → a folder",
        "/link": "where it leads",
    }


def test_touching_sees_what_is_removed_and_made_anew(image: Image) -> None:
    put(image.upper, "etc", None, START)
    whiteout(image.upper, "etc/conf")
    put(image.low, "lib/a", "x")
    os.setxattr(put(image.upper, "lib", None, START), "trusted.overlay.opaque", b"y")
    assert image.touched() == {"/etc/conf": "removed", "/lib": "removed and made anew"}


def test_touching_looks_beneath_no_opaque_folder_of_the_image(image: Image) -> None:
    put(image.low, "lib/a", "x")
    os.setxattr(put(image.high, "lib"), "trusted.overlay.opaque", b"y")
    put(image.upper, "lib/a", "y", START)
    assert image.touched() == {}


def test_touching_of_one_that_never_ran_is_none(image: Image) -> None:
    assert touched(str(image.upper / "none"), (str(image.low),), START) == ()


def test_touching_follows_no_link_of_the_container(image: Image) -> None:
    put(image.low, "secret/key", "x")
    (image.upper / "secret").symlink_to("/etc")
    os.lchown(image.upper / "secret", START, START)
    assert image.touched() == {"/secret": "a folder → a link"}
