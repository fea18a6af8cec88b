"""What a new user and a strict reader found once, and must not find again."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def with_file(project: Project, text: str, more: str = "") -> None:
    """The project has this Containerfile."""
    project.write("Containerfile", text)
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n{more}")


def test_up_fails_when_its_command_ends_at_once(project: Project) -> None:
    project.manifest("command: exec nosuch\nhooks: {on_create: ['true']}\n")
    done = project.attempt("up")
    assert done.returncode == 1
    assert "ended at once with exit code 127" in done.stderr
    assert "nosuch: not found" in done.stderr
    assert "run -- sh" in done.stderr


def test_up_blames_the_command_that_ends_while_a_hook_runs_and_not_the_hook(project: Project) -> None:
    waits = "until [ -e begun ]; do sleep 0.1; done"
    project.manifest(
        f"command: echo no database; {waits}; exit 3\nhooks: {{on_create: ['touch begun; exec sleep 30']}}\n"
    )
    done = project.attempt("up")
    assert done.returncode == 1
    assert (
        "start workspace: its command ended, while on_create: touch begun; exec sleep 30 ran, with exit code 3"
        in done.stderr
    )
    assert "no database" in done.stderr
    assert "mend `command:`" in done.stderr
    assert "mend the command" not in done.stderr


def test_up_runs_on_start_again_after_it_failed(project: Project) -> None:
    project.manifest("hooks: {on_start: ['test -e /workspace/there', 'echo ran >> /workspace/ran']}\n")
    assert project.attempt("up").returncode == 1
    assert project.attempt("up").returncode == 1
    project.write("there", "")

    project.run("up")

    assert project.read("ran") == "ran\n"
    assert "kept  workspace" in project.run("up")
    assert project.read("ran") == "ran\n"


def test_a_volume_of_the_image_does_not_hide_the_source(project: Project) -> None:
    with_file(
        project, "FROM base\nRUN mkdir /app && echo old > /app/file\nVOLUME /app\n", "source: {path: ., target: /app}\n"
    )
    project.write("file", "new")
    project.run("up")
    assert project.run("exec", "cat", "/app/file") == "new"


def test_up_after_a_build_without_cache_takes_the_new_image(project: Project) -> None:
    with_file(project, "FROM base\nRUN date +%N > /made\n")
    project.run("up")
    before = project.run("exec", "cat", "/made")

    project.run("build", "--no-cache")
    project.run("up")

    assert project.run("exec", "cat", "/made") != before


def test_up_notices_a_change_behind_a_link(project: Project) -> None:
    project.manifest("env: {A: '1'}\n")
    os.rename(f"{project.folder}/devenv.yml", f"{project.folder}/real.yml")
    os.symlink("real.yml", f"{project.folder}/devenv.yml")
    time.sleep(0.1)
    project.run("up")

    project.write("real.yml", project.read("real.yml").replace("'1'", "'2'"))

    assert "env.A 1 → 2" in project.run("up")


def test_a_port_of_a_killed_run_is_free_again(project: Project) -> None:
    running = project.start("run", "-p", "18765:80", "--", "sleep", "60")
    for _ in range(100):
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
        if "18765" in rules:
            break
        time.sleep(0.1)
    running.kill()
    running.communicate()

    assert project.attempt("run", "-p", "18765:80", "--", "true").returncode == 0


def test_waiting_for_another_command_is_said(project: Project) -> None:
    project.manifest("hooks: {on_create: ['touch begun; sleep 2']}\n")
    first = project.start("up")
    assert eventually(lambda: os.path.exists(f"{project.folder}/begun"))
    second = project.attempt("up")
    first.communicate()
    assert second.returncode == 0
    assert "waiting: another devenv command" in second.stderr


def test_a_mistyped_stage_and_a_suite_are_told(project: Project) -> None:
    project.write("Containerfile", "FROM debian:trixie-slim AS build\nFROM scratch\nCOPY --from=biuld /x /x\n")
    done = project.attempt("build", ".")
    assert "did you mean the stage build?" in done.stderr
    project.write("Containerfile", "FROM debian:trixie-slim\n")
    assert "bootstrap:trixie" in project.attempt("build", ".").stderr
