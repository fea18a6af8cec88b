"""What ADD fetches by URL is locked: its digest is in devenv.lock.yml, and what has it already asks nobody."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine

ALLOWED = {"DEVENV_ADD_FROM": "127.0.0.0/8"}


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def adding(project: Project, served: tuple[Path, str]) -> Project:
    """A project whose Containerfile, and the one that is built upon, fetch a file each."""
    folder, address = served
    (folder / "one").write_bytes(b"first\n")
    (folder / "two").write_bytes(b"second\n")
    project.write("Base", f"FROM scratch\nADD {address}/one /\n")
    project.write("Containerfile", f"FROM below\nARG NAME=two\nADD {address}/$NAME /\n")
    project.write("devenv.yml", "from: file:Containerfile\ncontexts: {below: file:Base}\n")
    return project


def test_add_is_locked_by_its_digest_and_built_from_what_was_kept(adding: Project, served: tuple[Path, str]) -> None:
    folder, address = served
    digest = adding.run("build", env=ALLOWED)
    lock = adding.read("devenv.lock.yml")
    for name, content in (("one", b"first\n"), ("two", b"second\n")):
        assert f"- {address}/{name} {len(content)} sha256:{hashlib.sha256(content).hexdigest()}\n" in lock
        os.unlink(folder / name)
    assert adding.run("build", "--no-cache", "--locked", env=ALLOWED) == digest
    assert adding.read("devenv.lock.yml") == lock


def test_add_of_other_bytes_is_refused_until_it_is_upgraded(adding: Project, served: tuple[Path, str]) -> None:
    folder, address = served
    digest = adding.run("build", env=ALLOWED)
    (folder / "two").write_bytes(b"changed\n")
    assert adding.run("build", "--no-cache", env=ALLOWED) == digest
    assert f"{address}/two" in adding.run("lock", "--upgrade", f"{address}/two", env=ALLOWED)
    assert adding.run("build", env=ALLOWED) != digest


def test_add_of_a_new_file_isnt_locked(adding: Project, served: tuple[Path, str]) -> None:
    folder, address = served
    adding.run("lock", env=ALLOWED)
    (folder / "three").write_bytes(b"third\n")
    adding.write("Base", f"FROM scratch\nADD {address}/three /\n")
    done = adding.attempt("build", "--locked", env=ALLOWED)
    assert done.returncode == 2
    assert f"ADD {address}/three" in done.stderr and "`devenv lock`" in done.stderr
    adding.run("lock", env=ALLOWED)
    lock = adding.read("devenv.lock.yml")
    assert f"{address}/three" in lock and f"{address}/one" not in lock


def test_add_from_where_no_step_could_fetch_isnt_locked_either(adding: Project) -> None:
    done = adding.attempt("lock")
    assert done.returncode != 0
    assert "which no build step reaches" in done.stderr
    assert not os.path.exists(f"{adding.folder}/devenv.lock.yml") or "http" not in adding.read("devenv.lock.yml")
