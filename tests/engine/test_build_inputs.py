"""What a build is given: archives, URLs, contexts, secrets, ignore files, arguments. Each wrong one is an error with its line."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine


def refused(project: Project, *words: str, code: int = 2) -> str:
    """What a build that must fail says on stderr."""
    done = project.attempt("build", *words)
    assert done.returncode == code, done.stderr
    return done.stderr


def listing(project: Project, image: str) -> list[str]:
    """Files of an image, as a foreign tool unpacks it."""
    target = f"{project.folder}/unpacked-{image}"
    argv = ["umoci", "unpack", "--rootless", "--image", f"{project.layout(image)}:{image}", target]
    subprocess.run(argv, check=True, capture_output=True)
    top = f"{target}/rootfs"
    return sorted(os.path.relpath(f"{folder}/{name}", top) for folder, _, names in os.walk(top) for name in names)


def test_add_of_an_archive_that_ends_too_early(project: Project) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        member = tarfile.TarInfo("inside")
        member.size = 100_000
        made.addfile(member, io.BytesIO(random.Random(1).randbytes(member.size)))
    whole = gzip.compress(buffer.getvalue())
    project.write("Containerfile", "FROM scratch\nCOPY devenv.yml /\nADD x.tar.gz /in/\n")
    for end, said in ((50_000, "ended before the end-of-stream"), (len(whole) - 3, "ended before the end-of-stream")):
        with open(f"{project.folder}/x.tar.gz", "wb") as file:
            file.write(whole[:end])
        error = refused(project, ".")
        assert "Containerfile:3: x.tar.gz: can't be unpacked: " in error
        assert said in error
        assert "--unpack=false" in error
    with open(f"{project.folder}/x.tar.gz", "wb") as file:
        file.write(whole[:20])  # not even a header: no archive, so it is copied
    project.run("build", "-t", "copied", ".")
    assert "in/x.tar.gz" in listing(project, "copied")


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("COPY --from=devenv-tools uv /", "lent to a RUN, not copied"),
        ("COPY --from=devenv-tools nothing /", "lent to a RUN, not copied"),
        ("COPY --from=devenv-tools /.. /", "outside the build context"),
        (
            "RUN --mount=type=bind,from=devenv-tools,target=/t true",
            "find everything in devenv-tools: it has uv and node",
        ),
        ("RUN --mount=type=bind,from=devenv-tools,source=node/bin,target=/t true", "find node/bin in devenv-tools"),
        ("RUN --mount=type=bind,from=devenv-tools,source=../uv/..,target=/t true", "find everything in devenv-tools"),
        ("RUN --mount=type=bind,from=devenv-tools,source=*,target=/t true", r"find * in devenv-tools"),
    ],
)
def test_tools_are_lent_by_name_only(project: Project, instruction: str, message: str) -> None:
    project.write("Containerfile", f"FROM scratch\n{instruction}\n")
    error = refused(project, ".")
    assert "Containerfile:2: " in error
    assert message in error


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving() -> Iterator[int]:
    """The port of a server on all addresses of this host."""
    with ThreadingHTTPServer(("0.0.0.0", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_add_fetches_from_no_address_of_this_host_unless_allowed(project: Project) -> None:
    addresses = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout.split()
    hosts = ["127.0.0.1", "localhost", "0.0.0.0", *(one for one in addresses if ":" not in one)]
    with serving() as port:
        for host in hosts:
            project.write("Containerfile", f"FROM scratch\nADD http://{host}:{port}/file /\n")
            error = refused(project, ".")
            assert "Containerfile:2: " in error
            assert "which no build step reaches" in error
        allowed = {"DEVENV_ADD_FROM": "127.0.0.0/8"}
        project.write("Containerfile", f"FROM scratch\nADD http://127.0.0.1:{port}/file /\n")
        project.run("build", "-t", "fetched", ".", env=allowed)
    assert listing(project, "fetched") == ["file"]


def test_build_argument_that_nobody_declares_is_told_once(project: Project) -> None:
    project.write("own/Base", "ARG USED\nFROM scratch\nCOPY own/Base /\n")
    project.write("Containerfile", "FROM base\nARG TOP\nCOPY devenv.yml /\n")
    words = ("--build-arg", "USED=1", "--build-arg", "TOP=1", "--build-arg", "TPO=1")
    contexts = ("--build-context", "base=file:own/Base")
    done = project.attempt("build", "--json", *contexts, *words, ".")
    expected = f"{project.folder}/Containerfile: --build-arg TPO: no ARG declares it; did you mean TOP?"
    assert done.stderr.count("no ARG declares it") == 1
    assert f"warning: {expected}\n" in done.stderr
    assert json.loads(done.stdout)["warnings"] == [expected]

    project.manifest("from: file:Containerfile\ncontexts: {base: 'file:own/Base'}\n")
    planned = project.attempt("plan", "--json", *words)
    assert planned.stderr.count("no ARG declares it") == 1
    assert len(json.loads(planned.stdout)["warnings"]) == 1


def test_ignore_file_of_the_project_has_no_say_in_what_is_rendered(project: Project) -> None:
    project.write(".dockerignore", "*\n")
    project.write("requirements.txt", "")
    project.manifest("python: {requirements: [requirements.txt]}\n")
    project.run("plan")
    project.write("Containerfile", "FROM scratch\nCOPY requirements.txt /\n")
    assert "the ignore file leaves it out" in refused(project, "-f", "Containerfile", ".")
    # One of its own comes before the context's.
    project.write("Containerfile.dockerignore", "devenv.yml\n")
    project.run("build", ".")


def test_context_stands_for_the_stage_of_its_name(project: Project) -> None:
    project.write("Containerfile", "FROM nowhere AS Made\nRUN false\nFROM scratch\nCOPY --from=made /file /\n")
    project.write("other/file", "from a folder\n")
    project.write("Other", "FROM scratch\nCOPY other/file /\n")
    project.run("build", "--build-context", "made=other", "--build-context", "nowhere=file:Other", "-t", "folder", ".")
    assert listing(project, "folder") == ["file"]
    project.run("build", "--build-context", "made=file:Other", "-t", "image", ".")
    assert listing(project, "image") == ["file"]
    project.run("build", "--build-context", "made=file:Other", "--target", "made", "-t", "target", ".")
    project.write("Containerfile", "FROM scratch AS made\nFROM made\nCOPY devenv.yml /\n")
    assert "made is a folder, and FROM takes an image" in refused(project, "--build-context", "made=other", ".")


def test_paths_of_options_are_seen_from_where_one_is(project: Project) -> None:
    project.write("sub/extra/file", "x\n")
    project.write("sub/token", "t0\n")
    project.write("sub/large", "x" * (1 << 20))
    project.write("tree/Containerfile", "FROM base\nCOPY --from=extra file /\nRUN --mount=type=secret,id=t true\n")
    words = ("--build-context", f"base={project.base}", "--build-context", "extra=extra", "../tree")
    assert project.attempt("-C", "sub", "build", "--secret", "id=t,src=token", *words).returncode == 0
    assert project.attempt("-C", "sub", "build", "--secret", "id=t,src=large", *words).returncode == 0
    project.write("sub/large", "x" * ((1 << 20) + 1))
    done = project.attempt("-C", "sub", "build", "--secret", "id=t,src=large", *words)
    assert (done.returncode, "larger than 1048576 bytes" in done.stderr) == (2, True)


def test_private_caches_are_few_and_used_again(project: Project) -> None:
    step = "RUN --mount=type=cache,id=private-%d,sharing=private,target=/c %s"
    again = "echo x >> /c/log && cp /c/log /log"
    for number in range(3):
        project.write("Containerfile", f"FROM base\n{step % (1, again)} # {number}\n")
        project.run("build", "--build-context", f"base={project.base}", "-t", "private", ".")
    assert project.run("run", "--image", "private", "--", "cat", "/log") == "x\n" * 3

    before = set(os.listdir(f"{project.paths.home}/caches"))
    alone = "ls -A /c > /seen; mkdir /c/mine; sleep 1; rmdir /c/mine; test ! -s /seen"
    stages = "".join(f"FROM base AS s{number}\n{step % (2, alone)} # {number}\n" for number in range(2))
    project.write("Containerfile", f"{stages}FROM scratch\nCOPY --from=s0 /seen /\nCOPY --from=s1 /seen /s1\n")
    project.run("build", "--build-context", f"base={project.base}", ".")
    assert len(set(os.listdir(f"{project.paths.home}/caches")) - before) <= 2
