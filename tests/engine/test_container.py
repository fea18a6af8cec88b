"""Containers by the real command line: names and network, run, exec, logs, stop, volumes, and what a restart keeps."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import time

import pytest

from devenv.paths import Paths
from tests.engine.conftest import eventually, output
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def ask(address: str, port: int) -> str:
    """What a server says, or that it refused."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            return connection.recv(99).decode()
    except OSError:
        return "refused"


# Names and network ------------------------------------------------------------------------------

SERVER = """use Socket; socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(8000, INADDR_ANY)) or die; listen(S, 9); while (accept(C, S)) { print C "hello"; close C }
"""


def test_container_knows_its_names(project: Project) -> None:
    container = project.up("name: shop\n")

    assert project.run("exec", "--", "hostname") == "shop\n"
    assert project.run("exec", "--", "cat", "/etc/hostname") == "shop\n"
    hosts = project.run("exec", "--", "cat", "/etc/hosts")
    assert [container["address"], "workspace", "shop"] in [line.split() for line in hosts.splitlines()]
    assert "127.0.0.1\tlocalhost\n" in hosts
    resolvers = project.run("exec", "--", "grep", "nameserver", "/etc/resolv.conf")
    assert "127." not in resolvers
    links = json.loads(output("nsenter", f"--net=/proc/{container['pid']}/ns/net", "ip", "-j", "address"))
    addresses = {link["ifname"]: [one["local"] for one in link["addr_info"]] for link in links}
    assert addresses["eth0"] == [container["address"]]
    state = json.loads(project.runtime("state", container["id"]))
    assert (state["status"], state["pid"]) == ("running", container["pid"])


def test_container_without_network_has_lo_alone(project: Project) -> None:
    container = project.up("network: none\n")

    links = json.loads(output("nsenter", f"--net=/proc/{container['pid']}/ns/net", "ip", "-j", "link"))
    assert [(link["ifname"], "UP" in link["flags"]) for link in links] == [("lo", True)]
    assert project.run("run", "--", "ls", "/sys/class/net").split() == ["lo"]
    assert container["address"] == ""


def test_container_publishes_on_loopback_alone(project: Project) -> None:
    project.write("server.pl", SERVER)
    container = project.up('ports: ["8000"]\ncommand: exec perl /workspace/server.pl\n')
    (port,) = container["ports"]

    assert eventually(lambda: ask("127.0.0.1", port["host"]) == "hello")
    assert port["address"] == "127.0.0.1"
    addresses = json.loads(output("ip", "-j", "-4", "address"))
    others = [one["local"] for link in addresses for one in link["addr_info"] if one["local"] != "127.0.0.1"]
    assert others
    assert {ask(address, port["host"]) for address in others} == {"refused"}
    rules = output("nft", "list", "ruleset")
    assert str(port["host"]) in rules
    project.run("down")
    assert ask("127.0.0.1", port["host"]) == "refused"
    assert f" {port['host']} " not in output("nft", "list", "ruleset")


def test_container_keeps_its_port_when_restarted(project: Project) -> None:
    project.write("server.pl", SERVER)
    before = project.up('ports: ["8000"]\ncommand: exec perl /workspace/server.pl\n')["ports"]
    project.run("stop")
    project.run("up")
    after = project.container()["ports"]

    assert before == after
    assert eventually(lambda: ask("127.0.0.1", after[0]["host"]) == "hello")


def test_container_says_who_has_its_port_before_anything_changes(project: Project) -> None:
    before = project.up()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        project.manifest(f'ports: ["{number}:8000"]\n')
        for _ in range(2):
            done = project.attempt("up")
            assert done.returncode != 0
            assert str(number) in done.stderr
            assert f"(pid {os.getpid()})" in done.stderr
            assert project.container()["id"] == before["id"]
            assert project.container()["pid"] == before["pid"], "the old one was removed before the port was looked at"
    project.run("up")
    assert project.container()["ports"][0]["host"] == number


def test_container_says_which_other_one_has_its_port(project: Project, store: Paths, base: str) -> None:
    other = Project(store, f"{project.folder}-other", base)
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    try:
        other.up(f'ports: ["{number}:8000"]\n')
        before = project.up()
        project.manifest(f'ports: ["{number}:9000"]\n')
        done = project.attempt("up")
        assert (done.returncode, other.folder in done.stderr) == (1, True)
        assert project.container()["pid"] == before["pid"]
        other.run("up", "--recreate")
    finally:
        other.down()


# run --------------------------------------------------------------------------------------------


def test_run_passes_code_stdin_and_streams(project: Project) -> None:
    for _ in range(2):
        done = project.attempt("run", "--", "sh", "-c", "cat; echo err >&2; exit 7", input="in\n" * 1000)
        assert (done.returncode, done.stdout) == (7, "in\n" * 1000)
        assert done.stderr.endswith("err\n")
    assert project.attempt("run", "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert json.loads(project.run("ps", "--all", "--json")) == [] or all(
        row["environment"]["folder"] != project.folder for row in json.loads(project.run("ps", "--all", "--json"))
    )


def test_run_waits_for_no_disk_unless_what_it_writes_is_kept(project: Project) -> None:
    project.up()
    options = ("findmnt", "--noheadings", "--output", "OPTIONS", "/")

    assert "volatile" in project.run("run", "--", *options)
    assert "volatile" not in project.run("run", "--keep", "--", *options)
    assert "volatile" not in project.run("exec", "--", *options)


def test_run_says_when_there_is_no_such_command(project: Project) -> None:
    done = project.attempt("run", "--", "no-such-program")
    assert done.returncode == 127
    assert "no-such-program: no such command" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_ends_with_the_signal_and_leaves_nothing(project: Project, number: signal.Signals) -> None:
    project.run("run", "--", "true")
    running = project.start("run", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"

    running.send_signal(number)
    running.communicate(timeout=20)

    assert running.returncode in (128 + number, 130)
    assert project.runtime("list", "--quiet") == ""
    assert project.known() == []
    assert os.listdir(f"{project.paths.home}/containers") == []
    assert os.listdir(f"{project.paths.run}/bundles") == []


def test_run_traps_a_signal_inside(project: Project) -> None:
    project.run("run", "--", "true")
    running = project.start(
        "run", "--", "sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.terminate()
    assert running.communicate(timeout=20)[0] == "caught\n"
    assert running.returncode == 9


def test_run_side_by_side(project: Project) -> None:
    project.run("run", "--", "true")
    many = [project.start("run", "--", "sh", "-c", f"echo {number}; sleep 0.3; exit {number}") for number in range(5)]
    for number, one in enumerate(many):
        assert one.communicate(timeout=60)[0] == f"{number}\n"
        assert one.returncode == number


def test_run_keeps_when_asked(project: Project) -> None:
    project.run("run", "--keep", "--", "sh", "-c", "echo here > /kept")
    rows = json.loads(project.run("ps", "--all", "--json"))
    (row,) = [row for row in rows if row["environment"]["folder"] == project.folder]

    assert (row["status"], row["exit_code"]) == ("stopped", 0)
    with open(f"{project.paths.container(row['id'])}/upper/kept", encoding="ascii") as file:
        assert file.read() == "here\n"
    project.run("down")
    assert not os.path.exists(project.paths.container(row["id"]))


def test_run_of_an_image_alone(project: Project) -> None:
    project.write(
        "Containerfile", "FROM base\nRUN mkdir /data && echo image > /data/file\nVOLUME /data\nWORKDIR /srv\n"
    )
    project.run("build", "--build-context", f"base={project.base}", "--tag", "alone", ".")
    for _ in range(2):
        said = project.run("run", "--image", "alone", "--", "sh", "-c", "pwd; cat /data/file; echo other > /data/file")
        assert said.split() == ["/srv", "image"]
    assert not os.path.isdir(f"{project.paths.home}/volumes") or os.listdir(f"{project.paths.home}/volumes") == []


# exec -------------------------------------------------------------------------------------------


def test_exec_passes_code_stdin_environment_user_and_folder(project: Project) -> None:
    project.up("env: {A: manifest, B: manifest}\n")
    for _ in range(2):
        done = project.attempt("exec", "--", "sh", "-c", "cat; echo err >&2; exit 3", input="in")
        assert (done.returncode, done.stdout, done.stderr) == (3, "in", "err\n")
    said = project.run("exec", "-e", "A=x y", "-e", "C", "--", "sh", "-c", "echo $A,$B,$C", env={"C": "mine"})
    assert said == "x y,manifest,mine\n"
    assert project.run("exec", "--user", "daemon", "--workdir", "/tmp", "--", "sh", "-c", "id -un; pwd").split() == [
        "daemon",
        "/tmp",
    ]
    assert project.attempt("exec", "--user", "nobodyknows", "--", "true").returncode == 2
    assert project.attempt("exec", "--", "no-such-program").returncode == 127
    assert project.attempt("exec", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_exec_is_on_a_terminal_when_we_are(project: Project) -> None:
    project.up()
    assert project.attempt("exec", "--", "tty").stdout == "not a tty\n"
    for words, expected in ((["exec"], "/dev/pts/"), (["exec", "-T"], "not a tty")):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            project.argv(*words, "--", "tty"),
            cwd=project.folder,
            env=project.env({"TERM": "xterm"}),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 4096):
                shown += block
        except OSError:
            pass  # EIO: the other side is closed
        os.close(ours)
        child.wait(30)
        if words == ["exec"]:
            assert expected in shown.decode()
        else:
            assert "/dev/pts/" not in shown.decode() or child.returncode == 1


def test_exec_in_what_is_stopped_says_so(project: Project) -> None:
    project.up()
    project.run("stop")
    done = project.attempt("exec", "--", "true")
    assert done.returncode == 2
    assert "devenv up" in done.stderr


# logs, stop, restart ------------------------------------------------------------------------------


def test_logs_follow_until_it_stops(project: Project) -> None:
    project.up("command: i=0; while :; do i=$((i+1)); echo line $i; echo err $i >&2; sleep 0.2; done\n")
    follower = project.start("logs", "--follow")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "line 1\n"
    project.run("stop")
    out = follower.stdout.read()
    _, err = follower.communicate(timeout=20)

    assert out.startswith("line 2\n")
    assert "err 1\n" in err
    assert project.run("logs", "--tail", "1").count("\n") <= 1


def test_stop_kills_who_ignores_it_and_up_starts_again(project: Project) -> None:
    project.up("command: trap '' TERM; echo ready; while :; do sleep 0.1; done\n")
    assert eventually(lambda: project.run("logs") == "ready\n")
    begun = time.monotonic()
    project.run("stop")

    assert 5 < time.monotonic() - begun < 20
    assert project.container()["status"] == "stopped"
    assert project.container()["exit_code"] == 137
    project.run("stop")
    project.run("up")
    assert project.container()["status"] == "running"
    os.kill(project.container()["pid"], signal.SIGKILL)  # or `down` would wait as long once more


def test_restart_keeps_what_was_written(project: Project) -> None:
    before = project.up()
    project.run("exec", "--", "sh", "-c", "echo kept > /root/file; rm /etc/issue; chown 5:6 /root/file")
    project.run("stop")
    project.run("up")

    assert project.container()["id"] == before["id"]
    assert project.run(
        "exec", "--", "sh", "-c", "cat /root/file; stat -c %u:%g /root/file; ls /etc/issue 2>&1 || true"
    ).split("\n")[:2] == [
        "kept",
        "5:6",
    ]
    assert project.attempt("exec", "--", "ls", "/etc/issue").returncode != 0


def test_container_that_ends_by_itself_is_started_by_up(project: Project) -> None:
    project.up("command: until [ -e go ]; do sleep 0.1; done; rm go; exit 4\n")
    project.write("go", "")
    assert eventually(lambda: project.container()["status"] == "stopped")
    assert project.container()["exit_code"] == 4
    project.run("up")
    assert project.container()["status"] == "running"


def test_up_after_a_reboot_just_works(project: Project) -> None:
    before = project.up()
    project.run("exec", "--", "touch", "/root/kept")
    # What a reboot does to us, as far as one can without: no process, no namespace, no run-time file.
    with open(f"{project.paths.bundle(before['id'])}/conmon.pid", encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)
    os.kill(before["pid"], signal.SIGKILL)
    assert eventually(lambda: not os.path.exists(f"/proc/{before['pid']}"))
    shutil.rmtree(project.paths.runtime)
    shutil.rmtree(project.paths.bundle(before["id"]))
    for name in os.listdir(project.paths.slots):
        for kind in ("user", "net"):
            subprocess.run(["umount", f"{project.paths.slots}/{name}/{kind}"], check=True)

    for _ in range(2):
        project.run("up")
        after = project.container()
        assert (after["id"], after["status"]) == (before["id"], "running")
        assert project.run("exec", "--", "ls", "/root") == "kept\n"
    assert (
        json.loads(output("nsenter", f"--net=/proc/{after['pid']}/ns/net", "ip", "-j", "link"))[-1]["ifname"] == "eth0"
    )


# Volumes ----------------------------------------------------------------------------------------


def test_volume_begins_as_the_image_has_it_and_persists(project: Project) -> None:
    project.write(
        "Containerfile",
        "FROM base\nRUN mkdir -p /var/lib/data && echo image > /var/lib/data/file && chown -R 33:34 /var/lib/data"
        " && chmod 700 /var/lib/data\nVOLUME /var/lib/data\n",
    )
    manifest = f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n"
    project.up(manifest)
    look = ("exec", "--", "sh", "-c", "cat /var/lib/data/file; stat -c '%u:%g %a' /var/lib/data /var/lib/data/file")
    assert project.run(*look) == "image\n33:34 700\n33:34 644\n"
    project.run("exec", "--", "sh", "-c", "echo ours > /var/lib/data/file")

    for words in (["up", "--recreate"], ["down"], ["up"], ["stop"], ["up"]):
        project.run(*words)
    assert project.run(*look) == "ours\n33:34 700\n33:34 644\n"

    project.run("down", "--volumes")
    assert not os.listdir(f"{project.paths.home}/volumes")
    project.run("up")
    assert project.run(*look) == "image\n33:34 700\n33:34 644\n"


# Runtimes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["crun", "runc"])
def test_container_is_made_entered_and_removed_by_either_runtime(project: Project, name: str) -> None:
    container = project.up(f"runtime: {name}\nlimits:\n  memory: 64M\n")

    assert json.loads(project.runtime("state", container["id"], name=name))["pid"] == container["pid"]
    assert project.run("exec", "--", "cat", "/proc/1/comm") == "init\n"
    assert project.attempt("exec", "--", "sh", "-c", "exit 7").returncode == 7
    assert project.attempt("run", "--", "sh", "-c", "exit 8").returncode == 8
    with open(f"/proc/{container['pid']}/cgroup", encoding="ascii") as file:
        groups = {line.strip().rpartition(":")[2] for line in file}
    assert groups == {f"/devenv/{container['id']}"}
    project.run("stop")
    project.run("up")
    project.run("down")
    assert project.known() == []


def test_container_stays_with_the_runtime_that_made_it(project: Project) -> None:
    project.up("runtime: runc\n")
    project.manifest()  # the default is another one

    project.run("plan")
    assert project.run("exec", "--", "echo", "here") == "here\n"
    project.run("stop")
    assert project.container()["status"] == "stopped"
    project.run("down")
    assert project.known() == []
