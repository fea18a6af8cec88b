"""One changed line of the manifest rebuilds, or replaces, only what depends on it, and says so."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import New
from tests.e2e.place import Place

pytestmark = [pytest.mark.engine, pytest.mark.network]

MANIFEST = """\
from: bootstrap:bookworm
apt: [tree]
python: {packages: [six]}
env: {COLOUR: red}
hooks: {on_create: ["touch /created"]}
"""


@pytest.fixture(scope="module")
def place(new: New) -> Place:
    """A project with a stage for apt and one for Python."""
    made = new(manifest=MANIFEST)
    made("up")
    return made


@pytest.fixture(autouse=True)
def as_it_was(place: Place) -> None:
    """Each test begins with the same environment; what the store has is not made again."""
    place.write("devenv.yml", MANIFEST)
    place("up")


def test_a_python_package_more_keeps_apt(place: Place) -> None:
    layers = place.layers()
    place.change("devenv.yml", "[six]", "[six, toolz]")
    plan = place("plan").out
    assert "python:" in plan and "(command) changed" in plan and "apt:" not in plan
    done = place("up")
    assert done.ran == {"python", "environment"}
    assert "image changed" in done.out
    assert len(place.layers() - layers) == 3  # the packages, their copy, the workdir above it
    assert place("exec", "--", "python", "-c", "import six, toolz; print(toolz.__name__)").out == "toolz\n"


def test_an_apt_package_more_keeps_python(place: Place) -> None:
    place.change("devenv.yml", "[tree]", "[tree, jq]")
    assert "apt:1 (command) changed" in place("plan").out
    done = place("up")
    assert "apt" in done.ran and "python" not in done.ran
    assert place("exec", "--", "jq", "--version").out.startswith("jq-")
    assert place("exec", "--", "python", "-c", "import six").out == ""


def test_a_variable_changed_replaces_the_container_and_builds_nothing(place: Place) -> None:
    before, layers = place.container(), place.layers()
    place.change("devenv.yml", "COLOUR: red", "COLOUR: blue")
    assert "env.COLOUR changed" in place("plan").out
    diff = place("plan", "--diff").out
    assert "- env.COLOUR: red" in diff and "+ env.COLOUR: blue" in diff
    done = place("up")
    assert "env.COLOUR changed" in done.out and done.ran == set()
    assert place.layers() == layers
    assert place.container()["pid"] != before["pid"]
    assert place.container()["image"] == before["image"]
    assert place("exec", "--", "sh", "-c", "echo $COLOUR").out == "blue\n"


def test_a_hook_changed_replaces_nothing(place: Place) -> None:
    before = place.container()
    place.change("devenv.yml", "touch /created", "touch /other")
    assert place.json("plan")["idle"] is True
    place("up")
    assert place.container() == before
    assert place.attempt("exec", "--", "test", "-e", "/other").code == 1


def test_a_file_that_is_not_named_changes_nothing(place: Place) -> None:
    before = place.container()
    place.write("notes.txt", "new\n")
    assert place.json("plan")["idle"] is True
    assert place.container() == before


def test_plan_never_acts(new: New) -> None:
    place = new(manifest=MANIFEST.replace("tree", "hello"))
    layers, rows = place.layers(), place.json("ps", "--all")
    for words in (("plan",), ("plan", "--diff"), ("plan", "--json")):
        place(*words)
    verbs = [action["verb"] for action in place.json("plan")["actions"]]
    assert verbs == ["build", "create", "start", "run-hook"]
    assert place.layers() == layers
    assert place.json("ps", "--all") == rows
    assert place.attempt("exec", "true").code == 2


def test_two_checkouts_of_one_project_never_meet(new: New) -> None:
    one, other = new(manifest=MANIFEST), new(manifest=MANIFEST)
    one("up")
    other("up")
    one("exec", "--", "sh", "-c", "echo mine > /here")
    assert other.attempt("exec", "--", "test", "-e", "/here").code == 1
    assert one.container()["address"] != other.container()["address"]
    one("down")
    assert other("exec", "--", "pwd").out == "/workspace\n"
