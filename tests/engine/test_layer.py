"""Layer folders: packed, adopted from an upperdir, shifted, removed."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devenv.engine.native.store.adopt import Normal, adopt
from devenv.engine.native.store.layer import pack, remove_tree, shift
from devenv.engine.native.store.transient import nothing
from devenv.engine.native.store.unpack import unpack
from devenv.errors import EngineError, StoreError

pytestmark = pytest.mark.engine

OPAQUE = "trusted.overlay.opaque"
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep
START = 1_000_000


def packed(folder: Path, epoch: int | None = None) -> bytes:
    out = io.BytesIO()
    pack(str(folder), out, epoch=epoch)
    return out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, 0)


Fact = tuple[object, ...]


def facts(folder: Path, start: int = 0) -> dict[str, Fact]:
    """All that makes up a tree, by name; which names are one file too."""
    found: dict[str, Fact] = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.lstat().st_ino == info.st_ino)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        if info.st_mode == stat.S_IFCHR:
            found[str(path.relative_to(folder))] = ("whiteout",)
        else:
            owner = (info.st_uid - start, info.st_gid - start)
            times = int(info.st_mtime)
            found[str(path.relative_to(folder))] = (info.st_mode, owner, times, content, xattrs, names, info.st_rdev)
    return found


def make_tree(folder: Path, start: int = 0) -> None:
    """One of everything a layer can hold, belonging to ids from `start`."""
    (folder / "etc/empty").mkdir(parents=True)
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (folder / "big").write_bytes(os.urandom(700_001))
    (folder / "sticky").mkdir()
    (folder / "sticky/tool").write_text("#!/bin/sh\n")
    os.link(folder / "sticky/tool", folder / "a-link")
    os.link(folder / "sticky/tool", folder / "z-link")
    (folder / "link").symlink_to("/etc/hosts")
    (folder / "dangling").symlink_to("../" * 40 + "nowhere")
    (folder / ("d" * 120)).mkdir()
    (folder / ("d" * 120) / ("f" * 200)).write_text("long")
    (folder / "ünï\n\udcff").write_text("odd")
    os.mkfifo(folder / "fifo")
    (folder / "hidden").mkdir()
    (folder / "hidden/inside").write_text("new")
    os.setxattr(folder / "hidden", OPAQUE, b"y")
    for number, path in enumerate([folder, *sorted(folder.rglob("*"))]):
        os.lchown(path, start + number % 7, start + number % 5)
    (folder / "sticky").chmod(0o3777)
    (folder / "sticky/tool").chmod(0o6755)
    (folder / "big").chmod(0o0400)
    os.setxattr(folder / "sticky/tool", "user.note", b"kept")
    os.setxattr(folder / "big", "security.capability", CAPABILITY if not start else v3(start))
    whiteout(folder / "gone")
    os.lchown(folder, start, start)
    folder.chmod(0o755)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)


def v3(root: int) -> bytes:
    return struct.pack("<I", 0x03000001) + CAPABILITY[4:] + struct.pack("<I", root)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    make_tree(folder)
    return folder


# pack ------------------------------------------------------------------------------------------------------------


def test_layer_pack_then_unpack_gives_the_same_tree(tree: Path, tmp_path: Path) -> None:
    unpacked = unpack(io.BytesIO(packed(tree)), str(tmp_path / "again"))

    assert facts(tmp_path / "again") == facts(tree)
    assert packed(tmp_path / "again") == packed(tree)
    assert unpacked.size == sum(p.stat().st_size for p in tree.rglob("*") if p.is_file() and "link" not in p.name)


def test_layer_pack_gives_the_same_bytes_whatever_order_and_umask_it_was_made_in(tmp_path: Path) -> None:
    def make(folder: Path, names: list[str], umask: int) -> bytes:
        before = os.umask(umask)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
        data = packed(folder, epoch=1_000)
        os.umask(before)
        return data

    names = [f"file{number}" for number in range(50)]
    assert make(tmp_path / "a", names, 0o077) == make(tmp_path / "b", names[::-1], 0)


def test_layer_pack_is_read_by_gnu_tar_and_tarfile(tree: Path) -> None:
    data = packed(tree)
    listing = subprocess.run(["tar", "tf", "-", "--quoting-style=literal"], input=data, capture_output=True, check=True)

    assert len(members(data)) == len(list(tree.rglob("*"))) + 1  # the opaque mark
    assert listing.stderr == b""
    assert b"hidden/.wh..wh..opq\n" in listing.stdout


def test_layer_pack_sorts_and_names_no_owner_and_no_absolute_path(tree: Path) -> None:
    found = list(members(packed(tree)).values())
    names = [os.fsencode(member.name).replace(b".wh.gone", b"gone").split(b"/") for member in found]

    assert names == sorted(names)
    assert {(member.uname, member.gname) for member in found} == {("", "")}
    assert not any(member.name.startswith(("./", "/")) for member in found)


def test_layer_pack_writes_whiteouts_as_the_spec_has_them(tree: Path) -> None:
    found = members(packed(tree))

    assert found[".wh.gone"].isreg()
    assert found[".wh.gone"].size == 0
    assert "gone" not in found
    names = list(found)
    assert names.index("hidden/.wh..wh..opq") == names.index("hidden") + 1


def test_layer_pack_keeps_hard_links_setuid_and_attributes(tree: Path) -> None:
    found = members(packed(tree))

    assert found["a-link"].mode == 0o6755
    assert found["a-link"].pax_headers["SCHILY.xattr.user.note"] == "kept"
    assert (found["sticky/tool"].type, found["sticky/tool"].linkname) == (tarfile.LNKTYPE, "a-link")
    assert found["big"].pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY


def test_layer_pack_clamps_times_to_the_epoch(tree: Path) -> None:
    os.utime(tree / "etc/hosts", (5, 5))

    assert {member.mtime for member in members(packed(tree, epoch=1_000)).values()} == {0, 5, 1_000}


def test_layer_pack_clamps_times_before_1970(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    os.utime(tmp_path / "old", (-1_000, -1_000))

    assert members(packed(tmp_path))["old"].mtime == 0


def test_layer_pack_writes_the_root_only_when_it_is_not_the_usual(tree: Path) -> None:
    assert "." not in members(packed(tree))
    tree.chmod(0o700)
    assert members(packed(tree))["."].mode == 0o700


def test_layer_pack_writes_an_opaque_root(tree: Path) -> None:
    os.setxattr(tree, OPAQUE, b"y")

    assert ".wh..wh..opq" in members(packed(tree))


def test_layer_pack_leaves_sockets_out_and_keeps_devices(tmp_path: Path) -> None:
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    found = members(packed(tmp_path))
    assert "socket" not in found
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)


def test_layer_pack_writes_sparse_files_plainly(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 3_000_000)

    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        file = archive.extractfile("sparse")
        assert file is not None
        assert file.read() == bytes(3_000_000)


def test_layer_pack_refuses_ids_beyond_a_container(tmp_path: Path) -> None:
    (tmp_path / "foreign").touch()
    os.chown(tmp_path / "foreign", 65_536, 0)

    with pytest.raises(StoreError, match="foreign: it belongs to 65536:0"):
        packed(tmp_path)


def test_layer_pack_refuses_a_name_that_would_remove_something(tmp_path: Path) -> None:
    (tmp_path / ".wh.passwd").touch()

    with pytest.raises(StoreError, match=r"\.wh\.passwd"):
        packed(tmp_path)


# adopt -----------------------------------------------------------------------------------------------------------


def test_layer_adopt_gives_the_images_own_ids_and_keeps_all_else(tmp_path: Path) -> None:
    make_tree(tmp_path / "upper", START)
    before = facts(tmp_path / "upper", START)
    size = sum(p.stat().st_size for p in (tmp_path / "upper").rglob("*") if p.is_file() and "link" not in p.name)

    assert adopt(str(tmp_path / "upper"), START, 65_536) == size

    after = facts(tmp_path / "upper")
    assert dict(after["big"][4])["security.capability"] == CAPABILITY  # type: ignore[call-overload]
    before["big"][4]["security.capability"] = CAPABILITY  # type: ignore[index]
    assert after == before


@contextmanager
def overlay(lower: Path, upper: Path, work: Path, merged: Path) -> Iterator[None]:
    for folder in (upper, work, merged):
        folder.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", merged], check=True)


def test_layer_adopt_removes_overlays_notes_but_not_what_hides(tree: Path, tmp_path: Path) -> None:
    upper, merged = tmp_path / "upper", tmp_path / "merged"
    with overlay(tree, upper, tmp_path / "work", merged):
        (merged / "etc/hosts").write_text("changed")  # copied up: origin on the file, impure on its folder
        (merged / "a-link").unlink()
        (merged / "link").unlink()
        remove_tree(str(merged / "sticky"))
        (merged / "sticky").mkdir()
        os.mknod(merged / "null", stat.S_IFCHR, os.makedev(1, 3))
    assert any("trusted.overlay.origin" in os.listxattr(path) for path in upper.rglob("hosts"))

    adopt(str(upper), 0, 65_536)

    left = {name for path in (upper, *upper.rglob("*")) for name in os.listxattr(path, follow_symlinks=False)}
    assert left == {OPAQUE}
    assert os.getxattr(upper / "sticky", OPAQUE) == b"y"
    assert {".wh.a-link", ".wh.link", "sticky/.wh..wh..opq", "etc/hosts"} <= set(members(packed(upper)))


def test_layer_adopt_drops_the_opaque_mark_of_a_folder_that_hides_nothing(tree: Path, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    for name in ("etc/new", "sticky", "link/new"):
        (upper / name).mkdir(parents=True)
        os.setxattr(upper / name, OPAQUE, b"y")  # as overlayfs does with a new folder in one that is merged

    adopt(str(upper), 0, 65_536, Normal(0, 0, nothing, (str(tree),)))

    assert [os.listxattr(upper / name) for name in ("etc/new", "sticky", "link/new")] == [[], [OPAQUE], []]


def test_layer_adopt_takes_whiteouts_that_are_one_inode_of_host_root(tree: Path, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    with overlay(tree, upper, tmp_path / "work", tmp_path / "merged"):
        for name in ("link", "fifo", "dangling"):
            (tmp_path / "merged" / name).unlink()
    os.chown(upper, START, START)

    adopt(str(upper), START, 65_536)

    assert set(members(packed(upper))) == {".wh.link", ".wh.fifo", ".wh.dangling"}


@pytest.mark.parametrize("owner", [(START - 1, START), (START, START + 65_536), (0, 0)])
def test_layer_adopt_refuses_ids_that_are_not_the_containers(tmp_path: Path, owner: tuple[int, int]) -> None:
    make_tree(tmp_path / "upper", START)
    os.chown(tmp_path / "upper/etc/hosts", *owner)

    with pytest.raises(EngineError, match=r"etc/hosts: it belongs to"):
        adopt(str(tmp_path / "upper"), START, 65_536)


def test_layer_adopt_refuses_a_capability_for_another_root(tmp_path: Path) -> None:
    make_tree(tmp_path / "upper", START)
    os.setxattr(tmp_path / "upper/etc/hosts", "security.capability", v3(START + 1))

    with pytest.raises(EngineError, match="etc/hosts: its file capability"):
        adopt(str(tmp_path / "upper"), START, 65_536)


@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_layer_adopt_refuses_files_that_lie_in_another_layer(tmp_path: Path, name: str) -> None:
    (tmp_path / "half").touch()
    os.setxattr(tmp_path / "half", name, b"/x")

    with pytest.raises(EngineError, match="half: overlayfs kept only a reference"):
        adopt(str(tmp_path), 0, 65_536)


def test_layer_adopt_removes_attributes_that_would_steer_a_rootless_overlay(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.setxattr(tmp_path / "folder", "user.overlay.opaque", b"y")
    os.setxattr(tmp_path / "folder", "user.mine", b"y")

    adopt(str(tmp_path), 0, 65_536)

    assert os.listxattr(tmp_path / "folder") == ["user.mine"]


def test_layer_adopt_of_an_access_list_leaves_the_group_no_more_than_it_had(tmp_path: Path) -> None:
    entries = [(1, 6, -1), (2, 6, 1234), (4, 4, -1), (16, 6, -1), (32, 0, -1)]  # rw, a user rw, group r, mask rw
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    (tmp_path / "shared").touch()
    os.setxattr(tmp_path / "shared", "system.posix_acl_access", acl)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o660

    adopt(str(tmp_path), 0, 65_536)

    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640
    assert os.listxattr(tmp_path / "shared") == []


# shift -----------------------------------------------------------------------------------------------------------


def test_layer_shift_copies_with_other_ids_and_adopt_brings_them_back(tree: Path, tmp_path: Path) -> None:
    shift(str(tree), str(tmp_path / "shifted"), START)

    assert (tmp_path / "shifted").stat().st_uid == START
    assert os.getxattr(tmp_path / "shifted/big", "security.capability") == v3(START)
    assert os.getxattr(tmp_path / "shifted/hidden", OPAQUE) == b"y"
    adopt(str(tmp_path / "shifted"), START, 65_536)
    assert facts(tmp_path / "shifted") == facts(tree)


# remove_tree -----------------------------------------------------------------------------------------------------


def test_layer_remove_tree_removes_everything(tree: Path) -> None:
    remove_tree(str(tree))
    remove_tree(str(tree))

    assert not tree.exists()


def test_layer_remove_tree_of_what_has_no_parent_is_fine(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "no/such/thing"))


def test_layer_remove_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "precious")
    (tmp_path / "top").symlink_to(tmp_path / "precious")

    remove_tree(str(tmp_path / "tree"))
    remove_tree(str(tmp_path / "top"))

    assert os.listdir(tmp_path) == ["precious"]
    assert (tmp_path / "precious/file").exists()


def bind_mount(source: Path, target: Path) -> None:
    subprocess.run(["mount", "--bind", source, target], check=True)


def mount_tmpfs(_source: Path, target: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    (target / "file").write_text("precious")


@pytest.mark.parametrize("mount", [bind_mount, mount_tmpfs])
@pytest.mark.parametrize("where", ["tree/a/mounted", "tree"])
def test_layer_remove_tree_never_enters_a_mount(
    tmp_path: Path, mount: Callable[[Path, Path], None], where: str
) -> None:
    source, target = tmp_path / "source", tmp_path / where
    (tmp_path / "tree/a/mounted").mkdir(parents=True)
    source.mkdir()
    (source / "file").write_text("precious")
    mount(source, target)
    try:
        with pytest.raises(EngineError, match="is a mount"):
            remove_tree(str(tmp_path / "tree"))
        assert (target / "file").read_text() == "precious"
    finally:
        subprocess.run(["umount", target], check=True)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["source"]


def test_layer_remove_tree_stops_at_a_file_that_is_mounted_over(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("precious")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    bind_mount(tmp_path / "source", tmp_path / "tree/file")
    try:
        with pytest.raises(EngineError, match="is a mount"):
            remove_tree(str(tmp_path / "tree"))
    finally:
        subprocess.run(["umount", tmp_path / "tree/file"], check=True)

    assert (tmp_path / "source").read_text() == "precious"


def test_layer_remove_tree_goes_deeper_than_a_path_can_be_long(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d" * 10, dir_fd=fd)
        inner = os.open("d" * 10, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)

    remove_tree(str(tmp_path / "tree"))

    assert not (tmp_path / "tree").exists()


def test_layer_remove_tree_empties_a_crowded_folder(tmp_path: Path) -> None:
    for number in range(5_000):
        (tmp_path / "tree" / str(number % 7)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / str(number % 7) / str(number)).touch()

    remove_tree(str(tmp_path / "tree"))

    assert not (tmp_path / "tree").exists()
