"""Bases made of Debian packages: the same bytes whoever makes them, without network, of nothing that was changed; sources are lent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from devenv.engine.native.host import archives
from devenv.paths import Paths
from tests.engine.conftest import Bootstrapped, temporary_store
from tests.engine.project import Project

pytestmark = [pytest.mark.engine, pytest.mark.network]

NOTE = "# devenv: bookworm, lent by the host\n"
NOWHERE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


class Made(NamedTuple):
    """A project in a store of its own, its image, its base's layer, and what was said before of a package that somebody changed."""

    project: Project
    digest: str
    root: str
    refused: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def made(bootstrapped: Bootstrapped) -> Iterator[Made]:
    """Of the lock and what was fetched for it: with another host name, zone, language and umask, and no network."""
    with temporary_store() as paths:
        shutil.copytree(bootstrapped.packages, paths.packages, symlinks=True)
        project = project_in(paths)
        shutil.copy(bootstrapped.lock, project.folder)
        spoil(f"{paths.packages}/unpacked", "bash")
        refused = project.attempt("build", env=NOWHERE)

        elsewhere = {**project.env(NOWHERE), "TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}
        script = 'umask 077; hostname elsewhere; exec "$@"'
        argv = ["unshare", "--uts", "sh", "-c", script, "sh", *project.argv("build")]
        done = subprocess.run(argv, cwd=project.folder, env=elsewhere, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (layer,) = set(os.listdir(paths.layers)) - {"init"}
        yield Made(project, done.stdout.strip(), paths.layer(int(layer)), refused)
        project.down()


@pytest.fixture
def first(made: Made) -> Project:
    """That project."""
    return made.project


def project_in(paths: Paths) -> Project:
    project = Project(paths, f"{os.path.dirname(paths.home)}/project", "bootstrap:bookworm")
    os.chmod(project.folder, 0o755)
    project.write("Containerfile", "FROM bootstrap:bookworm\n")
    project.manifest("from: file:Containerfile\n")
    return project


def spoil(kept: str, package: str) -> None:
    """Other bytes in the package that is kept."""
    (name,) = [
        name for name in os.listdir(kept) if name.endswith(".control") and f"\nPackage: {package}\n" in read(kept, name)
    ]
    with open(f"{kept}/{name.removesuffix('.control')}.deb", "r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")


def test_base_is_made_of_nothing_that_was_changed(made: Made) -> None:
    assert made.refused.returncode == 1
    assert "use bash " in made.refused.stderr
    assert "isn't what was put there" in made.refused.stderr


def test_base_is_the_same_wherever_it_is_made_without_network(made: Made, bootstrapped: Bootstrapped) -> None:
    assert made.digest == bootstrapped.digest


def read(folder: str, name: str) -> str:
    with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


def test_base_has_nothing_of_the_host(made: Made) -> None:
    root = made.root
    host = str(urlsplit(archives.archive().main).hostname)

    assert read(root, "etc/apt/sources.list") == NOTE
    for absent in (
        "etc/hostname",
        "etc/resolv.conf",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    ):
        assert not os.path.lexists(f"{root}/{absent}")
    # Documentation may speak of Debian's own mirrors.
    found = subprocess.run(["grep", "-rlF", host, f"{root}/etc", f"{root}/var"], capture_output=True, text=True)
    assert found.stdout == ""
    assert os.listdir(f"{root}/dev") == []
    assert os.listdir(f"{root}/var/lib/apt/lists") in ([], ["partial"])
    states = read(root, "var/lib/apt/extended_states")
    assert "Package: libgnutls30\n" in states
    assert "Package: apt\n" not in states
    # Debian's own images are made of the same packages.
    packages = {line for line in read(root, "var/lib/dpkg/status").splitlines() if line.startswith("Package: ")}
    assert {"Package: apt", "Package: passwd", "Package: usr-is-merged"} <= packages
    assert not packages & {"Package: perl", "Package: usrmerge"}


def test_sources_are_lent_to_containers_and_to_steps_with_network(first: Project) -> None:
    main = archives.archive().main
    first.write(
        "Containerfile",
        "FROM bootstrap:bookworm\n"
        "RUN grep deb /etc/apt/sources.list >/seen && apt-get -q update && apt-cache policy hello >/policy && rm -r /var/lib/apt/lists/*\n"
        "RUN --network=none cat /etc/apt/sources.list >/none\n",
    )
    first.run("build")

    assert f"deb {main} bookworm main\n" in first.run("run", "--", "cat", "/seen")
    assert "Candidate: 2" in first.run("run", "--", "cat", "/policy")
    assert first.run("run", "--", "cat", "/none") == NOTE
    inside = first.run(
        "run", "--", "sh", "-c", "apt-get -q update >&2 && apt-cache policy hello; cat /etc/apt/sources.list"
    )
    assert "Candidate: 2" in inside
    assert f"deb {main} bookworm main\n" in inside
    first.manifest("from: file:Containerfile\nmirror: http://mirror.example/debian/\n")
    listed = first.run("run", "--", "cat", "/etc/apt/sources.list")
    assert listed.splitlines()[:2] == [NOTE.rstrip(), "deb http://mirror.example/debian bookworm main"]
    assert main not in listed
    first.manifest("from: file:Containerfile\nnetwork: none\n")
    assert first.run("run", "--", "cat", "/etc/apt/sources.list") == NOTE


def test_sources_of_an_image_of_others_stay(first: Project) -> None:
    own = "deb http://x.example/debian bookworm main\n"
    first.write(
        "Containerfile", f"FROM bootstrap:bookworm\nRUN --network=none echo '{own.strip()}' >/etc/apt/sources.list\n"
    )
    first.manifest("from: file:Containerfile\n")

    assert first.run("run", "--", "cat", "/etc/apt/sources.list") == own
