"""Some of an environment's containers stopped by hand, and restarted as they are."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.engine.conftest import eventually
from tests.engine.load import HEALTHY, SERVER, load
from tests.engine.project import Project

pytestmark = pytest.mark.engine

MANIFEST = f"""\
hooks: {{on_start: ["echo one >> told", "echo two; echo three >> told"]}}
services:
  db: {{command: sleep 600, restart: always}}
  web:
    command: exec perl /workspace/server.pl
    env: {{GRACEFUL: "1", GREETING: ""}}
    replicas: 2
    ports: ["8000"]
    restart: always
    depends_on: [db]
    healthcheck: {{test: "{HEALTHY}", interval: 2s}}
"""


@pytest.fixture
def stack(project: Project) -> Project:
    project.write("server.pl", SERVER)
    project.manifest(MANIFEST)
    project.run("up")
    return project


def pids(project: Project) -> dict[str, int | None]:
    rows = json.loads(project.run("ps", "--all", "--json"))
    return {one["name"]: one["pid"] for one in rows if one["environment"]["folder"] == project.folder}


def changed(before: dict[str, int | None], after: dict[str, int | None]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_what_is_stopped_by_hand_stays_so_until_the_next_up(stack: Project) -> None:
    before = pids(stack)
    stack.run("stop", "db", "web-2")
    time.sleep(1.5)  # the policy would have started them again
    after = pids(stack)
    assert changed(before, after) == {"db-1", "web-2"} and after["db-1"] is after["web-2"] is None
    assert "started  db-1" in stack.run("up", "db")
    assert changed(after, pids(stack)) == {"db-1"}
    assert "started  web-2" in stack.run("up")
    assert stack.container("web-2")["health"] == "healthy"


def test_restart_of_a_service_loses_no_request_and_touches_nothing_else(stack: Project) -> None:
    before, told = pids(stack), stack.read("told")
    stack.manifest("nonsense: [")
    with load(int(stack.container("web-1")["ports"][0]["host"]), 4) as seen:
        assert "restarted  web-1…2  asked for; healthy" in stack.run("restart", "web")
        count = len(seen.answered)
        assert eventually(lambda: seen.names(count) == {"web-1", "web-2"})
    assert seen.lost == []
    assert changed(before, pids(stack)) == {"web-1", "web-2"}
    assert [stack.container(name)["health"] for name in ("web-1", "web-2")] == ["healthy", "healthy"]
    assert stack.read("told") == told


def test_restart_of_all_keeps_files_and_runs_the_hooks_of_a_start(stack: Project) -> None:
    stack.run("exec", "db", "--", "touch", "/kept")
    before = pids(stack)
    stack.run("restart")
    assert changed(before, pids(stack)) == before.keys()
    stack.run("exec", "db", "--", "test", "-e", "/kept")
    assert stack.read("told") == "one\nthree\n" * 2
    assert all(line.startswith("kept") for line in stack.run("up").splitlines()[:4])
    stack.attempt("exec", "db", "--", "sh", "-c", "kill -9 2")  # which may end that shell, too
    # Whoever watches over them does so still.
    assert eventually(lambda: stack.container("db-1")["restarts"] == 1)


def test_restart_of_what_does_not_come_back_says_what_it_said_last(stack: Project) -> None:
    before = pids(stack)
    os.unlink(f"{stack.folder}/server.pl")
    failed = stack.attempt("restart", "web")
    assert failed.returncode == 1
    assert "web-1: its command ended before it was healthy with exit code 2" in failed.stderr
    assert "No such file or directory" in failed.stderr
    assert changed(before, pids(stack)) == {"web-1"}


def test_port_without_a_name_lists_those_of_services(stack: Project) -> None:
    host = stack.container("web-1")["ports"][0]["host"]
    assert stack.run("port") == f"web 8000/tcp → 127.0.0.1:{host}\n"
