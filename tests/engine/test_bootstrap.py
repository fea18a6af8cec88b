"""A base that is bootstrapped when devenv is ended: mmdebstrap goes with it, and what it had made."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.engine.conftest import eventually
from tests.engine.project import Project

pytestmark = pytest.mark.engine


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a mirror on loopback that takes connections and never answers: mmdebstrap waits for it for minutes."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def bootstrapping(project: Project) -> list[str]:
    """Every process that works in a place beneath this store's run-time folder, as mmdebstrap and its children do."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/cmdline", "rb") as words:
                if f"TMPDIR={project.paths.run}".encode() in environ.read():
                    found.append(words.read().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_bootstrap_ends_with_devenv(project: Project, deaf: int, number: int) -> None:
    project.manifest(f"from: bootstrap:bookworm\nmirror: http://127.0.0.1:{deaf}/debian\n")
    running = project.start("up")
    assert eventually(lambda: any("methods/http" in words for words in bootstrapping(project)), 30)
    sent = time.monotonic()
    running.send_signal(number)
    _, said = running.communicate(timeout=60)

    assert time.monotonic() - sent < 10
    assert eventually(lambda: bootstrapping(project) == [], 5)
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert running.returncode in (130, 128 + number)
        assert os.listdir(project.paths.drafts) == []
    # What a killed one leaves is rubbish that the next command removes.
    project.manifest()
    project.run("build")
    assert os.listdir(project.paths.drafts) == []
