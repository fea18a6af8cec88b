"""`devenv explain` of a real build: a variable, a requirements file, a Debian package, a source file, each before and after."""

from __future__ import annotations

import json
import re

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine


def told(text: str, *lines: str) -> None:
    """Each of these patterns is in what explain says."""
    assert [line for line in lines if not re.search(line, text)] == [], text


def test_explain_names_a_source_file_and_a_variable(project: Project) -> None:
    manifest = f'from: file:Containerfile\ncontexts: {{debian: "{project.base}"}}\nenv: {{COLOUR: red}}\n'
    project.write("devenv.yml", manifest)
    project.write("Containerfile", "FROM debian\nCOPY src /srv\n")
    project.write("src/app.py", "one\n")
    project.run("up")
    assert re.match(r"image +built .* ago.*: there is none yet\n", project.run("explain"))

    project.write("devenv.yml", manifest.replace("red", "blue"))
    project.write("src/app.py", "two\n")
    plan = project.run("plan")
    assert "src/app.py edited" in plan and "env.COLOUR red → blue" in plan
    project.run("up")
    told(
        project.run("explain"),
        r"~ src/app.py: edited, [0-9a-f]{12} → [0-9a-f]{12}\n",
        r"    - env.COLOUR: red\n    \+ env.COLOUR: blue  devenv.yml:3:15\n",
        r"\nnow: nothing to do\n",
    )
    assert project.attempt("explain", "nothing").returncode == 2
    project.run("down")
    assert project.run("explain").startswith("nothing was built or brought up here yet\n")


@pytest.mark.network
def test_explain_names_packages_and_the_files_that_ask_for_them(project: Project) -> None:
    manifest = "apt: [tree]\npython: {requirements: [requirements.txt]}\n"
    project.manifest(manifest)
    project.write("requirements.txt", "iniconfig==2.0.0\n")
    project.run("up")
    project.manifest(manifest.replace("[tree]", "[tree, jq]"))
    project.write("requirements.txt", "iniconfig==2.1.0\n")
    plan = project.run("plan")
    assert "apt +jq" in plan and "requirements.txt edited" in plan
    project.run("up")
    told(
        project.run("explain"),
        r"\+ apt: jq +devenv.yml:2:13\n",
        r"\+ jq 1\.\S+ ",
        r"~ requirements.txt: edited, [0-9a-f]{12} → [0-9a-f]{12}\n",
        r"~ iniconfig 2\.0\.0 → 2\.1\.0 +devenv.lock.yml\n",
    )
    (step,) = [one for one in json.loads(project.run("explain", "apt", "--json"))["steps"] if "jq" in one["text"]]
    assert any(package.startswith("jq 1.") for package in step["packages"]) and step["size"] > 10_000
