"""Images that travel: ours read by skopeo and umoci, theirs (hostile ones too) used through `oci:`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def foreign(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout of skopeo's making with our base, compressed, as `theirs`."""
    copy = f"{tmp_path_factory.mktemp('foreign')}/layout"
    compress = ("--dest-compress", "--dest-compress-level", "1")
    run("skopeo", "copy", "--insecure-policy", *compress, base, f"oci:{copy}:theirs")
    return copy


@pytest.fixture
def theirs(foreign: str, tmp_path: Path) -> str:
    """LAYOUT:TAG of the test's own."""
    tag = "".join(letter for letter in tmp_path.name if letter.isalnum())
    run("umoci", "tag", "--image", f"{foreign}:theirs", tag)
    return f"{foreign}:{tag}"


def test_images_of_ours_are_unpacked_by_umoci_to_what_a_container_sees(project: Project, tmp_path: Path) -> None:
    project.write(
        "Containerfile",
        "FROM base\nRUN rm -r /usr/share/doc /etc/issue && chown 5:6 /srv && mkdir /new && ln -s /x /new/l\n",
    )
    digest = project.run("build", "--build-context", f"base={project.base}", "-t", "mine", ".").strip()
    layout = project.layout("mine")
    look = "cd {} && find etc new srv usr/share var/lib -printf '%p %y %m %U:%G %l\\n' | LC_ALL=C sort"

    seen = json.loads(run("skopeo", "inspect", f"oci:{layout}:mine"))
    run("umoci", "unpack", "--image", f"{layout}:mine", f"{tmp_path}/bundle")
    theirs = run("sh", "-c", look.format(f"{tmp_path}/bundle/rootfs")).splitlines()
    ours = project.run("run", "--image", "mine", "--", "sh", "-c", look.format("/")).splitlines()

    assert seen["Digest"] == digest
    provided = ("etc/hosts ", "etc/hostname ", "etc/resolv.conf ", "etc/apt/sources.list ")
    assert len(ours) > 500
    assert [line for line in ours if not line.startswith(provided)] == [
        line for line in theirs if not line.startswith(provided)
    ]


def test_images_of_umoci_are_brought_up(project: Project, theirs: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("inserted\n")
    run("umoci", "insert", "--image", theirs, f"{tmp_path}/file", "/opt/file")
    words = ["--config.env", "COLOUR=green", "--config.workingdir", "/opt", "--config.user", "daemon"]
    run("umoci", "config", "--image", theirs, *words)

    project.up(f"from: oci:{theirs}\n")
    for _ in range(2):
        said = project.run("exec", "--", "sh", "-c", "cat /opt/file; echo $COLOUR; id -un")
        assert said.split() == ["inserted", "green", "daemon"]
        project.run("up")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.volume", "/.."], "VOLUME"),
        (["--config.volume", "/proc/x"], "VOLUME"),
        (["--config.volume", "/dev"], "VOLUME"),
        (["--config.volume", "/etc/../"], "VOLUME"),
        (["--config.user", "nobodyknows"], "nobodyknows"),
        (["--config.user", "70000"], "70000"),
    ],
)
def test_images_with_a_hostile_config_are_refused(project: Project, theirs: str, words: list[str], said: str) -> None:
    run("umoci", "config", "--image", theirs, *words)
    project.manifest(f"from: oci:{theirs}\n")
    done = project.attempt("up")
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "shadow" not in os.listdir(project.paths.home)


@pytest.mark.parametrize("place", ["/proc/self/fd/7", "/proc/self/fd/8", "/proc/1/root", "../../.."])
def test_images_working_folder_is_no_way_out(project: Project, theirs: str, place: str) -> None:
    run("umoci", "config", "--image", theirs, "--config.workingdir", place)
    project.write("Containerfile", "FROM theirs\n")
    project.run("build", "--build-context", f"theirs=oci:{theirs}", "-t", "odd", ".")
    done = project.attempt("run", "--image", "odd", "--", "sh", "-c", "cat ../../../../../../etc/hostname")
    # A container of an image alone is called run-….
    assert done.returncode != 0 or done.stdout.startswith("run-")


def test_images_truncated_or_swapped_are_refused(project: Project, theirs: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    run("umoci", "insert", "--image", theirs, f"{tmp_path}/file", "/opt/file")
    manifest = json.loads(run("skopeo", "inspect", "--raw", f"oci:{theirs}"))
    blob = f"{theirs.rpartition(':')[0]}/blobs/sha256/{manifest['layers'][-1]['digest'][7:]}"
    size = os.path.getsize(blob)
    project.manifest(f"from: oci:{theirs}\n")
    os.chmod(blob, 0o600)

    with open(blob, "r+b") as file:
        file.seek(size // 2)
        file.write(b"\0" * 16)
    swapped = project.attempt("up")
    os.truncate(blob, size - 1)
    cut = project.attempt("up")

    assert (swapped.returncode, cut.returncode) == (1, 2)  # the latter is seen before anything is begun
    for done in (swapped, cut):
        assert done.stderr.count("error:") == 1
    assert os.listdir(project.paths.drafts) == []
