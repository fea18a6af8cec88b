"""The examples: up, their tests pass inside, they answer, the second `up` keeps everything, `down` leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.e2e.conftest import New
from tests.e2e.place import EXAMPLES, Place

pytestmark = [pytest.mark.engine, pytest.mark.network]

ANSWERS = {
    "django-shop": ("/", "<title>"),
    "node-api": ("/health", "v20."),
    "existing-dockerfile": ("/Ada", "Ada"),
    "flask-upgrade": ("/", "<ul></ul>"),
}


@pytest.fixture(scope="module", params=sorted(ANSWERS))
def example(request: pytest.FixtureRequest, new: New) -> tuple[str, Place]:
    """An example, up."""
    place = new(request.param)
    place("up")
    return request.param, place


def test_every_example_has_its_test_here() -> None:
    elsewhere = {"README.md", "shop-stack"}  # test_stack.py
    assert {*os.listdir(EXAMPLES)} == {*ANSWERS} | elsewhere


def test_example_passes_its_own_tests_inside(example: tuple[str, Place]) -> None:
    example[1]("test")


def test_example_answers(example: tuple[str, Place]) -> None:
    name, place = example
    path, text = ANSWERS[name]
    status, body = place.ask(path)
    assert status == 200
    assert text in body


def test_example_keeps_everything_the_second_time(example: tuple[str, Place]) -> None:
    _, place = example
    before, layers = place.container(), place.layers()
    again = place.json("up")
    assert {action["verb"] for action in again["actions"]} == {"keep"}
    assert place.container()["pid"] == before["pid"]
    assert place.layers() == layers
    assert place.json("plan")["idle"] is True


def test_example_leaves_its_source_tree_as_it_was(example: tuple[str, Place]) -> None:
    name, place = example
    # But for the lock, which belongs there.
    argv = ["diff", "-rq", "-x", "devenv.lock.yml", f"{EXAMPLES}/{name}", place.folder]
    made = subprocess.run(argv, capture_output=True, text=True)
    assert [line for line in made.stdout.splitlines() if line.startswith(f"Only in {place.folder}")] == []


def test_example_is_gone_after_down(new: New) -> None:
    place = new("django-shop")
    place("up")
    container = place.container()
    root = place.paths.container(container["id"])
    assert os.path.isdir(root)
    place("down")
    place("down")
    assert [row for row in place.json("ps", "--all") if row["environment"]["folder"] == place.folder] == []
    assert not os.path.exists(f"/proc/{container['pid']}")
    assert not os.path.exists(root)
    assert not os.path.exists(place.paths.bundle(container["id"]))
    # The slot it had is kept ready, its port on the bridge still tied to its address: nobody is let in or out for it.
    rules = json.loads(subprocess.run(["nft", "-j", "list", "ruleset", "inet"], capture_output=True, check=True).stdout)
    assert f'"{container["address"]}"' not in json.dumps(rules)
    assert "django-shop" in place("images").out


def test_dockerfile_is_used_unchanged_with_contexts_from_the_command_line(new: New) -> None:
    place = new("existing-dockerfile")
    os.unlink(f"{place.folder}/devenv.yml")
    refused = place.attempt("build", ".")
    assert refused.code == 2
    assert "Dockerfile:4" in refused.err and "--build-context" in refused.err
    built = place.json("build", "--tag", "greeter:x", "--build-context", "debian:bookworm-slim=bootstrap:bookworm", ".")
    assert built["references"] == ["greeter:x"]
    assert place("run", "--image", "greeter:x", "--", "--version").out == "greeter 1.0\n"
