"""What is seen of real containers, by the real command line: ps, logs, attach, events, port, stats, top, verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.lives import held
from devenv.paths import Paths
from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine

MANIFEST = """\
name: seen
services:
  web:
    command: 'echo "hello from $HOSTNAME"; echo oops >&2; exec sleep 1000'
    replicas: 2
    ports: ["8000"]
    healthcheck: {test: "true", interval: 1s}
  burn:
    command: 'dd if=/dev/zero of=/big bs=64k count=32 conv=fsync; while :; do :; done'
    limits: {memory: 64M, cpus: 0.5}
  db:
    command: exec sleep 1000
    user: www-data
"""


@pytest.fixture(scope="module")
def seen(store: Paths, base: str) -> Iterator[Project]:
    """An environment that the tests of this module share."""
    made = Project(store, tempfile.mkdtemp(prefix="seen", dir=os.path.dirname(store.home)), base)
    os.chmod(made.folder, 0o755)
    made.up(MANIFEST)
    yield made
    made.down()


def lines(process: subprocess.Popen[str]) -> list[str]:
    """All that a command in the background printed, which is ended by Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    return out.splitlines()


def listed(project: Project, *words: str) -> Any:
    return json.loads(project.run(*words, "--json"))


# ps, port --------------------------------------------------------------------------------------------------------------


def test_seeing_ps_says_the_same_by_both_ways(seen: Project) -> None:
    quick, long = seen.run("ps", "--json"), seen.run("-C", ".", "ps", "--json")
    assert quick == long
    seen.write("sub/devenv.yml", "from: bootstrap:bookworm\n")
    for words in (["--json"], ["--json", "--all"]):  # another project, and none
        for folder in (f"{seen.folder}/sub", os.path.dirname(seen.folder)):
            told = subprocess.run(seen.argv("ps", *words), cwd=folder, env=seen.env(), check=True, capture_output=True)
            assert told.stdout.decode() == seen.run("-C", folder, "ps", *words)
            elsewhere = folder == f"{seen.folder}/sub" and "--all" not in words
            assert (told.stdout == b"[]\n") is elsewhere, told.stdout
    assert [one["name"] for one in json.loads(quick)] == ["workspace", "burn-1", "db-1", "web-1", "web-2"]
    head, *rows = seen.run("ps").splitlines()
    assert head.split()[:4] == ["ENVIRONMENT", "CONTAINER", "STATUS", "HEALTH"]
    assert next(row for row in rows if " web-1 " in row).split()[2] == "up"
    # A column is as wide as what is in it, and time goes by.
    assert seen.run("-C", ".", "ps", "-a").splitlines()[0].split() == head.split()


def test_seeing_ps_of_a_supervisor_that_was_killed(seen: Project) -> None:
    path = seen.paths.supervisor(seen.container()["environment"]["id"])
    assert held(path)
    with open(path, encoding="ascii") as file:
        os.kill(int(file.read().split()[0]), signal.SIGKILL)
    assert eventually(lambda: not held(path))
    done = seen.attempt("ps")
    assert "the supervisor of seen was killed: it is started again" in done.stderr
    assert "(supervisor)  killed" in done.stdout and "healthy (stale)" in done.stdout
    assert eventually(lambda: seen.container()["environment"]["supervisor"]["running"])
    assert "stale" not in seen.run("ps")


def test_seeing_port_is_where_it_answers(seen: Project) -> None:
    (port,) = seen.container("web-1")["ports"]
    assert seen.run("port", "web", "8000") == f"127.0.0.1:{port['host']}\n"
    assert seen.run("port", "web-2") == f"8000/tcp → 127.0.0.1:{port['host']}\n"
    assert seen.attempt("port", "db").returncode == 1


# logs, attach, events --------------------------------------------------------------------------------------------------


def test_seeing_logs_of_all_have_names_on_their_own_streams(seen: Project) -> None:
    def said() -> subprocess.CompletedProcess[str]:
        return seen.attempt("logs", "web")

    assert eventually(lambda: said().stderr.count("oops") == 2)
    assert sorted(said().stdout.splitlines()) == ["web-1 │ hello from web-1", "web-2 │ hello from web-2"]
    assert sorted(said().stderr.splitlines()) == ["web-1 │ oops", "web-2 │ oops"]
    assert seen.run("logs", "web-1") == "hello from web-1\n"
    assert seen.run("logs", "web", "--since", "1970-01-01T00:00Z") == said().stdout
    assert seen.run("logs", "web", "--since", "0s") == ""


def test_seeing_logs_follow_replicas_that_come_later(seen: Project) -> None:
    follower = seen.start("logs", "--follow", "web")
    seen.run("scale", "web=3")
    assert follower.stdout
    found: list[str] = []
    while not any("web-3" in line for line in found):
        found.append(follower.stdout.readline().strip())
        assert found[-1]
    seen.run("scale", "web=2")
    lines(follower)
    assert found[-1] == "web-3 │ hello from web-3"


def test_seeing_logs_keep_what_was_before_a_log_was_begun_anew(project: Project) -> None:
    project.up("command: seq 1 250000; touch done; exec sleep 1000\n")
    assert eventually(lambda: os.path.exists(f"{project.folder}/done"), 60)
    folder = project.paths.container(project.container()["id"])
    assert (
        os.path.getsize(f"{folder}/log")
        < 8 << 20
        < sum(os.path.getsize(f"{folder}/{name}") for name in ("log", "log.held"))
    )
    said = project.run("logs").split()
    assert said == [str(number) for number in range(1, 250001)]
    assert project.run("logs", "--tail", "2") == "249999\n250000\n"


def test_seeing_logs_of_one_that_is_started_again_stay(project: Project) -> None:
    project.up("command: echo once; exec sleep 1000\n")
    assert eventually(lambda: project.run("logs") == "once\n")
    project.run("stop")
    project.run("up")
    assert eventually(lambda: project.run("logs") == "once\nonce\n")


_TICKS = "while ! test -e go; do echo tick; sleep 0.05; done"


def attached(project: Project) -> subprocess.Popen[str]:
    """`attach`, once it sees what is printed."""
    made = project.start("attach")
    assert made.stdout and made.stdout.readline() == "tick\n"
    return made


def test_seeing_attach_shows_what_is_printed_until_the_end_and_its_code(project: Project) -> None:
    project.up(f"command: '{_TICKS}; printf \"name? \"; while test -e go; do sleep 0.05; done; echo Ann; exit 7'\n")
    running = attached(project)
    project.write("go", "")
    assert running.stdout
    said = ""
    while not said.endswith("name? "):  # which has no end yet
        said += running.stdout.read(1)
    os.unlink(f"{project.folder}/go")
    assert running.stdout.read() == "Ann\n"
    assert running.wait(20) == 7


def test_seeing_attach_lets_go_at_ctrl_c_and_never_holds_the_container_up(project: Project) -> None:
    project.up(f"command: '{_TICKS}; seq 1 300000; touch done; exec sleep 1000'\n")
    running = attached(project)
    running.send_signal(signal.SIGSTOP)  # as Ctrl-Z does
    project.write("go", "")
    assert eventually(lambda: os.path.exists(f"{project.folder}/done"), 60)
    running.send_signal(signal.SIGCONT)
    assert running.stdout
    while running.stdout.readline() == "tick\n":
        pass
    lines(running)
    assert running.returncode == 0
    assert project.container()["status"] == "running"


def test_seeing_events_are_followed_until_the_environment_is_gone(project: Project) -> None:
    project.up("services: {job: {command: 'sleep 3; exit 3'}}\n")
    follower = project.start("events", "--follow", "--json")
    assert eventually(lambda: project.container("job-1")["status"] == "stopped")
    project.attempt("up")
    project.run("down", "--volumes")
    out, _ = follower.communicate(timeout=20)
    happened = [(one["object"], one["kind"], one["detail"]) for one in map(json.loads, out.splitlines())]
    assert {("workspace", "create", ""), ("job-1", "start", ""), ("job-1", "die", "exit code 3")} <= {*happened}
    assert ("job-1", "remove", "") in happened
    assert follower.returncode == 0


# stats, top ------------------------------------------------------------------------------------------------------------


def test_seeing_stats_are_the_kernel_s(seen: Project) -> None:
    seen.attempt("exec", "bash", "-c", "exec 3<>/dev/tcp/web-1/8000")  # refused, but sent
    found = {one["name"]: one for one in listed(seen, "stats")}
    assert found.keys() == {"workspace", "burn-1", "db-1", "web-1", "web-2"}
    burn = found["burn-1"]
    assert 25 < burn["cpu_percent"] < 75  # half a core
    assert (burn["memory_limit"], burn["pids_limit"]) == (64 << 20, 4096)
    assert 100_000 < burn["memory"] < 64 << 20
    assert burn["written"] >= 32 << 16
    assert found["db-1"]["memory_limit"] is None and found["db-1"]["cpu_percent"] < 5
    assert (found["db-1"]["pids"], found["workspace"]["sent"] > 0, found["web-1"]["sent"] > 0) == (2, True, True)


def test_seeing_stats_of_one_without_network_are_zero(project: Project) -> None:
    project.up("network: none\n")
    (one,) = listed(project, "stats")
    assert (one["received"], one["sent"]) == (0, 0)


def test_seeing_stats_count_no_traffic_of_whoever_had_the_network_before(project: Project) -> None:
    project.up()
    send = "use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); my $to = sockaddr_in(9, inet_aton('192.0.2.1'));"
    project.run("exec", "--", "perl", "-e", f"{send} send(S, 'x' x 1000, 0, $to) for 1 .. 300")
    assert listed(project, "stats")[0]["sent"] > 300_000
    project.run("stop")
    project.run("up")  # in the same slot, with the same devices
    assert listed(project, "stats")[0]["sent"] < 100_000


def test_seeing_stats_on_a_terminal_go_on(seen: Project) -> None:
    command = "stty cols 120 rows 30; timeout -s INT 3 " + " ".join(seen.argv("stats", "burn"))
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=seen.folder,
        env={**seen.env(), "TERM": "xterm"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.count("burn-1") >= 2
    assert "\x1b[2F\x1b[J" in done.stdout and "Traceback" not in done.stdout


def test_seeing_top_has_pids_and_users_of_inside(seen: Project) -> None:
    pid = seen.container("db-1")["pid"]
    found = [(one["pid"], one["user"], one["command"]) for one in listed(seen, "top", "db")]
    assert found[1] == (2, "www-data", "sleep 1000")
    assert listed(seen, "top", "db")[0]["outside"] == pid
    inside = seen.start("exec", "db-1", "sleep", "999")
    assert eventually(lambda: "sleep 999" in seen.run("top", "db"))
    inside.kill()
    seen.run("exec", "-u", "root", "-s", "db-1", "sh", "-c", "kill $(pidof -x sleep 999) || true")
    inside.communicate()


# verify ----------------------------------------------------------------------------------------------------------------


def test_seeing_verify_finds_what_a_replica_has_another_way(seen: Project) -> None:
    seen.run("exec", "web-1", "sh", "-c", "echo new > /srv/new; touch /etc/passwd; chmod +r /etc/group")
    assert seen.run("verify", "--identical", "web").startswith("identical  web: 2 replicas are identical")
    seen.run("exec", "web-2", "sh", "-c", "echo x >> /etc/issue; rm /etc/motd; chmod 600 /etc/shells")
    told = json.loads(seen.attempt("verify", "--identical", "web", "--json").stdout)
    assert [(one["replica"], one["name"], one["found"]) for one in told["differences"]] == [
        ("web-2", "/etc/issue", "content"),
        ("web-2", "/etc/motd", "removed"),
        ("web-2", "/etc/shells", "mode 0644 → 0600"),
    ]
    assert seen.attempt("verify", "--identical", "web").returncode == 4
    assert seen.attempt("verify", "--identical", "workspace").returncode == 2


def test_seeing_verify_finds_another_configuration(project: Project) -> None:
    project.up("services: {web: {command: 'exec sleep 1{{ index }}0', replicas: 2}}\n")
    done = project.attempt("verify", "--identical", "web")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        4,
        ["  web-2  command: exec sleep 120, web-1 has exec sleep 110"],
    )
