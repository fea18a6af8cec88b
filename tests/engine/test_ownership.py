"""Whose a file is on the host: source trees in their three modes, and sources that can't be mounted."""

from __future__ import annotations

import os

import pytest

from tests.engine.project import Project, mounts

pytestmark = pytest.mark.engine


def owner(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_uid, status.st_gid


@pytest.mark.parametrize("whose", [0, 1234])
@pytest.mark.parametrize("user", ["", "1000:1000"])
def test_ownership_of_new_files_is_the_trees(project: Project, whose: int, user: str) -> None:
    os.chown(project.folder, whose, whose + 1)
    project.up(f'user: "{user}"\n' if user else "")
    script = "touch a; mkdir d; ln -s a l; chmod 4755 a; cat < /dev/null > d/b; stat -c %u:%g a d"

    for way in ("exec", "run"):
        said = project.run(way, "--", "sh", "-c", f"rm -rf a d l; {script}")

        assert said.split() == [user or "0:0"] * 2
        for name in ("a", "d", "l", "d/b"):
            assert owner(f"{project.folder}/{name}") == (whose, whose + 1), name
    assert owner(f"{project.folder}/devenv.yml") == (0, 0)


def test_ownership_of_others_files_is_nobodys_inside(project: Project) -> None:
    os.chown(project.folder, 1234, 1234)
    os.chown(project.write("theirs", "x", 0o640), 4321, 4321)
    project.up()

    assert project.run("exec", "--", "stat", "-c", "%u", "theirs") == "65534\n"
    assert project.attempt("exec", "--", "sh", "-c", "cat theirs || chown 0 theirs").returncode != 0
    assert owner(f"{project.folder}/theirs") == (4321, 4321)


def test_ownership_read_only_is_read_only(project: Project) -> None:
    project.write("file", "host")
    seen = mounts(project.up("source: {path: ., target: /workspace, mode: ro}\n")["pid"])

    assert {"ro", "nosuid", "nodev"} <= seen["/workspace"]
    for command in ("echo x > file", "touch new", "rm file", "chmod 777 ."):
        assert "Read-only" in project.attempt("exec", "--", "sh", "-c", command).stderr
    assert project.read("file") == "host"


def test_ownership_copy_on_write_leaves_the_host_alone_and_survives_restarts(project: Project) -> None:
    project.write("file", "host")
    project.write("gone", "host")
    before = sorted({*os.listdir(project.folder), "devenv.lock.yml"})
    project.up("source: {path: ., target: /workspace, mode: copy-on-write}\n")
    project.run("exec", "--", "sh", "-c", "echo inside > file; rm gone; touch new; chown 7:7 new")

    for _ in range(2):
        assert sorted(os.listdir(project.folder)) == before
        assert project.read("file") == "host"
        said = project.run("exec", "--", "sh", "-c", "cat file; ls; stat -c %u new").split()
        assert (said[0], said[-1], "new" in said, "gone" in said) == ("inside", "7", True, False)
        project.run("stop")
        project.run("up")

    project.run("up", "--recreate")
    assert project.run("exec", "--", "cat", "file") == "host"


def test_ownership_setuid_and_devices_mean_nothing_in_a_source(project: Project) -> None:
    shell = "cp /bin/sh /workspace/sh; chmod 4755 /workspace/sh"
    seen = mounts(project.up()["pid"])
    project.run("exec", "--", "sh", "-c", shell)

    assert {"nosuid", "nodev", "rw"} <= seen["/workspace"]
    assert project.run("exec", "--user", "1000", "--", "/workspace/sh", "-p", "-c", "id -u") == "1000\n"


def test_ownership_a_missing_source_is_an_error_and_is_not_made(project: Project) -> None:
    project.manifest("source: {path: missing, target: /workspace}\n")
    for _ in range(2):
        done = project.attempt("up")
        assert done.returncode == 2
        assert "devenv.yml:2:" in done.stderr
        assert not os.path.exists(f"{project.folder}/missing")


def test_ownership_a_source_that_goes_missing_later_is_an_error_and_is_not_made(project: Project) -> None:
    os.mkdir(f"{project.folder}/data")
    project.up("source: {path: data, target: /data}\n")
    project.run("stop")
    os.rmdir(f"{project.folder}/data")

    assert project.attempt("up").returncode == 2
    assert not os.path.exists(f"{project.folder}/data")
    os.mkdir(f"{project.folder}/data")
    project.run("up")
    assert project.container()["status"] == "running"


def test_ownership_a_link_planted_from_inside_shows_nothing_of_the_host(project: Project) -> None:
    outside = f"{os.path.dirname(project.folder)}/outside-{os.path.basename(project.folder)}"
    os.mkdir(outside)
    os.mkdir(f"{project.folder}/data")
    project.up("source: [{path: ., target: /workspace}, {path: data, target: /data}]\n")
    project.run("exec", "--", "sh", "-c", f"rmdir /workspace/data; ln -s {outside} /workspace/data")
    project.run("stop")

    for words in (("up",), ("up", "--recreate"), ("run", "--", "touch", "/data/x")):
        done = project.attempt(*words)
        assert done.returncode == 2
        assert "link" in done.stderr
    assert os.listdir(outside) == []
