"""Whoever is killed with -9 (what a service runs, its init, its monitor, its supervisor): seen, told, started again as its policy says."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from devenv.lives import held, process_start
from tests.engine.conftest import eventually, settled
from tests.engine.project import Project

pytestmark = pytest.mark.engine

POLICIES = {"never": "no", "twice": "on-failure:2", "failing": "on-failure", "ever": "always"}
"""A service for each: its name, its `restart:`."""

VICTIMS = {
    "command": ("exit code 137", 137),
    "init": ("exit code 137", 137),
    "monitor": ("its monitor was killed", None),
}
"""Who of a container is killed: how its end is told, the exit code that `ps` has."""


@pytest.fixture
def four(project: Project) -> Project:
    """A service for each policy, up."""
    services = "".join(
        f'  {name}: {{command: "sleep 600", restart: "{policy}"}}\n' for name, policy in POLICIES.items()
    )
    project.manifest(f"services:\n{services}")
    project.run("up")
    return project


def listed(project: Project) -> dict[str, dict[str, Any]]:
    """What `ps` says of this folder's services."""
    rows = json.loads(project.run("ps", "--all", "--json"))
    return {row["service"]: row for row in rows if row["environment"]["folder"] == project.folder}


def processes(project: Project, row: dict[str, Any]) -> dict[str, int]:
    """Pids of what is a container: its command, its init, its monitor."""
    with open(f"/proc/{row['pid']}/task/{row['pid']}/children", encoding="ascii") as file:
        (command,) = file.read().split()
    with open(f"{project.paths.bundle(row['id'])}/conmon.pid", encoding="ascii") as file:
        return {"command": int(command), "init": row["pid"], "monitor": int(file.read())}


def kill(project: Project, victim: str, *services: str) -> None:
    """Kill them, all at once."""
    found = listed(project)
    for pid in [processes(project, found[name])[victim] for name in services]:
        os.kill(pid, signal.SIGKILL)


def told(project: Project, service: str) -> list[tuple[str, str]]:
    """What `events` says of a service's container since it was first started."""
    events = json.loads(project.run("events", f"{service}-1", "--json"))
    return [(one["kind"], one["detail"]) for one in events if one["kind"] not in ("create", "start")]


def again(project: Project, times: int, *services: str) -> bool:
    """Whether these run, started again so often."""
    found = listed(project)
    return all((found[name]["status"], found[name]["restarts"]) == ("running", times) for name in services)


@pytest.mark.parametrize("victim", VICTIMS)
def test_who_is_killed_is_told_and_started_again_as_the_policy_says(four: Project, victim: str) -> None:
    how, code = VICTIMS[victim]
    kill(four, victim, *POLICIES)
    assert eventually(lambda: again(four, 1, "twice", "failing", "ever"))
    assert eventually(lambda: listed(four)["never"]["status"] == "stopped")
    assert eventually(lambda: told(four, "never") == [("die", how)])
    kill(four, victim, "twice", "failing")
    assert eventually(lambda: again(four, 2, "twice", "failing"))
    kill(four, victim, "twice", "failing")
    assert eventually(lambda: again(four, 3, "failing"))
    assert eventually(lambda: told(four, "twice")[-1] == ("die", f"{how}, after 2 restarts in a row"))
    found = listed(four)
    assert (found["twice"]["status"], found["twice"]["restarts"]) == ("stopped", 2)
    assert [found[name]["exit_code"] for name in ("never", "twice")] == [code, code]
    for name, times in (("failing", 3), ("ever", 1)):
        ours = [("die", how), ("restart", "")] * times
        assert settled(lambda name=name: told(four, name), ours) == ours  # type: ignore[misc]
    assert found["workspace"]["status"] == "running"


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_dies_while_nobody_watches_is_made_up_for(four: Project, victim: str) -> None:
    before = listed(four)
    watching = before["ever"]["environment"]["supervisor"]["pid"]
    victims = {name: processes(four, before[name])[victim] for name in POLICIES}
    os.kill(watching, signal.SIGKILL)
    assert eventually(lambda: process_start(watching) is None)
    for pid in victims.values():
        os.kill(pid, signal.SIGKILL)
    assert all(map(lambda pid: eventually(lambda: process_start(pid) is None), victims.values()))
    assert eventually(lambda: again(four, 1, "twice", "failing", "ever"))  # `ps` sees it, and starts who watches
    assert listed(four)["never"]["status"] == "stopped"
    path = four.paths.supervisor(before["ever"]["environment"]["id"])
    assert held(path)
    events = json.loads(four.run("events", "supervisor", "--json"))
    assert [(one["kind"], one["detail"]) for one in events] == [("restart", "it was killed")]


def test_all_that_watches_is_killed_at_once_and_up_puts_it_right(four: Project) -> None:
    before = listed(four)
    os.kill(before["ever"]["environment"]["supervisor"]["pid"], signal.SIGKILL)
    kill_all = [processes(four, before[name])["monitor"] for name in POLICIES]
    for pid in kill_all:
        os.kill(pid, signal.SIGKILL)
    four.run("up")
    assert eventually(lambda: {row["status"] for row in listed(four).values()} == {"running"})
    inits = [before[name]["pid"] for name in POLICIES]
    assert eventually(lambda: all(process_start(pid) is None for pid in inits))
