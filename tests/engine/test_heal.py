"""What others take away from under a running environment, seen by the command line: the next command heals, and says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from devenv.engine.native.slot import namespace
from devenv.engine.native.slot.address import bridge_name, table_name
from devenv.paths import Paths

from .conftest import Machine, eventually, output
from .project import Project

pytestmark = pytest.mark.engine

ASK = "exec 3<>/dev/tcp/198.51.100.2/80 && cat <&3"


@pytest.fixture
def place(home: Paths, machine: Machine, base: str) -> Iterator[Project]:
    """A project on a machine of its own, whose outside answers with who asked."""
    machine.serve(machine.outside, "0.0.0.0", 80)
    folder = f"{os.path.dirname(home.home)}/place"
    made = Project(home, folder, base)
    os.chmod(folder, 0o755)
    made.manifest("ports: ['8000:80']\n")
    yield made
    made.down()


def flush(_paths: Paths) -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def delete_bridge(paths: Paths) -> None:
    subprocess.run(["ip", "link", "del", bridge_name(paths.run)], check=True)


def both(paths: Paths) -> None:
    flush(paths)
    delete_bridge(paths)


def unpin(paths: Paths) -> None:
    for name in os.listdir(paths.slots):
        namespace.unpin(f"{paths.slots}/{name}")


def remove_run(paths: Paths) -> None:
    """As `rm -rf /run/devenv` by somebody who cleans up: what is mounted there is let go."""
    subprocess.run(["umount", "--lazy", paths.slots], check=True)
    shutil.rmtree(paths.run)


@pytest.mark.parametrize(
    ("damage", "verb"),
    [
        (flush, "run"),
        (delete_bridge, "run"),
        (both, "up"),
        (unpin, "run"),
        (unpin, "stop"),
        (remove_run, "up"),
        (remove_run, "run"),
        (remove_run, "stop"),
    ],
)
def test_heal_next_command_works_as_if_nothing_was(place: Project, verb: str, damage: Callable[[Paths], None]) -> None:
    place.run("up")
    before = init_processes(place)
    damage(place.paths)

    if verb == "run":
        assert place.run("run", "--", "bash", "-c", ASK) == Machine.ADDRESS
    elif verb == "stop":
        place.run("stop")
    for _ in range(2):
        place.run("up")

    assert place.container()["status"] == "running"
    assert place.run("exec", "--", "bash", "-c", ASK) == Machine.ADDRESS
    serve_inside(place)
    assert "there" in ask_port()
    assert table_name(bridge_name(place.paths.run)) in output("nft", "list", "tables")
    assert len(init_processes(place)) == len(before)
    place.run("down")
    assert init_processes(place) == []


def serve_inside(place: Project) -> None:
    """A file served by the container on its port 80, as long as it runs."""
    place.run("exec", "--", "sh", "-c", f"{PERL} >/dev/null 2>&1 &")


PERL = (
    "perl -MIO::Socket::INET -e '"
    '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c "there"; close $c }'
    "'"
)


def ask_port() -> str:
    said = ""

    def ask() -> bool:
        nonlocal said
        done = subprocess.run(
            ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000 && cat <&3"], capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        return done.returncode == 0

    eventually(ask, 5)
    return said


def init_processes(place: Project) -> list[int]:
    """Pids of containers' inits of this store, whatever the store thinks of them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                groups = file.read()
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                name = file.read().strip()
        except OSError:
            continue
        if place_id(place) in groups and name in ("catatonit", "init"):
            found.append(int(pid))
    return found


def place_id(place: Project) -> str:
    from hashlib import sha256

    return sha256(f"{place.folder}\0".encode()).hexdigest()[:12]


def test_heal_several_commands_at_the_same_moment_on_a_fresh_machine(place: Project) -> None:
    assert not os.path.exists(place.paths.state)
    commands = [place.start("run", "--", "bash", "-c", ASK) for _ in range(4)]
    ended = [(*command.communicate(timeout=120), command.returncode) for command in commands]

    assert [(said, code) for said, _, code in ended] == [(Machine.ADDRESS, 0)] * 4, ended


def test_heal_environments_brought_up_at_the_same_moment_on_a_fresh_machine(place: Project, home: Paths) -> None:
    others = [Project(home, f"{place.folder}-{number}", place.base) for number in range(2)]
    for other in others:
        other.manifest("ports: ['80']\n")
    commands = [project.start("up") for project in (place, *others)]
    ended = [(*command.communicate(timeout=120), command.returncode) for command in commands]
    try:
        assert [code for _, _, code in ended] == [0] * 3, ended
        assert [project.container()["status"] for project in (place, *others)] == ["running"] * 3
        assert len({project.container()["address"] for project in (place, *others)}) == 3
    finally:
        for other in others:
            other.down()
