"""Images of services, really built and run: what they start, who shares what, what a failure or an interruption leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.engine.conftest import eventually, sleeping
from tests.engine.project import Project

pytestmark = pytest.mark.engine

HELLO = """FROM base
RUN mkdir /data && echo hello > /data/said
WORKDIR /data
USER 7:7
ENV WHO=world
ENTRYPOINT ["/bin/sh", "-c", "echo $(id -u) $WHO $0 $1; exec sleep 1000"]
CMD ["from", "cmd"]
"""


@pytest.fixture
def named(project: Project) -> Project:
    """A project whose Containerfiles may say `FROM base`."""
    project.write("own/Containerfile", HELLO)
    return project


def manifest(project: Project, *services: str) -> None:
    """A project upon the test's base, with a service for each: its name, what more is said of it. It is what NAME/Containerfile
    says, where `FROM base` is the test's.
    """
    lines = [f"from: {project.base}", "source: []", "services:"]
    for service in services:
        name, _, more = service.partition(" ")
        image = f"from: 'file:{name}/Containerfile', contexts: {{base: '{project.base}'}}"
        lines.append(f"  {name}: {{{image}{more and f', {more}'}}}")
    project.manifest("\n".join(lines) + "\n")


def service(project: Project, name: str) -> dict[str, Any]:
    """What `ps` says of a service's container."""
    return project.container(f"{name}-1")


def test_a_service_without_a_command_runs_entrypoint_and_cmd_where_its_image_says(named: Project) -> None:
    manifest(named, "own")
    named.run("up")
    assert eventually(lambda: named.run("logs", "own") == "7 world from cmd\n")
    assert named.run("exec", "own", "pwd") == "/data\n"
    assert service(named, "own")["status"] == "running"


def test_a_command_takes_the_place_of_both(named: Project) -> None:
    manifest(named, "own command: 'echo $WHO; exec sleep 1000'")
    named.run("up")
    assert eventually(lambda: named.run("logs", "own") == "world\n")


def test_an_image_whose_command_is_wrong_fails_its_service_only(named: Project) -> None:
    named.write("broken/Containerfile", 'FROM base\nCMD ["/nowhere"]\n')
    manifest(named, "broken", "own")
    done = named.attempt("up")
    assert done.returncode == 1
    assert "failed   broken-1" in done.stdout and "/nowhere: no such command" in done.stderr
    assert service(named, "own")["status"] == "running"


def test_what_two_images_share_is_built_once(named: Project) -> None:
    shared = f"RUN echo {os.urandom(6).hex()} > /shared\n"
    named.write("one/Containerfile", f"FROM base\n{shared}RUN echo 1 > /one\n")
    named.write("two/Containerfile", f"FROM base\n{shared}RUN echo 2 > /two\n")
    manifest(named, "one", "two")
    told = json.loads(named.run("build", "--json"))["services"]
    layers = {name: named.layout(one["references"][0]) for name, one in told.items()}
    blobs = {name: set(os.listdir(f"{layout}/blobs/sha256")) for name, layout in layers.items()}
    assert len(blobs["one"] & blobs["two"]) == 2  # the base, and what they share


def test_images_are_built_at_the_same_time(named: Project) -> None:
    """Each waits for a file that the other's step leaves in the cache that both mount."""
    wait = (
        "RUN --mount=type=cache,id=meet,target=/meet touch /meet/{0};"
        " for i in $(seq 200); do [ -e /meet/{1} ] && exit; sleep .05; done; exit 1\n"
    )
    named.write("one/Containerfile", "FROM base\n" + wait.format("one", "two"))
    named.write("two/Containerfile", "FROM base\n" + wait.format("two", "one"))
    manifest(named, "one", "two")
    named.run("build")


def test_one_that_fails_ends_no_other(named: Project) -> None:
    named.write("bad/Containerfile", "FROM base\nRUN sleep 0.2; exit 3\n")
    named.write("slow/Containerfile", f"FROM base\nRUN sleep 1; echo {os.urandom(6).hex()} > /made\n")
    manifest(named, "bad", "slow command: exec sleep 1000")
    done = named.attempt("up")
    assert done.returncode == 1 and "bad/Containerfile:2: RUN sleep 0.2; exit 3: exit code 3" in done.stderr
    assert service(named, "slow")["status"] == "running"


def hear(process: subprocess.Popen[str], *words: str) -> None:
    """Wait until all of these were said on stderr."""
    assert process.stderr is not None
    seen = ""
    while not all(word in seen for word in words):
        line = process.stderr.readline()
        assert line, seen
        seen += line


def test_an_interrupted_build_leaves_nothing_running(named: Project) -> None:
    for name in ("one", "two"):
        named.write(f"{name}/Containerfile", f"FROM base\nRUN echo {name}; sleep 1000\n")
    manifest(named, "one", "two")
    building = named.start("build", "-v")
    hear(building, "│ one", "│ two")
    building.send_signal(signal.SIGINT)
    begun = time.monotonic()
    assert building.wait(30) == 130
    assert time.monotonic() - begun < 20
    assert named.known() == []


def test_steps_that_an_interruption_ends_are_stopped_and_repeat_nothing(named: Project) -> None:
    mark = f"1000.{os.getpid()}"  # nobody else's on this machine
    named.write("one/Containerfile", f"FROM base\nRUN echo said; sleep {mark}\n")
    manifest(named, "one")
    building = named.start("build")
    hear(building, "→ one")
    assert eventually(lambda: sleeping(mark) != [])  # so it has said something
    building.send_signal(signal.SIGINT)
    _, left = building.communicate(timeout=30)
    assert building.returncode == 130
    assert re.search(r"^✗ one .*sleep [0-9.]+  stopped, \d", left, re.MULTILINE)
    assert "│" not in left


def test_gc_keeps_what_services_run_and_takes_what_no_service_asks_for(named: Project) -> None:
    named.write("other/Containerfile", f"FROM base\nRUN echo {os.urandom(6).hex()} > /made\n")
    manifest(named, "own", "other command: exec sleep 1000")
    named.run("up")
    image = service(named, "other")["image"]
    named.run("stop")
    named.run("gc")
    assert image in named.run("images", "--json")
    manifest(named, "own")
    named.run("up")
    assert "other" not in named.run("explain")
    named.run("gc")
    assert image not in named.run("images", "--json")
    assert service(named, "own")["status"] == "running"


def test_a_cache_of_several_images_is_one_tar_with_all_their_names(named: Project) -> None:
    manifest(named, "own")
    told = json.loads(named.run("build", "--json", "--cache-to", "cache.tar"))
    names = {told["references"][0], told["services"]["own"]["references"][0]}
    os.mkdir(f"{named.folder}/opened")
    os.system(f"tar -xf {named.folder}/cache.tar -C {named.folder}/opened")
    index = json.loads(named.read("opened/index.json"))
    found = {one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]}
    assert found == names | {"devenv-cache"}


def test_a_change_of_what_a_service_s_image_is_made_of_is_seen_by_the_next_up(named: Project) -> None:
    manifest(named, "own")
    named.run("up")
    assert "kept  image own  nothing it is made of changed" in named.run("up")
    time.sleep(0.05)
    named.write("own/Containerfile", HELLO.replace("world", "moon"))
    assert "replaced  own-1" in named.run("up")
