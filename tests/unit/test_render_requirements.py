"""Requirements files → the further files they name."""

from __future__ import annotations

import os

import pytest

from devenv.errors import InputError
from devenv.model.manifest import Python
from devenv.render import included_by
from devenv.render.requirements import included

from .render_cases import manifest


def closure(texts: dict[str, str], *files: str) -> tuple[str, ...]:
    return included(files or ("requirements.txt",), texts.get)


def test_included_follows_all_spellings_relative_to_the_file() -> None:
    texts = {
        "requirements/dev.txt": "-r base.txt\n-c ../constraints.txt  # pins\n--requirement=more.txt\npytest\n",
        "requirements/base.txt": "--requirement lint.txt\ndjango==5.2 # -r no.txt\n",
        "requirements/more.txt": "--constraint ../constraints.txt\n-rtight.txt",
        "requirements/lint.txt": "ruff",
        "requirements/tight.txt": "",
        "constraints.txt": "six==1.17",
    }
    assert closure(texts, "requirements/dev.txt") == tuple(sorted(texts.keys() - {"requirements/dev.txt"}))


def test_included_ends_when_files_include_each_other() -> None:
    assert closure({"requirements.txt": "-r a.txt", "a.txt": "-r requirements.txt\n-r a.txt"}) == ("a.txt",)


@pytest.mark.parametrize("line", ["-e .", "--editable=./lib", ".", "./lib", "../lib", ".[test]", "/opt/x", "file:///x"])
def test_included_refuses_local_folders_with_their_line(line: str) -> None:
    with pytest.raises(InputError, match=r"requirements\.txt:2:1: this installs a local folder"):
        closure({"requirements.txt": f"django\n{line}\n"})


@pytest.mark.parametrize("line", ["x @ https://example.invalid/x.whl", "a.b==1", "a-git==1  # git+https://x.invalid"])
def test_included_accepts_what_is_fetched(line: str) -> None:
    assert closure({"requirements.txt": line}) == ()


@pytest.mark.parametrize(
    "line",
    [
        "-e git+https://example.invalid/x#egg=x",
        "x @ git+https://example.invalid/x@main",
        "git+ssh://git@x.invalid/x.git",
    ],
)
def test_included_refuses_repositories_with_their_line_unless_network_is_allowed(line: str) -> None:
    texts = {"requirements.txt": f"django\n{line}\n"}
    with pytest.raises(InputError, match=r"requirements\.txt:2:1: this comes from a repository") as caught:
        closure(texts)
    assert "network: true" in caught.value.faults[0].hint
    assert included(("requirements.txt",), texts.get, network=True) == ()


@pytest.mark.parametrize("path", ["../x.txt", "/etc/passwd", "a,b.txt", "$HOME.txt"])
def test_included_refuses_paths_a_build_cannot_take(path: str) -> None:
    with pytest.raises(InputError, match=r"requirements\.txt:1:1: "):
        closure({"requirements.txt": f"-r {path}"})


def test_included_names_the_line_of_a_missing_file() -> None:
    with pytest.raises(InputError, match=r"requirements.txt:2: base.txt doesn't exist"):
        closure({"requirements.txt": "six\n-r base.txt"})


def test_included_has_a_limit() -> None:
    with pytest.raises(InputError, match="more than 100"):
        included(("0.txt",), lambda path: f"-r {int(path[:-4]) + 1}.txt")


def test_included_by_reads_plain_files_of_the_project_only(tmp_path: str) -> None:
    folder = os.path.join(tmp_path, "project")
    os.mkdir(folder)
    for name, text in (
        ("project/requirements.txt", "-r base.txt"),
        ("project/base.txt", "six"),
        ("outside.txt", "six"),
    ):
        with open(os.path.join(tmp_path, name), "w", encoding="utf-8") as file:
            file.write(text)
    given = manifest(python=Python(requirements=("requirements.txt",)))
    given = given._replace(folder=folder)
    assert included_by(given) == ("base.txt",)
    os.unlink(os.path.join(folder, "base.txt"))
    os.symlink("../outside.txt", os.path.join(folder, "base.txt"))
    with pytest.raises(InputError):
        included_by(given)
    os.unlink(os.path.join(folder, "base.txt"))
    os.mkfifo(os.path.join(folder, "base.txt"))
    with pytest.raises(InputError):
        included_by(given)
