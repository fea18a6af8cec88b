"""What a compose file gives to the first manifest: its own service's part, and a note of whatever isn't taken."""

from __future__ import annotations

import pytest

from devenv.manifest import draft
from devenv.model.manifest import From, Port, Python

from .test_manifest_draft import drafted

WEB = """
services:
  web:
    image: python:3.11
    ports: ["8000:5000"]
    environment: {FLASK_DEBUG: "1", GREETING: hi}
    command: [flask, run, --host, 0.0.0.0, --debugger-pin, "a b"]
  redis: {image: "redis:7"}
"""
REQUIREMENTS = {"requirements.txt": "flask\n"}


def notes(files: dict[str, str]) -> list[str]:
    return [line for line in draft(files, "x").splitlines() if line.startswith("# Note: ")]


def test_draft_takes_ports_variables_and_command_of_the_projects_own_service() -> None:
    files = {"compose.yaml": WEB, **REQUIREMENTS}
    manifest = drafted(files)
    assert manifest.ports == (Port(5000, 8000),)
    assert manifest.env == (("FLASK_DEBUG", "1"), ("GREETING", "hi"))
    assert manifest.python == Python("3.11", ("requirements.txt",))
    assert "# command: \"flask run --host 0.0.0.0 --debugger-pin 'a b'\"  # compose.yaml's command" in draft(files, "x")
    assert notes(files) == ["# Note: of compose.yaml, these are left out; `services:` is where they belong: redis."]


def test_draft_prefers_the_host_port_of_compose_to_expose() -> None:
    compose = "services: {web: {build: ., ports: ['8000:5000', {target: 53, published: 5353, protocol: udp}]}}"
    for dockerfile in ("FROM debian:12\nEXPOSE 5000 9000\n", "FROM python:3.12\nEXPOSE 5000 9000\n"):
        files = {"docker-compose.yml": compose, "Dockerfile": dockerfile, **REQUIREMENTS}
        assert drafted(files).ports == (Port(5000, 8000), Port(53, 5353, protocol="udp"), Port(9000))
        assert not [note for note in notes(files) if "compose" in note]


@pytest.mark.parametrize(
    ("services", "own"),
    [
        ("{db: {image: postgres, ports: ['1:1']}, app: {build: {context: .}}}", "app"),
        ("{proxy: {build: ./proxy, ports: ['1:1']}, app: {build: .}}", "app"),
        ("{worker: {build: .}, app: {build: ., ports: ['1:1']}}", "app"),
        ("{db: {image: postgres}, app: {image: ours/app, volumes: ['.:/app']}}", "app"),
        (
            "{db: {image: postgres}, app: {image: ours/app, volumes: [{type: bind, source: ./, target: /app}]}}",
            "app",
        ),
        ("{db: {image: postgres, ports: ['1:1']}, app: {image: 'docker.example/library/node:20'}}", "app"),
        ("{db: {image: postgres, ports: ['1:1']}, app: {image: ours/app, ports: ['2:2']}}", "app"),
        ("{db: {image: 'postgres:16', ports: ['5432:5432']}}", ""),
        ("{cache: {image: redis}, db: {image: postgres}}", ""),
        ("{a: {image: 'python:3.12'}, b: {image: 'node:20'}}", ""),
        ("{a: text, b: [x], c: }", ""),
    ],
)
def test_draft_knows_which_service_is_the_projects_own(services: str, own: str) -> None:
    said = "\n".join(notes({"compose.yaml": f"services: {services}"}))
    others = said.rpartition("is where they belong: ")[2].rstrip(".").split(", ")
    assert own not in others and "" not in others
    assert drafted({"compose.yaml": f"services: {services}"}).ports == () or own


def test_draft_says_what_of_the_own_service_it_cannot_take() -> None:
    compose = """
services:
  web:
    build: {context: ., target: dev, args: {A: b}}
    container_name: web
    ports: ["3000-3005:3000-3005", "${PORT:-80}:80", "9000:9000", "9001:9000"]
    environment:
      - A=b=c
      - PRICE=5$$
      - EMPTY=
      - FROM_OUTSIDE
      - URL=http://${HOST}/
      - SECRET_KEY=x
      - db_password=x
      - DATABASE_URL=postgres://me:secret@db/x
      - MONKEY=1
      - 1X=y
      - TEMPLATE={{ x }}
    env_file: .env
    entrypoint: ./entry
    volumes: [".:/app", "data:/data"]
    depends_on: [db]
    restart: always
"""
    files = {"compose.yml": compose, "Dockerfile": "FROM debian:12 AS dev\n"}
    manifest = drafted(files)
    assert manifest.base == From("file", "Dockerfile")
    assert manifest.ports == (Port(9000, 9000),)
    assert manifest.env == (("A", "b=c"), ("PRICE", "5$"), ("EMPTY", ""), ("MONKEY", "1"))
    assert notes(files) == [
        "# Note: of compose.yml's web, these ports are left out: 3000-3005:3000-3005, ${PORT:-80}:80, 9001:9000.",
        "# Note: of compose.yml's web, these variables are left out, as they look like secrets; `secrets:` is where those"
        " belong: SECRET_KEY, db_password, DATABASE_URL.",
        "# Note: of compose.yml's web, these variables are left out, as Compose fills them in from outside: FROM_OUTSIDE, URL.",
        "# Note: of compose.yml's web, these variables are left out, as they can't be written here as they are: 1X, TEMPLATE.",
        "# Note: of compose.yml's web, these keys are left out: build.args, build.target, entrypoint, env_file, volumes.",
    ]


def test_draft_says_when_a_service_is_built_elsewhere_or_from_an_image_that_it_cannot_have() -> None:
    assert notes({"compose.yaml": "services: {web: {build: ./web, command: 'a\n\n  b'}}"})[-1] == (
        "# Note: of compose.yaml's web, these keys are left out: build, command."
    )
    assert notes({"compose.yaml": "services: {web: {image: ours/app, volumes: ['.:/app']}}"})[-1] == (
        "# Note: of compose.yaml's web, these keys are left out: image."
    )


@pytest.mark.parametrize(("folder", "left"), [("/app", []), ("/app/", []), ("/app/api", ["working_dir"])])
def test_draft_needs_no_folder_that_is_the_projects_own(folder: str, left: list[str]) -> None:
    """It is /workspace here, where commands start."""
    compose = f"services: {{web: {{image: 'node:20', environment: {{A: b}}, volumes: ['.:/app:cached'], working_dir: {folder}}}}}"
    told = [f"# Note: of compose.yaml's web, these keys are left out: {key}." for key in left]
    assert notes({"compose.yaml": compose}) == told


def test_draft_starts_from_the_release_of_the_own_service() -> None:
    files = {"compose.yaml": "services: {web: {image: 'debian:11', volumes: ['.:/app']}}"}
    assert (drafted(files).base, notes(files)) == (From("bootstrap", "bullseye"), [])


def test_draft_takes_the_service_that_a_devcontainer_names() -> None:
    compose = "services: {web: {build: ., environment: {A: w}}, tools: {image: 'node:20', environment: {A: t}}}"
    files = {"compose.yaml": compose, ".devcontainer.json": '{"service": "tools"}'}
    assert drafted(files).env == (("A", "t"),)


def test_draft_never_shows_what_a_secret_holds() -> None:
    compose = "services: {web: {build: ., environment: {API_TOKEN: hunter2, A: 'https://u:hunter2@x/'}}}"
    assert "hunter2" not in draft({"compose.yaml": compose}, "x")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            {"app.py": "", "requirements.txt": "flask\n"},
            "# test: pytest -q  # what `devenv test` runs, once pytest is installed",
        ),
        ({"requirements.txt": "flask\npytest\n"}, "test: pytest -q"),
        (
            {"api/requirements.txt": "flask\n"},
            '# test: "cd api && pytest -q"  # what `devenv test` runs, once pytest is installed',
        ),
        ({"package.json": "{}"}, "# test: npm test  # what `devenv test` runs, once package.json has that script"),
        ({"Makefile": "test:\n\ttrue\n"}, "test: make test"),
        ({"Makefile": "all:\n"}, "# test: COMMAND  # what `devenv test` runs"),
        ({}, "# test: COMMAND  # what `devenv test` runs"),
    ],
)
def test_draft_suggests_a_test_that_there_is(files: dict[str, str], line: str) -> None:
    assert draft(files, "x").splitlines()[-1] == line
