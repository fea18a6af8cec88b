"""Trials of a project that stayed behind: what breaks is named, what wavers isn't blamed, and nothing of it stays."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from devenv.cli.trying.tree import seen
from tests.e2e.conftest import New
from tests.e2e.place import Place

pytestmark = [pytest.mark.engine, pytest.mark.network]

BROKEN = {"tests/test_notes.py::test_a_note_is_shown_escaped", "tests/test_notes.py::test_an_address_is_a_link"}

WAVERING = """
import os


def test_wavers():
    assert os.urandom(1)[0] % 2


def test_needs_a_newer_jinja():
    from jinja2 import Environment

    assert Environment().from_string("{% for k, v in d|items %}{{ k }}{% endfor %}").render(d={"a": 1}) == "a"
"""


@pytest.fixture(scope="module")
def notes(new: New) -> Place:
    """The example, locked."""
    place = new("flask-upgrade")
    place("lock")
    return place


def judged(place: Place, *words: str, code: int) -> Any:
    """What `try` and the like say as JSON, ending with this code."""
    import json

    before = seen([place.folder])
    done = place.attempt(*words[:1], "--json", *words[1:])
    assert done.code == code, done
    assert seen([place.folder]) == before
    assert left(place) == []
    return json.loads(done.out)


def left(place: Place) -> list[str]:
    """The containers of this folder's environments."""
    return [row["name"] for row in place.json("ps", "--all") if row["environment"]["folder"] == place.folder]


def kinds(verdict: Any) -> dict[str, str]:
    return {one["name"]: one["kind"] for one in verdict["tests"]}


def test_what_breaks_is_named_and_so_is_everything_that_moved(notes: Place) -> None:
    trial = judged(notes, "try", "jinja2=3.1.0", code=1)
    (side,) = trial["variants"]
    verdict = side["verdict"]
    assert kinds(verdict) == dict.fromkeys(BROKEN, "newly failing")
    assert all("cannot import name 'Markup'" in one["detail"] for one in verdict["tests"])
    assert verdict["passed"] == 5
    assert [(one["name"], one["before"], one["after"], one["direct"]) for one in side["packages"]] == [
        ("jinja2", "3.0.3", "3.1.0", True)
    ]
    assert {len(one["runs"]) for one in (trial["baseline"], side)} == {3}


def test_the_first_bad_version_is_found_in_few_runs(notes: Place) -> None:
    trial = judged(notes, "bisect", "jinja2=3.0.1..3.1.6", "--again", "0", code=0)
    assert trial["guilty"] == ["jinja2=3.1.0"]
    versions = trial["candidates"]
    assert versions[0] == "3.0.1" and versions[-1] == "3.1.6" and len(versions) >= 10
    assert len(trial["tried"]) <= math.ceil(math.log2(len(versions) - 1)) + 2


def test_the_guilty_one_of_several_changes_is_found(notes: Place) -> None:
    trial = judged(
        notes, "bisect", "--changes", "--again", "0", "werkzeug=2.0.2", "jinja2=3.1.2", "pytest=8.3.4", code=0
    )
    assert trial["guilty"] == ["jinja2=3.1.2"]


def test_a_matrix_has_a_verdict_for_each(notes: Place) -> None:
    trial = judged(
        notes,
        "matrix",
        "--again",
        "0",
        "jinja2=3.0.2,3.1.0",
        "pytest=8.3.4,8.3.5",
        "--exclude",
        "jinja2=3.1.0,pytest=8.3.5",
        code=1,
    )
    assert [side["verdict"]["outcome"] for side in trial["variants"]] == [
        "no regression",
        "no regression",
        "regression",
    ]


def test_what_wavers_is_no_regression_and_what_is_mended_is_told(notes: Place, new: New) -> None:
    place = new("flask-upgrade")
    place.write("devenv.lock.yml", notes.read("devenv.lock.yml"))
    place.write("tests/test_more.py", WAVERING)
    trial = judged(place, "try", "jinja2=3.1.0", "--again", "5", "--", "pytest", "-q", "tests/test_more.py", code=0)
    found = kinds(trial["variants"][0]["verdict"])
    assert found.pop("tests/test_more.py::test_needs_a_newer_jinja") == "fixed"
    assert set(found.values()) <= {"flaky", "still failing"}


def test_a_version_that_cant_be_is_a_regression_with_its_reason(notes: Place) -> None:
    trial = judged(notes, "try", "markupsafe=1.0", code=1)  # which this Jinja doesn't take
    (side,) = trial["variants"]
    assert side["stage"] == "lock" and "markupsafe" in side["error"] and side["runs"] == []


def test_a_name_that_could_be_nothing_is_refused_before_anything(notes: Place) -> None:
    done = notes.attempt("try", "jinja3=1")
    assert (
        done.code == 2
        and "jinja3: nothing in devenv.yml is called so" in done.err
        and "did you mean jinja2?" in done.err
    )


def test_both_sides_can_be_kept_and_entered(notes: Place) -> None:
    before = seen([notes.folder])
    done = notes("try", "pytest=8.3.4", "--keep")
    assert "kept flask-upgrade.try-pytest-8.3.4: devenv shell --variant pytest-8.3.4" in done.err
    ask = ("exec", "-T", "--variant")
    shown = [notes(*ask, one, "--", "pytest", "--version") for one in ("baseline", "pytest-8.3.4")]
    assert [one.out.split()[1] for one in shown] == ["8.3.5", "8.3.4"]
    notes(*ask, "baseline", "--", "sh", "-c", "echo x > /workspace/written")
    assert seen([notes.folder]) == before
    for one in ("baseline", "pytest-8.3.4"):
        notes("down", "--volumes", "--variant", one)
    assert left(notes) == []


def test_what_is_applied_is_written_and_locked(notes: Place, new: New) -> None:
    place = new("flask-upgrade")
    place.write("devenv.lock.yml", notes.read("devenv.lock.yml"))
    done = place("try", "pytest=8.3.4", "--apply")
    assert "written: requirements.txt, devenv.lock.yml" in done.err
    assert place.read("requirements.txt") == notes.read("requirements.txt").replace("pytest==8.3.5", "pytest==8.3.4")
    place("lock", "--check")
    assert "pytest 8.3.4" in place.read("devenv.lock.yml")


def test_an_interrupted_trial_leaves_nothing_and_what_a_killed_one_left_goes_with_the_next(notes: Place) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        running = subprocess.Popen(
            [sys.executable, "-m", "devenv", "try", "pytest=8.3.4", "--", "sleep", "61"],
            cwd=notes.folder,
            env=notes.env(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr
        begun = 0
        while begun < 2:
            line = running.stderr.readline()
            assert line, "it ended too early"
            begun += line.startswith("→ test ")
        running.send_signal(number)
        running.stderr.read()
        code = running.wait(60)
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
        if number != signal.SIGKILL:
            assert left(notes) == []
    assert len(left(notes)) == 2
    assert interrupted_early(notes) == []
    judged(notes, "try", "pytest=8.3.4", "--", "true", code=0)


def test_the_very_same_once_more_or_not_at_all(notes: Place, new: New) -> None:
    place = new("flask-upgrade")
    place.write("devenv.lock.yml", notes.read("devenv.lock.yml"))
    first = judged(place, "try", "jinja2=3.1.0", "--", "true", code=0)
    again = judged(place, "try", "--repeat", "1", code=0)
    assert again["command"] == "true" and again["again"] == first["again"]
    assert [one["image"] for one in again["variants"]] == [one["image"] for one in first["variants"]]
    place.change("requirements.txt", "pytest==8.3.5", "pytest==8.3.4")
    done = place.attempt("try", "--repeat", "1")
    assert done.code == 2 and "it isn't what devenv.yml asks for: requirements.txt edited" in done.err


def test_a_uv_lock_is_brought_up_to_date_as_little_as_need_be(new: New) -> None:
    place = new(
        manifest="from: bootstrap:bookworm\npython: {requirements: [uv.lock]}\ntest: python -c 'import jinja2'\n"
    )
    place.write(
        "pyproject.toml",
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["jinja2==3.0.3"]\n',
    )
    uv = [os.path.join(os.path.dirname(sys.executable), "uv"), "lock", "-q", "--upgrade-package", "markupsafe==2.1.2"]
    subprocess.run([*uv, "--python", "/usr/bin/python3"], cwd=place.folder, check=True)
    for change, moved in (
        ("jinja2=3.1.0", [("jinja2", "3.0.3", "3.1.0")]),
        ("markupsafe=2.1.3", [("markupsafe", "2.1.2", "2.1.3")]),
    ):
        (side,) = judged(place, "try", change, code=0)["variants"]
        assert [(one["name"], one["before"], one["after"]) for one in side["packages"]] == moved
    done = place.attempt("try", "jinja2=3.1.0", "--apply")
    assert done.code == 2 and "uv.lock says which versions there are" in done.err


def test_a_project_of_npm_is_tried_with_what_npm_makes_of_it(new: New) -> None:
    place = new("node-api")
    place("lock")
    (side,) = judged(
        place, "try", "express=4.21.0", "--", "node", "--import", "tsx", "--test", "tests/notes.test.ts", code=0
    )["variants"]
    assert ("express", "4.21.0", True) in [(one["name"], one["after"], one["direct"]) for one in side["packages"]]
    assert side["verdict"]["passed"] > 0


def interrupted_early(notes: Place) -> list[str]:
    """What is left when the second side is just being brought up."""
    running = subprocess.Popen(
        [sys.executable, "-m", "devenv", "try", "pytest=8.3.4", "--", "sleep", "62"],
        cwd=notes.folder,
        env=notes.env(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr
    while not running.stderr.readline().startswith("→ test baseline"):
        assert running.poll() is None, "it ended too early"
    running.send_signal(signal.SIGINT)
    running.stderr.read()
    assert running.wait(60) == 130
    return left(notes)


def test_a_variant_of_the_manifest_that_is_up_is_no_business_of_a_trial(notes: Place, new: New) -> None:
    place = new("flask-upgrade")
    place.change("devenv.yml", "  trixie: {from: bootstrap:trixie}", "  next: {env: {A: x}}")
    place.write("devenv.lock.yml", notes.read("devenv.lock.yml"))
    place("up", "--variant", "next")
    place("exec", "-T", "--variant", "next", "--", "touch", "/srv/mine")
    place("try", "next", "--keep", "--", "true")
    place("exec", "-T", "--variant", "next", "--", "test", "-e", "/srv/mine")
    place("down", "--volumes", "--variant", "next")  # the user's own
    place("exec", "-T", "--variant", "next", "--", "test", "!", "-e", "/srv/mine")  # now what the trial kept
    for one in ("next", "baseline"):
        place("down", "--volumes", "--variant", one)
    assert left(place) == []


def test_a_log_says_what_is_tested_and_why_once_more(notes: Place) -> None:
    notes.attempt("try", "jinja2=3.1.0", "--", "true")  # whatever must be built first is
    lines = notes.attempt("try", "jinja2=3.1.0", "--", "pytest", "-q").err.splitlines()
    assert {"→ test baseline", "→ test jinja2=3.1.0"} <= {*lines}
    assert "· jinja2=3.1.0  differs from baseline: up to 2 more runs, to be sure" in lines


def test_a_change_that_is_none_is_said_to_be_none(notes: Place) -> None:
    assert "jinja2=3.0.3: the baseline has that already" in notes.attempt("try", "jinja2=3.0.3", "--", "true").err
    assert "has that already" not in notes.attempt("try", "env.MORE=1", "--", "true").err


def test_a_file_that_cant_be_imported_any_more_is_one_regression_whichever_call_it_is_in(
    notes: Place, new: New
) -> None:
    place = new("flask-upgrade")
    place.write("devenv.lock.yml", notes.read("devenv.lock.yml"))
    place.write(
        "tests/test_text.py", "from jinja2 import Markup\ndef test_one(): pass\ndef test_two(): assert Markup\n"
    )
    calls = "pytest -q tests/test_text.py; pytest -q -k empty"
    trial = judged(place, "try", "jinja2=3.1.0", "--", "sh", "-c", calls, code=1)
    verdict = trial["variants"][0]["verdict"]
    assert verdict["reasons"][0].startswith(
        "tests/test_text.py can't be imported any more (ImportError: cannot import name"
    )
    assert {one["name"]: one["within"] for one in verdict["tests"] if one["kind"] == "newly failing"} == {
        "tests/test_text.py": None,
        "tests/test_text.py::test_one": "tests/test_text.py",
        "tests/test_text.py::test_two": "tests/test_text.py",
    }
    assert verdict["passed"] == 1


def test_a_command_that_leaves_something_running_ends_all_the_same(notes: Place) -> None:
    judged(notes, "try", "pytest=8.3.4", "--", "sh", "-c", "sleep 600 & true", code=0)


def test_one_that_takes_too_long_is_ended_and_not_judged(notes: Place) -> None:
    trial = judged(notes, "try", "pytest=8.3.4", "--timeout", "1", "--", "sleep", "60", code=2)
    assert [run["code"] for side in (trial["baseline"], *trial["variants"]) for run in side["runs"]] == [None, None]
    assert "--timeout=1" in trial["again"]


def test_trials_are_kept_and_shown_again(notes: Place) -> None:
    notes.attempt("try", "jinja2=3.1.0", "--again", "0", "--", "false")
    listed = notes("report", "--list").out.splitlines()
    assert listed[1].split()[1] == "try" and "jinja2 3.0.3 → 3.1.0" in listed[1]
    target = f"{os.path.dirname(notes.folder)}/report.html"
    notes("report", "--html", target)
    with open(target, encoding="utf-8") as file:
        assert "jinja2" in file.read()
    assert "devenv try jinja2=3.1.0" in notes("report", "--json").out
    assert time.time() - os.stat(target).st_mtime < 60
