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
    assert (manifest.name, manifest.base, manifest.apt) == ("my-shop", From("bootstrap", "bookworm"), ())
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
    assert manifest.apt == ("build-essential", "libpq-dev")
    assert (manifest.ports, manifest.test) == ((Port(8000),), "python manage.py test")
    assert manifest.hooks.on_create == ()  # its database isn't there


def test_draft_migrates_a_database_that_is_a_file() -> None:
    assert drafted({"manage.py": "", "requirements.txt": "django\n"}).hooks.on_create == ("python manage.py migrate",)


def test_draft_tests_django_with_pytest_where_it_is_used() -> None:
    assert drafted({"manage.py": "", "requirements.txt": "django\npytest-django\n"}).test == "pytest -q"


def test_draft_knows_binary_psycopg_needs_nothing() -> None:
    assert drafted({"requirements.txt": "psycopg2-binary\n"}).apt == ()


def test_draft_has_git_only_where_packages_are_fetched_with_it() -> None:
    """It would tie Python's stage to apt's, and the tree's own history is at hand outside."""
    found = drafted({"requirements.txt": "x @ git+https://git.example/x\n"})
    assert found.apt == ("git",) and found.python and found.python.network
    assert drafted({"requirements.txt": "gitpython\n"}).apt == ()
    lock = {"package.json": "{}", "package-lock.json": '{"a": {\n"resolved": "git+ssh://git@git.example/x.git#c0"}}'}
    found = drafted(lock)
    assert found.apt == ("git",) and found.node and found.node.network
    assert drafted(lock | {"package-lock.json": "{}"}).apt == ()


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


def test_draft_takes_what_poetry_and_pipenv_ask_for() -> None:
    poetry = """
[tool.poetry.dependencies]
python = "^3.12"
requests = "^2.31"
zero = "^0.3.1"
tilde = "~1.4"
exact = "1.2.3"
any = "*"
both = ">=1,<2"
flask = {version = "^3.0", extras = ["async"]}
ours = {path = "../ours"}
[tool.poetry.group.dev.dependencies]
pytest = "^8"
"""
    files = {"pyproject.toml": poetry, "poetry.lock": ""}
    wanted = ("requests>=2.31,<3", "zero>=0.3.1,<0.4", "tilde>=1.4,<1.5", "exact==1.2.3", "any", "both>=1,<2")
    assert drafted(files).python == Python("3.12", (), (*wanted, "flask[async]>=3.0,<4", "pytest>=8,<9"))
    assert "poetry.lock isn't read" in draft(files, "x")
    pipfile = '[packages]\nflask = "*"\n[dev-packages]\npytest = {version = ">=8"}\n'
    assert drafted({"Pipfile": pipfile}).python == Python(None, (), ("flask", "pytest>=8"))


def test_draft_installs_a_package_of_its_own_by_a_hook() -> None:
    text = '[project]\nname="x"\n[build-system]\nrequires=["hatchling"]\nbuild-backend="hatchling.build"\n'
    assert drafted({"pyproject.toml": text}).hooks.on_create == ("pip install --no-deps --editable .",)


def test_draft_adds_the_pytest_that_is_configured_and_not_asked_for() -> None:
    manifest = drafted({"requirements.txt": "flask\n", "pytest.ini": "[pytest]\n"})
    assert manifest.python == Python(None, ("requirements.txt",), ("pytest",))
    assert manifest.test == "pytest -q"


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


@pytest.mark.parametrize(
    ("lock", "manager", "packages", "hook"),
    [
        ("yarn.lock", "", "yarn", "yarn install --frozen-lockfile"),
        ("yarn.lock", "yarn@1.22.19", "yarn@1.22.19", "yarn install --frozen-lockfile"),
        ("yarn.lock", "yarn@4.1.0", "@yarnpkg/cli-dist@4.1.0", "yarn install --immutable"),
        ("pnpm-lock.yaml", "pnpm@9.1.0+sha512.aa", "pnpm@9.1.0", "pnpm install --frozen-lockfile"),
        ("bun.lock", "", "bun", "bun install --frozen-lockfile"),
    ],
)
def test_draft_installs_from_another_manager_s_lock_by_a_hook(
    lock: str, manager: str, packages: str, hook: str
) -> None:
    package = {"packageManager": manager, "scripts": {"test": "echo no test specified"}}
    manifest = drafted({"package.json": json.dumps(package), lock: ""})
    assert (manifest.node, manifest.test) == (Node(packages=(packages,)), None)
    assert manifest.hooks.on_create == (hook,)


def test_draft_of_a_node_project_without_a_lock_installs_by_a_hook() -> None:
    manifest = drafted({"package.json": "{}"})
    assert (manifest.node, manifest.hooks.on_create) == (Node(), ("npm install",))


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
    assert "Dockerfile isn't used: it builds on python:3.12-slim-trixie" in draft(files, "x")


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
    assert manifest.ports == (Port(8000, 8000), Port(9000))
    assert "# Note: of compose.yaml, these are left out; `services:` is where they belong: db." in draft(files, "x")


@pytest.mark.parametrize(
    ("dockerfile", "command"),
    [
        ('FROM debian:12\nCMD ["serve", "--port", "80"]\n', "serve --port 80"),
        ('FROM debian:12\nENTRYPOINT ["python"]\nCMD ["app.py"]\n', "python app.py"),
        ("FROM debian:12 AS a\nCMD first\nFROM debian:12\nCMD exec \\\nsecond\n", "exec second"),
        ("FROM debian:12 AS a\nCMD first\nFROM debian:12\n", ""),
    ],
)
def test_draft_mentions_what_a_containerfile_runs(dockerfile: str, command: str) -> None:
    lines = draft({"Dockerfile": dockerfile}, "x").splitlines()
    shown = [line.partition("  # Dockerfile's CMD;")[0] for line in lines if line.startswith("# command: ")]
    assert shown == ([f"# command: {command}"] if command else [])


def without(files: dict[str, str], gone: str) -> dict[str, str]:
    return {name: text for name, text in files.items() if name != gone}


EXPRESS = {
    "package.json": '{"scripts": {"start": "node server.js"}, "dependencies": {"express": "4"}}',
    "package-lock.json": "{}",
    "server.js": "app.listen(process.env.PORT || 3000);",
}
FASTAPI = {"requirements.txt": "fastapi\nuvicorn\n", "main.py": "import fastapi\napi: FastAPI = FastAPI()\n"}


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"manage.py": "", "requirements.txt": "django\n"}, "exec python manage.py runserver 0.0.0.0:8000"),
        (
            {"api/manage.py": "", "api/requirements.txt": "django\n"},
            "cd api && exec python manage.py runserver 0.0.0.0:8000",
        ),
        (
            {"requirements.txt": "Flask==3.1\n", "app.py": "app = Flask(__name__)\n"},
            "exec flask run --debug --host 0.0.0.0",
        ),
        (
            {"requirements.txt": "flask", "wsgi.py": "def create_app(*, test=False, **more):\n"},
            "exec flask run --debug --host 0.0.0.0",
        ),
        (FASTAPI, "exec uvicorn main:api --reload --host 0.0.0.0"),
        (
            {"requirements.txt": "fastapi[standard]\n", "app/main.py": "app = FastAPI(\n"},
            "exec uvicorn app.main:app --reload --host 0.0.0.0",
        ),
        (EXPRESS, "exec npm start"),
    ],
    ids=["django", "folder", "flask", "factory", "fastapi", "package", "express"],
)
def test_draft_runs_the_server_of_a_framework(files: dict[str, str], command: str) -> None:
    """As its documentation does while one works on it, for everybody who reaches the container; its port is published."""
    manifest = drafted(files)
    assert manifest.command == command
    assert len(manifest.ports) == 1
    procfile = draft({**files, "Procfile": "web: gunicorn x\n"}, "x").splitlines()
    assert any(line.startswith("command: ") for line in procfile)
    assert "# command: gunicorn x  # Procfile's web" in procfile


DEFAULT = "without it, the container waits for you"


@pytest.mark.parametrize(
    ("files", "mention"),
    [
        (
            {"manage.py": "", "requirements.txt": "django\npsycopg2-binary\n"},
            f'"exec python manage.py runserver 0.0.0.0:8000"  # Django\'s own server, once its database answers; {DEFAULT}',
        ),
        *(
            (
                {"requirements.txt": "flask\n", "app.py": f"def create_app({needs}):\n"},
                f"exec flask run --debug --host 0.0.0.0  # Flask's own server, once `env:` has FLASK_APP; {DEFAULT}",
            )
            for needs in ("config", "config: Config, test=False")
        ),
        (
            {"requirements.txt": "flask\n", "app.py": "import flask\n"},
            f"exec flask run --debug --host 0.0.0.0  # Flask's own server, once `env:` has FLASK_APP; {DEFAULT}",
        ),
        (
            {**FASTAPI, "setup.py": ""},
            f'"exec uvicorn main:api --reload --host 0.0.0.0"  # what FastAPI runs with, once the project is installed; {DEFAULT}',
        ),
        (
            {**FASTAPI, ".devcontainer.json": '{"forwardPorts": [9000]}'},
            f'"exec uvicorn main:api --reload --host 0.0.0.0"  # what FastAPI runs with; {DEFAULT}',
        ),
        ({"requirements.txt": "fastapi\n", "main.py": FASTAPI["main.py"]}, ""),
        (
            {**without(EXPRESS, "package-lock.json"), "yarn.lock": ""},
            f"exec yarn start  # package.json's start, once its packages are installed; {DEFAULT}",
        ),
        (
            {**EXPRESS, "server.js": "app.listen(80)"},
            f"exec npm start  # package.json's start, once it listens on 3000; {DEFAULT}",
        ),
        (
            without(EXPRESS, "server.js"),
            f"exec npm start  # package.json's start, once it listens on 3000; {DEFAULT}",
        ),
        ({**EXPRESS, "package.json": '{"dependencies": {"express": "4"}}'}, ""),
    ],
    ids=[
        "database",
        "config",
        "typed",
        "which",
        "install",
        "port",
        "no-uvicorn",
        "yarn",
        "other-port",
        "elsewhere",
        "no-start",
    ],
)
def test_draft_only_mentions_a_server_that_might_end_at_once(files: dict[str, str], mention: str) -> None:
    """Nobody could go into a container whose command has ended."""
    lines = draft(files, "x").splitlines()
    assert [line for line in lines if "command" in line] == ([f"# command: {mention}"] if mention else [])


def test_draft_has_no_server_where_a_containerfile_says_all() -> None:
    files = {"Dockerfile": "FROM debian:12\n", "manage.py": "", "requirements.txt": "django\n"}
    assert "command" not in draft(files, "x")


def test_draft_takes_the_packages_of_a_containerfile_that_it_cannot_use() -> None:
    dockerfile = "FROM python:3.12\nRUN apt-get update && apt-get install -y --no-install-recommends \\\n  libxml2-dev gcc && true\n"
    assert drafted({"Dockerfile": dockerfile, "requirements.txt": ""}).apt == ("libxml2-dev", "gcc")


@pytest.mark.parametrize(
    ("file", "apt", "test"),
    [
        ("go.mod", "golang-go", "go test ./..."),
        ("Cargo.toml", "cargo", "cargo test"),
        ("pom.xml", "maven", "mvn -q test"),
    ],
)
def test_draft_knows_what_debian_has_for_other_languages(file: str, apt: str, test: str) -> None:
    manifest = drafted({file: ""})
    assert (manifest.base, manifest.apt[0], manifest.test) == (From("bootstrap", "trixie"), apt, test)


def test_draft_finds_a_project_s_parts_in_its_folders() -> None:
    files = {
        "api/requirements.txt": "django\n",
        "api/manage.py": "",
        "web/package.json": "{}",
        "web/package-lock.json": "{}",
    }
    manifest = drafted({**files, "z/requirements.txt": ""})
    assert manifest.python == Python(None, ("api/requirements.txt",))
    assert manifest.node == Node(lock="web/package-lock.json")
    assert manifest.hooks.on_create == ("cd api && python manage.py migrate",)
    assert "# Note: there is more Python in z/." in draft({**files, "z/requirements.txt": ""}, "x")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("pyproject.toml", "[project\n", "pyproject.toml was left out: it is not TOML: "),
        ("package.json", '{"a": ', "package.json was left out: it is not JSON: "),
        ("package.json", "[1]", "package.json was left out: it holds no JSON object"),
        ("compose.yaml", "services:\n\t- x", "compose.yaml was left out: line 2: "),
        (".python-version", "pypy", ".python-version was left out: it names no version"),
    ],
)
def test_draft_mentions_a_file_that_it_could_not_make_out(file: str, text: str, told: str) -> None:
    assert f"# Note: {told}" in draft({file: text}, "x")
    assert drafted({file: text}).hooks.on_create == ()


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
    begun = time.process_time()
    drafted(dict.fromkeys(DETECTED, content))
    assert time.process_time() - begun < 5


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


@pytest.mark.parametrize("line", ["app:" + " " * 4_000_000, "a" * 4_000_000, "def create_app(" + "a," * 2_000_000])
@pytest.mark.parametrize("framework", ["flask", "fastapi\nuvicorn"])
def test_draft_of_a_hostile_application_is_written_at_once(framework: str, line: str) -> None:
    """It took hours. With what is quadratic, this test doesn't end."""
    lines = draft({"requirements.txt": framework, "app.py": line}, "x").splitlines()
    assert not [one for one in lines if one.startswith("command:")]
