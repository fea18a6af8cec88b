"""The builder on real Containerfiles: every instruction, what is cached, what fails, what a step can't reach or leave behind."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator

import pytest

from devenv.paths import Paths
from tests.engine.project import Project

pytestmark = pytest.mark.engine

EVERYTHING = """\
# syntax=docker/dockerfile:1
ARG TAG=base
FROM $TAG AS tools
SHELL ["/bin/sh", "-ec"]
RUN mkdir -p /made/bin && printf '#!/bin/sh\\necho tool\\n' > /made/bin/tool && chmod 755 /made/bin/tool
RUN chown 5:6 /made/bin/tool && ln /made/bin/tool /made/bin/same && chmod u+s /made/bin/same

FROM scratch AS files
ARG TAG
COPY app /app/
COPY <<EOF <<'RAW' /texts/
expanded $TAG
EOF
raw $TAG
RAW

FROM base
ARG VERSION=1
ENV APP_HOME=/srv/app GREETING="hello ${VERSION:-none}"
LABEL maker="devenv tests" version=$VERSION
WORKDIR $APP_HOME
WORKDIR sub
RUN pwd > where && test "$GREETING" = "hello 7" && test "$VERSION" = 7
RUN <<EOF
echo one > /heredoc
echo two >> /heredoc
EOF
RUN <<EOF
#!/usr/bin/perl
open F, ">", "/perl"; print F "perl $ENV{VERSION}\\n";
EOF
RUN ["/bin/sh", "-c", "echo exec > /exec"]
COPY --chown=daemon:games --chmod=640 app/main.txt /owned
COPY --link --from=tools /made/bin /opt/bin
COPY --from=extra *.txt /extra/
COPY --exclude=*.log app /app
COPY --from=files /texts /texts
ADD bundle.tar.gz /unpacked/
RUN --mount=type=cache,target=/cache echo step >> /cache/log && cp /cache/log /from-cache
RUN --mount=type=bind,source=app,target=/mnt/app cp /mnt/app/main.txt /from-bind && ! touch /mnt/app/x
RUN --mount=type=bind,from=tools,source=/made,target=/mnt/tools,rw touch /mnt/tools/x && /mnt/tools/bin/tool > /from-tool
RUN --mount=type=tmpfs,target=/scratch,size=1m echo x > /scratch/x && ! head -c 2000000 /dev/zero > /scratch/y
RUN --mount=type=secret,id=token,target=/run/token,mode=0400 --mount=type=secret,id=token,env=TOKEN \\
    test "$(cat /run/token)" = "$TOKEN" && sha256sum /run/token | cut -c1-8 > /token-seen
RUN --network=none ls /sys/class/net > /links
RUN chroot / /bin/true && ! mknod /block b 8 1 && grep ^Cap /proc/self/status > /capabilities && cat /proc/self/uid_map > /map
USER 1000:1000
RUN id -u > /tmp/id && id -g >> /tmp/id
EXPOSE 8000 9000/udp
VOLUME /srv/data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["/opt/bin/tool"]
CMD ["serve"]
"""

BUILD = {0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31}
"""CAP_… by number: the eleven of a build step (linux/capability.h)."""


class Built:
    """The whole file, built once for the module; `words` build it again; `canary` is its secret."""

    def __init__(self, store: Paths, base: str) -> None:
        self.project = Project(store, tempfile.mkdtemp(prefix="build", dir=os.path.dirname(store.home)), base)
        self.canary = f"canary{secrets.token_hex(16)}"
        self.token = f"{self.project.folder}.token"
        with open(self.token, "w", encoding="ascii") as file:
            file.write(self.canary)
        contexts = ("--build-context", f"base={base}", "--build-context", "extra=more")
        self.words = (
            "build",
            *contexts,
            "--build-arg",
            "VERSION=7",
            "--secret",
            f"id=token,src={self.token}",
            "-t",
            "all",
            ".",
        )
        self.lay_out()
        self.digest = self.project.run(*self.words)
        self.project.run(*self.words, "-t", "first")  # `all` is what the last test built

    def lay_out(self) -> None:
        """The files as they are at first."""
        project = self.project
        project.write("Containerfile", EVERYTHING)
        project.write("app/main.txt", "main\n")
        project.write("app/noise.log", "noise\n")
        project.write("app/sub/deep.txt", "deep\n")
        project.write("ignored/secret.txt", "x\n")
        project.write(".dockerignore", "ignored\nbundle.tar\n")
        project.write("more/a.txt", "a\n")
        project.write("more/b.log", "b\n")
        if not os.path.exists(f"{project.folder}/bundle.tar.gz"):
            with tarfile.open(f"{project.folder}/bundle.tar.gz", "w:gz") as archive:
                archive.add(f"{project.folder}/app/main.txt", "in/tar.txt")


@pytest.fixture(scope="module")
def made(store: Paths, base: str) -> Built:
    return Built(store, base)


@pytest.fixture
def built(made: Built) -> Iterator[Built]:
    yield made
    made.lay_out()


def ran(stderr: str) -> list[str]:
    """Titles of the steps that were run, as the progress says it."""
    return [line[2:] for line in stderr.splitlines() if line.startswith("✓ ")]


def inside(project: Project, image: str, script: str) -> str:
    """What a script prints in a container of an image."""
    return project.run("run", "--image", image, "--entrypoint", "", "--user", "0", "--", "/bin/sh", "-c", script)


def test_build_does_every_instruction(built: Built) -> None:
    def show(script: str) -> list[str]:
        return inside(built.project, "first", script).splitlines()

    assert show("cat /srv/app/sub/where /heredoc /perl /exec") == ["/srv/app/sub", "one", "two", "perl 7", "exec"]
    assert show("stat -c '%U:%G %a' /owned") == ["daemon:games 640"]
    assert show("stat -c '%u:%g %a %h' /opt/bin/tool /opt/bin/same") == ["5:6 4755 2"] * 2
    assert show("/opt/bin/tool; cat /from-tool /from-bind /from-cache") == ["tool", "tool", "main", "step"]
    assert sorted(show("cat /texts/*")) == ["expanded base", "raw $TAG"]
    assert show("cd /; find app extra unpacked -type f | sort") == [
        *("app/main.txt", "app/sub/deep.txt", "extra/a.txt", "unpacked/in/tar.txt")
    ]
    assert show("cat /links /tmp/id") == ["lo", "1000", "1000"]
    assert show("ls -A /mnt /run /cache /scratch /block 2>&-; true") == ["/mnt:", "", "/run:", "devenv", "lock"]
    effective = next(line for line in show("cat /capabilities") if line.startswith("CapEff"))
    assert {bit for bit in range(64) if int(effective.split()[1], 16) >> bit & 1} == BUILD
    assert int(show("cat /map")[0].split()[1]) >= 0x70000000
    assert len(show("cat /token-seen")[0]) == 8


def test_build_config_is_what_others_read(built: Built) -> None:
    argv = ["skopeo", "inspect", "--config", f"oci:{built.project.layout('all')}:all"]
    config = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)["config"]

    assert config["Entrypoint"] == ["/opt/bin/tool"]
    assert config["Cmd"] == ["serve"]
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("1000:1000", "/srv/app/sub", "SIGINT")
    assert config["Labels"] == {"maker": "devenv tests", "version": "7"}
    assert set(config["ExposedPorts"]) == {"8000/tcp", "9000/udp"}
    assert set(config["Volumes"]) == {"/srv/data"}
    assert {"APP_HOME=/srv/app", "GREETING=hello 7"} <= set(config["Env"])
    assert not any(entry.startswith(("VERSION=", "SSL_CERT_FILE=", "TOKEN=")) for entry in config["Env"])


def test_build_again_runs_nothing(built: Built) -> None:
    project = built.project
    os.utime(f"{project.folder}/app/main.txt", (1, 1))
    project.write("ignored/secret.txt", "y\n")
    project.write("Containerfile", EVERYTHING.replace("ARG VERSION=1", "# a comment\nARG VERSION=1"))
    for _ in range(2):
        again = project.attempt(*built.words)
        assert (again.stdout, ran(again.stderr)) == (built.digest, [])


def test_build_after_a_change_runs_only_what_depends_on_it(built: Built) -> None:
    built.project.write("more/a.txt", "changed\n")
    titles = ran(built.project.attempt(*built.words).stderr)

    assert "COPY --from=extra" in titles[0]
    assert "RUN id -u" in titles[-1]
    # From the COPY to the end of its stage, but the RUNs and COPYs before it and the other stages are as they were.
    assert len(titles) == 12
    assert all(title.startswith("stage-2 ") for title in titles)
    assert inside(built.project, "all", "cat /extra/a.txt") == "changed\n"


def test_build_leaves_a_secret_nowhere(built: Built) -> None:
    project = built.project
    project.write("Containerfile", EVERYTHING.replace('= "$TOKEN" &&', '= "$TOKEN" && false &&'))
    failed = project.attempt("build", "--keep-failed", *built.words[1:])
    assert failed.returncode == 1
    assert "devenv/failed/" in failed.stderr
    assert built.canary not in failed.stderr

    places = [project.paths.home, f"{project.paths.run}/bundles", project.paths.runtime]
    found = subprocess.run(["grep", "-rlD", "skip", built.canary, *places], capture_output=True, text=True)
    assert found.stdout == ""
    # The search does find what is there.
    assert subprocess.run(["grep", "-rqD", "skip", "loop", project.paths.home]).returncode == 0


def test_build_secret_that_is_required_is_missed(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN --mount=type=secret,id=token,required cat /run/secrets/token\n")
    done = project.attempt("build", "--build-context", f"base={project.base}", ".")
    assert done.returncode == 1
    assert "Containerfile:2" in done.stderr
    assert "--secret id=token" in done.stderr


def test_build_failed_step_is_told_kept_when_asked_and_never_cached(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN echo before > /before\nRUN echo here > /here; echo loud; exit 9\n")
    words = ("--build-context", f"base={project.base}", ".")
    for _ in range(2):
        done = project.attempt("build", *words)
        assert done.returncode == 1
        assert "Containerfile:3" in done.stderr
        assert "exit code 9" in done.stderr
        assert "loud" in done.stderr
    kept = project.attempt("build", "--keep-failed", *words).stderr
    (image,) = set(re.findall(r"devenv/failed/[0-9a-f]+", kept))
    assert inside(project, image, "cat /before /here") == "before\nhere\n"
    assert project.attempt("build", *words).returncode == 1


def test_build_stages_run_side_by_side(project: Project) -> None:
    step = "date +%s%N > /begun; sleep 1.5; date +%s%N > /ended"
    project.write(
        "Containerfile",
        f"FROM base AS a\nRUN {step} # a\nFROM base AS b\nRUN {step} # b\n"
        "FROM base\nCOPY --from=a /begun /ended /a/\nCOPY --from=b /begun /ended /b/\n",
    )
    project.run("build", "--build-context", f"base={project.base}", "-t", "beside", ".")
    times = inside(project, "beside", "cat /a/begun /b/ended /b/begun /a/ended").split()
    a_begun, b_ended, b_begun, a_ended = map(int, times)
    assert a_begun < b_ended
    assert b_begun < a_ended


def test_build_identical_ones_at_the_same_time_become_one(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN sleep 1; head -c 16 /dev/urandom > /random\n")
    words = ("build", "--build-context", f"base={project.base}", ".")
    both = [project.start(*words) for _ in range(3)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1


def test_build_step_reaches_no_service_of_the_host(project: Project) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        links = json.loads(subprocess.run(["ip", "-j", "-4", "address"], check=True, capture_output=True).stdout)
        hosts = [one["local"] for link in links for one in link["addr_info"]]
        assert "127.0.0.1" in hosts
        calls = [
            f"perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr=>qq({host}:{port}), Timeout=>2)'"
            for host in hosts
        ]
        script = "\n".join(f"if {call}; then echo reached; exit 1; fi" for call in calls)
        project.write("Containerfile", f"FROM base\nRUN <<EOF\n{script}\nEOF\n")
        project.run("build", "--build-context", f"base={project.base}", ".")


@pytest.mark.parametrize("name", ["dev", "etc", "proc", "sys", "run"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_build_and_run_refuse_an_image_whose_system_folder_is_none(project: Project, name: str, kind: str) -> None:
    project.write("tree/bin/sh", "")
    made = f"{project.folder}/tree/{name}"
    if kind == "link":
        os.symlink("/tmp", made)
    else:
        project.write(f"tree/{name}", "")
    project.write("Containerfile", "FROM scratch\nCOPY tree /\nRUN true\n")
    built = project.attempt("build", ".")
    assert built.returncode == 1
    assert f"its /{name} is" in built.stderr

    project.write("Containerfile", "FROM scratch\nCOPY tree /\n")
    project.run("build", "-t", f"odd-{name}-{kind}", ".")
    started = project.attempt("run", "--image", f"odd-{name}-{kind}", "--", "/bin/sh")
    assert started.returncode == 1
    assert f"its /{name} is" in started.stderr


def test_build_killed_leaves_a_store_the_next_one_uses(project: Project) -> None:
    project.write("Containerfile", "FROM base\nRUN echo kept > /kept\nRUN sleep 3\n")
    words = ("build", "--build-context", f"base={project.base}", ".")
    running = project.start(*words)
    assert running.stderr is not None
    while not ((line := running.stderr.readline()).startswith("→") and "sleep 3" in line):
        assert line
    time.sleep(0.5)
    running.kill()
    running.communicate()

    done = project.attempt(*words)
    assert done.returncode == 0
    assert [title for title in ran(done.stderr) if "RUN" in title] == [ran(done.stderr)[-1]]
    assert os.listdir(project.paths.drafts) == []
