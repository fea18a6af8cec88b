"""`--cache-to` and `--cache-from`: what one store built, another takes, verified, instead of building it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.engine.native.records.state import State
from devenv.paths import Paths
from tests.engine.conftest import output, temporary_store
from tests.engine.project import Project

pytestmark = pytest.mark.engine

SMALL = """FROM scratch AS made
COPY one.txt /made/
FROM scratch AS last
COPY --from=made /made/one.txt /one/
COPY two.txt /two/
"""

REAL = """FROM base AS tool
RUN mkdir /tool && echo 'echo tool 1' > /tool/run && chmod 4755 /tool/run
FROM base
RUN cd /srv && echo x > a && ln a b && ln -s a c && mkfifo d && rm -r /usr/share/doc /etc/motd && mkdir /usr/share/doc
COPY --from=tool /tool /tool
RUN sh /tool/run > /srv/said && chown 7:8 /srv/said
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Paths]:
    """A second machine's store, which knows nothing of the first but the test's base."""
    with temporary_store() as paths:
        yield paths


@pytest.fixture
def small(project: Project) -> Project:
    """A project of small layers of its own, which nobody built so far."""
    for name in ("one.txt", "two.txt"):
        project.write(name, f"{name} of {project.folder}\n" * 100)
    project.write("Containerfile", SMALL)
    return project


def clone(project: Project, paths: Paths, more: str = "") -> Project:
    """The same files in another store, or in the same as another folder."""
    folder = f"{os.path.dirname(paths.home)}/{os.path.basename(project.folder)}{more}"
    shutil.copytree(project.folder, folder)
    return Project(paths, folder, project.base)


def told(project: Project, *words: str, code: int = 0) -> tuple[str, list[str]]:
    """A command's stdout, and the lines of its progress."""
    done = project.attempt(*words)
    assert done.returncode == code, done.stderr
    return done.stdout.strip(), done.stderr.splitlines()


def begun(lines: list[str]) -> list[str]:
    """What was begun: built, or taken from a cache."""
    return [line[2:].strip() for line in lines if line.startswith("→ ")]


def keys(cache: str) -> list[dict[str, Any]]:
    """The entries of a cache."""
    manifest = blob(cache, named(cache)["devenv-cache"])
    found: list[dict[str, Any]] = blob(cache, manifest["config"]["digest"])["layers"]
    return found


def named(cache: str) -> dict[str, str]:
    with open(f"{cache}/index.json", encoding="utf-8") as file:
        entries = json.load(file)["manifests"]
    return {one["annotations"]["org.opencontainers.image.ref.name"]: one["digest"] for one in entries}


def blob(cache: str, digest: str) -> dict[str, Any]:
    with open(f"{cache}/blobs/sha256/{digest[7:]}", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


@pytest.mark.parametrize("cache", ["cache/of/all", "cache.tar"])
def test_cache_makes_a_second_machine_build_nothing(project: Project, elsewhere: Paths, cache: str) -> None:
    project.write(
        "Containerfile", REAL.replace("echo x", f"echo {cache}").replace("mkdir /tool", f": {cache} && mkdir /tool")
    )
    manifest = f"name: real\nfrom: file:Containerfile\ncontexts: {{base: '{project.base}'}}\n"
    project.manifest(manifest)
    place = f"{project.folder}-{cache}"
    digest, _ = told(project, "build", "--cache-to", place)
    other = clone(project, elsewhere)
    try:
        report, lines = told(other, "up", "--json", "--cache-from", place)

        (build,) = [one for one in json.loads(report)["actions"] if one["verb"] == "build"]
        assert all(step["cached"] for step in build["steps"] if not step["position"].startswith("tool"))
        fetched = [line for line in begun(lines) if line.startswith("from cache  ")]
        assert len(fetched) == 3
        assert not any("/tool/run &&" in line for line in fetched)  # nothing needs that stage
        assert not any("RUN" in line or "COPY" in line for line in begun(lines) if line not in fetched)
        assert told(other, "build")[0] == digest
        assert told(other, "exec", "cat", "/srv/said")[0] == "tool 1"
        seen = told(other, "exec", "stat", "-c", "%A %h %u:%g", "/tool/run", "/srv/b", "/srv/c", "/srv/d", "/srv/said")
        assert seen[0].split("\n") == [
            *("-rwsr-xr-x 1 0:0", "-rw-r--r-- 2 0:0", "lrwxrwxrwx 1 0:0", "prw-r--r-- 1 0:0", "-rw-r--r-- 1 7:8")
        ]
        assert told(other, "exec", "sh", "-c", "ls /usr/share/doc; test -e /etc/motd || echo gone")[0] == "gone"
        other.run("save", digest, "saved")  # every layer packed anew has the digest it came with
    finally:
        other.down()


def test_cache_gives_only_what_is_needed_and_the_rest_is_built(small: Project, elsewhere: Paths) -> None:
    small.run("build", "--cache-to", "../gives", ".")
    other = clone(small, elsewhere)
    other.write("two.txt", "changed")
    digest, lines = told(other, "build", "--cache-from", "../../gives", "--cache-from", small.folder + "/../gives", ".")

    assert begun(lines) == ["from cache  last 1/2 COPY --from=made /made/one.txt /one/", "last 2/2 COPY two.txt /two/"]
    small.write("two.txt", "changed")
    assert told(small, "build", ".")[0] == digest


def test_cache_is_asked_for_what_a_changed_step_reads(small: Project, elsewhere: Paths) -> None:
    small.run("build", "--cache-to", "../reads", ".")
    other = clone(small, elsewhere)
    other.write("Containerfile", SMALL.replace("/one/", "/uno/"))
    _, lines = told(other, "build", "--cache-from", small.folder + "/../reads", ".")

    assert sorted(begun(lines)) == [
        "from cache  made COPY one.txt /made/",
        *("last 1/2 COPY --from=made /made/one.txt /uno/", "last 2/2 COPY two.txt /two/"),
    ]


def test_cache_that_is_not_there_is_a_warning(small: Project) -> None:
    os.mkdir(f"{small.folder}/empty")
    _, lines = told(small, "build", "--cache-from", "nowhere", "--cache-from", "empty", "--cache-to", "empty", ".")

    warned = [line for line in lines if line.startswith("warning:")]
    assert [line.partition(": ")[2] for line in warned] == [
        f"cache {small.folder}/{name}: isn't there yet: nothing is taken from it" for name in ("nowhere", "empty")
    ]
    assert len(keys(f"{small.folder}/empty")) == 3
    assert not os.path.exists(f"{small.folder}/nowhere")


def test_cache_contradicts_no_cache(small: Project) -> None:
    refused = small.attempt("build", "--no-cache", "--cache-from", "x", ".")

    assert (refused.returncode, "--cache-from: contradicts --no-cache" in refused.stderr) == (2, True)


def test_cache_folder_is_shared_by_projects_that_write_at_once(small: Project, elsewhere: Paths) -> None:
    place = f"{small.folder}-shared"
    projects = [small]
    for number in range(3):
        made = clone(small, small.paths, f"-{number}")
        made.write("two.txt", made.folder)
        projects.append(made)
    writing = [one.start("build", "--cache-to", place, ".") for one in projects]
    digests = []
    for process in writing:
        out, told_ = process.communicate(timeout=60)
        assert process.returncode == 0, told_
        digests.append(out.strip())

    assert len(keys(place)) == 2 + len(projects)
    assert sorted(named(place).values()) == sorted([*digests, named(place)["devenv-cache"]])
    for made, digest in zip(projects, digests, strict=True):
        other = clone(made, elsewhere)
        found, lines = told(other, "build", "--cache-from", place, ".")
        assert found == digest
        assert all(line.startswith("from cache  ") for line in begun(lines))


def test_cache_writes_no_blob_twice_and_removes_what_a_dead_writer_left(small: Project) -> None:
    place = f"{small.folder}/cache"
    small.run("build", "--cache-to", place, ".")
    before = {name: os.stat(f"{place}/blobs/sha256/{name}").st_ino for name in os.listdir(f"{place}/blobs/sha256")}
    small.write("cache/ingest/0123", "half of it")
    small.run("build", "--cache-to", place, ".")

    after = {name: os.stat(f"{place}/blobs/sha256/{name}").st_ino for name in os.listdir(f"{place}/blobs/sha256")}
    assert after == before
    assert os.listdir(f"{place}/ingest") == []


def test_cache_holds_an_image_that_others_read(small: Project) -> None:
    digest = small.run("build", "--tag", "small:1", "--cache-to", "cache", ".").strip()

    assert json.loads(output("skopeo", "inspect", f"oci:{small.folder}/cache:small:1"))["Digest"] == digest
    small.write("Containerfile", "FROM cached\n")  # without a tag: the cache itself is no image
    small.run("build", "--build-context", f"cached=oci:{small.folder}/cache", ".")


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
@pytest.mark.parametrize("cache", ["cache", "cache.tar"])
def test_cache_with_a_damaged_blob_is_refused_by_name(
    small: Project, elsewhere: Paths, cache: str, damage: str
) -> None:
    place = f"{small.folder}-{damage}-{cache}"
    digest, _ = told(small, "build", "--cache-to", f"{place}-whole", ".")
    (entry,) = [one for one in keys(f"{place}-whole") if one["size"] and _holds(f"{place}-whole", one, "two/two.txt")]
    path = f"{place}-whole/blobs/sha256/{entry['digest'][7:]}"
    if damage == "gone":
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            file.seek(1100)
            file.write(b"!") if damage == "changed" else file.truncate(1100)
    if cache == "cache":
        os.rename(f"{place}-whole", place)
    else:
        subprocess.run(["tar", "-cf", place, "-C", f"{place}-whole", "."], check=True)
    other = clone(small, elsewhere)
    before = _folders(elsewhere)
    refused = other.attempt("build", "--cache-from", place, ".")

    assert refused.returncode == 1
    assert f"take last 2/2 COPY two.txt /two/ from cache {place}: blob {entry['digest']}: " in refused.stderr
    assert "leave --cache-from out" in refused.stderr
    assert _known(elsewhere, entry["key"]) == []
    assert _folders(elsewhere) - before <= {"layers/" + str(number) for number in _known(elsewhere)}
    assert told(other, "build", ".")[0] == digest


def _holds(cache: str, entry: dict[str, Any], name: str) -> bool:
    return name in output("tar", "-tf", f"{cache}/blobs/sha256/{entry['digest'][7:]}").split("\n")


def _folders(paths: Paths) -> set[str]:
    return {f"{where}/{name}" for where in ("layers", "drafts") for name in os.listdir(f"{paths.home}/{where}")}


def _known(paths: Paths, key: str = "") -> list[int]:
    state = State(paths.state)
    rows = state.db.execute("SELECT id FROM layer WHERE boot IS NOT '' AND ? IN ('', key)", (key,)).fetchall()
    state.close()
    return [number for (number,) in rows]


def test_cache_is_nothing_but_what_cache_to_wrote(small: Project) -> None:
    digest = small.run("build", "--tag", "own:1", ".").strip()
    small.run("save", "own:1", "saved")
    small.run("save", "own:1", "saved.tar")
    small.run("build", "--tag", "other:1", "--cache-to", "renamed", ".")
    with open(f"{small.folder}/renamed/index.json", encoding="utf-8") as file:
        index = json.load(file)
    for one in index["manifests"]:  # an image that says it is a cache
        one["annotations"]["org.opencontainers.image.ref.name"] = "x" if one["digest"] != digest else "devenv-cache"
    small.write("renamed/index.json", json.dumps(index))
    small.write("text.tar", "no archive" * 100)
    os.mkdir(f"{small.folder}/filled")
    small.write("filled/file", "")
    said = {}
    for name in ("saved", "saved.tar", "renamed", "text.tar", "filled"):
        refused = small.attempt("build", "--cache-from", name, ".")
        assert refused.returncode == 1
        assert f"read cache {small.folder}/{name}: " in refused.stderr
        said[name] = refused.stderr

    assert "it holds images, but no cache" in said["saved"]
    assert "it holds images, but no cache" in said["saved.tar"]
    assert "not 'application/vnd.devenv.cache.v1'" in said["renamed"]
    assert "checksum" in said["text.tar"]
    assert "oci-layout" in said["filled"]


def test_cache_is_not_written_over_what_is_none(small: Project) -> None:
    small.write("file", "mine")
    small.write("folder/file", "mine")
    os.mkdir(f"{small.folder}/folder.tar")
    for name, cause in (("file", "is a file"), ("folder", "no OCI image layout"), ("folder.tar", "is a folder")):
        refused = small.attempt("build", "--cache-to", name, ".")
        assert (refused.returncode, f"{name}: " in refused.stderr, cause in refused.stderr) == (2, True, True)
    assert (small.read("file"), small.read("folder/file")) == ("mine", "mine")
    assert os.listdir(f"{small.folder}/folder.tar") == []


def test_cache_that_finds_no_room_is_as_it_was_before(small: Project) -> None:
    os.mkdir(f"{small.folder}/place")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", f"{small.folder}/place"], check=True)
    try:
        small.run("build", "--cache-to", "place/cache", ".")
        index = small.read("place/cache/index.json")
        small.write("two.txt", "x" * 200_000)
        for name in ("place/cache", "place/cache.tar"):
            refused = small.attempt("build", "--cache-to", name, ".")
            assert (refused.returncode, "No space left on device" in refused.stderr) == (1, True)
        assert small.read("place/cache/index.json") == index
        assert os.listdir(f"{small.folder}/place") == ["cache"]
        assert os.listdir(f"{small.folder}/place/cache/ingest") == []
    finally:
        subprocess.run(["umount", f"{small.folder}/place"], check=True)
