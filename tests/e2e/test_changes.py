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
    assert "python.packages +toolz" in plan and "apt" not in plan
    done = place("up")
    assert done.ran == {"environment"}
    assert "another image" in done.out
    assert len(place.layers() - layers) == 2  # the packages that are new, the workdir above them
    assert place("exec", "--", "python", "-c", "import six, toolz; print(toolz.__name__)").out == "toolz\n"


def test_an_apt_package_more_keeps_python(place: Place) -> None:
    place.change("devenv.yml", "[tree]", "[tree, jq]")
    assert "apt +jq" in place("plan").out
    assert "+ apt: jq" in place("plan", "--diff").out
    done = place("up")
    assert "apt" in done.ran and "python" not in done.ran
    assert place("exec", "--", "jq", "--version").out.startswith("jq-")
    assert place("exec", "--", "python", "-c", "import six").out == ""


def test_a_variable_changed_replaces_the_container_and_builds_nothing(place: Place) -> None:
    before, layers = place.container(), place.layers()
    place.change("devenv.yml", "COLOUR: red", "COLOUR: blue")
    assert "env.COLOUR red → blue" in place("plan").out
    diff = place("plan", "--diff").out
    assert "- env.COLOUR: red" in diff and "+ env.COLOUR: blue" in diff
    done = place("up")
    assert "env.COLOUR red → blue" in done.out and done.ran == set()
    assert place.layers() == layers
    assert place.container()["pid"] != before["pid"]
    assert place.container()["image"] == before["image"]
    assert place("exec", "--", "sh", "-c", "echo $COLOUR").out == "blue\n"


def test_steps_are_counted_in_one_way(place: Place) -> None:
    place.change("devenv.yml", "[six]", "[six, iniconfig]")
    lock, action = place.json("plan")["actions"][:2]
    assert (lock["verb"], lock["reason"]) == ("lock", "python.packages +iniconfig")
    assert action["reason"].startswith("2 of 5 steps: ")
    assert [step["position"] for step in action["steps"]] == ["apt"] + [f"environment {n}/4" for n in (1, 2, 3, 4)]
    done = place("up", "--no-cache")
    assert {line.split("  ")[0].split(" ", 1)[1] for line in done.err.splitlines() if line[:1] == "✓"} >= {
        "apt tree, python3",
        "environment 1/4 six",
        "environment 2/4 pip",
        "environment 3/4 iniconfig",
        "environment 4/4 /workspace",
    }


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "[tree]",
            "[tree, nosuchpackage]",
            "devenv.yml:2:13: `apt[1]`: installing nosuchpackage failed: exit code 100",
        ),
        ("[six]", "[six>=9999]", "devenv.yml:3:21: `python.packages[0]`: installing six failed: exit code 1"),
    ],
)
def test_a_package_that_is_not_there_is_told_by_its_place(place: Place, before: str, after: str, told: str) -> None:
    place.change("devenv.yml", before, after)
    done = place.attempt("up")
    assert done.code == 1 and f"error: {told}\n  │ " in done.err and "(rendered)" not in done.err


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
    assert verbs == ["lock", "build", "create", "start", "run-hook"]
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
