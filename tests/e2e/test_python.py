"""A Python that the base lacks, from a mirror of our own on the host's loopback."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import New
from tests.e2e.place import Place

pytestmark = [pytest.mark.engine, pytest.mark.network]

VERSION = "3.11.2"  # what Debian 12 has; asked for by all three numbers, it is one that uv must bring
_LIST = "tar -C /usr -c bin/python3.11 lib/python3.11"


@pytest.fixture(scope="module")
def archive(new: New) -> bytes:
    """Debian's Python, laid out as uv's are: everything under `python/`."""
    place = new(manifest="from: bootstrap:bookworm\napt: [python3, libpython3-stdlib]\n")
    argv = [sys.executable, "-m", "devenv", "run", "--", "sh", "-c", _LIST]
    found = subprocess.run(argv, cwd=place.folder, env=place.env(), capture_output=True, check=True).stdout
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(found)) as source, tarfile.open(fileobj=made, mode="w:gz") as target:
        for member in source:
            if member.issym() and member.linkname.startswith(("/", "..")):
                continue  # Debian's own ties to /etc, which uv refuses
            data = source.extractfile(member) if member.isreg() else None
            member.name = f"python/{member.name}"
            if member.islnk():
                member.linkname = f"python/{member.linkname}"
            target.addfile(member, data)
    return made.getvalue()


@pytest.fixture(scope="module")
def mirror(archive: bytes) -> Iterator[str]:
    """The URL of a list of Pythons with that one in it, on 127.0.0.1; its archive is beside it, wherever it is asked from."""
    machine = os.uname().machine
    name = f"cpython-{VERSION}-linux-{machine}-gnu"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = archive if self.path.endswith(".tar.gz") else self.listed()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def listed(self) -> bytes:
            major, minor, patch = map(int, VERSION.split("."))
            entry = {
                "name": "cpython",
                "arch": {"family": machine, "variant": None},
                "os": "linux",
                "libc": "gnu",
                "major": major,
                "minor": minor,
                "patch": patch,
                "prerelease": "",
                "url": f"http://{self.headers['Host']}/{name}-install_only.tar.gz",
                "sha256": hashlib.sha256(archive).hexdigest(),
                "variant": None,
                "build": "20260101",
            }
            return json.dumps({name: entry}).encode()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/pythons.json"
        server.shutdown()


MANIFEST = f"""\
from: bootstrap:bookworm
apt: [libexpat1]
python: {{version: "{VERSION}", packages: [six], build_on: apt}}
"""


@pytest.fixture(scope="module")
def place(new: New, mirror: str) -> Place:
    """A project that wants it, up."""
    made = new(manifest=MANIFEST)
    made("up", env={"UV_PYTHON_DOWNLOADS_JSON_URL": mirror})
    return made


def test_python_of_its_own_is_the_one_asked_for(place: Place) -> None:
    script = "import sys, six; print(sys.version.split()[0], sys.base_prefix)"
    version, prefix = place("exec", "--", "python", "-c", script).out.split()
    assert version == VERSION
    assert os.path.realpath(prefix).startswith("/opt/python/cpython-3.11")
    assert place.attempt("exec", "--", "test", "-e", "/usr/bin/python3").code == 1


def test_where_the_mirror_is_changes_nothing_and_is_not_kept(place: Place, mirror: str) -> None:
    port = mirror.split(":")[2].split("/")[0]
    assert place.json("plan")["idle"] is True  # without the variable
    assert f":{port}" not in place("exec", "env").out
    assert f":{port}" not in place("render").out
    assert port not in json.dumps(place.json("images"))
    found = place.attempt("exec", "--", "grep", "-rlsI", f":{port}/", "/opt", "/etc", "/root")
    assert (found.code, found.out) == (1, "")
