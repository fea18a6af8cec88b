"""A proxy on the host's loopback works inside, in builds and runs; `proxy: none` means none."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from devenv.engine.native.slot.address import bridge_name, table_name
from devenv.paths import Paths

from .conftest import eventually, output
from .project import Project

pytestmark = pytest.mark.engine

# Says which proxy is seen, and what it answers.
ASK = 'echo "$http_proxy"; hp=${http_proxy#http://}; exec 3<>/dev/tcp/${hp%:*}/${hp#*:} && cat <&3'


@pytest.fixture
def proxy() -> Iterator[str]:
    """A URL on the host's loopback where something answers "here" to whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.sendall(b"here\n")
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_proxy_on_the_hosts_loopback_is_reached_from_a_container(project: Project, proxy: str) -> None:
    seen, answer = project.run("run", "--", "bash", "-c", ASK, env={"http_proxy": proxy}).splitlines()

    assert answer == "here"
    assert seen.rpartition(":")[2] == proxy.rpartition(":")[2]
    assert "127.0.0.1" not in seen


def test_proxy_on_the_hosts_loopback_is_reached_from_a_build_step_and_stays_out_of_the_image(
    project: Project, proxy: str
) -> None:
    project.write("Containerfile", f'FROM base\nSHELL ["/bin/bash", "-c"]\nRUN {ASK} >/asked\n')
    project.manifest(f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n")

    project.run("build", env={"http_proxy": proxy})

    assert lent(project) == []
    assert project.run("run", "--", "cat", "/asked") == "here\n"
    assert "http_proxy" not in project.run("run", "--", "env")


def test_proxy_none_holds_for_builds_and_containers(project: Project, proxy: str) -> None:
    project.write("Containerfile", "FROM base\nRUN env >/seen\n")
    project.manifest(
        f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\nproxy: none\ncertificates: none\n"
    )

    project.run("build", env={"http_proxy": proxy})
    seen = project.run("run", "--", "cat", "/seen", env={"http_proxy": proxy})

    assert "proxy" not in seen.lower()
    assert "SSL_CERT_FILE" not in seen
    assert proxy not in project.run("run", "--", "env", env={"http_proxy": proxy})


def lent(project: Project) -> list[str]:
    """Ports that are lent to single containers, by nft."""
    table = table_name(bridge_name(project.paths.run))
    listed = json.loads(output("nft", "-j", "list", "map", "inet", table, "lent"))["nftables"]
    elements = next(entry["map"] for entry in listed if "map" in entry).get("elem", [])
    return [str(key["concat"][2]) for key, _ in elements]


def test_proxy_is_lent_to_the_environment_that_asked_as_long_as_it_runs(
    project: Project, store: Paths, base: str, proxy: str
) -> None:
    port, env = proxy.rpartition(":")[2], {"http_proxy": proxy}
    other = Project(store, f"{project.folder}-other", base)
    other.manifest()
    try:
        project.run("up", env=env)
        other.run("up")
        assert lent(project) == [port]
        seen, answer = project.run("exec", "--", "bash", "-c", ASK).splitlines()
        assert answer == "here"
        theirs = other.attempt("exec", "--", "bash", "-c", f"http_proxy={seen}; {ASK}")
        assert theirs.returncode != 0
        assert "here" not in theirs.stdout
        assert "refused" in theirs.stderr

        project.run("stop")
        assert lent(project) == []
        project.run("up", env={"http_proxy": "http://127.0.0.1:9"})
        assert lent(project) == ["9"]
        project.manifest("proxy: none\n")
        project.run("up", env=env)
        assert lent(project) == []
        project.manifest()
        project.run("up", env=env)
        assert lent(project) == [port]
        project.run("down")
        assert lent(project) == []
    finally:
        other.down()


def test_proxy_is_taken_back_from_a_service_that_died_and_lent_again_when_it_starts(
    project: Project, proxy: str
) -> None:
    services = "  web: {command: sleep 600}\n  db: {command: sleep 600, healthcheck: {test: 'true'}}\n"
    project.manifest(f"services:\n{services}")
    project.run("up", env={"http_proxy": proxy})
    assert len(lent(project)) == 3  # the workspace's too
    os.kill(project.container("web-1")["pid"], signal.SIGKILL)
    assert eventually(lambda: len(lent(project)) == 2)
    project.run("up", env={"http_proxy": proxy})
    assert len(lent(project)) == 3


@pytest.mark.parametrize("manifest", ["proxy: none\n", "env: {http_proxy: 'http://127.0.0.1:7', HTTP_PROXY: ''}\n"])
def test_proxy_that_is_not_to_be_used_is_not_lent(project: Project, proxy: str, manifest: str) -> None:
    project.manifest(manifest)
    project.run("up", env={"http_proxy": proxy})

    assert lent(project) == []


def test_proxy_lent_to_a_command_that_is_killed_is_taken_back(project: Project, proxy: str) -> None:
    with project.start("run", "--", "sleep", "60", env={"http_proxy": proxy}) as run:
        assert eventually(lambda: lent(project) != [])
        run.kill()
    project.run("run", "--", "true")

    assert lent(project) == []


def test_mirror_of_the_manifest_is_part_of_a_bases_key(project: Project) -> None:
    project.manifest("from: bootstrap:bookworm\nmirror: http://127.0.0.1:9/debian\n")

    failed = project.attempt("build")

    assert failed.returncode == 1
    assert "bootstrap" in failed.stderr
    assert "http://127.0.0.1:9/debian" in failed.stderr
