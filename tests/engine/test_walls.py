"""What a process inside can't do: each wall of docs/safety.md, tried from within and looked at from outside."""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from devenv.engine.native.container.spec import READONLY
from devenv.engine.native.slot.ids import BLOCK, START
from devenv.paths import Paths
from tests.engine.conftest import eventually, temporary_store
from tests.engine.project import Project, cgroup, mounts, status

pytestmark = pytest.mark.engine

RUN = {"chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "net_bind_service"}
EPERM, ENOSYS = 1, 38

# name: x86_64 number, arguments in perl, the errno expected. Most would work, or fail otherwise, without our filter.
CALLS = {
    "mount": (165, '$s, $t, "tmpfs$e", 0, 0', EPERM),
    "umount2": (166, "$t, 2", EPERM),
    "pivot_root": (155, "$t, $t", EPERM),
    "chroot": (161, "$t", EPERM),
    "unshare user": (272, "0x10000000", EPERM),
    "unshare mount": (272, "0x20000", EPERM),
    "clone user": (56, "0x10000011, 0, 0, 0, 0", EPERM),
    "clone3": (435, "0, 0", ENOSYS),
    "setns": (308, "0, 0", EPERM),
    "keyctl": (250, "0, -3, 1", EPERM),
    "add_key": (248, "$s, $t, 0, 0, -3", EPERM),
    "request_key": (249, "$s, $t, 0, -3", EPERM),
    "bpf": (321, "0, 0, 0", EPERM),
    "perf_event_open": (298, "0, 0, 0, 0, 0", EPERM),
    "io_uring_setup": (425, "1, 0", EPERM),
    "userfaultfd": (323, "0", EPERM),
    "open_by_handle_at": (304, "0, 0, 0", EPERM),
    "init_module": (175, "0, 0, 0", EPERM),
    "finit_module": (313, "0, 0, 0", EPERM),
    "kexec_load": (246, "0, 0, 0, 0", EPERM),
    "reboot": (169, "0, 0, 0, 0", EPERM),
    "swapon": (167, "$t, 0", EPERM),
    "clock_settime": (227, "0, 0", EPERM),
    "open_tree": (428, "-100, $t, 1", EPERM),
    "move_mount": (429, "0, $s, 0, $t, 4", EPERM),
    "fsopen": (430, "$s, 0", EPERM),
    "mount_setattr": (442, "-100, $t, 0, 0, 0", EPERM),
    "socket AF_ALG": (41, "38, 5, 0", EPERM),
    "socket AF_VSOCK": (41, "40, 1, 0", EPERM),
    "socket raw": (41, "2, 3, 1", EPERM),
    "socket packet": (41, "17, 3, 0", EPERM),
    "mknod block": (133, '"/x$e", 0060600, 0x801', EPERM),
    "mknod char": (133, '"/y$e", 0020600, 0x105', EPERM),
    "personality": (135, "0x0040000", EPERM),
    "quotactl": (179, "0, 0, 0, 0", EPERM),
    "acct": (163, "$t", EPERM),
    "syslog": (103, "3, 0, 0", EPERM),
}
PERL = 'my ($s, $t, $e) = ("none", "/mnt", "");' + "".join(
    f'$! = 0; $r = syscall({number}, {arguments}); print "{name}=", $r < 0 ? $!+0 : "done", "\\n";'
    for name, (number, arguments, _) in CALLS.items()
)


@pytest.fixture(scope="module")
def inside(store: Paths, base: str) -> Iterator[Project]:
    """One environment that most tests here only look at. Its tree holds files of the host's root."""
    made = Project(store, tempfile.mkdtemp(prefix="walls", dir=os.path.dirname(store.home)), base)
    os.chmod(made.folder, 0o755)
    os.chown(made.folder, 1234, 1234)
    made.write("secret", "host root's", 0o600)
    made.write("shared", "host root's", 0o644)
    os.mknod(f"{made.folder}/null", 0o020666, os.makedev(1, 3))
    made.up("name: walls\n")
    yield made
    made.down()


@pytest.fixture(scope="module")
def answers(inside: Project) -> dict[str, dict[str, str]]:
    """What the kernel said to each call, by the way in."""
    inside.write("calls.pl", PERL)
    found = {}
    for way in ("exec", "run"):
        said = inside.run(way, "--", "perl", "/workspace/calls.pl")
        found[way] = dict(line.rsplit("=", 1) for line in said.splitlines())
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers are x86_64's")
@pytest.mark.parametrize("way", ["exec", "run"])
@pytest.mark.parametrize("name", CALLS)
def test_walls_refuse_the_system_call(answers: dict[str, dict[str, str]], way: str, name: str) -> None:
    assert answers[way][name] == str(CALLS[name][2])


def pids(project: Project) -> list[int]:
    """All processes of the container, as the runtime counts them."""
    identifier = project.container()["id"]
    listed: list[int] = json.loads(project.runtime("ps", "--format", "json", identifier))
    return listed


def test_walls_root_inside_is_nobody_outside(inside: Project) -> None:
    sleeper = inside.start("exec", "--", "sh", "-c", "echo here; exec sleep 60")
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "here\n"
    try:
        found = pids(inside)
        assert len(found) >= 2
        for pid in found:
            assert {int(number) >= START for number in status(pid)["Uid"].split()} == {True}
            assert {int(number) >= START for number in status(pid)["Gid"].split()} == {True}
            assert status(pid)["NoNewPrivs"] == "1"
            assert status(pid)["Seccomp"] == "2"
            assert (status(pid)["CapInh"], status(pid)["CapAmb"]) == ("0" * 16, "0" * 16)
            decoded = subprocess.run(["capsh", f"--decode={status(pid)['CapBnd']}"], capture_output=True, text=True)
            assert set(re.findall("cap_([a-z_]+)", decoded.stdout)) == RUN
            assert status(pid)["CapEff"] == status(pid)["CapBnd"]
            # Of another user namespace than ours: the capabilities are over nothing of the host.
            assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    finally:
        sleeper.terminate()
        sleeper.communicate()


def test_walls_a_user_has_no_capability(inside: Project) -> None:
    for way in ("exec", "run"):
        said = inside.run(
            way, "--user", "1000:1000", "--", "grep", "-E", "^(Cap(Inh|Prm|Eff|Amb)|Uid)", "/proc/self/status"
        )
        assert set(re.findall(r"Cap\w+:\s+(\w+)", said)) == {"0" * 16}
        assert "Uid:\t1000\t1000\t1000\t1000" in said


def test_walls_every_namespace_is_another(inside: Project) -> None:
    pid = inside.container()["pid"]
    for kind in ("user", "mnt", "pid", "ipc", "uts", "net", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_walls_of_two_stores_share_no_id(project: Project) -> None:
    with temporary_store() as paths:
        other = Project(paths, f"{os.path.dirname(paths.home)}/other", project.base)
        os.chmod(other.folder, 0o755)
        try:
            starts = {status(one.up()["pid"])["Uid"].split()[0] for one in (project, other)}
            blocks = [{int(name) // BLOCK for name in os.listdir(one.paths.slots)} for one in (project, other)]
        finally:
            other.down()

    assert len(starts) == 2
    assert blocks[0] and blocks[1] and not blocks[0] & blocks[1]


def test_walls_of_two_containers_share_no_id(inside: Project, project: Project) -> None:
    ranges = []
    for pid in (inside.container()["pid"], project.up()["pid"]):
        with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
            first, start, count = map(int, file.read().split())
        assert (first, count) == (0, 65536)
        ranges.append(set(range(start, start + count)))
    assert not ranges[0] & ranges[1]


@pytest.mark.parametrize(
    "command",
    [
        "echo x > /workspace/shared",
        "cat /workspace/secret",
        "chmod 666 /workspace/secret",
        "chown 0 /workspace/shared",
        "head -c1 /workspace/null",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "touch /sys/x",
        "echo 1 > /sys/fs/cgroup/cgroup.procs || mkdir /sys/fs/cgroup/x",
        "mknod /tmp/x b 8 1",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /sys",
        "umount /etc/hosts",
        "hostname other",
        "echo x > /etc/hosts",
        "echo x > /run/devenv/init",
        "ls /sys/firmware/*",
        "ls /proc/acpi/*",
        "ls /proc/scsi/*",
        "nice -n -5 true | grep . || renice -n -5 $$",
    ],
)
def test_walls_refuse_root(inside: Project, command: str) -> None:
    assert inside.attempt("exec", "--", "sh", "-c", command).returncode != 0


def test_walls_left_host_files_alone(inside: Project) -> None:
    inside.attempt("exec", "--", "sh", "-c", "rm -f /workspace/shared.new; echo x > /workspace/secret")
    assert (inside.read("secret"), inside.read("shared")) == ("host root's", "host root's")
    assert os.stat(f"{inside.folder}/secret").st_uid == 0


@pytest.mark.parametrize(
    "path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts"]
)
def test_walls_mask_what_tells_of_the_host(inside: Project, path: str) -> None:
    assert inside.run("exec", "--", "sh", "-c", f"if [ -e {path} ]; then cat {path}; fi") == ""


def test_walls_system_mounts_are_read_only(inside: Project) -> None:
    seen = mounts(inside.container()["pid"])
    assert "ro" in seen["/sys"]
    groups = {path: options for path, options in seen.items() if path.startswith("/sys/fs/cgroup")}
    assert groups
    assert all("ro" in options for options in groups.values())
    there = inside.run("exec", "--", "sh", "-c", 'for path; do [ ! -e "$path" ] || echo "$path"; done', "-", *READONLY)
    assert "/proc/sys" in there.splitlines()
    for path in there.splitlines():
        assert "ro" in seen[path], path
    for path in ("/proc", "/sys", "/dev/shm", "/dev/mqueue"):
        assert {"nosuid", "nodev", "noexec"} <= seen[path], path
    assert {"nosuid", "nodev"} <= seen["/workspace"]
    assert all("ro" in seen[path] for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/devenv/init"))


def test_walls_dev_holds_no_device_of_the_host(inside: Project) -> None:
    found = set(inside.run("exec", "--", "ls", "/dev").split())
    links = {"core", "fd", "ptmx", "stderr", "stdin", "stdout"}
    assert found - links == {"full", "mqueue", "null", "pts", "random", "shm", "tty", "urandom", "zero"}


def test_walls_leak_no_descriptor(inside: Project) -> None:
    inside.write(
        "fds.pl", 'opendir D, "/proc/self/fd"; print join " ", map { "$_=" . readlink "/proc/self/fd/$_" } readdir D;'
    )
    for way in ("exec", "run"):
        with open("/etc/shadow", encoding="utf-8") as shadow:
            done = inside.attempt(way, "--", "perl", "/workspace/fds.pl", pass_fds=(shadow.fileno(),))
        opened = dict(word.split("=", 1) for word in done.stdout.split() if word[0].isdigit())
        opened = {fd: where for fd, where in opened.items() if not where.startswith("/proc/")}
        assert set(opened) == {"0", "1", "2"}, done.stdout
        assert all(where.startswith(("pipe:", "/dev/null")) for where in opened.values())


@pytest.mark.parametrize("number", range(3, 12))
def test_walls_no_descriptor_is_a_way_out(inside: Project, number: int) -> None:
    # CVE-2024-21626: a working directory that is a descriptor of the runtime's.
    for way in ("exec", "run"):
        done = inside.attempt(way, "--workdir", f"/proc/self/fd/{number}", "--", "cat", "../../../../etc/shadow")
        assert done.returncode != 0
        assert ":" not in done.stdout


def test_walls_hand_over_nothing_of_our_environment(inside: Project) -> None:
    for way in ("exec", "run"):
        done = inside.attempt(
            way, "--", "env", env={"CANARY": "canary", "LD_PRELOAD": "", "XDG_RUNTIME_DIR": "/run/canary"}
        )
        assert "canary" not in done.stdout.lower()
        assert inside.paths.home not in done.stdout
        assert "HOME=/root\n" in done.stdout


def test_walls_keep_other_users_out_of_the_store(inside: Project) -> None:
    identifier = inside.container()["id"]
    bundle, home = inside.paths.bundle(identifier), inside.paths.home
    os.stat(f"{bundle}/config.json")
    for path in (home, f"{home}/state.db", f"{home}/oci/index.json", f"{bundle}/config.json", inside.paths.runtime):
        command = f"! head -c1 {path} && ! ls {path}/ && test ! -w {path}"
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", command]
        assert subprocess.run(nobody, capture_output=True).returncode == 0, path
    assert os.stat(home).st_mode & 0o777 == 0o700


def test_walls_pids_limit_holds_a_fork_bomb(project: Project) -> None:
    identifier = project.up("limits: {pids: 30}\n")["id"]
    assert cgroup(identifier, "pids.max") == "30"
    # Bounded, should the limit not hold.
    done = project.attempt("exec", "--", "sh", "-c", "i=0; while [ $i -lt 100 ]; do sleep 3 & i=$((i+1)); done")
    assert "fork" in done.stderr
    assert project.container()["status"] == "running"


def test_walls_memory_limit_ends_a_hog(project: Project) -> None:
    identifier = project.up("limits: {memory: 64M}\n")["id"]
    assert cgroup(identifier, "memory.max", "memory.limit_in_bytes") == str(64 << 20)
    assert project.attempt("exec", "--", "perl", "-e", '$x = "a" x 200_000_000').returncode == 137
    assert project.attempt("run", "--", "perl", "-e", '$x = "a" x 200_000_000').returncode == 137
    assert project.run("exec", "--", "echo", "alive") == "alive\n"


def test_walls_cpus_are_a_quota(project: Project) -> None:
    identifier = project.up("limits: {cpus: 0.5}\n")["id"]
    assert cgroup(identifier, "cpu.max", "cpu.cfs_quota_us").split()[0] == "50000"


def test_walls_log_is_capped(project: Project) -> None:
    identifier = project.up(
        "command: head -c 60000000 /dev/zero | tr '\\0' x | fold -w 1000; touch done; exec sleep 600\n"
    )["id"]
    folder = project.paths.container(identifier)
    assert eventually(lambda: os.path.exists(f"{project.folder}/done"), 60)
    logs = [name for name in os.listdir(folder) if "log" in name]
    assert 1 << 20 < sum(os.path.getsize(f"{folder}/{name}") for name in logs) < 17 << 20


def test_walls_escape_sequences_reach_no_terminal(project: Project) -> None:
    project.up("command: printf 'a\\033]0;owned\\007\\033[2Jb\\n'; exec sleep 600\n")
    assert project.run("logs") == "a\x1b]0;owned\x07\x1b[2Jb\n"
    ours, theirs = pty.openpty()
    subprocess.run(
        project.argv("logs"), cwd=project.folder, env=project.env({"TERM": "xterm"}), stdout=theirs, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "a" in shown
    assert not {"\x07", "]0;", "[2J"} & {part for part in ("\x07", "]0;", "[2J") if part in shown and "\x1b" in shown}
