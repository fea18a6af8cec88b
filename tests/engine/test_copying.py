"""cp with real containers: what arrives, whose it is; and containers that put things in the way."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator

import pytest

from devenv.paths import Paths
from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine

MANIFEST = """\
name: copied
volumes: {data: {}}
services:
  web:
    command: exec sleep 1000
    user: www-data
    volumes: ["data:/data", "./conf:/conf:ro"]
"""


@pytest.fixture(scope="module")
def copied(store: Paths, base: str) -> Iterator[Project]:
    """An environment that the tests of this module share: its tree belongs to a user of the host's."""
    made = Project(store, tempfile.mkdtemp(prefix="copied", dir=os.path.dirname(store.home)), base)
    os.makedirs(f"{made.folder}/conf")
    for path in (made.folder, f"{made.folder}/conf"):
        os.chmod(path, 0o755)
        os.chown(path, 1234, 1234)
    made.up(MANIFEST)
    yield made
    made.down()


@pytest.fixture
def out(copied: Project) -> Iterator[str]:
    """A folder that no container sees."""
    yield tempfile.mkdtemp(dir=os.path.dirname(copied.paths.home))


def inside(project: Project, command: str, name: str = "web-1") -> str:
    return project.run("exec", "-u", "root", "-s", name, "sh", "-c", command)


def refused(project: Project, *words: str, code: int = 1) -> str:
    done = project.attempt("cp", *words)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stderr


# What arrives ----------------------------------------------------------------------------------------------------------


def test_copying_out_belongs_to_us_and_is_as_it_was(copied: Project, out: str) -> None:
    inside(copied, "mkdir -p /srv/d && echo hi > /srv/d/file && chmod 640 /srv/d/file && chown 33:33 /srv/d/file")
    inside(copied, "ln -sf /etc/passwd /srv/d/link && chmod 4755 /srv/d/file && touch -d @1000 /srv/d/file")
    copied.run("cp", "web:/srv/d", out)
    copied.run("cp", "web-1:/srv/d/file", f"{out}/other")
    info = os.lstat(f"{out}/d/file")
    assert (info.st_uid, stat.S_IMODE(info.st_mode), info.st_mtime) == (os.geteuid(), 0o755, 1000)
    assert os.readlink(f"{out}/d/link") == "/etc/passwd"
    with open(f"{out}/other", encoding="utf-8") as file:
        assert file.read() == "hi\n"


def test_copying_in_belongs_to_whoever_owns_the_folder(copied: Project, out: str) -> None:
    os.makedirs(f"{out}/tree/sub")
    with open(f"{out}/tree/sub/file", "w", encoding="utf-8") as file:
        file.write("new")
    os.chmod(f"{out}/tree/sub/file", 0o600)
    os.chown(f"{out}/tree/sub/file", 4321, 4321)
    inside(copied, "mkdir -p /srv/own && chown www-data:www-data /srv/own /data && rm -rf /workspace/tree")
    for target, owner in (("/opt", "0:0"), ("/srv/own", "33:33"), ("/data/tree", "33:33"), ("/workspace", "33:33")):
        copied.run("cp", f"{out}/tree", f"web:{target}")
        place = target if target.endswith("tree") else f"{target}/tree"
        assert inside(copied, f"stat -c '%u:%g %a' {place} {place}/sub/file") == f"{owner} 755\n{owner} 600\n"
    info = os.stat(f"{copied.folder}/tree/sub/file")
    assert (info.st_uid, info.st_gid) == (1234, 1234)


def test_copying_follows_the_rules_of_cp(copied: Project, out: str) -> None:
    inside(copied, "mkdir -p /srv/r/in && echo 1 > /srv/r/in/a && echo 2 > /srv/r/b && ln -sfn /srv/r /srv/rlink")
    copied.run("cp", "web:/srv/r/.", out)
    assert sorted(os.listdir(out)) == ["b", "in"]
    copied.run("cp", "web:/srv/r", f"{out}/new")
    assert sorted(os.listdir(f"{out}/new")) == ["b", "in"]
    copied.run("cp", "web:/srv/rlink/", f"{out}/through")
    assert sorted(os.listdir(f"{out}/through")) == ["b", "in"]
    copied.run("cp", "web:/srv/r/b", f"{out}/new/in")
    copied.run("cp", "web:/srv/r/b", f"{out}/b")
    copied.run("cp", f"{out}/b", "web:srv/rlink/c")
    assert inside(copied, "cat /srv/r/c") == "2\n"
    assert "No such file" in refused(copied, "web:/srv/r", f"{out}/no/such", code=2)
    assert "no folder" in refused(copied, "web:/srv/r/b", f"{out}/none/", code=2)
    assert "it is a file, and what is copied is a folder" in refused(copied, "web:/srv/r", f"{out}/b")
    os.rename(f"{out}/b", f"{out}/in/in")
    assert "Is a directory" in refused(copied, f"{out}/in/in", "web:/srv/r")
    os.rename(f"{out}/in/in", f"{out}/b")
    assert "No such file" in refused(copied, "web:/nothing", out, code=2)
    assert "something is mounted there" in refused(copied, f"{out}/b", "web:/etc/hosts")
    assert "read-only" in refused(copied, f"{out}/b", "web:/conf/b")
    assert "web-1" in inside(copied, "cat /etc/hosts")


def test_copying_of_one_that_is_stopped_reaches_its_volumes_too(project: Project) -> None:
    os.makedirs(f"{project.folder}/conf")
    project.up(MANIFEST)
    inside(project, "echo v > /data/file; echo r > /root/file")
    project.run("stop")
    project.run("cp", "web:/data/file", "volume")
    project.run("cp", "web:/root/file", "root")
    project.run("cp", "devenv.yml", "web:/data/")
    project.run("cp", "devenv.yml", "web:/root/new/../given")
    assert (project.read("volume"), project.read("root")) == ("v\n", "r\n")
    assert not [line for line in _mounts() if project.paths.container(project.container("web-1")["id"]) in line]
    project.run("up")
    assert inside(project, "cat /data/devenv.yml /root/given") == project.read("devenv.yml") * 2


def _mounts() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.readlines()


def test_copying_by_tar_keeps_owners_where_that_is_asked_for(copied: Project, out: str) -> None:
    inside(
        copied, "mkdir -p /srv/t/sub && echo x > /srv/t/sub/own && chown -R 77:78 /srv/t/sub && mkdir -p /srv/a /srv/b"
    )
    with open(f"{out}/saved.tar", "wb") as file:
        subprocess.run(
            copied.argv("cp", "web:/srv/t/.", "-"), cwd=copied.folder, env=copied.env(), stdout=file, check=True
        )
    with tarfile.open(f"{out}/saved.tar") as tar:
        assert [(one.name, one.uid, one.gid) for one in tar] == [("sub", 77, 78), ("sub/own", 77, 78)]
    for words in (["-", "web:/srv/a"], ["-a", "-", "web:/srv/b"]):
        with open(f"{out}/saved.tar", "rb") as file:
            subprocess.run(copied.argv("cp", *words), cwd=copied.folder, env=copied.env(), stdin=file, check=True)
    assert inside(copied, "stat -c %u:%g /srv/a/sub/own /srv/b/sub/own") == "0:0\n77:78\n"
    assert "no folder" in refused(copied, "-", "web:/srv/none", code=2)


def test_copying_refuses_devices_and_leaves_them_out(copied: Project, out: str) -> None:
    inside(copied, "mkdir -p /srv/n && cd /srv/n && rm -f fifo && mkfifo fifo && echo x > file")
    done = copied.attempt("cp", "web:/srv/n", out)
    assert (done.returncode, os.listdir(f"{out}/n")) == (0, ["file"])
    assert "left out fifo: a fifo" in done.stderr
    for path, why in (("/dev/null", "a device"), ("/srv/n/fifo", "a fifo"), ("/proc/cpuinfo", "the kernel's")):
        assert f"it is {why}" in refused(copied, f"web:{path}", out)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as written:
        node = tarfile.TarInfo("sda")
        node.type, node.devmajor, node.devminor = tarfile.BLKTYPE, 8, 0
        written.addfile(node)
    done_in = subprocess.run(
        copied.argv("cp", "-", "web:/srv/n"),
        cwd=copied.folder,
        env=copied.env(),
        input=tar.getvalue(),
        capture_output=True,
    )
    assert (done_in.returncode, b"left out sda: a device" in done_in.stderr) == (0, True)
    assert inside(copied, "ls /srv/n") == "fifo\nfile\n"


# The store -------------------------------------------------------------------------------------------------------------


def test_copying_never_reads_the_store(copied: Project, out: str) -> None:
    """Whoever closes a file of an open database loses its locks (sqlite.org/howtocorrupt.html, 2.2)."""
    home, run = copied.paths.home, copied.paths.run
    os.link(copied.paths.state, f"{out}/other")
    os.symlink(home, f"{out}/link")
    places = (home, f"{home}/.", copied.paths.state, copied.paths.layers, f"{out}/other", f"{out}/link/key", run)
    for path in (*places, f"{run}/bundles"):
        told = refused(copied, path, "web:/srv/", code=2)
        assert told.startswith(f"error: cp {path}: it is devenv's own store, or in it"), told
        assert "CONTAINER:PATH" in told
    assert "devenv's own store" in refused(copied, "web:/etc/hostname", copied.paths.state, code=2)
    assert inside(copied, "ls /srv | grep -E 'h|key|other|state|run|layers' || true") == ""


def test_copying_of_a_folder_above_leaves_the_store_out(copied: Project, out: str) -> None:
    above = os.path.dirname(copied.paths.home)
    done = copied.attempt("cp", f"{above}/.", "web:/srv/above")
    assert done.returncode == 0, done.stderr
    assert "left out h: it is devenv's own store" in done.stderr
    assert "left out r: it is devenv's own store" in done.stderr
    assert set(inside(copied, "ls /srv/above").split()) == {os.path.basename(out), os.path.basename(copied.folder)} | {
        name for name in os.listdir(above) if name not in ("h", "r")
    }
    inside(copied, "rm -rf /srv/above")


@pytest.mark.parametrize("way", ["h", "."])
def test_copying_into_a_folder_above_never_writes_into_the_store(copied: Project, way: str) -> None:
    """A container has a folder of the store's name, with a database of its own making."""
    above, name = os.path.dirname(copied.paths.home), os.path.basename(copied.paths.home)
    inside(
        copied,
        f"mkdir -p /srv/like/{name}/layers && echo planted | tee /srv/like/{name}/state.db /srv/like/{name}/layers/x",
    )
    told = refused(copied, f"web:/srv/like/{way}", f"{above}/", code=2)
    assert f"error: cp {name}: it is devenv's own store, or in it" in told
    assert not os.path.exists(f"{copied.paths.layers}/x")
    assert "web-1" in copied.run("ps")
    inside(copied, "rm -rf /srv/like")


# Containers that put things in the way ----------------------------------------------------------------------------------


def test_copying_a_file_without_end_costs_no_disk(copied: Project, out: str) -> None:
    inside(copied, "truncate -s 4T /srv/huge")
    copied.run("cp", "web:/srv/huge", out)
    info = os.stat(f"{out}/huge")
    assert (info.st_size, info.st_blocks < 100) == (4 << 40, True)


def test_copying_out_never_leaves_the_container_while_folders_become_links(copied: Project, out: str) -> None:
    """A container exchanges a folder for a link to the host's /etc, as fast as it can."""
    inside(copied, "rm -rf /srv/race && mkdir -p /srv/race/real && echo inside > /srv/race/real/shadow")
    swap = "cd /srv/race; while test -e /srv/race; do ln -s /etc sub; rm sub; mv real sub; mv sub real; done 2>&-"
    swapping = copied.start("exec", "-u", "root", "-s", "web-1", "sh", "-c", swap)
    try:
        for number in range(15):
            done = copied.attempt("cp", "web:/srv/race", f"{out}/{number}")
            assert done.returncode == 0 or "No such file" in done.stderr
            copied.attempt("cp", "web:/srv/race/sub/shadow", f"{out}/{number}-file")
    finally:
        inside(copied, "rm -rf /srv/race; while test -e /srv/race; do rm -rf /srv/race; done")
        swapping.wait(20)
    with open("/etc/shadow", "rb") as file:
        host = file.read()
    for folder, _, files in os.walk(out):
        for name in files:
            if not os.path.islink(f"{folder}/{name}"):
                with open(f"{folder}/{name}", "rb") as file:
                    assert file.read() != host, f"{folder}/{name}"


def test_copying_in_writes_nothing_outside_while_folders_become_links(copied: Project, out: str) -> None:
    victim = f"{out}/victim"
    os.makedirs(victim)
    os.makedirs(f"{out}/tree/sub")
    for number in range(20):
        with open(f"{out}/tree/sub/{number}", "w", encoding="utf-8") as file:
            file.write("x")
    inside(copied, "rm -rf /srv/to && mkdir -p /srv/to/tree/sub")
    swap = f"cd /srv/to/tree; while test -e /srv/to; do mv sub was; ln -s {victim} sub; rm sub; mv was sub; done 2>&-"
    swapping = copied.start("exec", "-u", "root", "-s", "web-1", "sh", "-c", swap)
    try:
        for _ in range(15):
            copied.attempt("cp", f"{out}/tree", "web:/srv/to")
    finally:
        inside(copied, "while test -e /srv/to; do rm -rf /srv/to; done")
        swapping.wait(20)
    assert os.listdir(victim) == []


def test_copying_through_a_link_that_a_container_planted_is_refused(copied: Project, out: str) -> None:
    """In the source tree, which it writes to."""
    inside(copied, "cd /workspace && ln -sfn /etc planted && ln -sfn /etc/shadow key", "workspace")
    assert "it is a link, in a folder that a container writes to" in refused(
        copied, "web:/etc/hostname", "planted/x", code=3
    )
    assert "it is a link" in refused(copied, "web:/etc/hostname", "planted", code=3)
    assert "it is a link" in refused(copied, "planted/shadow", "web:/srv/", code=3)
    copied.run("cp", "key", "web:/srv/")
    assert inside(copied, "readlink /srv/key") == "/etc/shadow\n"
    assert not os.path.exists("/etc/x")
    os.symlink(copied.folder, f"{out}/mine")  # the user's own may lead there
    copied.run("cp", "web:/etc/hostname", f"{out}/mine/arrived")
    assert os.path.exists(f"{copied.folder}/arrived")


def test_copying_ends_with_its_container_and_says_so(project: Project) -> None:
    project.up("services: {job: {command: 'until [ -e /workspace/go ]; do sleep 0.1; done'}}\n")
    project.write("go", "")
    assert eventually(lambda: project.container("job-1")["status"] == "stopped")
    project.run("cp", "job:/etc/hostname", "hostname")
    assert os.path.exists(f"{project.folder}/hostname")
