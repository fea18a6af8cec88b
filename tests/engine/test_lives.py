"""An environment's life beside its folder's: made anew, moved, deleted, of an odd name."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def anew(project: Project, manifest: str = "") -> None:
    """The project's folder as a second `git clone` makes it."""
    shutil.rmtree(project.folder)
    os.mkdir(project.folder)
    os.chmod(project.folder, 0o755)
    project.manifest(manifest)
    project.write("file", "new")


@pytest.mark.parametrize("mode", ["rw", "ro", "copy-on-write"])
def test_up_replaces_a_container_whose_folder_was_made_anew(project: Project, mode: str) -> None:
    manifest = f"source: {{path: ., target: /workspace, mode: {mode}}}\n"
    project.manifest(manifest)
    project.write("file", "old")
    project.run("up")
    anew(project, manifest)

    assert f"the folder {project.folder} was made anew" in project.run("plan")
    assert "replaced" in project.run("up")

    assert project.run("exec", "cat", "file") == "new"
    assert "kept" in project.run("up", "--verbose")


def test_exec_in_a_container_whose_folder_was_made_anew_warns(project: Project) -> None:
    project.up()
    assert project.attempt("exec", "--", "true").stderr == ""
    anew(project)

    for words in (("exec", "--", "true"), ("exec", "--user", "0", "--", "true")):
        assert f"warning: the folder {project.folder} was made anew" in project.attempt(*words).stderr

    project.run("up")
    assert project.attempt("exec", "--", "true").stderr == ""


def test_up_by_the_quick_door_sees_a_source_that_was_made_anew(project: Project) -> None:
    other = f"{project.folder}-other"
    os.mkdir(other)
    os.chmod(other, 0o755)
    try:
        project.manifest(f"source: [., {{path: {other}, target: /other}}]\n")
        time.sleep(0.1)
        project.run("up")
        assert "kept" in project.run("up")
        os.rename(other, f"{other}-moved")
        os.mkdir(other)

        assert f"the folder {other} was made anew" in project.run("up")

        with open(f"{other}/here", "w", encoding="utf-8"):
            pass
        assert project.run("exec", "ls", "/other") == "here\n"
        assert "replaced" not in project.run("up")
    finally:
        for path in (other, f"{other}-moved"):
            shutil.rmtree(path, ignore_errors=True)


def test_up_keeps_the_old_container_when_its_source_is_gone(project: Project) -> None:
    other = f"{project.folder}-gone"
    os.mkdir(other)
    project.manifest(f"source: [., {{path: {other}, target: /other}}]\n")
    pid = project.up(f"source: [., {{path: {other}, target: /other}}]\n")["pid"]
    os.rmdir(other)

    failed = project.attempt("up")

    assert failed.returncode == 2
    assert other in failed.stderr
    assert project.container()["pid"] == pid


def test_down_by_name_takes_down_what_lost_its_folder(project: Project) -> None:
    name = f"lost-{os.path.basename(project.folder)}"
    folder = f"{project.folder}-moved"
    lost = Project(project.paths, folder, project.base)
    os.chmod(folder, 0o755)
    lost.up(f"name: {name}\nports: ['8000']\n")
    os.rename(folder, f"{folder}-on")
    try:
        assert f"{folder} (gone)" in project.run("ps", "--all")
        assert f"{folder} (gone)" not in project.run("ps")
        assert project.run("logs", name) == ""
        project.run("stop", name)
        project.run("down", name)
    finally:
        os.rename(f"{folder}-on", folder)
        lost.down()
        shutil.rmtree(folder)

    assert name not in project.run("ps", "--all")


def test_a_folder_of_any_name_is_a_project(project: Project) -> None:
    odd = Project(project.paths, f"{project.folder}/a,b c:d%2F\\e\nf'\"$g\t{{{{ h }}}}", project.base)
    os.chmod(odd.folder, 0o755)
    odd.manifest()
    try:
        for _ in range(2):
            assert "next:" in odd.run("up")
        for verb in ("exec", "run"):
            assert odd.run(verb, "--", "ls", "/workspace") == "devenv.lock.yml\ndevenv.yml\n"
        assert odd.container()["status"] == "running"
        (line,) = [line for line in odd.run("ps").splitlines() if "%2F" in line]
        assert line.endswith("a,b c:d%2F\\e\\nf'\"$g\\t{{ h }}")
        odd.run("stop")
    finally:
        odd.run("down")


@pytest.mark.parametrize("above", [False, True])
def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_made(project: Project, above: bool) -> None:
    odd = Project(project.paths, f"{project.folder}/latin-\udce9", project.base)
    inside = Project(project.paths, f"{odd.folder}/inside" if above else odd.folder, project.base)
    odd.manifest()
    before = project.run("images", "--json"), project.run("ps", "--all", "--json")

    for words in (["up"], ["plan"], ["exec", "true"], ["run", "true"], ["logs"], ["stop"], ["down"]):
        failed = inside.attempt(*words)
        assert failed.returncode == 2
        assert "latin-\\xe9/devenv.yml: its path isn't UTF-8" in failed.stderr

    assert (inside.run("images", "--json"), inside.run("ps", "--all", "--json")) == before
    os.unlink(f"{odd.folder}/devenv.yml")
    project.up()
    assert inside.run("exec", "pwd") == "/workspace\n"  # of the project above


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_that_is_ended_ends_all_that_its_hook_started(project: Project, number: signal.Signals) -> None:
    project.manifest('hooks: {on_create: ["sleep 4321 & echo begun; sleep 1234; true"]}\n')
    running = project.start("up", "--verbose", start_new_session=True)
    assert eventually(lambda: sleepers(project) == {"1234", "4321"}, 30)

    os.killpg(running.pid, number)  # as a terminal does
    running.communicate(timeout=20)

    assert running.returncode in (130, 128 + number)
    assert eventually(lambda: sleepers(project) == set(), 5)
    assert [name for name in os.listdir(project.paths.bundle(project.container()["id"])) if "exec" in name] == []


def sleepers(project: Project) -> set[str]:
    """What the `sleep`s in the container wait for."""
    done = project.attempt(
        "exec", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -x '[0-9]\\{4\\}'"
    )
    return set(done.stdout.split())
