"""Images that skopeo and umoci read as we wrote them, and theirs that we read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devenv.engine.native.store import image
from devenv.engine.native.store.config import History
from devenv.engine.native.store.layer import pack
from devenv.engine.native.store.layout import Store
from devenv.engine.native.store.unpack import unpack
from devenv.model.image import LAYER, Descriptor, Healthcheck, ImageConfig

pytestmark = pytest.mark.engine

CONFIG = ImageConfig(
    env=(("PATH", "/usr/bin:/bin"), ("A", "b=c")),
    user="1000",
    workdir="/workspace",
    cmd=("sh", "-c", "true"),
    exposed=("8000/tcp",),
    labels=(("maker", "devenv"),),
    healthcheck=Healthcheck(("CMD-SHELL", "true"), interval=1_000_000_000),
)


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def make_layers(folder: Path) -> list[Path]:
    """Two layers; the second removes, hides and changes things of the first."""
    one, two = folder / "one", folder / "two"
    (one / "etc").mkdir(parents=True)
    (one / "etc/hosts").write_text("one")
    (one / "etc/gone").write_text("one")
    (one / "opaque").mkdir()
    (one / "opaque/hidden").write_text("one")
    (one / "bin").mkdir()
    (one / "bin/tool").write_text("tool")
    os.chown(one / "bin/tool", 1000, 100)
    (one / "bin/tool").chmod(0o4755)
    os.link(one / "bin/tool", one / "bin/same")
    (one / "link").symlink_to("bin/tool")
    (one / ("deep" * 25)).mkdir()
    (one / ("deep" * 25) / ("file" * 25)).write_text("deep")
    (two / "etc").mkdir(parents=True)
    (two / "etc/hosts").write_text("two")
    os.mknod(two / "etc/gone", 0o020000, 0)
    (two / "opaque").mkdir()
    os.setxattr(two / "opaque", "trusted.overlay.opaque", b"y")
    (two / "opaque/seen").write_text("two")
    return [one, two]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "oci"))
    store.init()
    return store


def write(store: Store, layers: list[Path], tag: str) -> Descriptor:
    blobs = []
    for layer in layers:
        with store.writer(LAYER) as blob:
            pack(str(layer), blob, epoch=1_700_000_000)
        blobs.append(blob.descriptor)
    history = [History("ENV A", empty=True), *(History(layer.name) for layer in layers)]
    written = image.write(store, CONFIG, blobs, 1_700_000_000, history)
    store.tag(tag, written)
    return written


def listing(folder: str) -> str:
    """Names, types, modes, owners, sizes, times and targets, as find sees them; not a folder's own size."""
    return run("find", folder, "-mindepth", "1", "-type", "d", "-printf", r"%P %y %m %U:%G %Ts\n") + run(
        "find", folder, "-mindepth", "1", "!", "-type", "d", "-printf", r"%P %y %m %U:%G %n %s %Ts %l\n"
    )


def test_image_is_inspected_and_copied_by_skopeo(store: Store, tmp_path: Path) -> None:
    written = write(store, make_layers(tmp_path), "shop")

    seen = json.loads(run("skopeo", "inspect", f"oci:{store.layout}:shop"))
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{store.layout}:shop"))
    run("skopeo", "copy", "--insecure-policy", f"oci:{store.layout}:shop", f"dir:{tmp_path}/copy")

    assert seen["Digest"] == written.digest
    assert seen["Created"] == "2023-11-14T22:13:20Z"
    assert len(seen["Layers"]) == 2
    assert config["config"]["Env"] == ["PATH=/usr/bin:/bin", "A=b=c"]
    assert config["config"]["User"] == "1000"
    assert [line.get("empty_layer", False) for line in config["history"]] == [True, False, False]
    assert (tmp_path / "copy/manifest.json").read_bytes() == store.read(written)


def test_image_is_unpacked_by_umoci_to_what_an_overlay_of_the_layers_shows(store: Store, tmp_path: Path) -> None:
    one, two = make_layers(tmp_path)
    for path in (one, two, *one.rglob("*"), *two.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    write(store, [one, two], "shop")
    (tmp_path / "merged").mkdir()

    run("umoci", "unpack", "--image", f"{store.layout}:shop", f"{tmp_path}/bundle")
    run("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={two}:{one}", f"{tmp_path}/merged")
    try:
        expected = listing(f"{tmp_path}/merged")
        differences = run("diff", "-r", "--no-dereference", f"{tmp_path}/merged", f"{tmp_path}/bundle/rootfs")
    finally:
        run("umount", f"{tmp_path}/merged")

    assert sorted(listing(f"{tmp_path}/bundle/rootfs").splitlines()) == sorted(expected.splitlines())
    assert differences == ""
    assert not (tmp_path / "bundle/rootfs/etc/gone").exists()


def test_image_of_umoci_is_read_and_unpacked_to_the_same_tree(tmp_path: Path) -> None:
    layout, rootfs = f"{tmp_path}/theirs", tmp_path / "bundle/rootfs"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:v1")
    run("umoci", "unpack", "--image", f"{layout}:v1", f"{tmp_path}/bundle")
    shutil.copytree(make_layers(tmp_path)[0], rootfs, symlinks=True, dirs_exist_ok=True)
    os.chown(rootfs / "bin/tool", 1000, 100)
    for path in rootfs.rglob("*"):  # umoci rounds times to seconds
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    run("umoci", "repack", "--image", f"{layout}:v1", f"{tmp_path}/bundle")
    run("umoci", "config", "--image", f"{layout}:v1", "--config.env", "A=1", "--config.workingdir", "/w")

    theirs = Store(layout)
    found = image.read(theirs, "v1", "linux/amd64")
    for number, (layer, diff_id) in enumerate(zip(found.layers, found.diff_ids, strict=True)):
        with theirs.open(layer) as blob:
            unpack(blob, f"{tmp_path}/ours{number}", diff_id=diff_id)

    assert found.config.env[-1] == ("A", "1")
    assert found.config.workdir == "/w"
    assert found.layers[0].media_type == LAYER + "+gzip"
    assert sorted(listing(f"{tmp_path}/ours0").splitlines()) == sorted(listing(str(rootfs)).splitlines())


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_image_recompressed_by_skopeo_reads_the_same(store: Store, tmp_path: Path, compression: str) -> None:
    written = write(store, make_layers(tmp_path), "shop")
    copy = tmp_path / "copy"
    run(
        *("skopeo", "copy", "--insecure-policy", "--dest-compress", "--dest-compress-format", compression),
        *(f"oci:{store.layout}:shop", f"oci:{copy}:again"),
    )

    theirs = Store(str(copy))
    ours, found = image.read(store, "shop", "linux/amd64"), image.read(theirs, "again", "linux/amd64")

    assert found.descriptor != written
    assert (found.config, found.diff_ids) == (ours.config, ours.diff_ids)
    for layer, diff_id in zip(found.layers, found.diff_ids, strict=True):
        with theirs.open(layer) as blob:
            unpack(blob, f"{tmp_path}/unpacked/{layer.digest}", diff_id=diff_id)


def test_image_in_dockers_own_format_is_read(store: Store, tmp_path: Path) -> None:
    write(store, make_layers(tmp_path), "shop")
    archive = f"{tmp_path}/image.tar"
    run("skopeo", "copy", "--insecure-policy", f"oci:{store.layout}:shop", f"docker-archive:{archive}:shop:1")
    run("skopeo", "copy", "--insecure-policy", f"docker-archive:{archive}", f"oci:{tmp_path}/back:shop")

    found = image.read(Store(f"{tmp_path}/back"), "shop", "linux/amd64")

    assert found.diff_ids == image.read(store, "shop", "linux/amd64").diff_ids
    assert found.config.cmd == CONFIG.cmd
