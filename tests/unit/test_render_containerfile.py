"""Manifest → Containerfile, against texts that are known. `DEVENV_GOLDEN=write pytest …` writes them anew."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import pairwise

import pytest

from devenv.errors import DevenvError
from devenv.model.manifest import Node, Port, Python
from devenv.render import Facts, containerfile, own_file, references, templates_folder

from .render_cases import CASES, manifest

FOLDER = os.path.join(os.path.dirname(__file__), "render_cases")
HOSTILE = ("'; touch /pwned #", "$(touch /pwned)", "`touch /pwned`", 'a"b', "a\\", "a b && touch /pwned", "<<EOF", "*")


def rendered(name: str) -> str:
    return containerfile(CASES[name][0], templates_folder(), CASES[name][1])


def run_step(text: str, start: str) -> str:
    """The shell command of the RUN whose text contains `start`, without its mounts."""
    steps = re.split(r"\n(?=[A-Z#])", text)
    step = next(step for step in steps if step.startswith("RUN") and start in step)
    return re.sub(r"--mount=\S+ \\\n", "", step.removeprefix("RUN ")).replace("\\\n", " ")


@pytest.mark.parametrize("name", CASES)
def test_containerfile_is_the_known_one(name: str) -> None:
    path = os.path.join(FOLDER, f"{name}.Containerfile")
    text = rendered(name)
    if os.environ.get("DEVENV_GOLDEN") == "write":
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        assert text == file.read()


def test_every_known_containerfile_has_a_case() -> None:
    known = {name.removesuffix(".Containerfile") for name in os.listdir(FOLDER) if name.endswith(".Containerfile")}
    assert known == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_containerfile_has_well_formed_lines(name: str) -> None:
    """No line ends in blanks, no continuation runs into a blank line or the end, one newline ends the text."""
    lines = rendered(name).split("\n")
    assert lines[-1] == "" and lines[-2] != ""
    for line, following in pairwise(lines):
        assert line == line.rstrip()
        assert not line.endswith("\\") or following.startswith("    ")
        assert not following.startswith(" ") or line.endswith("\\") or line.startswith("#")


@pytest.mark.parametrize("name", CASES)
def test_shell_accepts_every_run(name: str) -> None:
    for step in re.findall(r"^RUN ((?:.*\\\n)*.*)", rendered(name), re.M):
        command = re.sub(r"--mount=\S+ \\\n", "", step).replace("\\\n", " ")
        assert subprocess.run(["sh", "-n", "-c", command], capture_output=True).stderr == b""


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("part", ["apt", "python", "node"])
def test_containerfile_keeps_a_package_name_as_one_word(part: str, value: str) -> None:
    given = {
        "apt": manifest(apt=(value,)),
        "python": manifest(python=Python(packages=(value,))),
        "node": manifest(node=Node("20", packages=(value,))),
    }[part]
    start = {"apt": "apt-get", "python": "pip install", "node": "npm install --global \\\n"}[part]
    command = run_step(containerfile(given, templates_folder(), Facts()), start)
    # The shell's own reading: every command but printf is replaced by one that prints its words.
    shown = re.sub(
        r"(?m)(^|&& )\s*(DEBIAN_FRONTEND=\S+ )?(rm|mkdir|apt-get|npm|/run/devenv/tools/uv) ", r"\1show ", command
    )
    script = 'show() { for word; do printf "%s\\n" "$word"; done; }\n' + shown
    words = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\n")
    assert value in words
    assert not os.path.exists("/pwned")


@pytest.mark.parametrize("value", ["a\nRUN touch /pwned", "a\rb", "a\0b", "a\x1b[2J", "a\u2028b"])
def test_containerfile_refuses_what_would_end_its_line(value: str) -> None:
    for given in (
        manifest(apt=(value,)),
        manifest(python=Python(packages=(value,))),
        manifest(python=Python(requirements=(value,))),
        manifest(node=Node("20", packages=(value,))),
        manifest(workdir=value),
    ):
        with pytest.raises(DevenvError) as caught:
            containerfile(given, templates_folder(), Facts())
        assert caught.value.hint
        assert "\n" not in caught.value.message and "\x1b" not in caught.value.message


@pytest.mark.parametrize(
    "path", ["../x.txt", "/etc/passwd", "a/../../x.txt", "a b.txt", 'a",from=base', "$HOME/x.txt", "-x"]
)
def test_containerfile_refuses_files_a_mount_cannot_take(path: str) -> None:
    with pytest.raises(DevenvError):
        containerfile(manifest(python=Python(requirements=(path,))), templates_folder(), Facts())


def test_containerfile_refuses_options_as_packages() -> None:
    for given in (
        manifest(python=Python(packages=("--index-url=x",))),
        manifest(node=Node(packages=("--registry=x",))),
    ):
        with pytest.raises(DevenvError, match="an option, not a package"):
            containerfile(given, templates_folder(), Facts())
    with pytest.raises(DevenvError, match="an option, not a package"):
        containerfile(manifest(apt=("-oDPkg::Pre-Invoke::=x",)), templates_folder(), Facts())


def test_workdir_is_data() -> None:
    text = containerfile(manifest(workdir='/a $HOME "b" \\c'), templates_folder(), Facts())
    assert text.endswith('WORKDIR "/a \\$HOME \\"b\\" \\\\c"\n')


def test_runtime_keys_change_nothing() -> None:
    plain = CASES["everything"][0]
    changed = plain._replace(
        env=(("A", "1"),), user="me", ports=(Port(80),), command="true", test="pytest", name="other"
    )
    assert containerfile(changed, templates_folder(), Facts()) == rendered("everything")


def test_containerfile_names_no_registry() -> None:
    for name in CASES:
        assert not re.search(r"https?:|\b[\w-]+\.(org|com|io|net|dev)\b", rendered(name))


def test_build_on_is_obeyed() -> None:
    for build_on, parent in (("base", "base"), ("apt", "apt"), ("auto", "base")):
        given = manifest(apt=("curl",), python=Python(build_on=build_on))  # type: ignore[arg-type]
        assert f"FROM {parent} AS python" in containerfile(given, templates_folder(), Facts())


@pytest.mark.parametrize(
    ("apt", "python", "parent"),
    [
        (("build-essential", "git"), Python(packages=("flask",)), "base"),  # without headers nothing is compiled
        (("build-essential", "python3-dev"), Python(packages=("flask",)), "apt"),
        (("libpq-dev",), Python(packages=("psycopg2",)), "apt"),
        (("gcc",), Python(version="3.13", packages=("flask",)), "apt"),  # uv's Pythons bring their headers
        (("cargo",), Python(packages=("flask",)), "apt"),
        (("git",), Python(packages=("it @ git+https://example.test/it",)), "apt"),
        (("git",), Python(requirements=("requirements.txt",)), "apt"),  # nobody has read what it says
    ],
)
def test_python_is_built_on_apt_when_something_may_need_it(apt: tuple[str, ...], python: Python, parent: str) -> None:
    given = manifest(apt=apt, python=python)
    assert f"FROM {parent} AS python" in containerfile(given, templates_folder(), Facts())


def test_node_refuses_an_architecture_npm_has_not() -> None:
    with pytest.raises(DevenvError, match="riscv64"):
        containerfile(manifest(node=Node()), templates_folder(), Facts("riscv64"))


def test_references_say_where_a_foreign_base_is() -> None:
    assert references(manifest()) == {}
    assert references(manifest("oci:images/base:v1")) == {"devenv-base": "oci:images/base:v1"}
    assert references(manifest("file:Dockerfile", apt=("curl",))) == {"devenv-base": "file:Dockerfile"}


def test_own_file_is_built_alone_only_without_further_parts() -> None:
    assert own_file(manifest("file:docker/Dockerfile")) == "docker/Dockerfile"
    assert own_file(manifest("file:Dockerfile", apt=("curl",))) is None
    assert own_file(manifest()) is None


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.j2", "link.j2", "folder/../../secret.j2", "missing.j2"])
def test_templates_see_nothing_outside_their_folder(tmp_path: str, name: str) -> None:
    folder = os.path.join(tmp_path, "templates")
    os.makedirs(os.path.join(folder, "folder"))
    write(os.path.join(tmp_path, "secret.j2"), "secret")
    os.symlink("../secret.j2", os.path.join(folder, "link.j2"))
    write(os.path.join(folder, "Containerfile.j2"), f"FROM x\n{{% include '{name}' %}}")
    with pytest.raises(DevenvError) as caught:
        containerfile(manifest(), folder, Facts())
    assert name in caught.value.message


def test_templates_that_include_themselves_end_in_one_error(tmp_path: str) -> None:
    write(os.path.join(tmp_path, "Containerfile.j2"), "{% include 'Containerfile.j2' %}")
    with pytest.raises(DevenvError, match="include each other without end"):
        containerfile(manifest(), str(tmp_path), Facts())


def test_templates_faults_name_file_and_line(tmp_path: str) -> None:
    write(os.path.join(tmp_path, "Containerfile.j2"), "FROM x\n{% if %}\n")
    with pytest.raises(DevenvError, match=r"Containerfile.j2:2: "):
        containerfile(manifest(), str(tmp_path), Facts())


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
