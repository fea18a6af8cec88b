"""Which item of the manifest, or of a file it names, a failed step is told by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.cli.blame import blame
from devenv.manifest import load
from devenv.model.build import Run, Step
from devenv.model.manifest import Pairs

MANIFEST = """\
from: bootstrap:bookworm
vars: {old: "requests==1.0.0"}
apt: [git, build-essential]
python:
  requirements: [requirements.txt, pyproject.toml]
  packages:
    - six
    - "{{ old }}"
node: {packages: ["@scope/tool@1"]}
"""
APT = (("apt", "build-essential, git"), ("python", "python3"))
PIP = (("python.requirements", "requirements.txt, pyproject.toml"), ("python.packages", "requests==1.0.0, six"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "devenv.yml").write_text(MANIFEST)
    (tmp_path / "requirements.txt").write_text("# more\nDjango>=5\nruamel_yaml\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\ndependencies = ["left-pad-py>=2"]\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(folder: Path, origins: Pairs, *output: str) -> tuple[str, str, list[str]]:
    def expand(text: str, _: object) -> str:
        return "requests==1.0.0" if "old" in text else text

    manifest = load(os.path.join(folder, "devenv.yml"), facts={}, expand=expand)
    where, hint, telling = blame(manifest, Step(1, "RUN x", Run(("sh",)), origins=origins), output)
    return where, hint, list(telling)


@pytest.mark.parametrize(
    ("origins", "line", "place"),
    [
        (APT, "E: Unable to locate package git", "devenv.yml:3:7: `apt[0]`: installing git failed"),
        (APT, "E: Version '9' for 'build-essential' was not found", "devenv.yml:3:12: `apt[1]`"),
        (APT, "E: something else of gitk", "devenv.yml:3:6: `apt`: installing build-essential, git, python3 failed"),
        (PIP, "  × Because six was not found in the registry", "devenv.yml:7:7: `python.packages[0]`: installing six"),
        (PIP, "error: Failed to build `requests==1.0.0`", "devenv.yml:8:7: `python.packages[1]`: installing requests"),
        (
            PIP,
            "  ╰─▶ Because there is no version of django",
            "requirements.txt:2:1: `python.requirements`: installing Dja",
        ),
        (PIP, "  cause: Because ruamel-yaml is bad", "requirements.txt:3:1: "),
        (PIP, "  cause: Because left-pad-py is bad", "pyproject.toml:3:18: "),
        ((("node.packages", "@scope/tool@1"),), "npm error 404 '@scope/tool@1' is not here", "devenv.yml:9:19: "),
        (
            (("node.version", "99"),),
            "npm error notarget",
            "devenv.yml:9:7: `node.version`: installing Node.js 99 failed",
        ),
    ],
)
def test_blame_names_the_item_that_was_named_in_an_error(folder: Path, origins: Pairs, line: str, place: str) -> None:
    where, _, telling = told(folder, origins, "Get:1 git six django", "Setting up requests", line)
    assert where.startswith(place)
    assert telling == [line]


def test_blame_hints_at_the_network_when_that_failed(folder: Path) -> None:
    _, hint, _ = told(folder, APT, "E: Failed to fetch http://m/ Temporary failure resolving 'm'")
    assert "network" in hint
    assert "spelled" in told(folder, APT, "E: Unable to locate package git")[1]


def test_blame_says_all_that_can_not_be_had_together(folder: Path) -> None:
    lines = (
        "  cause: Because six needs django>=3 and you require six, we can conclude that you require django>=3.",
        "         And because you require django<3, we can conclude that your requirements are unsatisfiable.",
    )
    _, hint, telling = told(folder, PIP, "error: No solution found when resolving dependencies", *lines)
    assert telling[-2:] == list(lines)
    assert hint == "these can't be had together: loosen one of them"


def test_blame_of_silence_shows_what_was_printed(folder: Path) -> None:
    assert told(folder, APT, "one", "two")[2] == ["one", "two"]


def test_blame_of_what_network_is_allowed_for_names_who_asks_for_it(folder: Path) -> None:
    origins = (("python.network", "six @ https://git.example/six@c0ffee"),)
    where, hint, _ = told(
        folder, origins, "error: Failed to download `six @ git+https://git.example/six`", "  cause: x"
    )
    assert where.startswith("devenv.yml:7:7: `python.packages[0]`: installing six") and "git" not in hint
    _, hint, _ = told(folder, PIP, "error: Failed to download `six`", "  cause: Git executable not found. Ensure that")
    assert hint == "add `git` under `apt:`: repositories are fetched with it"
