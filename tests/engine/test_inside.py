"""How commands are run inside: found before they are started, where they are typed, signalled once, never left alone."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from devenv.paths import Paths
from tests.engine.conftest import eventually
from tests.engine.project import Project
from tests.engine.test_quick import settle

pytestmark = pytest.mark.engine

WAYS = {
    "quick exec": ["exec", "--"],
    "exec": ["exec", "-T", "--"],
    "quick run": ["run", "--"],
    "run": ["run", "-T", "--"],
}
"""The same commands by the quick door and the long way."""


@pytest.fixture(scope="module")
def inside(store: Paths, base: str) -> Iterator[Project]:
    """One environment that most tests here only look at."""
    made = Project(store, f"{os.path.dirname(store.home)}/inside", base)
    os.chmod(made.folder, 0o755)
    made.write("script", "#!/bin/sh\necho here\n", 0o755)
    made.write("data", "#!/bin/sh\n", 0o644)
    made.write("web/src/script", "#!/bin/sh\npwd\n", 0o755)
    made.up("name: inside\n")
    settle(made)
    yield made
    made.down()


def at(project: Project, folder: str, *words: str) -> subprocess.CompletedProcess[str]:
    """One command in a subfolder."""
    place = Project(project.paths, f"{project.folder}/{folder}", project.base)
    return place.attempt(*words)


# Found beforehand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "code"), [("nosuch", 127), ("/nosuch", 127), ("./nosuch", 127), ("./data", 126), ("/etc", 126), ("", 127)]
)
def test_command_that_cannot_be_run_is_told_in_our_words(inside: Project, way: str, name: str, code: int) -> None:
    done = inside.attempt(*WAYS[way], name, "argument")

    assert done.returncode == code
    assert done.stderr.startswith(f"error: {name}")
    assert "hint: " in done.stderr
    assert not {"runc", "crun", "catatonit", "exec failed"} & set(done.stderr.replace(":", " ").split())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["./script", "web/src/../../script", "/workspace/script"])
def test_command_of_the_source_tree_is_found(inside: Project, way: str, name: str) -> None:
    assert inside.attempt(*WAYS[way], name).stdout == "here\n"


@pytest.mark.parametrize("way", WAYS)
def test_command_behind_links_is_found(inside: Project, way: str) -> None:
    assert inside.attempt(*WAYS[way], "awk", "BEGIN { print 1 }").stdout == "1\n"  # /etc/alternatives/awk, absolute
    assert inside.attempt(*WAYS[way], "/proc/self/root/bin/echo", "1").stdout == "1\n"


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_command_is_searched_in_the_path_given(inside: Project, verb: str) -> None:
    assert inside.run(verb, "-e", "PATH=/nowhere:/workspace", "--", "script") == "here\n"
    assert inside.attempt(verb, "-e", "PATH=/nowhere", "--", "sh").returncode == 127


def test_command_of_an_images_volume_is_found(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN mkdir /data && cp /bin/echo /data/say\nVOLUME /data\n")
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")
    for _ in range(2):
        assert project.run("run", "--", "/data/say", "1") == "1\n"
        assert project.attempt("run", "--", "/data/nosuch").returncode == 127


def test_command_of_a_step_in_exec_form_is_found_beforehand(project: Project) -> None:
    project.write("Containerfile", 'FROM base\nRUN ["nosuch", "x"]\n')
    done = project.attempt("build", "--build-context", f"base={project.base}", ".")

    assert done.returncode == 1
    assert "nosuch: no such command in the container's PATH" in done.stderr
    assert "exit code 127" in done.stderr
    project.write("Containerfile", 'FROM base\nWORKDIR /srv\nRUN ["cp", "/bin/echo", "say"]\nRUN ["./say", "1"]\n')
    project.run("build", "--build-context", f"base={project.base}", ".")


# Checked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["exec", "run", "shell"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-e", "1A=1"], "'1A'"),
        (["-e", "=x"], "''"),
        (["--user", "nobodyhere"], "'nobodyhere'"),
        (["--user", "root:nogroup2"], "'nogroup2'"),
        (["--user", "65536"], "65535"),
        (["--workdir", "nonexistent"], "'nonexistent'"),
        (["--workdir", "/nonexistent"], "/nonexistent"),
        (["--workdir", "/etc/passwd"], "/etc/passwd"),
        (["--workdir", "/workspace/nonexistent"], "/workspace/nonexistent"),
    ],
)
def test_option_that_is_wrong_is_told_by_name(inside: Project, verb: str, options: list[str], said: str) -> None:
    done = inside.attempt(verb, *options, *([] if verb == "shell" else ["--", "true"]))

    assert done.returncode == 2
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert done.stderr.count("error") == 1
    assert not os.path.exists(f"{inside.folder}/nonexistent")


def test_workdir_of_an_image_is_made(project: Project) -> None:
    project.write("Containerfile", "FROM base\nWORKDIR /srv/app\n")
    project.run("build", "--build-context", f"base={project.base}", "--tag", "moved", ".")
    assert project.run("run", "--image", "moved", "--", "pwd") == "/srv/app\n"
    assert project.run("run", "--image", "moved", "-w", "/tmp", "--", "pwd") == "/tmp\n"


# Where --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_command_runs_in_the_matching_folder(inside: Project, way: str) -> None:
    assert at(inside, "web/src", *WAYS[way], "pwd").stdout == "/workspace/web/src\n"
    assert at(inside, "web/src", *WAYS[way], "./script").stdout == "/workspace/web/src\n"
    assert inside.attempt(*WAYS[way], "pwd").stdout == "/workspace\n"
    assert at(inside, "web", WAYS[way][0], "--workdir", "/tmp", "--", "pwd").stdout == "/tmp\n"
    assert inside.attempt("-C", "web", *WAYS[way], "pwd").stdout == "/workspace/web\n"


def test_folder_that_the_container_lacks_is_told(project: Project) -> None:
    os.mkdir(f"{project.folder}/web")
    project.manifest("source: {path: ., target: /workspace, mode: copy-on-write}\n")
    project.run("up")
    settle(project)
    project.run("exec", "--", "rmdir", "/workspace/web")
    for words in (["exec"], ["exec", "-T"]):
        done = at(project, "web", *words, "--", "true")
        assert (done.returncode, "/workspace/web" in done.stderr) == (2, True)
    assert at(project, "web", "run", "--", "pwd").stdout == "/workspace/web\n"


def test_shell_enters_the_matching_folder(inside: Project) -> None:
    place = Project(inside.paths, f"{inside.folder}/web", inside.base)
    assert place.run("shell", input="pwd\n") == "/workspace/web\n"


# Descriptors --------------------------------------------------------------------------------------


def opened(pid: int | str) -> set[str]:
    """What a process has open."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def relatives(text: str) -> list[int]:
    """Processes with this in their command line, and their children."""
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file, open(f"/proc/{pid}/stat", "rb") as status:
                found[int(pid)] = (file.read(), int(status.read().rpartition(b")")[2].split()[1]))
        except OSError:
            pass
    named = {pid for pid, (words, _) in found.items() if text.encode() in words and pid != os.getpid()}
    return sorted(named | {pid for pid, (_, parent) in found.items() if parent in named})


def test_descriptors_of_the_caller_reach_nobody(project: Project) -> None:
    with open(f"{project.folder}/held", "w", encoding="utf-8") as held:
        done = project.attempt("up", pass_fds=(held.fileno(),))
        assert done.returncode == 0, done.stderr
        started = relatives(project.container()["id"])
        assert len(started) >= 2  # conmon and the container's init
        for way in WAYS.values():
            argv = project.argv(*way, "sh", "-c", "echo ready; exec sleep 60")
            running = subprocess.Popen(
                argv, cwd=project.folder, env=project.env(), stdout=subprocess.PIPE, pass_fds=(held.fileno(),)
            )
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            started += [pid for pid in relatives(project.paths.home) if pid != running.pid]
            holders = [pid for pid in {*started, *relatives("sleep 60")} if f"{project.folder}/held" in opened(pid)]
            running.terminate()
            running.communicate()
            assert set(holders) <= {running.pid}


# Signals ------------------------------------------------------------------------------------------

COUNTING = """
my $n = 0; $| = 1; $SIG{INT} = sub { $n++ }; $SIG{TERM} = sub { print "$n\\n"; exit 0 };
print "ready\\n"; while (1) { select undef, undef, undef, 0.05 }
"""


@pytest.mark.parametrize("way", ["quick run", "run", "exec"])
def test_interrupt_of_a_terminal_comes_once(inside: Project, way: str) -> None:
    # stdout is a pipe, so the command has no terminal of its own, and ^C goes to the whole foreground group.
    read, write = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(inside.folder)
        os.dup2(write, 1)
        os.execve(sys.executable, inside.argv(*WAYS[way], "perl", "-e", COUNTING), inside.env())
    os.close(write)
    with open(read, encoding="ascii") as out:
        assert out.readline() == "ready\n"
        os.write(terminal, b"\x03")
        time.sleep(0.5)
        os.kill(pid, signal.SIGINT)  # as from elsewhere: this one is passed on
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        assert out.readline() == "2\n"
    _drain(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def _drain(terminal: int) -> None:
    while select.select([terminal], [], [], 0.2)[0]:
        try:
            if not os.read(terminal, 4096):
                return
        except OSError:
            return


def _ignore() -> None:
    for number in (signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)


def test_run_with_ignored_signals_leaves_them_ignored(inside: Project) -> None:
    running = inside.start(
        *("run", "--", "sh", "-c", "trap 'echo hup' HUP; echo ready; sleep 0.7; echo end"),
        preexec_fn=_ignore,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGHUP)
    assert running.communicate(timeout=20)[0] == "end\n"
    assert running.returncode == 0


# Never left alone ---------------------------------------------------------------------------------


def _ready(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"


def _soon(_: subprocess.Popen[str]) -> None:
    time.sleep(0.15)  # somewhere between its start and the container's


@pytest.mark.parametrize("when", [_ready, _soon])
@pytest.mark.parametrize("way", ["quick run", "run"])
def test_run_that_is_killed_takes_its_container_with_it(
    inside: Project, way: str, when: Callable[[subprocess.Popen[str]], None]
) -> None:
    mark = f"{4000 + os.getpid() % 999}.{len(way)}"
    before = set(inside.known())
    running = inside.start(*WAYS[way], "sh", "-c", f"trap '' TERM INT HUP; echo ready; sleep {mark}; sleep {mark}")
    when(running)
    running.kill()
    killed = time.monotonic()
    running.wait()

    assert eventually(lambda: not relatives(f"sleep {mark}") and set(inside.known()) <= before, 3)
    assert time.monotonic() - killed < 2
    if when is _ready:
        assert eventually(lambda: not [one for one in os.listdir(f"{inside.paths.run}/bundles") if "-run-" in one], 2)
    running.communicate()
    assert inside.run("run", "--", "echo", "next") == "next\n"


def test_run_leaves_no_process_behind(inside: Project) -> None:
    running = inside.start("run", "--", "sh", "-c", "echo ready; exec sleep 0.5")
    _ready(running)
    with open(f"/proc/{running.pid}/task/{running.pid}/children", encoding="ascii") as file:
        children = file.read().split()
    assert len(children) == 2  # the runtime, and who waits for our end
    running.communicate()
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]


# Kept, and images of one's own --------------------------------------------------------------------


def test_kept_container_is_entered_and_removed_as_it_says(project: Project) -> None:
    project.run("up")
    done = project.attempt("run", "--keep", "--", "sh", "-c", "echo kept > /root/file; exit 3")
    assert done.returncode == 3
    name = done.stderr.splitlines()[-1].split()[1].rstrip(":")
    assert f"devenv shell {name}" in done.stderr
    assert f"devenv down {name}" in done.stderr
    assert project.container(name)["status"] == "stopped"

    for _ in range(2):
        assert project.run("shell", name, input="cat /root/file; hostname; pwd\n").split()[0] == "kept"
    project.run("down", name)
    rows = json.loads(project.run("ps", "--all", "--json"))
    assert [row["name"] for row in rows if row["environment"]["folder"] == project.folder] == ["workspace"]
    assert project.container()["status"] == "running"
    assert project.attempt("shell", name).returncode == project.attempt("down", name).returncode == 2


def test_entrypoint_of_an_image_is_honoured(project: Project) -> None:
    project.write("Containerfile", 'FROM base\nENTRYPOINT ["echo", "entry"]\nCMD ["cmd"]\n')
    project.run("build", "--build-context", f"base={project.base}", "--tag", "says", ".")
    for words, said in (
        ([], "entry cmd"),
        (["--", "a", "-b"], "entry a -b"),
        (["--entrypoint", "printf", "--", "%s\n", "x"], "x"),
        (["--entrypoint", "", "--", "echo", "alone"], "alone"),
    ):
        assert project.run("run", "--image", "says", *words) == f"{said}\n"
    assert project.attempt("run", "--image", "says", "--entrypoint", "").returncode == 2
    assert project.attempt("run").returncode == 2
    assert project.run("run", "--entrypoint", "echo", "--", "project's") == "project's\n"


def test_word_before_dashes_may_have_meant_a_container(project: Project) -> None:
    project.manifest("services: {web: {command: sleep 600}}\n")
    project.run("up")
    done = project.attempt("exec", "wbe", "--", "ls")
    assert done.returncode == 127
    assert "wbe: no such command in workspace's PATH" in done.stderr
    assert "hint: if it is to be a container: did you mean 'web'? If a command: have it installed" in done.stderr


def test_command_is_searched_again_after_it_was_installed(project: Project) -> None:
    project.run("up")
    settle(project)
    done = project.attempt("exec", "--", "later")
    assert (done.returncode, "later: no such command in workspace's PATH" in done.stderr) == (127, True)
    project.run("exec", "--", "cp", "/bin/echo", "/usr/local/bin/later")
    assert project.run("exec", "--", "later", "1") == "1\n"
    shutil.rmtree(f"{project.paths.run}/doors")
    assert project.run("exec", "--", "later", "1") == "1\n"
