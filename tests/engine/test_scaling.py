"""Replicas that come and go while clients ask at their published port: nobody's request is lost that needn't be."""

from __future__ import annotations

import socket
import time

import pytest

from tests.engine.conftest import eventually
from tests.engine.load import HEALTHY, SERVER, answer, load
from tests.engine.project import Project

pytestmark = pytest.mark.engine

GATED = """
use IO::Socket::INET;
$SIG{TERM} = sub { $over = 1 };
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 4096, ReuseAddr => 1) or die;
until ($over) {
    my $client = $server->accept or next;
    select(undef, undef, undef, 0.01) until -e "/workspace/gate";
    syswrite($client, $ENV{HOSTNAME});
    close $client;
}
"""
"""It accepts one, and nobody else until there is a file `gate`."""

PARTING = """
use IO::Socket::INET;
$SIG{TERM} = sub {
    my $other = IO::Socket::INET->new(PeerAddr => "db", PeerPort => 8000, Timeout => 5) or exit 1;
    syswrite($other, "?");
    sysread($other, my $name, 99);
    open(my $file, ">", "/workspace/said-$ENV{HOSTNAME}");
    print $file $name;
    exit 0;
};
sleep 1 while 1;
"""
"""Told to end, it asks `db` for its name first."""

CLIENTS = 8


def manifest(project: Project, *, replicas: int = 1, graceful: bool = True, greeting: str = "") -> None:
    project.write("server.pl", SERVER)
    env = f'{{GRACEFUL: "{"1" if graceful else ""}", GREETING: "{greeting}"}}'
    project.manifest(
        "services:\n"
        f"  web:\n    command: exec perl /workspace/server.pl\n    env: {env}\n    replicas: {replicas}\n"
        f'    ports: ["8000"]\n    healthcheck: {{test: "{HEALTHY}", interval: 2s}}\n'
    )


def published(project: Project) -> int:
    return int(project.container("web-1")["ports"][0]["host"])


def names(count: int) -> set[str]:
    return {f"web-{number}" for number in range(1, count + 1)}


SCALES = [(6, 2), pytest.param(20, 3, marks=pytest.mark.soak)]


@pytest.mark.parametrize(("most", "least"), SCALES)
def test_scaling_loses_no_request_of_servers_that_answer_whom_they_accepted(
    project: Project, most: int, least: int
) -> None:
    manifest(project)
    project.run("up")
    with load(published(project), CLIENTS) as seen:
        project.run("scale", f"web={most}")
        assert eventually(lambda: seen.names() == names(most))
        project.run("scale", f"web={least}")
        before = len(seen.answered) + CLIENTS  # each may be at one still
        assert eventually(lambda: seen.names(before) == names(least))
    assert seen.lost == []


@pytest.mark.parametrize(("most", "least"), SCALES)
def test_scaling_loses_what_the_removed_were_at_and_nothing_else(project: Project, most: int, least: int) -> None:
    """Servers that end in the middle of an answer: each is at one."""
    manifest(project, replicas=most, graceful=False)
    project.run("up")
    with load(published(project), CLIENTS) as seen:
        assert eventually(lambda: seen.names() == names(most))
        project.run("scale", f"web={least}")
        before = len(seen.answered) + CLIENTS  # each may be at one still
        assert eventually(lambda: seen.names(before) == names(least))
    assert len(seen.lost) <= most - least, seen.lost


def test_replacing_one_by_one_loses_no_request(project: Project) -> None:
    manifest(project, replicas=2)
    project.run("up")
    with load(published(project), CLIENTS) as seen:
        assert eventually(lambda: seen.names() == names(2))
        manifest(project, replicas=2, greeting="hello")
        assert "replaced" in project.run("up")
        before = len(seen.answered) + CLIENTS  # each may be at one still
        assert eventually(lambda: seen.names(before) == names(2))
    assert seen.lost == []


def test_a_server_is_told_to_end_once_nobody_waits_to_be_accepted(project: Project) -> None:
    project.write("server.pl", GATED)
    project.manifest('services:\n  web: {command: exec perl /workspace/server.pl, ports: ["8000"]}\n')
    project.run("up")
    port, waiting = published(project), []
    stopping = None
    try:
        while True:  # until nobody is led to it any more
            waiting.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            stopping = stopping or project.start("stop")
            time.sleep(0.05)
    except ConnectionRefusedError:
        time.sleep(0.1)  # if it were told at once, it would know by now
        project.write("gate", "")
    assert stopping is not None
    assert stopping.wait(60) == 0
    assert [answer(one) for one in waiting] == ["web-1"] * len(waiting)
    for one in waiting:
        one.close()


def test_a_server_that_accepts_nobody_is_stopped_all_the_same(project: Project) -> None:
    project.write("server.pl", GATED.replace("$over = 1", "exit 3"))
    project.manifest('services:\n  web: {command: exec perl /workspace/server.pl, ports: ["8000"]}\n')
    project.run("up")
    address = ("127.0.0.1", published(project))
    with socket.create_connection(address), socket.create_connection(address):
        project.run("stop")
    assert project.container("web-1")["exit_code"] == 3


def test_a_removed_replica_reaches_the_others_until_it_has_ended(project: Project) -> None:
    project.write("server.pl", SERVER)
    project.write("parting.pl", PARTING)
    project.manifest(
        "services:\n  db: {command: exec perl /workspace/server.pl}\n"
        '  web: {command: exec perl /workspace/parting.pl, replicas: 2, ports: ["8000"], depends_on: {db: started}}\n'
    )
    project.run("up")
    project.run("scale", "web=1")
    assert project.read("said-web-2") == "db-1"
    assert project.attempt("exec", "--", "getent", "hosts", "web-2").returncode == 2  # its name went with it
    project.run("down")
    assert project.read("said-web-1") == "db-1"
