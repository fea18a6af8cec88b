"""Commands killed at any moment, and what others break: the next `up` works without repair, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from devenv.engine.native.container import runtime
from devenv.engine.native.records import observe
from devenv.engine.native.records.state import State, this_process
from devenv.engine.native.slot import pool
from devenv.lives import alive
from devenv.paths import Paths

from .conftest import eventually, output, sleeping, temporary_store
from .project import Project

pytestmark = pytest.mark.engine

MARK = f"1234.{os.getpid()}"  # nobody else's on this machine


def containerfile(project: Project, *steps: str, manifest: str = "") -> None:
    """A manifest whose image is the base and these steps."""
    project.write("Containerfile", "\n".join(["FROM base", *steps, ""]))
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n{manifest}")


def sleepers() -> list[int]:
    """Pids of the processes that sleep for MARK seconds."""
    return sleeping(MARK)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):  # its children still hold the other ends
        if pipe is not None:
            pipe.close()


def assert_whole(project: Project) -> None:
    """The environment works, its image's manifest is where other tools look for it, and nothing half made is left."""
    assert project.container()["status"] == "running"
    assert project.run("exec", "cat", "/etc/debian_version")
    assert os.listdir(project.paths.drafts) == []
    assert sleepers() == []
    known = [project.container()["id"]]
    assert os.listdir(f"{project.paths.run}/bundles") == known
    assert os.listdir(f"{project.paths.home}/containers") == known
    assert project.known() == known
    state = State(project.paths.state)
    assert state.db.execute("SELECT count(*) FROM layer WHERE boot = ''").fetchone() == (0,)
    state.close()
    output("skopeo", "inspect", "--raw", f"oci:{project.paths.layout}:{image_name(project)}")
    assert [
        line for line in output("findmnt", "--raw", "-o", "TARGET").splitlines() if project.paths.mounts in line
    ] == []


def image_name(project: Project) -> str:
    """The name of the image that the main container was made from."""
    state = State(project.paths.state)
    [image] = [one for one in observe.images(state) if one.digest == project.container()["image"]]
    state.close()
    return image.references[0]


def test_build_killed_in_a_step_is_swept_by_the_next_up(project: Project) -> None:
    containerfile(project, f"RUN sleep {MARK}")
    building = project.start("build")
    assert eventually(lambda: sleepers() != [], 60)
    killed(building)

    containerfile(project, "RUN echo done >/done")
    project.run("up")

    assert_whole(project)
    assert project.run("exec", "cat", "/done") == "done\n"


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6])
def test_build_killed_while_a_base_comes_in_leaves_a_store_that_works(base: str, delay: float) -> None:
    with temporary_store() as paths:
        project = Project(paths, f"{os.path.dirname(paths.home)}/project", base)
        containerfile(project, "RUN true")
        building = project.start("build")
        assert eventually(lambda: os.path.isdir(paths.drafts) and os.listdir(paths.drafts) != [], 30)
        time.sleep(delay)
        killed(building)

        project.run("up")

        assert_whole(project)
        project.down()


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7])
def test_up_killed_at_any_moment_is_finished_by_the_next(project: Project, delay: float) -> None:
    project.run("up")
    project.run("down")
    bringing = project.start("up")
    time.sleep(delay)
    killed(bringing)

    project.run("up")

    assert_whole(project)


def test_run_killed_leaves_nothing_after_the_next_up(project: Project) -> None:
    project.run("up")
    running = project.start("run", "--", "sleep", MARK)
    assert eventually(lambda: sleepers() != [], 30)
    killed(running)

    project.manifest("env: {A: '1'}")
    project.run("up")

    assert_whole(project)


def test_port_of_a_run_that_was_killed_is_free_for_the_next_up(project: Project) -> None:
    project.up()
    running = project.start("run", "-p", "19473:80", "--", "sleep", MARK)
    assert eventually(lambda: sleepers() != [], 30)
    project.manifest('ports: ["19473:80"]')
    assert "`up` would fail: publish port 127.0.0.1:19473: a running command has it" in project.attempt("plan").stderr
    killed(running)

    assert "would fail" not in project.attempt("plan").stderr
    project.run("up")

    assert_whole(project)


@pytest.mark.parametrize("name", runtime.KNOWN)
def test_signal_to_a_container_whose_init_is_gone_is_fine(project: Project, name: str) -> None:
    container = project.up(f"runtime: {name}")
    os.kill(container["pid"], signal.SIGKILL)
    assert eventually(lambda: project.container()["status"] == "stopped")

    engine = runtime.choose(name, project.paths.runtime)
    assert engine.known() == [container["id"]]
    engine.kill(container["id"], signal.SIGKILL)


def test_exec_killed_leaves_no_description_of_its_process(project: Project) -> None:
    container = project.up()
    executing = project.start("exec", "--env", "A=1", "--", "sleep", MARK)
    assert eventually(lambda: sleepers() != [], 30)
    killed(executing)
    for pid in sleepers():
        os.kill(pid, signal.SIGKILL)

    project.manifest("env: {A: '1'}")
    project.run("up")

    assert [name for name in os.listdir(project.paths.bundle(container["id"])) if name.startswith("exec-")] == []


def test_monitor_killed_makes_the_container_stopped_and_up_starts_it_anew(project: Project) -> None:
    container = project.up()
    with open(f"{project.paths.bundle(container['id'])}/conmon.pid", encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)

    assert eventually(lambda: project.container()["status"] == "stopped")
    project.run("up")

    assert_whole(project)
    assert eventually(lambda: not os.path.exists(f"/proc/{container['pid']}"))


def test_container_out_of_memory_is_stopped_with_137_and_up_starts_it_again(project: Project) -> None:
    project.manifest(
        "limits: {memory: 64M}\n"
        "command: until [ -e go ]; do sleep 0.1; done; [ -e /again ] || { touch /again; exec tail /dev/zero; }; exec sleep 600"
    )
    project.run("up")
    project.write("go", "")

    assert eventually(lambda: project.container()["status"] == "stopped")
    assert project.container()["exit_code"] == 137
    project.run("up")

    time.sleep(1)
    assert_whole(project)


@pytest.mark.parametrize("whole_folder", [False, True], ids=["emptied", "removed"])
def test_layer_emptied_by_somebody_is_made_anew_by_up(project: Project, whole_folder: bool) -> None:
    containerfile(project, f"RUN echo {whole_folder} >/made")
    project.run("up")
    state = State(project.paths.state)
    for image in observe.images(state):
        for number in image.layers:
            folder = project.paths.layer(number)
            subprocess.run(
                ["rm", "-rf", folder] if whole_folder else ["find", folder, "-mindepth", "1", "-delete"], check=True
            )
    state.close()

    failed = project.attempt("run", "--", "true")
    assert "isn't whole any more" in failed.stderr or failed.returncode == 0  # the long way builds it again itself
    project.run("up")

    assert_whole(project)
    assert project.run("exec", "cat", "/made") == f"{whole_folder}\n"


def test_blobs_removed_by_somebody_are_written_again_by_the_next_commit(project: Project) -> None:
    containerfile(project, "RUN echo one >/one")
    project.run("up")
    folder = f"{project.paths.layout}/blobs/sha256"
    os.rename(folder, f"{folder}-removed")
    os.mkdir(folder)

    containerfile(project, "RUN echo one >/one", "RUN echo two >/two")
    project.run("up")

    assert_whole(project)
    name = image_name(project)
    output("skopeo", "copy", "--quiet", f"oci:{project.layout(name)}:{name}", f"dir:{project.folder}/copy")
    shutil.copytree(f"{folder}-removed", folder, dirs_exist_ok=True)  # other images, of other tests
    shutil.rmtree(f"{folder}-removed")


@pytest.mark.parametrize("damage", ["firewall", "bridge"])
def test_up_puts_the_network_back_though_it_keeps_everything(project: Project, damage: str) -> None:
    project.up()
    project.run("up")
    state = State(project.paths.state)
    network = pool.network(project.paths, state)
    if damage == "firewall":
        output("nft", "delete", "table", "inet", network.table)
    else:
        output("ip", "link", "delete", network.bridge)
    assert not pool.healthy(project.paths, state)

    assert "kept" in project.run("up")

    assert pool.healthy(project.paths, state)
    state.close()


def test_after_a_reboot_all_reads_as_stopped_and_up_starts_it(project: Project) -> None:
    container = project.up()
    # What a reboot leaves: rows of another boot, no processes, an empty run-time folder for the container.
    project.runtime("delete", "--force", container["id"])
    state = State(project.paths.state)
    state.db.execute("UPDATE container SET boot = 'before'")
    state.db.execute("UPDATE slot SET boot = 'before'")
    state.close()
    subprocess.run(["rm", "-rf", project.paths.bundle(container["id"])], check=True)

    assert project.container()["status"] == "stopped"
    project.run("up")

    assert_whole(project)


def test_layer_of_another_boot_counts_only_once_an_image_vouches_for_it(store: Paths) -> None:
    state = State(store.state)
    synced, lost = state.reserve_layer(), state.reserve_layer()
    state.layer_made(synced, "synced", 0)
    state.commit_image("sha256:" + "0" * 64, "", [synced], "{}", 0, [])
    state.layer_made(lost, "lost", 0)
    state.db.execute("UPDATE layer SET boot = 'before' WHERE boot IS NOT NULL AND id = ?", (lost,))

    assert state.layer("synced") == synced
    assert state.layer("lost") is None
    state.db.execute("DELETE FROM image")
    state.db.execute("DELETE FROM layer")
    state.close()


def test_a_reused_pid_is_not_the_process_that_was_recorded() -> None:
    me = this_process()

    assert alive(*me, me.boot)
    assert not alive(me.pid, me.start - 1, me.boot, me.boot)
    assert not alive(me.pid, me.start, "before", me.boot)


@contextmanager
def damaged(paths: Paths, content: bytes) -> Iterator[None]:
    """The database, with other content for a while."""
    state = State(paths.state)
    state.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state.close()
    os.rename(paths.state, f"{paths.state}.good")
    with open(paths.state, "wb") as file:
        file.write(content)
    yield
    for name in (paths.state, f"{paths.state}-wal", f"{paths.state}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)
    os.rename(f"{paths.state}.good", paths.state)


@pytest.mark.parametrize("verb", ["images", "ps", "gc"])
def test_database_of_garbage_is_one_error_that_names_it(project: Project, verb: str) -> None:
    project.run("up")
    with damaged(project.paths, os.urandom(8192)):
        failed = project.attempt(verb)

    assert failed.returncode == 1
    assert "state.db" in failed.stderr
    assert "hint:" in failed.stderr


@pytest.mark.parametrize("page", [1, 5, 9])
def test_database_cut_short_is_one_error_that_names_it(project: Project, page: int) -> None:
    project.run("up")
    state = State(project.paths.state)
    state.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state.close()
    with open(project.paths.state, "rb") as file:
        head = file.read(page * 4096 + 100)
    with damaged(project.paths, head):
        failed = project.attempt("ps", "--all")
        assert failed.returncode in (0, 1)
        if failed.returncode:
            assert "state.db" in failed.stderr


def test_database_moved_aside_lets_the_next_up_end_what_ran_and_keep_its_volumes(base: str) -> None:
    with temporary_store() as paths:
        project = Project(paths, f"{os.path.dirname(paths.home)}/project", base)
        project.manifest("volumes: {data: {}}\nservices:\n  db: {command: sleep 600, volumes: ['data:/data']}\n")
        project.run("up")
        before = [project.container(name)["pid"] for name in ("workspace", "db-1")]
        project.run("exec", "db", "sh", "-c", "echo kept > /data/file")
        for name in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{paths.state}{name}", f"{paths.home}/aside{name}")

        project.run("up")

        assert not any(os.path.exists(f"/proc/{pid}") for pid in before)
        assert project.run("exec", "db", "cat", "/data/file") == "kept\n"
        project.run("down", "--volumes")


def test_disk_full_is_one_error_with_a_fix_and_the_next_up_works(base: str) -> None:
    with temporary_store() as paths:
        project = Project(paths, f"{os.path.dirname(paths.home)}/project", base)
        project.manifest()
        output("mount", "-t", "tmpfs", "-o", "size=48m", "small", paths.home)
        try:
            failed = project.attempt("up")
            assert failed.returncode == 1
            assert "No space left on device" in failed.stderr
            assert os.listdir(paths.drafts) == []
            output("mount", "-o", "remount,size=2g", paths.home)
            project.run("up")
            assert_whole(project)
            project.down()
            pool.remove_spares(paths)
        finally:
            output("umount", paths.home)


def test_readonly_store_is_one_error(base: str) -> None:
    with temporary_store() as paths:
        project = Project(paths, f"{os.path.dirname(paths.home)}/project", base)
        project.manifest()
        output("mount", "-t", "tmpfs", "-o", "ro", "small", paths.home)
        try:
            failed = project.attempt("up")
        finally:
            output("umount", paths.home)
        assert failed.returncode == 1
        assert "Read-only file system" in failed.stderr


def test_two_ups_at_once_make_one_container(project: Project) -> None:
    project.manifest("hooks: {on_create: ['sleep 0.3; echo once >> /workspace/hooks']}\n")
    running = [project.start("up") for _ in range(3)]
    for command in running:
        out, err = command.communicate(timeout=60)
        assert command.returncode == 0, (out, err)

    assert project.read("hooks") == "once\n"
    assert project.container()["status"] == "running"


def test_up_and_down_at_once_end_in_one_of_both(project: Project) -> None:
    project.run("up")
    running = [project.start("down"), project.start("up"), project.start("down"), project.start("up")]
    for command in running:
        command.communicate(timeout=60)
        assert command.returncode in (0, 2)  # 2: nothing to take down

    project.run("up")
    assert project.container()["status"] == "running"
