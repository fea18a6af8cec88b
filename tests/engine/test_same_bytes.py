"""The same steps at another time, in another store, give the same digests; equal files of sibling layers are stored once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from devenv.engine.native.records.state import State
from tests.engine.conftest import temporary_store
from tests.engine.project import Project

pytestmark = pytest.mark.engine

CONTROL = """Package: demo
Version: 1.0
Architecture: all
Maintainer: devenv <devenv@example.org>
Description: a package that leaves what packages leave
"""
POSTINST = """#!/bin/sh
set -e
adduser --system --group --home /var/lib/demo demo >>/var/log/demo.log
echo "installed at $(date +%s.%N) by $$" >>/var/log/demo.log
chown demo: /var/log/demo.log
head -c 32 /dev/urandom >/etc/machine-id
mkdir -p /var/cache/man/cs /root/.cache/pip/http
date >/var/cache/man/index.db
date >/root/.cache/pip/http/entry
ldconfig
"""
STEPS = """FROM base
RUN --mount=type=bind,source=demo.deb,target=/demo.deb useradd --create-home me && echo me:secret-hash | chpasswd -e \\
    && dpkg -i /demo.deb && date >/tmp/kept-for-a-reason-that-must-not-vary && rm /tmp/kept* \\
    && touch /usr/share/doc && ln -s demo /opt/link && mkfifo /opt/fifo && head -c 100000 /dev/zero >/opt/large
WORKDIR /srv/app
COPY devenv.yml ./
RUN --network=none usermod --comment changed me && rm -rf /usr/share/doc/demo && groupadd late
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A package made by dpkg-deb."""
    place = tmp_path_factory.mktemp("deb")
    for name, text, mode in (
        ("DEBIAN/control", CONTROL, 0o644),
        ("DEBIAN/postinst", POSTINST, 0o755),
        ("usr/share/doc/demo/copyright", "free\n", 0o644),
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
        (place / name).chmod(mode)
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(place), f"{place}.deb"]
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1600000000"})
    with open(f"{place}.deb", "rb") as file:
        return file.read()


@pytest.fixture
def steps(project: Project, deb: bytes) -> Project:
    prepare(project, deb)
    return project


@pytest.fixture
def elsewhere(base: str, deb: bytes) -> Iterator[Project]:
    """The same project in another store, in a folder of another name and owner."""
    with temporary_store() as paths:
        made = Project(paths, f"{os.path.dirname(paths.home)}/a folder of another name", base)
        prepare(made, deb)
        os.utime(f"{made.folder}/devenv.yml", (1, 1))
        os.chown(f"{made.folder}/devenv.yml", 1234, 1234)
        yield made


def prepare(project: Project, deb: bytes) -> None:
    with open(f"{project.folder}/demo.deb", "wb") as file:
        file.write(deb)
    project.write("devenv.yml", "name: same\n")
    project.write("Containerfile", STEPS)


def build(project: Project, *words: str, tag: str = "same", **env: str) -> str:
    context = f"base={project.base}"
    return project.run("build", "--build-context", context, "--tag", tag, *words, ".", env=env).strip()


def layers(project: Project, tag: str) -> list[str]:
    state = State(project.paths.state)
    query = "SELECT layers FROM image JOIN reference USING (digest) WHERE name = ?"
    (row,) = state.db.execute(query, (tag,)).fetchall()
    state.close()
    return [project.paths.layer(number) for number in json.loads(row[0])]


def test_steps_give_the_same_digest_at_any_time_and_place(steps: Project, elsewhere: Project) -> None:
    first = build(steps)
    below, upper = layers(steps, "same")[-4], layers(steps, "same")[-1]
    time.sleep(1.1)  # so that no second is the same
    before = len(os.listdir(steps.paths.layers))
    again = build(steps, "--no-cache")
    made = len(os.listdir(steps.paths.layers))
    other = build(elsewhere, TZ="Asia/Kathmandu", LC_ALL="C", HOME="/nowhere")

    # It was made anew, not found; what containers may stand on stays the image's.
    assert made - before == 4
    assert layers(steps, "same")[-4] == below
    assert (again, other) == (first, first)
    with open(f"{below}/etc/shadow", encoding="ascii") as file:
        days = dict(re.findall(r"^(me|demo):[^:]*:(\d*):", file.read(), re.MULTILINE))
    assert days.keys() == {"me", "demo"}
    assert not any(day and int(day) > time.time() // 86400 - 1 for day in days.values())
    assert os.path.getsize(f"{below}/var/log/demo.log") == os.path.getsize(f"{below}/etc/machine-id") == 0
    assert os.stat(f"{below}/var/log/demo.log").st_uid > 0
    for gone in (
        "etc/shadow-",
        "etc/.pwd.lock",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dpkg/status-old",
        "root/.cache/pip",
    ):
        assert not os.path.lexists(f"{below}/{gone}"), gone
    assert os.path.lexists(f"{upper}/usr/share/doc/demo")  # a whiteout: the step's own wish


def test_container_sees_the_times_that_the_image_has(steps: Project) -> None:
    build(steps)
    said = steps.run("run", "--image", "same", "--", "stat", "-c", "%Y", "/opt/large", "/opt/link", "/srv/app", "/opt")

    assert len(set(said.split()[:2])) == 1
    assert all(int(value) < time.time() - 86400 for value in said.split())


def test_failed_step_that_is_kept_has_its_logs(steps: Project) -> None:
    steps.write("Containerfile", "FROM base\nRUN echo why >/var/log/demo.log && false\n")
    failed = steps.attempt("build", "--build-context", f"base={steps.base}", "--keep-failed", ".")
    name = re.search(r"--image (\S+)", failed.stderr)

    assert name
    assert steps.run("run", "--image", name[1], "--", "cat", "/var/log/demo.log") == "why\n"


def test_layers_of_the_same_root_share_equal_files(steps: Project) -> None:
    make = "head -c 300000 /dev/zero >/opt/same && echo same >/opt/small"
    found = []
    for number in (1, 2):
        steps.write("Containerfile", f"FROM base\nRUN {make} && seq {number}0000 >/opt/own\n")
        digest = build(steps, tag=f"twin:{number}")
        found.append((layers(steps, f"twin:{number}")[-1], digest))
    (one, _), (other, digest) = found

    def inode(folder: str, name: str) -> int:
        return os.stat(f"{folder}/opt/{name}").st_ino

    assert inode(one, "same") == inode(other, "same")
    assert inode(one, "own") != inode(other, "own")
    assert inode(one, "small") != inode(other, "small")
    # Whoever writes to one of them writes to a copy of their own.
    script = "echo changed >/opt/same && cat /opt/same"
    assert steps.run("run", "--image", "twin:1", "--", "sh", "-c", script) == "changed\n"
    assert os.path.getsize(f"{other}/opt/same") == 300_000
    steps.run("save", "twin:2", "twin.tar")
    steps.write("devenv.yml", "name: same\n")
    assert build(steps, "--no-cache", tag="twin:2") == digest
