"""A .deb that dpkg would only copy is unpacked once; of any other it is said why dpkg must do it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.archive import tar
from devenv.engine.native.packages import plain
from devenv.engine.native.packages.files import Files
from devenv.errors import StoreError
from devenv.model.lock import Deb
from tests.unit.test_packages_deb import locked, member, package

CONTROL = b"Package: hello\nVersion: 1:2.0-1\nArchitecture: all\nDescription: x\n"
CLOCK = 1_000_000
SECOND = 1_000_000_000
FOLDERS = tuple(tar.Entry(path, tar.FOLDER, 0o755, mtime=7 * SECOND) for path in (b"./", b"./usr/", b"./usr/bin/"))
HELLO = tar.Entry(b"./usr/bin/hello", mode=0o755, size=5, mtime=8 * SECOND)
LATER = tar.Entry(b"./usr/bin/later", size=5, mtime=(CLOCK + 5) * SECOND)
LINK = tar.Entry(b"./usr/bin/hi", tar.SYMLINK, 0o777, mtime=9 * SECOND, link=b"hello")
NOTES = {"md5sums": b"", "postinst": b"#!/bin/sh\n"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(str(tmp_path / "packages"))


def archive(*entries: tar.Entry) -> bytes:
    return b"".join(tar.header(entry) + b"x" * entry.size + bytes(tar.padding(entry.size)) for entry in entries)


def made(
    files: Files, *more: tar.Entry, control: bytes = CONTROL, notes: Mapping[str, bytes] = NOTES, data: bytes = b""
) -> Deb:
    """A package, fetched, with /usr/bin and these entries in it."""
    texts = {"control": control, **notes}
    kept = b"".join(
        tar.header(tar.Entry(f"./{name}".encode(), mode=0o755, size=len(text), mtime=6 * SECOND))
        + text
        + bytes(tar.padding(len(text)))
        for name, text in texts.items()
    )
    content = package(
        member("debian-binary", b"2.0\n"),
        member("control.tar", kept + tar.END),
        member("data.tar", (data or archive(*FOLDERS, *more)) + tar.END),
    )
    return locked(files, content)


def only(files: Files, deb: Deb) -> plain.Content:
    (found,) = plain.contents([deb], files, CLOCK)
    return found


def test_contents_of_a_plain_package_are_unpacked_with_their_modes_and_times(files: Files) -> None:
    found = only(files, made(files, HELLO, LATER, LINK))

    assert (found.fault, found.control) == ("", CONTROL.decode())
    assert found.lines == (
        plain.Line("folder", "", 7),
        plain.Line("folder", "usr", 7),
        plain.Line("folder", "usr/bin", 7),
        plain.Line("file", "usr/bin/hello", 8),
        plain.Line("file", "usr/bin/later", CLOCK),
        plain.Line("link", "usr/bin/hi", 9, "hello"),
    )
    assert [note.path for note in found.notes] == [f"{plain.INFO}/hello.{name}" for name in NOTES]
    seen = {
        entry.path: (os.stat(f"{found.tree.folder}/files/{entry.path}").st_mtime, oct(entry.mode))
        for entry in found.tree.entries
    }
    assert seen["usr/bin/hello"] == (8, "0o755")
    assert seen["usr/bin/later"] == (CLOCK, "0o644")
    assert seen[f"{plain.INFO}/hello.postinst"] == (6, "0o755")


def test_contents_are_unpacked_once_for_each_clock(files: Files) -> None:
    deb = made(files, HELLO, LATER)
    assert only(files, deb).tree.folder == only(files, deb).tree.folder
    (other,) = plain.contents([deb], files, CLOCK + 9)
    assert other.lines[-1].mtime == CLOCK + 5


def test_contents_of_several_architectures_beside_each_other_are_noted_by_theirs(files: Files) -> None:
    control = CONTROL.replace(b"Architecture: all", b"Architecture: amd64\nMulti-Arch: same")
    deb = made(files, control=control)._replace(arch="amd64")
    assert only(files, deb).noted == f"{plain.INFO}/hello:amd64."


NAMED = tar.header(HELLO)[:265] + b"games".ljust(32, b"\0") + tar.header(HELLO)[297:]
FAULTS: dict[str, tuple[tar.Entry, ...]] = {
    "its kind or mode": (tar.Entry(b"./usr/bin/su", mode=0o4755),),
    "its kind": (tar.Entry(b"./usr/bin/pipe", tar.FIFO),),
    "hello: its kind": (tar.Entry(b"./usr/bin/hello", tar.LINK, link=b"./usr/bin/hi"),),
    "private: its kind or mode": (tar.Entry(b"./private/", tar.FOLDER, 0o700),),
    "its owner": (tar.Entry(b"./usr/bin/x", gid=8),),
    "a link to nothing": (LINK._replace(link=b""),),
    "twice: its name": (tar.Entry(b"./twice"), tar.Entry(b"./twice")),
    "there: its name": (tar.Entry(b"./not/there"),),
    "its name": (tar.Entry(b"./usr/bin/../x"),),
    "its name is ours": (
        *(tar.Entry(path, tar.FOLDER, 0o755) for path in (b"./var/", b"./var/lib/", b"./var/lib/dpkg/")),
    ),
    "attributes": (tar.Entry(b"./usr/bin/" + b"long" * 40),),  # for that there is a pax header
}


@pytest.mark.parametrize(("why", "more"), FAULTS.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_contents_say_what_dpkg_must_unpack(files: Files, why: str, more: tuple[tar.Entry, ...]) -> None:
    found = only(files, made(files, HELLO, *more) if HELLO.path != more[0].path else made(files, *more))
    assert why in found.fault
    assert [entry.path for entry in found.tree.entries] == [plain.LAYOUT]


@pytest.mark.parametrize(
    ("why", "control", "notes"),
    [
        ("preinst", CONTROL, {**NOTES, "preinst": b"#!/bin/sh\n"}),
        ("conffiles", CONTROL, {**NOTES, "conffiles": b"/usr/bin/hello\n"}),
        ("config", CONTROL, {**NOTES, "config": b"#!/bin/sh\n"}),
        ("interest", CONTROL, {**NOTES, "triggers": b"interest-noawait /usr/share\n"}),
        ("no md5sums", CONTROL, {}),
        ("Essential", CONTROL + b"Essential: yes\n", NOTES),
        ("Protected", CONTROL + b"Protected: yes\n", NOTES),
    ],
)
def test_contents_say_which_package_does_more_than_be_copied(
    files: Files, why: str, control: bytes, notes: Mapping[str, bytes]
) -> None:
    assert why in only(files, made(files, HELLO, control=control, notes=notes)).fault


def test_contents_go_by_the_names_of_owners_as_dpkg_does(files: Files) -> None:
    entry = NAMED[:148] + b"        " + NAMED[156:]
    entry = entry[:148] + b"%06o\0 " % sum(entry) + entry[156:]
    assert "its owner" in only(files, made(files, data=archive(*FOLDERS) + entry + b"x" * 5 + bytes(507))).fault


def test_contents_of_a_package_that_was_changed_are_refused_by_its_name(files: Files) -> None:
    deb = made(files, HELLO)
    with open(f"{only(files, deb).tree.folder}/files/{plain.LAYOUT}", "a") as file:
        file.write(" ")
    with pytest.raises(StoreError, match=r"use hello 1:2.0-1: layout was changed"):
        only(files, deb)
    assert not only(files, deb).fault


def test_contents_that_break_off_are_refused_by_name(files: Files) -> None:
    deb = made(files, data=archive(*FOLDERS) + tar.header(HELLO._replace(size=5000)))
    with pytest.raises(StoreError, match=r"read hello 1:2.0-1: the archive ends inside a file"):
        only(files, deb)
