"""Commands as people write them → what their tests are listened to with; where it can be, by the tools themselves."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from devenv.cli.trying.runs import laid, spread
from devenv.model.manifest import Pairs
from devenv.model.trial import Case
from devenv.trial import heard
from devenv.trial.recognise import Listener, Written, installed, recognise

from .render_cases import node, python, section

FOLDER = "/run/trial"
NODE = {"node": "20.20.2"}


def variables(listener: Listener) -> dict[str, str]:
    return dict(listener.environment)


@pytest.mark.parametrize(
    "command",
    [
        "pytest -q",
        "python -m pytest tests",
        "sh -c 'cd shop && exec pytest'",
        "py.test",
        "/opt/venv/bin/pytest",
        "coverage run -m pytest",
    ],
)
def test_recognise_pytest_by_its_name(command: str) -> None:
    listener = recognise(command, FOLDER)
    assert listener.tools == ("pytest",)
    assert variables(listener) == {
        "PYTEST_ADDOPTS": "--junitxml=/run/trial/pytest.xml -o junit_family=xunit1 --continue-on-collection-errors",
        "PYTHONHASHSEED": "0",
    }
    assert listener.reports[0] == Written("/run/trial/*.xml")


def test_recognise_what_a_command_hides() -> None:
    assert recognise("make test", FOLDER, packages={"pytest": "8.3"}).tools == ("pytest",)
    assert recognise("make test", FOLDER, around="test:\n\t.venv/bin/pytest").tools == ("pytest",)
    assert recognise("npm test", FOLDER, '{"scripts": {"test": "node --test"}}', NODE).tools == ("node --test",)
    assert recognise("npm test", FOLDER, '{"devDependencies": {"vitest": "^3.0.0"}}', NODE).tools == ("vitest",)
    both = recognise("make test", FOLDER, "pytest && npx vitest run && go test ./...", NODE)
    assert both.tools == ("pytest", "vitest", "go test")


@pytest.mark.parametrize(
    "command", ["./run-tests", "make", "true", "python setup.py my-pytest-like", "cat pytest-results"]
)
def test_recognise_nothing_in_what_is_unknown(command: str) -> None:
    listener = recognise(command, FOLDER)
    assert (listener.tools, listener.deaf) == ((), ())
    assert variables(listener) == {"PYTHONHASHSEED": "0"}


def test_recognise_leaves_values_that_are_there() -> None:
    environment = {"PYTEST_ADDOPTS": "-x", "PYTHONHASHSEED": "7", "GOFLAGS": "-mod=vendor"}
    listener = recognise("pytest; go test ./...", FOLDER, environment=environment)
    found = variables(listener)
    assert found["PYTEST_ADDOPTS"].startswith("-x --junitxml=")
    assert found["GOFLAGS"] == "-mod=vendor -v -count=1"
    assert "PYTHONHASHSEED" not in found
    assert ("PYTHONHASHSEED", "0") not in listener.controlled


def test_recognise_holds_seeds_of_plugins_that_are_there() -> None:
    listener = recognise("pytest", FOLDER, packages={"pytest": "8", "pytest-randomly": "3"})
    assert variables(listener)["PYTEST_ADDOPTS"].endswith(" --randomly-seed=0")
    assert listener.controlled == (("pytest --randomly-seed", "0"), ("PYTHONHASHSEED", "0"))


def test_recognise_tox_passes_on_what_pytest_is_told() -> None:
    environment = {"TOX_OVERRIDE": "testenv.deps+=x"}
    listener = recognise("tox", FOLDER, "pytest", {"tox": "4.11.1"}, environment)
    assert variables(listener)["TOX_OVERRIDE"] == (
        "testenv.deps+=x;testenv.pass_env+=PYTEST_ADDOPTS;env_run_base.pass_env+=PYTEST_ADDOPTS"
    )
    assert "TOX_OVERRIDE" not in variables(recognise("tox", FOLDER, "pytest", {"tox": "4.9.0"}))
    assert "TOX_OVERRIDE" not in variables(recognise("pytest", FOLDER))


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("pytest --junitxml=build/report.xml", "build/report.xml"),
        ("pytest --junit-xml report.xml -q", "report.xml"),
        ("vendor/bin/phpunit --log-junit build/phpunit.xml", "build/phpunit.xml"),
        ("ctest --output-junit ctest.xml", "ctest.xml"),
        ("npx vitest run --reporter=junit --outputFile=junit.xml", "junit.xml"),
        ("./mvnw test", "**/target/surefire-reports/TEST-*.xml"),
        ("./gradlew check", "**/build/test-results/*/TEST-*.xml"),
    ],
)
def test_recognise_reports_that_are_written_anyway(command: str, pattern: str) -> None:
    assert Written(pattern) in recognise(command, FOLDER, packages=NODE).reports


@pytest.mark.parametrize(
    ("command", "packages", "deaf"),
    [
        ("rspec", {}, "RSpec"),
        ("cargo +nightly test --all", {}, "cargo test"),
        ("node --test", {"node": "18.18.2"}, "node --test"),  # it has no such reporter yet
        ("node --test", {"node": "20.9.0"}, "node --test"),
        ("node --test", {}, "node --test"),  # who knows which
        ("node --test --test-reporter=tap", NODE, "node --test"),  # its own, which would have no destination
        ("npx vitest", {"node": "16.20.0"}, "vitest"),
        ("npx vitest --outputFile=a.json", NODE, "vitest"),
        ("npx mocha --reporter dot", NODE, "mocha"),
        ("npx jest --json", NODE, "jest"),
    ],
)
def test_recognise_says_whom_it_cant_hear(command: str, packages: dict[str, str], deaf: str) -> None:
    listener = recognise(command, FOLDER, packages=packages)
    assert deaf in listener.deaf
    assert deaf not in listener.tools
    assert "NODE_OPTIONS" not in variables(listener)


@pytest.mark.parametrize(
    ("version", "known"), [("18.19.0+dfsg-6~deb12u2", True), ("v22.1.0", True), ("24", True), ("19.9.0", False)]
)
def test_recognise_node_by_its_version(version: str, known: bool) -> None:
    assert ("NODE_OPTIONS" in variables(recognise("node --test", FOLDER, packages={"nodejs": version}))) is known


def test_recognise_knows_what_a_lock_has() -> None:
    locked = section(
        ["golang-1.19=1.19.8"],
        "golang-1.19",
        python=python("pytest==8.3.4 flask==3.0"),
        node=node("22.1.0", "jest@29.7.0", "vitest@3.0.1"),
    )
    packages = installed(locked)
    assert packages == {
        "golang-1.19": "1.19.8",
        "pytest": "8.3.4",
        "flask": "3.0",
        "node": "22.1.0",
        "jest": "29.7.0",
        "vitest": "3.0.1",
    }
    assert recognise("make", FOLDER, packages=packages).tools == ("pytest", "vitest", "jest", "go test")
    assert installed(section([], "")) == {}


def listened(command: list[str], folder: str, around: str = "", more: Pairs = ()) -> heard.Heard:
    """A command, run as it is with the variables of its listener; and what is heard of it."""
    os.mkdir(f"{folder}/heard")
    listener = recognise(" ".join(command), f"{folder}/heard", around, NODE)
    path = f"{folder}/.venv/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": folder, **dict(more), **variables(listener)}
    own = tuple(pair for pair in listener.files if pair[0].startswith((f"{folder}/", ".venv/")))
    script = f"{spread(own)}{laid(own)}exec {shlex.join(command)}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    reports = []
    for report in listener.reports:
        for path in sorted(glob.glob(report.pattern, root_dir=folder, recursive=True)):
            with open(os.path.join(folder, path), "rb") as file:
                reports.append((path, report.form, file.read()))
    return heard.heard(reports, done.stdout + done.stderr, folder)


def write(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def interpreter(folder: str, name: str = ".venv") -> None:
    """A Python of its own with this one's packages, which nobody writes into."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", f"{folder}/{name}"], check=True)
    (library,) = glob.glob(f"{folder}/{name}/lib/python3*/site-packages")
    write(library, "ours.pth", os.path.dirname(os.path.dirname(pytest.__file__)))


def named(found: heard.Heard) -> list[tuple[str, str]]:
    return [(case.name, case.outcome) for case in found.cases or ()]


def test_recognise_pytest_is_heard_however_it_is_called(tmp_path: os.PathLike[str]) -> None:
    folder = os.fspath(tmp_path)
    write(folder, "test_shop.py", "def test_good(): pass\ndef test_bad(): assert 0\n")
    write(folder, "test_gone.py", "import nothing_of_that_name\n")
    write(folder, "test.sh", f"{sys.executable} -m pytest -q -p no:cacheprovider\n")
    found = listened(["sh", "test.sh"], folder, "pytest", (("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"),))
    assert named(found) == [
        ("test_gone.py", "error"),
        ("test_shop.py::test_good", "passed"),
        ("test_shop.py::test_bad", "failed"),
    ]


def test_recognise_node_is_heard_however_it_is_called(tmp_path: os.PathLike[str]) -> None:
    folder = os.fspath(tmp_path)
    write(folder, "package.json", '{"scripts": {"test": "node --test"}}')
    write(
        folder,
        "a.test.js",
        "const {test} = require('node:test'); test('good', () => {}); test('bad', () => {throw new Error('why')})",
    )
    found = listened(["npm", "test"], folder, "node --test")
    assert named(found) == [("good", "passed"), ("bad", "failed")]
    assert "why" in (found.cases or ())[1].detail


SHOP = """
import os, subprocess, sys
def test_good(): pass
def test_bad(): assert 0
def test_other_pytest():  # of the plugin's own making, say: no test of the project
    os.makedirs("inner", exist_ok=True)
    with open("inner/test_inner.py", "w") as file: file.write("def test_x(): assert 0")
    assert subprocess.run([sys.executable, "-m", "pytest", "inner"]).returncode == 1
"""
PYTEST = "python -m pytest -q -p no:cacheprovider"
TWICE = f"{PYTEST} -k 'not bad' test_shop.py; {PYTEST} test_gone.py; {PYTEST} test_shop.py"


def test_recognise_each_of_several_calls_of_pytest_is_heard(tmp_path: os.PathLike[str]) -> None:
    folder = os.fspath(tmp_path)
    interpreter(folder)
    write(folder, "test_shop.py", SHOP)
    write(folder, "test_gone.py", "import nothing_of_that_name\n")
    assert named(listened(["sh", "-c", TWICE], folder, "pytest")) == [
        ("test_shop.py::test_good", "passed"),
        ("test_shop.py::test_other_pytest", "passed"),
        ("test_gone.py", "error"),
        ("test_shop.py::test_good (2)", "passed"),
        ("test_shop.py::test_bad", "failed"),
        ("test_shop.py::test_other_pytest (2)", "passed"),
    ]


def test_recognise_each_call_of_pytest_is_heard_whatever_it_does_to_python_s_variables(
    tmp_path: os.PathLike[str],
) -> None:
    folder = os.fspath(tmp_path)
    interpreter(folder)
    write(folder, "test_shop.py", "def test_good(): pass\n")
    write(folder, "test_more.py", "def test_more(): pass\n")
    calls = f"PYTHONPATH=src {PYTEST} test_more.py; python -E -m pytest test_shop.py"
    assert named(listened(["sh", "-c", calls], folder, "pytest")) == [
        ("test_more.py::test_more", "passed"),
        ("test_shop.py::test_good", "passed"),
    ]


def test_recognise_the_last_call_of_pytest_is_heard_in_a_python_that_the_command_makes_itself(
    tmp_path: os.PathLike[str],
) -> None:
    folder = os.fspath(tmp_path)
    interpreter(folder, "made/here")
    write(folder, "test_shop.py", "def test_good(): pass\n")
    write(folder, "test_more.py", "def test_more(): pass\n")
    calls = f"{PYTEST} test_more.py; {PYTEST} test_shop.py".replace("python", "made/here/bin/python")
    assert named(listened(["sh", "-c", calls], folder, "pytest")) == [("test_shop.py::test_good", "passed")]


@pytest.mark.parametrize(
    "makefile",
    [
        "export PYTHONPATH ?= src\ntest:\n\tPYTEST",
        "test:\n\tPYTHONPATH=$${PYTHONPATH:-src} PYTEST",
        'test:\n\tpython -c \'import os; os.environ.setdefault("PYTHONPATH", "src"); os.system("PYTEST")\'',
    ],
)
def test_recognise_leaves_what_a_project_does_unless_a_variable_of_python_s_is_set(
    makefile: str, tmp_path: os.PathLike[str]
) -> None:
    folder = os.fspath(tmp_path)
    interpreter(folder)
    write(folder, "src/shopmod.py", "")
    write(folder, "test_shop.py", "import shopmod\ndef test_good(): pass\n")
    write(folder, "Makefile", f"{makefile}\n".replace("PYTEST", PYTEST))
    assert named(listened(["make", "test"], folder, "pytest")) == [("test_shop.py::test_good", "passed")]


def test_recognise_each_of_several_calls_of_node_is_heard(tmp_path: os.PathLike[str]) -> None:
    folder = os.fspath(tmp_path)
    write(folder, "a.test.js", "const {test} = require('node:test'); test('good', () => {})")
    write(folder, "b.test.js", "const {test} = require('node:test'); test('bad', () => {throw new Error('why')})")
    calls = "node --test a.test.js && node a.test.js && node --test b.test.js"
    assert named(listened(["sh", "-c", calls], folder)) == [
        ("good", "passed"),
        ("good (2)", "passed"),
        ("bad", "failed"),
    ]


@pytest.mark.parametrize(
    ("program", "options"),
    [
        (
            "vitest/vitest.mjs",
            "--reporter=default --reporter=junit --outputFile.junit=FOLDER/vitest-CALL.xml run --dir src",
        ),
        ("jest/bin/jest.js", "--json --outputFile=FOLDER/jest-CALL.json run --dir src"),
        ("mocha/bin/_mocha", "--reporter=xunit --reporter-option=output=FOLDER/mocha-CALL.xml run --dir src"),
        (".bin/jest", "--json --outputFile=FOLDER/jest-CALL.json run --dir src"),
        ("vite/bin/vite.js", "run --dir src"),
        ("odd/constructor", "run --dir src"),
    ],
)
def test_recognise_gives_options_to_programs_without_a_variable(
    program: str, options: str, tmp_path: os.PathLike[str]
) -> None:
    """By their names, wherever they stand; what they start themselves, or another program, gets none."""
    folder = os.fspath(tmp_path)
    write(folder, f"node_modules/{program}", "console.log(JSON.stringify(process.argv.slice(2)))")
    around = '{"devDependencies": {"vitest": "3", "jest": "29", "mocha": "11"}}'
    environment = {"PATH": os.environ["PATH"], **variables(recognise("npm test", FOLDER, around, NODE))}
    command = ["node", f"node_modules/{program}", "run", "--dir", "src"]
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(re.sub(r"-\d{13}-\d+\.", "-CALL.", told.stdout)) == options.replace("FOLDER", FOLDER).split()


def test_recognise_go_is_heard_by_what_it_prints() -> None:
    found = heard.heard([], "=== RUN   TestSum\n--- PASS: TestSum (0.01s)\nPASS\nok  \tshop/cart\t0.012s\n")
    assert found.cases == (Case("shop/cart::TestSum", "passed", 0.01),)
