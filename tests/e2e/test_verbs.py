"""Each verb through the command line, on one small project: what it prints, its JSON, its exit code."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

import jsonschema
import pytest
import yaml

from tests.e2e.conftest import New
from tests.e2e.place import EXAMPLES, Place

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def place(new: New) -> Place:
    """A project without parts, up, that prints a line to each stream."""
    made = new(manifest="from: bootstrap:bookworm\ncommand: echo out; echo err >&2; exec sleep 1000\ntest: test -f\n")
    made("up")
    return made


def test_up_tells_and_answers_in_json(place: Place) -> None:
    report = place.json("up", "--recreate")
    assert report["ok"] is True
    assert [action["verb"] for action in report["actions"]] == ["keep", "replace", "start"]
    assert all(action["reason"] for action in report["actions"])
    assert [row["status"] for row in report["containers"]] == ["running"]


def test_exec_has_the_commands_own_streams_and_code(place: Place) -> None:
    done = place.attempt("exec", "--", "sh", "-c", "cat; echo err >&2; exit 7", input="in\n")
    assert (done.code, done.out, done.err) == (7, "in\n", "err\n")
    assert place("exec", "-e", "A=b c", "-w", "/tmp", "--", "sh", "-c", "echo $A; pwd").out == "b c\n/tmp\n"


def test_exec_keeps_bytes_as_they_are(place: Place) -> None:
    argv = [sys.executable, "-m", "devenv", "exec", "--", "cat"]
    data = bytes(range(256)) * 400
    assert subprocess.run(argv, cwd=place.folder, env=place.env(), input=data, capture_output=True).stdout == data


def test_run_is_another_container_gone_afterwards(place: Place) -> None:
    before = place.json("ps", "--all")
    done = place.attempt("run", "--", "sh", "-c", "cat; touch /here; exit 3", input="in\n")
    assert (done.code, done.out) == (3, "in\n")
    assert place.attempt("exec", "--", "test", "-e", "/here").code == 1
    assert place.json("ps", "--all") == before


def test_run_passes_signals_on(place: Place) -> None:
    argv = [sys.executable, "-m", "devenv", "run", "--", "sh", "-c", "trap 'exit 9' TERM; echo ready; sleep 60 & wait"]
    with subprocess.Popen(argv, cwd=place.folder, env=place.env(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(20) == 9


def test_test_runs_the_manifests_own_with_arguments(place: Place) -> None:
    assert place.attempt("test", "devenv.yml").code == 0
    assert place.attempt("test", "nothing.yml").code == 1


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("nosuch -q", "nosuch"),
        ("cd /tmp && A=b exec nosuch -q", "nosuch"),
        ("true; echo nosuch | other", "other"),
        ("./nosuch", "./nosuch"),
        ("true 2>&1; f=1 sh -c 'exit 127'", ""),
        ("sh -c 'nosuch -q'", ""),
    ],
)
def test_test_says_which_command_is_missing(place: Place, command: str, missing: str) -> None:
    """As exec does: a shell's own words don't say what to do."""
    before = place.read("devenv.yml")
    place.write("devenv.yml", before.replace("test: test -f", f"test: {json.dumps(command)}"))
    try:
        done = place.attempt("test")
    finally:
        place.write("devenv.yml", before)
    assert done.code == 127
    if missing:
        told = place.attempt("exec", "--", missing).err
        assert "no such command" in told and told in done.err
    else:
        assert "hint: " not in done.err


def test_files_made_inside_belong_to_the_trees_owner(place: Place) -> None:
    place("exec", "--", "touch", "made")
    status = os.stat(f"{place.folder}/made")
    assert (status.st_uid, status.st_gid) == (os.stat(place.folder).st_uid, os.stat(place.folder).st_gid)


def test_logs_keeps_the_streams_apart(place: Place) -> None:
    place("up", "--recreate")
    deadline = time.monotonic() + 10
    while (done := place("logs")).err == "" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (done.out, done.err) == ("out\n", "err\n")
    assert re.fullmatch(r"\S+T\S+ (out|err)\n", place("logs", "-t", "-n", "1").out + place("logs", "-t", "-n", "1").err)


def test_logs_follow_until_the_container_stops(place: Place) -> None:
    argv = [sys.executable, "-m", "devenv", "logs", "-f"]
    with subprocess.Popen(argv, cwd=place.folder, env=place.env(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "out\n"
        place("stop")
        assert process.wait(20) == 0
    place("up")


def test_stop_then_ps_then_up(place: Place) -> None:
    stopped = place.json("stop")
    assert [action["verb"] for action in stopped["actions"]] == ["stop"]
    assert re.search(r" workspace +stopped ", place("ps").out)
    assert place.attempt("exec", "true").code == 2
    again = place.json("up")
    assert [action["verb"] for action in again["actions"]] == ["keep", "start"]
    assert re.search(r" workspace +up ", place("ps").out)


def test_ps_elsewhere_hides_what_is_stopped(place: Place, new: New) -> None:
    place("stop")
    elsewhere = new(manifest="from: bootstrap:bookworm\n")
    assert place.folder not in elsewhere("ps").out
    assert place.folder in elsewhere("ps", "--all").out
    place("up")


def test_images_names_the_projects_own(place: Place) -> None:
    container = place.container()
    (image,) = [one for one in place.json("images") if one["digest"] == container["image"]]
    assert len(image["references"]) >= 1 and image["layers"] >= 1 and image["size"] > 50_000_000
    assert image["digest"].removeprefix("sha256:")[:12] in place("images").out


def test_gc_removes_nothing_that_is_used(place: Place) -> None:
    dry = place.json("gc", "--dry-run")
    assert dry["dry_run"] is True
    used = place.container()["image"]
    place.json("gc")
    assert used in [one["digest"] for one in place.json("images")]
    assert place("exec", "--", "cat", "/etc/debian_version").out.startswith("12.")
    assert place.json("gc")["removed"] == []


def test_doctor_is_content_with_a_machine_that_works(place: Place) -> None:
    found = place.json("doctor")
    assert found["ok"] is True
    assert {"runtime", "overlayfs", "user namespaces", "cgroups"} <= {one["name"] for one in found["checks"]}
    assert place("doctor").out.count("✓") == len(found["checks"])


def test_schema_takes_the_examples_and_refuses_what_up_refuses(place: Place) -> None:
    schema = json.loads(place("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    found = sorted(glob.glob(f"{EXAMPLES}/*/devenv.yml"))
    assert found
    for name in found:
        with open(name, encoding="utf-8") as file:
            assert list(validator.iter_errors(yaml.safe_load(file))) == [], name
    assert list(validator.iter_errors({"from": "bootstrap:bookworm", "apts": []}))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "six\n"}, "requirements.txt"),
        ({"pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["six"]\n'}, "pyproject.toml"),
        ({"package.json": '{"name": "api", "version": "1.0.0"}'}, "node"),
        ({"Dockerfile": "FROM debian:bookworm-slim\nRUN true\n"}, "file:Dockerfile"),
        ({}, "bootstrap:"),
    ],
    ids=["requirements", "pyproject", "package", "dockerfile", "nothing"],
)
def test_init_writes_a_manifest_that_plan_takes(new: New, files: dict[str, str], expected: str) -> None:
    place = new()
    for name, text in files.items():
        place.write(name, text)
    shown = place("init", "--print").out
    assert not os.path.exists(f"{place.folder}/devenv.yml")
    place("init")
    assert place.read("devenv.yml") == shown and expected in shown
    assert [action["verb"] for action in place.json("plan")["actions"][:2]] in (["lock", "build"], ["lock", "keep"])
    assert place.attempt("init").code == 2
    place("init", "--force")


def test_init_then_up_works_without_a_word_written(new: New) -> None:
    place = new()
    place.write("requirements.txt", "six==1.17.0\n")
    place("init")
    place("up")
    assert place("exec", "--", "python", "-c", "import six; print(six.__version__)").out == "1.17.0\n"


def test_render_is_the_file_that_builds(place: Place) -> None:
    text = place("render").out
    assert text.startswith("# Made by devenv") and "FROM bootstrap:bookworm AS base" in text


_ASKS = {
    "bash": 'eval "$(devenv completion bash)"; COMP_WORDS=(devenv sche) COMP_CWORD=1; _devenv_completion devenv; echo ${COMPREPLY[@]}',
    "fish": "devenv completion fish | source; complete --do-complete 'devenv sche'",
}


@pytest.mark.parametrize("shell", sorted(_ASKS))
def test_completion_completes_a_verb(place: Place, shell: str) -> None:
    assert shutil.which(shell), f"`make test` installs {shell}"
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    asked = subprocess.run([shell, "-c", _ASKS[shell]], env=place.env({"PATH": path}), capture_output=True, text=True)
    assert asked.stdout.split()[:1] == ["schema"], asked


def test_completion_for_zsh_is_a_script_it_takes(place: Place) -> None:
    script = place("completion", "zsh").out
    assert script.startswith("#compdef devenv")
    assert shutil.which("zsh"), "`make test` installs zsh"
    loaded = subprocess.run(
        ["zsh", "-f", "-c", 'autoload -U compinit; compinit -u -D; eval "$(cat)"; echo ${_comps[devenv]}'],
        input=script,
        env=place.env(),
        capture_output=True,
        text=True,
    )
    assert loaded.stdout.strip() == "_devenv_completion", loaded
