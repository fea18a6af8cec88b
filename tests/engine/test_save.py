"""`devenv save`: an image as an OCI image layout elsewhere, whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from devenv.engine.native.records.state import State
from tests.engine.conftest import output
from tests.engine.project import Project

pytestmark = pytest.mark.engine

STEPS = "FROM scratch\nCOPY devenv.yml /one/\nCOPY --chmod=0640 more.txt /two/\n"


@pytest.fixture
def image(project: Project) -> str:
    """The name of a small image of two layers."""
    name = f"small:{os.path.basename(project.folder).lower()}"
    project.write("more.txt", name * 1000)
    project.write("Containerfile", STEPS)
    project.run("build", "--tag", name, ".")
    return name


@pytest.fixture
def place(project: Project) -> Iterator[str]:
    """A folder that has nothing in it after the test but what this says it has."""
    folder = f"{project.folder}/place"
    os.mkdir(folder)
    yield folder
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []


def blobs(layout: str) -> dict[str, str]:
    """The digests that blobs are named by, and those that they have."""
    found = {}
    for name in os.listdir(f"{layout}/blobs/sha256"):
        with open(f"{layout}/blobs/sha256/{name}", "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def layers(project: Project, image: str) -> list[str]:
    """The folders of an image's layers."""
    state = State(project.paths.state)
    (row,) = state.db.execute(
        "SELECT layers FROM image JOIN reference USING (digest) WHERE name = ?", (image,)
    ).fetchall()
    state.close()
    return [project.paths.layer(number) for number in json.loads(row[0])]


def test_save_writes_a_layout_that_others_read(project: Project, image: str, place: str) -> None:
    digest = project.run("save", image, "place/out").strip()

    seen = json.loads(output("skopeo", "inspect", f"oci:{place}/out:{image}"))
    assert seen["Digest"] == digest
    assert sorted(os.listdir(f"{place}/out")) == ["blobs", "index.json", "oci-layout"]
    assert all(name == digest for name, digest in blobs(f"{place}/out").items())
    assert len(blobs(f"{place}/out")) == 4
    assert {os.stat(f"{folder}/{name}").st_mode & 0o777 for folder, _, names in os.walk(place) for name in names} == {
        0o644
    }
    output("umoci", "unpack", "--rootless", "--image", f"{place}/out:{image}", f"{place}/bundle")
    with open(f"{place}/bundle/rootfs/two/more.txt", encoding="utf-8") as file:
        assert file.read() == project.read("more.txt")


def test_save_keeps_no_layer_a_second_time_in_the_store(project: Project, image: str) -> None:
    sizes = [os.path.getsize(f"{project.paths.layout}/blobs/sha256/{name}") for name in blobs(project.paths.layout)]
    project.run("save", image, "out")

    assert max(sizes) < 8192 < len(project.read("more.txt"))
    assert len(blobs(project.paths.layout)) == len(sizes)


def test_save_adds_to_a_layout_and_finds_what_is_there(project: Project, image: str, place: str) -> None:
    project.write("Containerfile", STEPS + "LABEL a=b\n")
    project.run("build", "--tag", "other:1", ".")
    project.run("save", image, "place")  # an empty folder
    before = blobs(place)
    for _ in range(2):
        project.run("save", "other:1", "place")

    assert len(blobs(place).keys() - before.keys()) == 2  # layers are the same
    tags = {one["annotations"]["org.opencontainers.image.ref.name"] for one in read_index(place)}
    assert tags == {image, "other:1"}


def read_index(layout: str) -> list[dict[str, dict[str, str]]]:
    with open(f"{layout}/index.json", encoding="utf-8") as file:
        found: list[dict[str, dict[str, str]]] = json.load(file)["manifests"]
    return found


def test_save_as_one_file_gives_the_same_bytes_again(project: Project, image: str, place: str) -> None:
    project.write("place/old.tar", "replaced")
    digest = project.run("save", image, "place/old.tar")
    project.run("save", digest.strip()[:20], "place/new.tar")

    with open(f"{place}/old.tar", "rb") as old, open(f"{place}/new.tar", "rb") as new:
        assert old.read() == new.read()
    os.mkdir(f"{place}/out")
    output("tar", "-xf", f"{place}/old.tar", "-C", f"{place}/out")
    assert all(name == digest for name, digest in blobs(f"{place}/out").items())
    assert json.loads(output("skopeo", "inspect", f"oci-archive:{place}/new.tar:{image}"))["Digest"] == digest.strip()


@pytest.mark.parametrize("target", ["place/out", "place/out.tar", "place"])
@pytest.mark.parametrize("damage", ["changed", "added", "gone", "emptied"])
def test_save_refuses_a_layer_that_somebody_changed(
    project: Project, image: str, place: str, target: str, damage: str
) -> None:
    folder = layers(project, image)[1]
    file = f"{folder}/two/more.txt"
    text = project.read("more.txt")
    try:
        if damage == "changed":
            with open(file, "r+", encoding="utf-8") as stream:
                stream.write("S")
        elif damage == "added":
            os.mkdir(f"{folder}/added")
        elif damage == "gone":
            os.rename(folder, f"{folder}-gone")
        else:
            os.unlink(file)
        refused = project.attempt("save", image, target)
    finally:  # other tests of this module have the same layers
        if damage == "gone":
            os.rename(f"{folder}-gone", folder)
        elif damage == "added":
            os.rmdir(f"{folder}/added")
        else:
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)

    assert refused.returncode == 1
    assert f"save layer {os.path.basename(folder)} (" in refused.stderr
    assert "--no-cache" in refused.stderr
    if target == "place":  # a new folder in the place of an empty one
        assert os.listdir(place) == []
    else:
        assert not os.path.exists(f"{project.folder}/{target}")


def test_save_works_again_when_a_changed_layer_was_built_again(project: Project) -> None:
    project.write("Containerfile", "FROM scratch\nCOPY devenv.yml /mended/\n")
    digest = project.run("build", "--tag", "mended:1", ".")
    os.truncate(f"{layers(project, 'mended:1')[0]}/mended/devenv.yml", 1)
    assert project.attempt("save", "mended:1", "out").returncode == 1

    assert project.run("build", "--no-cache", "--tag", "mended:1", ".") == digest
    assert project.run("save", "mended:1", "out") == digest


def test_save_refuses_what_it_can_not_write_to(project: Project, image: str, place: str) -> None:
    project.write("place/mine.txt", "kept")
    os.mkdir(f"{place}/folder.tar")
    said = {
        target: project.attempt("save", image, target)
        for target in ("place", "place/folder.tar", "place/no/such", "place/mine.txt")
    }
    unknown = project.attempt("save", "nobody:1", "place/x")

    assert {target: done.returncode for target, done in said.items()} == dict.fromkeys(said, 2)
    assert "place: isn't empty, and no OCI image layout" in said["place"].stderr
    assert "folder.tar: is a folder" in said["place/folder.tar"].stderr
    assert "place/no: no such folder" in said["place/no/such"].stderr
    assert "mine.txt: is a file" in said["place/mine.txt"].stderr
    assert (unknown.returncode, "nobody:1: isn't in the store" in unknown.stderr) == (2, True)
    assert sorted(os.listdir(place)) == ["folder.tar", "mine.txt"]
    assert project.read("place/mine.txt") == "kept"


def test_save_that_finds_no_room_leaves_nothing(project: Project, image: str, place: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place], check=True)
    try:
        for target in ("place/out", "place/out.tar"):
            refused = project.attempt("save", image, target)
            assert (refused.returncode, "No space left on device" in refused.stderr) == (1, True)
            assert os.listdir(place) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_save_of_an_image_whose_manifest_was_removed_says_what_to_do(project: Project) -> None:
    project.write("Containerfile", "FROM scratch\nCOPY devenv.yml /own/\n")
    digest = project.run("build", "--tag", "own:1", ".").strip()
    os.unlink(f"{project.paths.layout}/blobs/sha256/{digest[7:]}")
    refused = project.attempt("save", "own:1", "out")

    assert (refused.returncode, "build it again" in refused.stderr) == (1, True)
    assert project.run("build", "--tag", "own:1", ".").strip() == digest
    assert project.run("save", "own:1", "out").strip() == digest


def test_save_is_brought_back_by_oci(project: Project, image: str) -> None:
    project.run("save", image, "out")
    project.write("Containerfile", "FROM saved\n")
    project.run("build", "--build-context", f"saved=oci:{project.folder}/out", "--tag", "back:1", ".")

    texts = [f"{folder}/{name}" for folder in layers(project, "back:1") for name in ("one/devenv.yml", "two/more.txt")]
    assert [os.path.isfile(path) for path in texts] == [True, False, False, True]
