"""A whole environment, with all that one can have: nothing of it is left after `down`; a reboot leaves its data, and `up` the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.lives import held
from devenv.paths import Paths
from tests.engine.conftest import eventually
from tests.engine.load import HEALTHY, SERVER, asked
from tests.engine.project import Project
from tests.engine.standing import left, restart_host, standing

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("machine")]  # a restart takes down all that it has

SERVICES = f"""from: BASE
volumes: {{data: {{}}, more: {{}}}}
secrets: {{KEY: {{from_env: KEY}}}}
hooks: {{on_create: ["echo created >> /root/hooks"], on_start: ["echo started >> /root/hooks"]}}
limits: {{memory: 256M}}
services:
  db:
    command: exec perl /workspace/server.pl
    volumes: ["data:/data", "./conf:/etc/conf:ro"]
    healthcheck: {{test: "{HEALTHY}", interval: 2s}}
    restart: always
    secrets: [KEY]
  seed:
    command: date +%s.%N >> /data/seeded
    volumes: ["data:/data", "more:/more"]
    depends_on: {{db: healthy}}
  web:
    command: exec perl /workspace/server.pl
    ports: ["8000", "41800-41810:8000"]
    healthcheck: {{test: "{HEALTHY}", interval: 2s}}
    depends_on: {{seed: completed}}
    replicas: 3
    restart: on-failure:5
  own:
    from: file:own/Containerfile
    contexts: {{base: "BASE"}}
    command: exec sleep 1000
"""

SECRET = {"KEY": "sesame"}


@pytest.fixture
def whole(home: Paths, base: str) -> Iterator[Project]:
    """A project with all of that, its images built."""
    folder = f"{os.path.dirname(home.home)}/whole"
    made = Project(home, folder, base)
    os.chmod(folder, 0o755)
    made.write("server.pl", SERVER)
    made.write("conf/file", "as it is\n")
    made.write("own/Containerfile", "FROM base\nRUN mkdir /var/own && echo own > /var/own/file\nVOLUME /var/own\n")
    made.manifest(SERVICES.replace("BASE", base))
    made.run("build")
    yield made
    made.down()


def environment(project: Project) -> str:
    return str(project.container()["environment"]["id"])


def listed(project: Project) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(project.run("ps", "--all", "--json"))
    return {row["name"]: row for row in rows}


def answers(port: int) -> set[str]:
    return {asked(port) for _ in range(6)}


def data(project: Project) -> str:
    """What is in the volumes, whose it is, how and since when."""
    look = 'cd "$1" && find . | sort | xargs stat -c "%n %u:%g %a %y" && find . -type f | sort | xargs cat'
    return "".join(
        project.run("exec", container, "sh", "-c", look, "sh", folder)
        for container, folder in (("db", "/data"), ("own", "/var/own"))
    )


def test_down_leaves_nothing_of_an_environment_with_everything(whole: Project) -> None:
    other = Project(whole.paths, f"{whole.folder}-other", whole.base)
    other.manifest()
    other.run("up")  # the places that the store makes for any container are there
    other.down()
    before = standing(whole.paths, [])
    whole.run("up", env=SECRET)
    own = environment(whole)
    whole.run("scale", "web=5")
    whole.run("exec", "web-2", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
    os.kill(listed(whole)["web-1"]["pid"], 9)
    assert eventually(lambda: listed(whole)["web-1"]["restarts"] == 1)
    assert len(standing(whole.paths, [own]) - before) > 50  # it does see them
    whole.run("down")
    assert left(whole.paths, own, before, volumes=True) == []
    whole.run("down", "--volumes")
    assert left(whole.paths, own, before) == []


def test_all_comes_back_after_a_reboot_with_its_volumes_as_they_were(whole: Project) -> None:
    whole.run("up", env=SECRET)
    whole.run(
        "exec", "db", "sh", "-c", "umask 077; mkdir /data/rows && echo row > /data/rows/1; chown 33:34 /data/rows/1"
    )
    whole.run("exec", "own", "sh", "-c", "echo more >> /var/own/file")
    whole.run("exec", "web-3", "sh", "-c", "echo kept > /root/own")
    kept, before = data(whole), listed(whole)
    ports = {name: [port["host"] for port in row["ports"]] for name, row in before.items()}

    restart_host(whole.paths, [environment(whole)])

    after = listed(whole)
    assert {row["status"] for row in after.values()} == {"stopped"}
    assert {name: row["id"] for name, row in after.items()} == {name: row["id"] for name, row in before.items()}
    whole.run("up", env=SECRET)
    assert data(whole) == kept
    after = listed(whole)
    assert {name for name, row in after.items() if row["status"] != "running"} == {"seed-1"}
    assert {after[name]["health"] for name in ("db-1", "web-1", "web-2", "web-3")} == {"healthy"}
    assert {name: [port["host"] for port in row["ports"]] for name, row in after.items()} == ports
    assert eventually(lambda: answers(ports["web-1"][0]) == {"web-1", "web-2", "web-3"})
    assert [asked(ports[f"web-{number}"][1]) for number in (1, 2, 3)] == ["web-1", "web-2", "web-3"]
    assert whole.run("exec", "web-3", "cat", "/root/own") == "kept\n"
    assert whole.run("exec", "db", "cat", "/run/secrets/KEY", "/etc/conf/file") == "sesameas it is\n"
    assert whole.run("exec", "--", "cat", "/root/hooks").split() == ["created", "started", "started"]
    assert whole.run("exec", "--", "getent", "ahostsv4", "web").count("STREAM") == 3
    assert held(whole.paths.supervisor(environment(whole)))
    os.kill(after["web-2"]["pid"], 9)
    assert eventually(lambda: listed(whole)["web-2"]["restarts"] == 1)
    events = json.loads(whole.run("events", "db-1", "--json"))
    assert [(one["kind"], one["detail"]) for one in events if one["kind"] != "health"] == [
        *(("create", ""), ("start", ""), ("die", "the host was restarted"), ("start", ""))
    ]
    assert json.loads(whole.run("plan", "--json"))["idle"] is True
