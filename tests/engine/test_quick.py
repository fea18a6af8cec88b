"""The quick door answers only when the long way would say the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time

import pytest

from devenv.quick import formats
from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine


def receipt(project: Project) -> str:
    """The file that the quick door goes by."""
    return project.paths.receipt(project.folder)


def quickly(project: Project, *words: str, **env: str) -> str | None:
    """What the quick door prints, None when it sends the command the long way."""
    done = project.attempt(*words, env={"PYTHONPROFILEIMPORTTIME": "1", **env})
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "devenv.quick" in loaded
    return None if "devenv.cli.act" in loaded or "devenv.cli.app" in loaded else done.stdout


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        (">/dev/full", 1, "error: write: No space left on device\n"),
        ("| head -0", 141, ""),
        (">&-", 0, ""),
    ],
)
@pytest.mark.parametrize("options", ["", " --verbose"])
def test_up_ends_well_where_nobody_reads(
    project: Project, options: str, redirection: str, code: int, told: str
) -> None:
    project.manifest()
    settle(project)
    command = f"set -o pipefail; {' '.join(project.argv('up'))}{options} {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=project.folder, env=project.env(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", told)


@pytest.mark.parametrize(
    "env", [{"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, {"FORCE_COLOR": "0"}, {"NO_COLOR": ""}]
)
def test_up_has_colours_when_the_long_way_has(project: Project, env: dict[str, str]) -> None:
    project.manifest()
    settle(project)
    assert project.run("up", env=env) == project.run("up", "--verbose", env=env)


def settle(project: Project, **env: str) -> None:
    """Up twice: a receipt counts only when nothing was written after its command began."""
    time.sleep(0.1)
    project.run("up", env=env)


def test_up_when_nothing_changed_says_what_the_long_way_says(project: Project) -> None:
    project.manifest("ports: ['8000']\n")
    settle(project)

    quick_answer = quickly(project, "up")

    assert quick_answer is not None
    assert "kept" in quick_answer
    assert quick_answer == project.run("up", "--verbose")  # an option: the long way


LISTEN = """perl -e 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(8000, inet_aton(shift))) or die;
listen(S, 9); system "touch ready"; while (! -e "end") { select undef, undef, undef, 0.02 }' $0"""


def test_up_says_as_it_is_whether_anything_listens(project: Project) -> None:
    """Another server in the workspace is another answer, though no container was touched."""
    project.manifest("ports: ['8000']\n")
    settle(project)
    said = quickly(project, "up")
    assert said is not None and "→ port 8000 of workspace: nothing listens on 8000 yet\n" in said
    for address, told in (("127.0.0.1", ": what listens on 8000 is reached from inside only"), ("0.0.0.0", "\n")):
        with project.start("exec", "--", "sh", "-c", LISTEN, address) as server:
            assert eventually(lambda: os.path.exists(f"{project.folder}/ready"))
            assert f"→ port 8000 of workspace{told}" in project.run("up")
            assert f"→ port 8000 of workspace{told}" in (quickly(project, "up") or "")
            project.write("end", "")
            assert server.wait(10) == 0
        assert "nothing listens on 8000 yet" in project.run("up")
        for name in ("ready", "end"):
            os.remove(f"{project.folder}/{name}")


def test_up_gives_a_server_that_it_started_a_moment_to_listen(project: Project) -> None:
    project.write("serve.pl", LISTEN.split("'")[1].replace("shift", '"0.0.0.0"'))
    project.manifest("ports: ['8000']\ncommand: sleep 0.4; exec perl serve.pl\n")
    assert "→ port 8000 of workspace\n" in project.run("up")
    project.run("stop")
    assert "→ port 8000 of workspace\n" in project.run("up")


def test_build_when_nothing_changed_says_what_the_long_way_says(project: Project) -> None:
    project.manifest()
    time.sleep(0.1)
    digest = project.run("build")
    assert quickly(project, "build") == digest == project.run("build", "--verbose")
    project.manifest("workdir: /srv\n")
    assert quickly(project, "build") is None
    assert project.run("build") != digest


@pytest.mark.parametrize(
    "change",
    [
        lambda project: project.manifest("env: {A: '2'}\n"),
        lambda project: os.utime(f"{project.folder}/devenv.yml"),
    ],
    ids=["manifest", "touched"],
)
def test_up_goes_the_long_way_after_a_change(project: Project, change: object) -> None:
    project.manifest("env: {A: '1'}\n")
    settle(project)
    assert quickly(project, "up") is not None

    assert callable(change)
    change(project)

    assert quickly(project, "up") is None


SECRETS = "secrets: {TOKEN: {from_file: token}, KEY: {from_env: SHOP_KEY}}\n"


@pytest.mark.parametrize(
    ("token", "key", "told"),
    [
        ("two", "k1", "secrets.TOKEN changed"),
        ("one", "k2", "secrets.KEY changed"),
        ("two", "k2", "secrets.TOKEN changed, secrets.KEY changed"),
    ],
)
def test_up_replaces_what_was_given_another_secret(project: Project, token: str, key: str, told: str) -> None:
    project.write("token", "one")
    project.manifest(SECRETS)
    settle(project, SHOP_KEY="k1")
    assert "nothing changed" in (quickly(project, "up", SHOP_KEY="k1") or "")

    if token != "one":
        project.write("token", token)

    assert quickly(project, "up", SHOP_KEY=key) is None  # it did it, the long way
    (record,) = [one for one in explained(project, SHOP_KEY=key) if one["object"] == "workspace"]
    assert (record["verb"], record["reason"]) == ("replace", told)
    assert project.run("exec", "sh", "-c", "cat /run/secrets/*") == key + token
    settle(project, SHOP_KEY=key)
    assert "nothing changed" in (quickly(project, "up", SHOP_KEY=key) or "")


def test_up_gives_another_secret_after_a_build_that_left_a_receipt(project: Project) -> None:
    project.write("token", "one")
    project.manifest(SECRETS)
    settle(project, SHOP_KEY="k1")
    project.write("token", "two")
    time.sleep(0.1)
    project.run("build", env={"SHOP_KEY": "k1"})

    project.run("up", env={"SHOP_KEY": "k1"})

    assert project.run("exec", "sh", "-c", "cat /run/secrets/*") == "k1two"


def test_the_build_of_a_variant_leaves_the_receipt_of_what_is_written_there(project: Project) -> None:
    project.manifest("variants: {next: {env: {A: '2'}}}\nenv: {A: '1'}\n")
    settle(project)
    with open(receipt(project), encoding="utf-8") as file:
        before = file.read()
    time.sleep(0.1)

    project.run("--variant", "next", "build")

    with open(receipt(project), encoding="utf-8") as file:
        assert file.read() == before
    assert project.run("exec", "sh", "-c", "echo $A") == "1\n"


def explained(project: Project, **env: str) -> list[dict[str, str]]:
    """What was last done, and why."""
    records: list[dict[str, str]] = json.loads(project.run("explain", "--json", env=env))["last"]
    return records


def test_up_without_the_variable_of_a_secret_goes_the_long_way_and_keeps_what_runs(project: Project) -> None:
    project.write("token", "one")
    project.manifest(SECRETS)
    settle(project, SHOP_KEY="k1")
    pid = project.container()["pid"]

    done = project.attempt("up")

    assert "`secrets.KEY`: the variable SHOP_KEY isn't set: what runs keeps the one that it was given" in done.stderr
    assert (done.returncode, project.container()["pid"]) == (0, pid)
    assert "nothing changed" in (quickly(project, "up", SHOP_KEY="k1") or "")


def test_a_secret_is_in_no_receipt(project: Project) -> None:
    project.write("token", "canary-of-a-file")
    project.manifest(SECRETS)
    settle(project, SHOP_KEY="canary-of-a-variable")
    assert quickly(project, "up", SHOP_KEY="canary-of-a-variable") is not None

    kept = ""
    for path in (receipt(project), project.paths.door(project.folder)):
        with open(path, encoding="utf-8") as file:
            kept += file.read()

    assert "canary" not in kept
    for secret in (b"canary-of-a-file", b"canary-of-a-variable"):
        for name in hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}:
            assert hashlib.new(name, secret).hexdigest() not in kept


def test_up_notices_a_changed_file_of_the_build(project: Project) -> None:
    project.write("Containerfile", "FROM base\nCOPY data /data\n")
    project.write("data", "one")
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")
    settle(project)
    assert quickly(project, "up") is not None

    project.write("data", "two")

    assert quickly(project, "up") is None
    assert project.run("exec", "cat", "/data") == "two"


def test_up_notices_a_container_that_died(project: Project) -> None:
    settle(project)
    pid = project.container()["pid"]
    os.kill(pid, 9)
    time.sleep(0.3)

    answer = quickly(project, "up")
    assert answer is not None and "started" in answer
    assert project.container()["pid"] not in (None, pid)


@pytest.mark.parametrize(("verb", "told"), [("stop", "started"), ("down", "created")])
def test_up_again_reads_no_manifest(project: Project, verb: str, told: str) -> None:
    project.manifest("hooks: {on_create: ['echo created >> /workspace/told'], on_start: ['echo started >> told']}\n")
    settle(project)
    project.run(verb)
    project.write("told", "")

    answer = quickly(project, "up")

    assert answer is not None and told in answer
    assert project.read("told") == ("started\n" if verb == "stop" else "created\nstarted\n")
    assert quickly(project, "up") == project.run("up", "--verbose")


def test_a_change_after_up_from_a_receipt_is_told_by_name(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN echo one\n")
    manifest = f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n"
    project.manifest(manifest)
    settle(project)
    project.run("down")
    assert quickly(project, "up") is not None

    project.write("Containerfile", "FROM base\nRUN echo two\n")

    assert "command" in project.run("plan", "--diff")


def test_a_receipt_of_another_format_is_not_read(project: Project) -> None:
    settle(project)
    with open(receipt(project), encoding="utf-8") as file:
        kept = json.load(file)
    with open(receipt(project), "w", encoding="utf-8") as file:
        json.dump({**kept, "version": formats.VERSION + 1}, file)

    assert quickly(project, "up") is None


def test_no_receipt_is_kept_of_a_file_that_changed_meanwhile(project: Project) -> None:
    project.manifest("hooks: {on_create: ['true']}\n")
    running = project.start("up")
    time.sleep(0.05)
    project.manifest("hooks: {on_create: ['true', 'true']}\n")
    running.communicate()

    assert quickly(project, "up") is None


def test_exec_passes_code_stdin_and_arguments(project: Project) -> None:
    settle(project)

    done = project.attempt("exec", "--", "sh", "-c", 'cat; echo "$1"; exit 7', "sh", "a b", input="in\n")

    assert (done.returncode, done.stdout) == (7, "in\na b\n")


def test_exec_and_run_have_no_descriptors_and_no_variables_of_ours(project: Project) -> None:
    settle(project)
    for verb in ("exec", "run"):
        found = project.attempt(verb, "--", "sh", "-c", "ls /proc/self/fd; env", env={"CANARY": "leak"}).stdout
        assert "leak" not in found
        assert found.split("\n")[:4] == ["0", "1", "2", "3"]  # 3 is ls's own


def test_exec_goes_the_long_way_when_nobody_watches_the_container(project: Project) -> None:
    project.manifest()
    settle(project)
    assert quickly(project, "exec", "true") is not None
    container = project.container()
    with open(f"{project.paths.bundle(container['id'])}/conmon.pid", encoding="ascii") as file:
        os.kill(int(file.read()), 9)

    assert "devenv up" in project.attempt("exec", "true").stderr  # though its init lives on, for the moment


def test_run_makes_a_container_of_its_own(project: Project) -> None:
    settle(project)
    assert quickly(project, "run", "--", "true") is not None

    done = project.attempt("run", "--", "sh", "-c", "touch /mine; cat; exit 5", input="in")

    assert (done.returncode, done.stdout) == (5, "in")
    assert project.attempt("exec", "ls", "/mine").returncode != 0


def test_run_fails_with_a_message_when_its_image_went(project: Project) -> None:
    settle(project)
    project.run("down")
    project.run("gc", "--all")

    assert project.run("run", "--", "echo", "built again") == "built again\n"
