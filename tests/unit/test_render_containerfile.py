"""Manifest → Containerfile, against texts that are known. `DEVENV_GOLDEN=write pytest …` writes them anew."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from devenv.errors import DevenvError
from devenv.model.lock import AptLock, NodeLock, Section
from devenv.model.manifest import Node, Port, Python
from devenv.render import containerfile, own_file, references, templates_folder
from devenv.render.needs import system_packages

from .render_cases import CASES, deb, dist, manifest, module, node, python, section

FOLDER = os.path.join(os.path.dirname(__file__), "render_cases")
HOSTILE = ("'; touch /pwned #", "$(touch /pwned)", "`touch /pwned`", 'a"b', "a\\", "a b && touch /pwned", "<<EOF", "*")


def rendered(name: str) -> str:
    return containerfile(CASES[name][0], templates_folder(), CASES[name][1])


def commands(text: str) -> list[str]:
    """The shell command of every RUN, as the shell gets it: without options, on one line."""
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)", text, re.M)
    return [re.sub(r"--\w+=\S+\s+", "", step.replace("\\\n", ""), count=step.count("--mount=") + 1) for step in steps]


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
    for command in commands(rendered(name)):
        assert subprocess.run(["sh", "-n", "-c", command], capture_output=True).stderr == b""


def hostile(part: str, value: str) -> Section:
    """A lock in which this stands where a RUN takes it from."""
    if part == "name":
        found = section(["curl"], "curl")
        assert found.apt
        return found._replace(apt=found.apt._replace(packages=(deb("curl")._replace(name=value),)))
    if part == "version":
        found = section(["curl"], "curl")
        assert found.apt
        return found._replace(apt=found.apt._replace(packages=(deb("curl")._replace(version=value),)))
    locked = python("pip")
    return section(python=locked._replace(packages=(*locked.packages, dist("x")._replace(file=value))))


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("part", ["name", "version", "file"])
def test_containerfile_keeps_what_the_lock_names_as_one_word(part: str, value: str, tmp_path: Path) -> None:
    given = manifest(apt=("curl",), python=Python())
    programs = ("apt-get", "apt-mark", "ln", "mkdir", "rm", "tools/uv")
    (tmp_path / "tools").mkdir()
    (tmp_path / "apt").mkdir()
    for name in programs:
        (tmp_path / name).write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {tmp_path}/words\n")
        (tmp_path / name).chmod(0o755)
    for command in commands(containerfile(given, templates_folder(), hostile(part, value))):
        script = command.replace("/run/devenv", str(tmp_path))
        done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    words = {
        "name": f"{value}:amd64=1.0-1",
        "version": f"curl:amd64={value}",
        "file": f"{tmp_path}/packages/{value}",
    }
    assert words[part] in (tmp_path / "words").read_text().split("\n")


@pytest.mark.parametrize("value", ["a\nRUN touch /pwned", "a\rb", "a\0b", "a\x1b[2J", "a\u2028b"])
def test_containerfile_refuses_what_would_end_its_line(value: str) -> None:
    wanted = manifest(apt=("curl",), python=Python())
    for given, locked in (
        (manifest(apt=(value,)), section(["curl"], "curl")),
        (manifest(python=Python(packages=(value,))), section(python=python("pip"))),
        (manifest(python=Python(requirements=(value,))), section(python=python("pip"))),
        (manifest(node=Node("20", packages=(value,))), section(node=node("20.1.1", "x@1.0.0"))),
        (manifest(workdir=value), section()),
        *((wanted, hostile(part, value)) for part in ("name", "version", "file")),
    ):
        with pytest.raises(DevenvError) as caught:
            containerfile(given, templates_folder(), locked)
        assert caught.value.hint
        assert "\n" not in caught.value.message and "\x1b" not in caught.value.message


def test_workdir_is_data() -> None:
    text = containerfile(manifest(workdir='/a $HOME "b" \\c'), templates_folder(), section())
    assert text.endswith('WORKDIR "/a \\$HOME \\"b\\" \\\\c"\n')


def test_runtime_keys_change_nothing() -> None:
    plain = CASES["everything"][0]
    changed = plain._replace(
        env=(("A", "1"),), user="me", ports=(Port(80),), command="true", test="pytest", name="other"
    )
    assert containerfile(changed, templates_folder(), CASES["everything"][1]) == rendered("everything")


def test_containerfile_names_no_registry() -> None:
    for name in CASES:
        text = rendered(name).replace("https://git.example/", "")  # where the manifest itself says it
        assert not re.search(r"https?:|\b[\w-]+\.(org|com|io|net|dev)\b", text)


SOURCES = section(["curl"], "curl", python=python("pip uwsgi==2.0.28.tar.gz"))


def test_build_on_is_obeyed() -> None:
    for build_on, parent in (("base", "base"), ("apt", "apt"), ("auto", "base")):
        given = manifest(apt=("curl",), python=Python("3.13", build_on=build_on))  # type: ignore[arg-type]
        assert f"FROM {parent} AS python" in containerfile(given, templates_folder(), SOURCES)


@pytest.mark.parametrize(
    ("apt", "wanted", "parent"),
    [
        (("curl",), Python(packages=("uwsgi",)), "apt"),  # which brings Python itself
        (("curl",), Python("3.13", packages=("uwsgi",)), "base"),
        (("gcc",), Python("3.13", packages=("uwsgi",)), "apt"),  # uv's Pythons bring their headers
        (("libpq-dev",), Python("3.13", packages=("psycopg2",)), "apt"),
        (("cargo",), Python("3.13", packages=("uwsgi",)), "apt"),
        (("git",), Python("3.13", packages=("uwsgi",)), "base"),
        (("git",), Python("3.13", requirements=("requirements.txt",)), "apt"),  # nobody has read what it says
    ],
)
def test_source_archives_are_built_on_apt_when_something_may_need_it(
    apt: tuple[str, ...], wanted: Python, parent: str
) -> None:
    given = manifest(apt=apt, python=wanted)
    assert f"FROM {parent} AS python" in containerfile(given, templates_folder(), SOURCES)


def test_what_uv_notes_of_its_own_is_no_part_of_the_environment(tmp_path: Path) -> None:
    """Of what was built here only: other packages' files stay the links that they are."""
    noted, other = (tmp_path / f"venv/lib/python3.11/site-packages/{name}-1.dist-info" for name in ("x", "other"))
    records = {"METADATA": "x-1.dist-info/METADATA,sha256=a,1\n", "x": "x/uv_cache.json.py,sha256=a,1\n"}
    notes = {
        name: f"x-1.dist-info/{name},sha256=a,1\n" for name in ("uv_cache.json", "uv_build.json", "direct_url.json")
    }
    for folder in (noted, other):
        folder.mkdir(parents=True)
        (folder / "RECORD").write_text("".join((records | notes).values()))
    for name in ("METADATA", *notes):
        (noted / name).write_text("x")
    (other / "direct_url.json").write_text("x")
    before = os.stat(other / "RECORD").st_ino
    command = next(one for one in commands(rendered("python-source-archives")) if "uv pip install" in one)
    command = f"true {command[command.index('&& for note') :]}".replace("/opt/", f"{tmp_path}/")
    subprocess.run(["sh", "-c", command.partition("&& rm -rf")[0]], check=True)
    assert sorted(os.listdir(noted)) == ["METADATA", "RECORD"]
    assert (noted / "RECORD").read_text() == "".join(records.values())
    assert os.stat(other / "RECORD").st_ino == before and (other / "direct_url.json").exists()


def test_a_plain_name_is_this_machine_s_package() -> None:
    """Asked for `gcc:arm64`, gcc of this machine's own is there for others only; the other way round too."""
    both = ["zlib1g zlib1g:arm64"]
    for name, automatic in (("zlib1g", "zlib1g:arm64"), ("zlib1g:arm64", "zlib1g:amd64")):
        text = containerfile(manifest(apt=(name,)), templates_folder(), section(both, name))
        assert f"apt-mark auto {automatic} >" in text


def test_what_is_asked_for_by_a_name_it_provides_is_not_automatic() -> None:
    apt = AptLock(("libz-dev",), (deb("zlib1g-dev")._replace(manual=True), deb("libc6-dev")))
    text = containerfile(manifest(apt=("libz-dev",)), templates_folder(), section()._replace(apt=apt))
    assert "apt-mark auto libc6-dev:amd64 >" in text and "# From `apt`: libz-dev\n" in text


def test_origins_are_told_where_their_package_comes() -> None:
    text = containerfile(manifest(apt=("jq", "tar", "git")), templates_folder(), section(["git", "jq"], "git jq tar"))
    assert [line for line in text.split("\n") if line.startswith("# From `apt`")] == [
        "# From `apt`: git, tar",
        "# From `apt`: jq",
    ]


def test_layers_are_rendered_by_number_whatever_numbers_there_are() -> None:
    given = section(["git", "", "", "jq"], "git jq", python=python("", "", "six"))
    text = containerfile(manifest(apt=("git", "jq"), python=Python()), templates_folder(), given)
    assert re.findall(r"source=(apt/\d+)", text) == ["apt/1", "apt/4"]
    assert re.findall(r"(python/\d+) ", text) == ["python/1", "python/3"]


def test_only_packages_with_install_scripts_make_a_stage() -> None:
    given = manifest(node=Node("20", "package-lock.json", ("typescript",)))
    locked = node("20.1.1", "typescript@5.9.3", "lit@3.3.1")
    assert " AS node" not in containerfile(given, templates_folder(), section(node=locked))
    locked = locked._replace(tools=(module("esbuild@0.25.0!"),))
    text = containerfile(given, templates_folder(), section(node=locked))
    assert re.findall(r"FROM \w+ AS (node-\w+)", text) == ["node-tools"]


def test_npm_packages_are_told_where_they_come() -> None:
    locked = node("20.1.1", "typescript@5.9.3 @s/x@1.0.0! leaf@1.0.0")
    tools = tuple(one._replace(layer=number) for number, one in enumerate(locked.tools, 1))
    asked = ("typescript@5", "@s/x@^1", "@s/x-y", "leaf")
    text = containerfile(
        manifest(node=Node("20", packages=asked)), templates_folder(), section(node=NodeLock((), locked.runtime, tools))
    )
    found = re.findall(r"# From `node.packages`: (.+)\n(?:COPY|RUN) [^\n]*(/npm|node/runtime)", text)
    assert [said for said, _ in found] == ["@s/x@^1", "@s/x@^1", "typescript@5", "leaf", "@s/x@^1"]


def test_system_packages_are_the_manifest_s_and_what_parts_need() -> None:
    assert system_packages(manifest(apt=("jq", "curl", "jq"), python=Python())) == ("curl", "jq", "python3")
    assert system_packages(manifest(python=Python("3.13"))) == ()
    assert system_packages(manifest("oci:x", python=Python())) == ()
    assert system_packages(manifest(node=Node("26"))) == ("libatomic1",)


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
        containerfile(manifest(), folder, section())
    assert name in caught.value.message


def test_templates_that_include_themselves_end_in_one_error(tmp_path: str) -> None:
    write(os.path.join(tmp_path, "Containerfile.j2"), "{% include 'Containerfile.j2' %}")
    with pytest.raises(DevenvError, match="include each other without end"):
        containerfile(manifest(), str(tmp_path), section())


def test_templates_faults_name_file_and_line(tmp_path: str) -> None:
    write(os.path.join(tmp_path, "Containerfile.j2"), "FROM x\n{% if %}\n")
    with pytest.raises(DevenvError, match=r"Containerfile.j2:2: "):
        containerfile(manifest(), str(tmp_path), section())


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
