"""The first manifest of a folder: what each kind of file makes of it, and that it is always one that can be read."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping

import pytest

from devenv.manifest import DETECTED, draft, parse
from devenv.model.manifest import From, Manifest, Node, Port, Python


def unused(template: str, variables: Mapping[str, str]) -> str:
    raise AssertionError(f"a draft has no template, but {template!r} was expanded with {variables!r}")


def drafted(files: Mapping[str, str], name: str = "shop") -> Manifest:
    """What the draft of these files is read as."""
    facts = {"arch": "amd64", "user": "ann"}
    return parse(draft(files, name).encode(), "/p/devenv.yml", facts=facts, expand=unused)


def test_draft_of_an_empty_folder_is_a_plain_debian() -> None:
    manifest = drafted({}, "My Shop")
    assert (manifest.name, manifest.base, manifest.apt) == ("my-shop", From("bootstrap", "bookworm"), ("git",))
    assert (manifest.python, manifest.node, manifest.test, manifest.workdir) == (None, None, None, "/workspace")


def test_draft_of_a_django_project() -> None:
    manifest = drafted(
        {
            "manage.py": "",
            "requirements.txt": "django==5.2\npsycopg2==2.9  # binary\n",
            "requirements-dev.txt": "coverage\n",
            ".python-version": "# ours\n3.12.3\n",
        }
    )
    assert manifest.python == Python("3.12.3", ("requirements.txt", "requirements-dev.txt"))
    assert manifest.apt == ("git", "build-essential", "libpq-dev")
    assert (manifest.ports, manifest.test) == ((Port(8000),), "python manage.py test")
    assert manifest.hooks.on_create == ("python manage.py migrate",)


def test_draft_tests_django_with_pytest_where_it_is_used() -> None:
    assert drafted({"manage.py": "", "requirements.txt": "django\npytest-django\n"}).test == "pytest -q"


def test_draft_knows_binary_psycopg_needs_nothing() -> None:
    assert drafted({"requirements.txt": "psycopg2-binary\n"}).apt == ("git",)


@pytest.mark.parametrize(
    "requires, version",
    [
        (">=3.9", None),
        (">=3.13", "3.13"),
        ("~=3.12", "3.12"),
        ("==3.12.*", "3.12"),
        (">=3.8,<3.11", "3.10"),
        ("x", None),
    ],
)
def test_draft_reads_requires_python(requires: str, version: str | None) -> None:
    text = f'[project]\nname = "x"\nrequires-python = "{requires}"\n'
    assert drafted({"pyproject.toml": text}).python == Python(version, ("pyproject.toml",))


def test_draft_installs_what_pyproject_lists_for_development() -> None:
    text = '[project]\nname="x"\n[project.optional-dependencies]\ndev=["pytest>=8"]\n'
    text += '[dependency-groups]\ndev=["ruff", {include-group="x"}]\n'
    manifest = drafted({"pyproject.toml": text})
    assert manifest.python == Python(None, ("pyproject.toml",), ("pytest>=8", "ruff"))
    assert manifest.test == "pytest -q"


def test_draft_prefers_the_lock_of_uv() -> None:
    files = {"pyproject.toml": '[project]\nname="x"\n', "uv.lock": "", "requirements.txt": ""}
    assert drafted(files).python == Python(None, ("uv.lock",))


def test_draft_installs_nothing_from_a_pyproject_without_project() -> None:
    assert drafted({"pyproject.toml": "[tool.black]\n"}).python == Python()


@pytest.mark.parametrize(
    "file, content, version",
    [
        (".nvmrc", "v20.11.1\n", "20.11.1"),
        (".nvmrc", "lts/jod\n", "22"),
        (".nvmrc", "lts/*\n", None),
        (".node-version", "18\n", "18"),
        (".tool-versions", "python 3.12.1\nnodejs 20.1.0 # x\n", "20.1.0"),
        ("package.json", '{"engines": {"node": "^20.1"}}', "20"),
        ("package.json", '{"engines": {"node": ">=18"}}', None),
        ("package.json", '{"engines": {"node": 18}}', None),
    ],
)
def test_draft_reads_the_version_of_node(file: str, content: str, version: str | None) -> None:
    manifest = drafted({"package.json": "{}", "package-lock.json": "{}", file: content})
    assert manifest.node == Node(version, "package-lock.json")


def test_draft_of_a_node_project() -> None:
    package = {"scripts": {"test": "jest"}, "dependencies": {"express": "4"}}
    manifest = drafted({"package.json": json.dumps(package), "package-lock.json": "{}"})
    assert (manifest.ports, manifest.test, manifest.hooks.on_create) == ((Port(3000),), "npm test", ())


def test_draft_says_that_a_foreign_lock_is_not_looked_at() -> None:
    files = {"package.json": '{"scripts": {"test": "echo no test specified"}}', "yarn.lock": ""}
    manifest = drafted(files)
    assert "yarn.lock is not supported yet" in draft(files, "x")
    assert (manifest.node, manifest.hooks.on_create, manifest.test) == (Node(), ("npm install",), None)


DOCKERFILE = """
ARG SUITE=bookworm
FROM --platform=linux/amd64 debian:${SUITE}-slim AS build
RUN make
FROM build AS test
FROM debian:12
COPY --from=build /a /b
COPY --from=0 /a /b
RUN --mount=type=bind,from=build,target=/x true
EXPOSE 8080/tcp 53/udp $PORT
"""


def test_draft_uses_a_containerfile_on_debian_as_it_is() -> None:
    manifest = drafted({"Dockerfile": DOCKERFILE, "package.json": '{"scripts": {"test": "jest"}}'})
    assert manifest.base == From("file", "Dockerfile")
    assert manifest.contexts == (("debian:bookworm-slim", "bootstrap:bookworm"), ("debian:12", "bootstrap:bookworm"))
    assert (manifest.node, manifest.ports) == (None, (Port(8080), Port(53, protocol="udp")))


def test_draft_asks_where_other_images_come_from() -> None:
    files = {"Containerfile": "FROM nginx:1.27\nCOPY --from=busybox /bin/sh /\n"}
    assert drafted(files).base == From("file", "Containerfile")
    assert "# Note: say in `contexts:` where nginx:1.27, busybox comes from" in draft(files, "x")


def test_draft_takes_the_versions_of_images_that_it_cannot_have() -> None:
    files = {"Dockerfile": "FROM python:3.12-slim-trixie\nEXPOSE 8000\n", "requirements.txt": "flask\n"}
    manifest = drafted(files)
    assert (manifest.base, manifest.python) == (From("bootstrap", "trixie"), Python("3.12", ("requirements.txt",)))
    assert manifest.ports == (Port(8000),)
    assert "Dockerfile builds on python:3.12-slim-trixie" in draft(files, "x")


def test_draft_reads_a_compose_file() -> None:
    compose = """
services:
  db: {image: "postgres:16", ports: ["5432:5432"]}
  web:
    build: {context: ., dockerfile: ./Dockerfile}
    ports: ["8000:8000", "${PORT}:80", 9000]
"""
    files = {"compose.yaml": compose, "Dockerfile": "FROM debian:trixie\nEXPOSE 9000\n"}
    manifest = drafted(files)
    assert manifest.base == From("file", "Dockerfile")
    assert manifest.ports == (Port(9000), Port(8000, 8000))
    assert "services are not supported yet: db" in draft(files, "x")


def test_draft_reads_a_devcontainer() -> None:
    devcontainer = """{ // a comment
        "image": "mcr.example/devcontainers/python:1-3.12-bookworm", /* another */
        "forwardPorts": [5000, "db:5432", 0],
        "features": {"ghcr.example/features/node:1": {"version": "20"}},
        "postCreateCommand": "make setup",
        "containerEnv": {"URL": "http://x/ // y", "B": "${localEnv:B}", "1": "x"},
    }"""
    manifest = drafted({".devcontainer/devcontainer.json": devcontainer, "package.json": "{}"})
    assert (manifest.base, manifest.python) == (From("bootstrap", "bookworm"), Python("3.12"))
    assert (manifest.node, manifest.ports) == (Node("20"), (Port(5000),))
    assert manifest.env == (("URL", "http://x/ // y"),)
    assert manifest.hooks.on_create == ("npm install", "make setup")


def test_draft_finds_the_containerfile_of_a_devcontainer() -> None:
    files = {
        ".devcontainer/devcontainer.json": '{"build": {"dockerfile": "../Dockerfile"}}',
        "Dockerfile": "FROM debian:12",
    }
    assert drafted(files).base == From("file", "Dockerfile")


@pytest.mark.parametrize("name", DETECTED)
@pytest.mark.parametrize("content", ["", "{", "[]", "\0", "{{ x }}", '"😀"'])
def test_draft_can_be_read_whatever_a_file_holds(name: str, content: str) -> None:
    assert drafted({name: content}).name == "shop"


@pytest.mark.parametrize(
    "piece", ["\n", " ", "/*", '"', ",\n", "--mount=", "from=,", "${", "FROM ", "EXPOSE ", "[", "<3."]
)
def test_draft_takes_no_time_over_endless_files(piece: str) -> None:
    content = "RUN " + piece * (200_000 // len(piece))
    begun = time.perf_counter()
    drafted(dict.fromkeys(DETECTED, content))
    assert time.perf_counter() - begun < 5


def test_draft_can_be_read_whatever_files_claim() -> None:
    chance = random.Random(2026)
    values = [
        None,
        1,
        "",
        "a\nb: c",
        "{{ x }}",
        "# x",
        "a: b",
        "'",
        '"',
        "\\",
        "\x1b[0m",
        "é",
        [],
        ["x"],
        {},
        {"x": 1},
        {"services": 1},
    ]
    keys = [
        "image",
        "build",
        "dockerfile",
        "features",
        "forwardPorts",
        "postCreateCommand",
        "containerEnv",
        "engines",
        "scripts",
    ]
    keys += ["dependencies", "test", "node", "services", "ports", "A", "project", "a/node:1", "version", "x\ny"]

    def value(depth: int) -> object:
        if depth and chance.random() < 0.7:
            return {chance.choice(keys): value(depth - 1) for _ in range(4)}
        return chance.choice(values)

    for _ in range(400):
        files = {name: json.dumps(value(4)) for name in chance.sample(DETECTED, 6)}
        files["Dockerfile"] = f"FROM {chance.choice(values)}\nEXPOSE {chance.choice(values)}\nFROM\nARG\nCOPY --from= x"
        drafted(files, str(chance.choice(values)))
