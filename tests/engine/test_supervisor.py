"""Whoever is awake for an environment: what ends is seen, told and started again as its policy says; whoever watches ends with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from time import time as now
from typing import Any

import pytest

from devenv.engine.native.container.monitor import LOG_SIZE
from devenv.engine.native.records import ledger
from devenv.engine.native.records.state import State
from devenv.engine.native.supervisor import lock
from devenv.lives import held, process_start
from tests.engine.conftest import eventually, settled
from tests.engine.project import Project, cgroup

pytestmark = pytest.mark.engine

SERVER = """>-
      exec perl -e 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
      bind(S, sockaddr_in(8000, INADDR_ANY)) or die; listen(S, 99);
      while (accept(C, S)) { print C $ENV{HOSTNAME}; close C }'"""

GO = "until [ -e /workspace/go ]; do sleep 0.1; done"
"""Before what a service does once `up` is through."""

HERE = "(SELECT id FROM environment WHERE folder = ?)"


def up(project: Project, services: str, *options: str) -> None:
    project.manifest(f"services:\n{services}")
    project.run("up", *options)


def row(project: Project, name: str) -> dict[str, Any]:
    """What is written down of a container. No command looks at it."""
    state = State(project.paths.state)
    columns = ("environment", "id", "pid", "health", "restarts", "tries")
    try:
        query = f"SELECT {', '.join(columns)} FROM container WHERE environment = {HERE} AND name = ?"
        found = state.db.execute(query, (project.folder, name)).fetchone()
        return dict(zip(columns, found, strict=True))
    finally:
        state.close()


def lives(project: Project, name: str, restarts: int = 0) -> bool:
    """Whether it runs, and was started again so many times."""
    found = row(project, name)
    return found["pid"] is not None and process_start(found["pid"]) is not None and found["restarts"] == restarts


def place(project: Project) -> str:
    """The supervisor's file."""
    return project.paths.supervisor(row(project, "workspace")["environment"])


def supervisor(project: Project) -> int:
    """Its pid."""
    with open(place(project), encoding="ascii") as file:
        return int(file.read().split()[0])


def monitor(project: Project, name: str) -> int:
    with open(f"{project.paths.bundle(row(project, name)['id'])}/conmon.pid", encoding="ascii") as file:
        return int(file.read())


def told(project: Project, name: str) -> list[tuple[str, str]]:
    """What the event log has of a container, read as the file that it is."""
    with open(project.paths.events(row(project, "workspace")["environment"]), encoding="utf-8") as file:
        events = map(json.loads, file)
        return [(one["kind"], one["detail"]) for one in events if one["object"] == name]


def answers(port: int, count: int = 16) -> set[str]:
    found = set()
    for _ in range(count):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                found.add(connection.recv(99).decode())
        except OSError:
            found.add("nobody")
    return found


def published(project: Project, name: str) -> int:
    return int(project.container(name)["ports"][0]["host"])


# Started again ----------------------------------------------------------------------------------------


def test_a_service_that_is_killed_is_started_again_and_counted(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n  job: {command: sleep 600}\n")
    for time in (1, 2):
        os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
        assert eventually(lambda time=time: lives(project, "web-1", time))  # type: ignore[misc]
    ours = [("die", "exit code 137"), ("restart", "")] * 2
    assert settled(lambda: told(project, "web-1")[2:], ours) == ours
    assert project.container("web-1")["restarts"] == 2
    assert lives(project, "job-1")


def test_a_service_that_fails_is_given_up_after_as_many_times_as_allowed(project: Project) -> None:
    up(project, f'  job: {{command: "{GO}; sleep 0.3; exit 3", restart: "on-failure:2"}}\n')
    project.write("go", "")
    path = place(project)
    assert eventually(lambda: not os.path.exists(path))  # nobody is awake any more
    assert told(project, "job-1")[1:] == [
        *(("start", ""), ("die", "exit code 3"), ("restart", ""), ("die", "exit code 3"), ("restart", "")),
        ("die", "exit code 3, after 2 restarts in a row"),
    ]
    found = project.container("job-1")
    assert (found["status"], found["exit_code"], found["restarts"]) == ("stopped", 3, 2)


def test_always_means_after_success_too(project: Project) -> None:
    ends = f'command: "{GO}; sleep 0.3"'
    up(project, f"  web: {{{ends}, restart: always}}\n  job: {{{ends}, restart: on-failure}}\n")
    project.write("go", "")
    assert eventually(lambda: row(project, "web-1")["restarts"] >= 2)
    ours = [("die", "exit code 0")]
    assert settled(lambda: told(project, "job-1")[2:], ours) == ours


def test_a_container_that_lived_is_started_again_without_delay(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    state = State(project.paths.state)
    # As if it had been started again and again, but then had run for long.
    state.db.execute(
        "UPDATE container SET tries = 9, started = started - 11 WHERE id = ?", (row(project, "web-1")["id"],)
    )
    state.close()
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))
    assert row(project, "web-1")["tries"] == 1


def test_one_that_waits_for_its_back_off_is_restarting_until_somebody_stops_it(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    state = State(project.paths.state)
    state.db.execute("UPDATE container SET tries = 9 WHERE id = ?", (row(project, "web-1")["id"],))
    state.close()
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: project.container("web-1")["status"] == "restarting")
    found = project.container("web-1")
    assert (found["exit_code"], found["pid"]) == (137, None)
    assert 30 < found["next_start"] - now() < 52
    assert "restarting (137), next in " in project.run("ps")
    os.kill(supervisor(project), signal.SIGKILL)
    project.run("ps")  # the next one goes on waiting, and doesn't begin anew
    assert project.container("web-1")["next_start"] == found["next_start"]

    path = place(project)
    project.run("stop")
    found = project.container("web-1")
    assert (found["status"], found["next_start"]) == ("stopped", None)
    assert eventually(lambda: not os.path.exists(path))
    project.run("up")
    assert project.container("web-1")["status"] == "running"


def test_what_cannot_be_started_is_tried_again(project: Project) -> None:
    project.write("conf/file", "")
    up(project, '  web: {command: sleep 600, restart: always, volumes: ["./conf:/conf"]}\n')
    os.rename(f"{project.folder}/conf", f"{project.folder}/gone")
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: any("failed" in detail for _, detail in told(project, "web-1")))
    assert row(project, "web-1")["tries"] > 0
    os.rename(f"{project.folder}/gone", f"{project.folder}/conf")
    assert eventually(lambda: lives(project, "web-1", 1))
    assert project.run("exec", "web-1", "ls", "/conf") == "file\n"


def test_secrets_and_volumes_are_as_they_were(project: Project) -> None:
    project.manifest(
        "volumes: {data: {}}\nsecrets: {KEY: {from_env: KEY}}\n"
        'services:\n  web: {command: sleep 600, restart: always, secrets: [KEY], volumes: ["data:/data"]}\n'
    )
    project.run("up", env={"KEY": "sesame"})
    project.run("exec", "web-1", "sh", "-c", "echo kept > /data/file")
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))
    assert project.run("exec", "web-1", "cat", "/data/file", "/run/secrets/KEY") == "kept\nsesame"


# Whoever watches is killed ----------------------------------------------------------------------------


def test_a_container_whose_monitor_is_killed_is_ended_told_of_and_started_again(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: on-failure}\n  job: {command: sleep 600}\n")
    inits = {name: row(project, name)["pid"] for name in ("web-1", "job-1")}
    for name in inits:
        os.kill(monitor(project, name), signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))
    assert eventually(lambda: row(project, "job-1")["pid"] is None)  # its policy is `no`
    assert all(process_start(pid) is None for pid in inits.values())
    ours = [("die", "its monitor was killed"), ("restart", "")]
    assert settled(lambda: told(project, "job-1")[-1], ours[0]) == ours[0]
    assert settled(lambda: told(project, "web-1")[-2:], ours) == ours


@pytest.mark.parametrize(
    "words",
    [
        ["exec", "--", "true"],
        ["exec", "web-1", "true"],
        ["logs"],
        ["events"],
        ["ps"],
        ["ps", "--all", "--json"],
        ["up"],
    ],
)
def test_a_supervisor_that_was_killed_is_started_again_by_the_next_command(project: Project, words: list[str]) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    before, path = supervisor(project), place(project)
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: not held(path))
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)  # nobody sees it
    if words != ["up"]:  # which starts it itself
        project.attempt(*words)
        assert eventually(lambda: lives(project, "web-1", 1))
    else:
        project.run(*words)
        assert lives(project, "web-1")
    assert held(path)
    assert supervisor(project) != before


def test_a_killed_supervisor_is_told_of(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    assert project.container("web-1")["environment"]["supervisor"]["pid"] == supervisor(project)
    os.kill(supervisor(project), signal.SIGKILL)
    assert eventually(lambda: not held(place(project)))
    project.run("logs")
    assert told(project, "supervisor") == [("restart", "it was killed")]


def test_a_second_supervisor_leaves_at_once(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    before, environment = supervisor(project), row(project, "workspace")["environment"]
    module = "devenv.engine.native.supervisor"
    argv = [sys.executable, "-m", module, "--home", project.paths.home, "--run", project.paths.run, environment]
    done = subprocess.run(argv, env=project.env(), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert supervisor(project) == before
    assert lock.tell(place(project), 0)


def test_what_an_interrupted_up_has_started_is_watched(project: Project) -> None:
    project.manifest(
        "services:\n  web: {command: sleep 600, restart: always}\n"
        '  slow: {command: sleep 600, healthcheck: {test: "false", interval: 60s}}\n'
    )
    command = project.start("up")
    assert eventually(lambda: "web-1" in _names(project) and "slow-1" in _names(project), 30)
    assert eventually(lambda: lives(project, "slow-1") and lives(project, "web-1"))
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=20)
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))


# Health and ports -------------------------------------------------------------------------------------


def test_the_unhealthy_is_out_of_the_published_port_until_it_has_recovered(project: Project) -> None:
    check = '{test: "test ! -e /sick", interval: 100ms, retries: 2}'
    up(project, f'  web:\n    command: {SERVER}\n    replicas: 2\n    ports: ["8000"]\n    healthcheck: {check}\n')
    port = published(project, "web-1")
    assert eventually(lambda: answers(port) == {"web-1", "web-2"})
    project.run("exec", "web-1", "touch", "/sick")
    assert eventually(lambda: row(project, "web-1")["health"] == "unhealthy")
    assert eventually(lambda: answers(port) == {"web-2"})
    assert project.run("exec", "--", "getent", "ahostsv4", "web").count("STREAM") == 1
    project.run("exec", "web-1", "rm", "/sick")
    assert eventually(lambda: row(project, "web-1")["health"] == "healthy")
    assert eventually(lambda: answers(port) == {"web-1", "web-2"})
    ours = [("health", "healthy"), ("health", "unhealthy"), ("health", "healthy")]
    assert settled(lambda: [what for what in told(project, "web-1") if what[0] == "health"], ours) == ours


def test_a_shared_port_leads_to_nobody_who_died(project: Project) -> None:
    up(project, f'  web:\n    command: {SERVER}\n    replicas: 2\n    ports: ["8000"]\n')
    port = published(project, "web-1")
    assert eventually(lambda: answers(port) == {"web-1", "web-2"})
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: ("die", "exit code 137") in told(project, "web-1"))
    assert answers(port) == {"web-2"}


def test_checks_that_hang_keep_nobody_from_being_started_again(project: Project) -> None:
    up(
        project,
        '  slow: {command: sleep 600, replicas: 10, healthcheck: {test: "sleep 601", timeout: 600s, interval: 600s}}\n'
        "  web: {command: sleep 600, restart: always}\n",
        "--no-wait",
    )
    who = supervisor(project)
    assert eventually(lambda: _children(who) == 8)
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))
    assert eventually(lambda: _children(who) == 8)


def test_whoever_is_killed_for_want_of_memory_is_told_of_while_the_others_go_on(project: Project) -> None:
    up(
        project,
        f'  web: {{command: "{GO}; tail /dev/zero; exec sleep 600", restart: always, limits: {{memory: 32M}}}}\n',
    )
    project.write("go", "")
    assert eventually(lambda: ("oom", "") in told(project, "web-1"))
    assert told(project, "web-1")[1:] == [("start", ""), ("oom", "")]
    assert lives(project, "web-1")
    assert cgroup(row(project, "web-1")["id"], "cgroup.procs")


CHATTY = """>-
      exec perl -e '$| = 1; for my $n (0 .. 3) { select(undef, undef, undef, 0.05) until -e "/workspace/lump-$n";
      printf "%05d %s\\n", $i++, "x" x 480 for 1 .. 10000 } sleep 600'"""


@pytest.mark.soak  # the supervisor must get to look every two seconds, whatever else the machine does
def test_a_log_is_bounded_and_has_no_gap_though_nobody_looks(project: Project) -> None:
    up(project, f"  web:\n    restart: always\n    command: {CHATTY}\n")
    log = f"{project.paths.container(row(project, 'web-1')['id'])}/log"
    for lump in range(4):
        project.write(f"lump-{lump}", "")
        assert eventually(lambda lump=lump: f" {lump}9999 ".encode() in last(log), 60)  # type: ignore[misc]
        assert eventually(lambda: inode(log) == inode(f"{log}.held"), 60)  # its supervisor was there
    files = {status.st_ino: status.st_size for status in map(os.stat, (log, f"{log}.held", f"{log}.1"))}
    numbers = [int(line.partition(" ")[0]) for line in project.run("logs", "web-1").splitlines()]
    assert sum(files.values()) < 2.1 * LOG_SIZE
    assert 0 < numbers[0] < 20000
    assert numbers == list(range(numbers[0], 40000))


def inode(path: str) -> int:
    return os.stat(path).st_ino if os.path.exists(path) else 0


def last(log: str) -> bytes:
    """The last line that conmon wrote."""
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 1000))
        return (file.read().splitlines() or [b""])[-1]


# With others ------------------------------------------------------------------------------------------


def test_what_somebody_stopped_stays_so(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always, replicas: 2}\n")
    path = place(project)
    project.run("stop")
    assert eventually(lambda: not os.path.exists(path))
    assert [row(project, name)["pid"] for name in ("web-1", "web-2")] == [None, None]
    assert [what for what in told(project, "web-1") if what[0] in ("die", "restart")] == []
    project.run("up")
    assert held(path)
    os.kill(row(project, "web-2")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-2", 1))


def test_replicas_come_and_go_without_being_taken_for_dead(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    before = supervisor(project)
    project.run("scale", "web=3")
    os.kill(row(project, "web-3")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-3", 1))
    project.run("scale", "web=1")
    assert _names(project) == {"workspace", "web-1"}
    os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: lives(project, "web-1", 1))
    life = ["create", "start", "die", "restart", "stop", "remove"]
    assert settled(lambda: [kind for kind, _ in told(project, "web-3")], life) == life
    assert supervisor(project) == before


def test_nothing_is_started_while_another_command_is_at_work(project: Project) -> None:
    up(project, "  web: {command: sleep 600, restart: always}\n")
    environment = row(project, "web-1")["environment"]
    with ledger.turn(project.paths, environment, lambda: None):
        os.kill(row(project, "web-1")["pid"], signal.SIGKILL)
        assert eventually(lambda: told(project, "web-1")[-1][0] == "die")
        assert eventually(lambda: _children(supervisor(project)) == 1)  # whose turn it will be
        assert not lives(project, "web-1")
    assert eventually(lambda: lives(project, "web-1", 1))


def test_a_change_and_deaths_at_the_same_time_end_in_what_is_wanted(project: Project) -> None:
    up(project, "  web: {command: exec sleep 600, restart: always, replicas: 3}\n")
    commands = []
    for number in range(3):
        project.manifest(f"services:\n  web: {{command: exec sleep 60{number}, restart: always, replicas: 3}}\n")
        commands.append(project.start("up"))
        for name in ("web-1", "web-2", "web-3"):
            _kill(row(project, name)["pid"])
    for command in commands:
        command.communicate(timeout=60)
    project.run("up")
    assert eventually(lambda: all(row(project, f"web-{n}")["pid"] for n in (1, 2, 3)))
    ids = [row(project, f"web-{n}")["id"] for n in (1, 2, 3)]
    # An init and what it runs: nothing is there twice.
    assert [len(cgroup(one, "cgroup.procs").split()) for one in ids] == [2, 2, 2]
    assert "sleep602" in _words(ids[0])


def test_down_leaves_nothing_of_it(project: Project) -> None:
    project.manifest(
        "volumes: {data: {}}\n"
        "services:\n"
        '  web: {command: sleep 600, restart: always, replicas: 3, volumes: ["data:/data"]}\n'
        '  sick: {command: "exit 1", restart: always}\n'
        '  slow: {command: sleep 600, healthcheck: {test: "sleep 601", timeout: 600s}}\n'
    )
    project.attempt("up", "--no-wait")
    assert eventually(lambda: row(project, "sick-1")["restarts"] > 1)
    who, path = supervisor(project), place(project)
    project.run("down")
    assert process_start(who) is None
    assert os.listdir(os.path.dirname(path)) == []
    assert not os.path.exists(project.paths.hosts(os.path.basename(path)))  # though its volume stays


# Helpers ----------------------------------------------------------------------------------------------


def _names(project: Project) -> set[str]:
    state = State(project.paths.state) if os.path.exists(project.paths.state) else None
    if state is None:
        return set()
    found = {
        name
        for (name,) in state.db.execute(f"SELECT name FROM container WHERE environment = {HERE}", (project.folder,))
    }
    state.close()
    return found


def _children(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return len(file.read().split())


def _kill(pid: int | None) -> None:
    if pid is not None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _words(container: str) -> str:
    pids = cgroup(container, "cgroup.procs").split()
    found = b""
    for pid in pids:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            found += file.read()
    return found.replace(b"\0", b"").decode()
