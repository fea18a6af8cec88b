"""The same manifest and lock give the same image, whatever else is different; what isn't the same is found and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from devenv.paths import Paths
from tests.e2e.conftest import New
from tests.e2e.place import EXAMPLES, Place
from tests.engine.conftest import temporary_store

pytestmark = [pytest.mark.engine, pytest.mark.network]

NAMES = ("django-shop", "existing-dockerfile", "flask-upgrade", "node-api")


class Conditions(NamedTuple):
    """What a build must not depend on. `owner`: uid of the project's files; `cpus`: as taskset has them."""

    env: Mapping[str, str]
    umask: str
    hostname: str
    owner: int
    cpus: str
    age: int


CONDITIONS = (
    Conditions({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "USER": "ada"}, "0077", "ada", 1000, "0", 10**9),
    Conditions({"TZ": "Etc/GMT+12", "LANG": "de_DE.UTF-8", "LC_ALL": ""}, "0000", "build-7.example", 0, "0,1", 1),
    Conditions({"SOURCE_DATE_EPOCH": "1", "HOME": "/tmp", "USER": "root"}, "0022", "x", 54321, "1", 2 * 10**9),
    Conditions({"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}, "0027", "h", 0, "0", 0),
    Conditions({"PERL_HASH_SEED": "9", "COLUMNS": "40", "TERM": "dumb"}, "0007", "a" * 60, 65534, "0,1", 10),
    Conditions({"NO_COLOR": "1", "TMPDIR": "/var/tmp", "LOGNAME": "eve"}, "0002", "eve", 1001, "1", 10**6),
    Conditions({"TZ": "UTC", "LC_ALL": "C.UTF-8", "MAKEFLAGS": "-j7"}, "0022", "localhost", 0, "0,1", 10**8),
    Conditions({"DEBIAN_FRONTEND": "readline", "LANGUAGE": "fr"}, "0072", "fr", 7, "0", 3),
    Conditions({"NODE_ENV": "production", "CI": ""}, "0022", "ci", 33, "0,1", 10**7),
)
"""Nine; the tenth is the test's own."""

_RUN = "umask {umask}; hostname {hostname}; exec taskset -c {cpus} {python} -m devenv {words}"


@pytest.fixture(scope="module")
def examples(new: New) -> dict[str, Place]:
    """Each example with its lock, and its image in the session's store."""
    found = {name: new(name) for name in NAMES}
    for place in found.values():
        place("build")
    return found


@pytest.fixture
def another() -> Iterator[Paths]:
    """A store with nothing in it."""
    with temporary_store() as paths:
        yield paths


def digest(place: Place, conditions: Conditions, words: str = "digest --locked") -> str:
    script = _RUN.format(**conditions._asdict(), python=sys.executable, words=words)
    # A host name of its own, which the machine's stays out of.
    argv = ["unshare", "--uts", "sh", "-c", script]
    done = subprocess.run(argv, cwd=place.folder, env=place.env(conditions.env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def elsewhere(place: Place, paths: Paths, conditions: Conditions) -> Place:
    """The same project, with its lock, in another folder and store."""
    folder = f"{os.path.dirname(paths.home)}/{'deep/' * (conditions.age % 3)}{os.path.basename(place.folder)}"
    shutil.copytree(place.folder, folder, symlinks=True)
    for top, _, files in os.walk(folder):
        for path in (top, *(f"{top}/{name}" for name in files)):
            os.chown(path, conditions.owner, conditions.owner, follow_symlinks=False)
            os.utime(path, (conditions.age, conditions.age), follow_symlinks=False)
    return Place(paths, folder)


def one_build(examples: dict[str, Place], paths: Paths, conditions: Conditions) -> None:
    for name, place in examples.items():
        assert digest(elsewhere(place, paths, conditions), conditions) == place("digest", "--locked").out.strip(), name


def test_same_bytes_from_another_store_under_other_conditions(examples: dict[str, Place], another: Paths) -> None:
    one_build(examples, another, CONDITIONS[0])


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("conditions", CONDITIONS[1:], ids=range(2, len(CONDITIONS) + 1))
def test_same_bytes_under_all_conditions(examples: dict[str, Place], another: Paths, conditions: Conditions) -> None:
    one_build(examples, another, conditions)


@pytest.mark.parametrize(
    "name", ["django-shop", "node-api", *(pytest.param(name, marks=pytest.mark.soak) for name in NAMES[1:3])]
)
def test_same_bytes_when_every_step_is_done_again(examples: dict[str, Place], name: str) -> None:
    done = examples[name].attempt("build", "--check")
    assert (done.code, done.out.splitlines()[1]) == (0, "every step gave the same bytes again")


def test_same_bytes_without_a_mirror_from_what_was_fetched(examples: dict[str, Place], another: Paths) -> None:
    place = elsewhere(examples["django-shop"], another, CONDITIONS[3])
    os.makedirs(another.home, exist_ok=True)
    subprocess.run(["cp", "-a", place_packages(examples), another.packages], check=True)
    place.write("devenv.yml", place.read("devenv.yml") + "mirror: http://127.0.0.1:9/debian\n")
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = place("digest", "--locked", env=nowhere)
    assert done.out.strip() == examples["django-shop"]("digest").out.strip()


def place_packages(examples: dict[str, Place]) -> str:
    return examples["django-shop"].paths.packages


def test_same_bytes_says_what_was_tried_for_a_package_that_is_gone(examples: dict[str, Place], another: Paths) -> None:
    place = elsewhere(examples["django-shop"], another, CONDITIONS[3])
    more = "mirror: http://127.0.0.1:9/debian\nsnapshot: http://127.0.0.1:11/{archive}/{time}\n"
    place.write("devenv.yml", place.read("devenv.yml") + more)
    done = place.attempt("build", "--locked")
    assert done.code == 1
    assert "http://127.0.0.1:9/debian" in done.err
    assert "http://127.0.0.1:11/debian" in done.err
    assert "hint:" in done.err


@pytest.fixture(scope="module")
def small(new: New) -> Place:
    """A project with one package of each kind."""
    found = new(
        manifest="from: bootstrap:bookworm\napt: [jq]\npython: {packages: [six]}\nnode: {packages: [semver@7]}\n"
    )
    found("build")
    return found


@pytest.mark.parametrize("kept", ["files", "unpacked"])
@pytest.mark.parametrize("name", ["jq 1.", "six 1."])
def test_what_was_kept_and_tampered_with_is_refused_by_name_and_made_again(small: Place, kept: str, name: str) -> None:
    line = next(line for line in small.read("devenv.lock.yml").splitlines() if line.strip().startswith(f"- {name}"))
    _spoil(f"{small.paths.packages}/{kept}", line.partition("sha256:")[2].split()[0])
    if (kept, name) == ("files", "six 1."):
        # What was unpacked of it is used, which has digests of its own: the wheel itself is needed only without.
        for tree in os.listdir(f"{small.paths.packages}/unpacked"):
            if line.partition("sha256:")[2].split()[0] in tree:
                _remove(f"{small.paths.packages}/unpacked/{tree}")
    done = small.attempt("build", "--no-cache")
    assert (done.code, name in done.err) == (1, True), done.err
    small("build", "--no-cache")
    assert small("run", "--", "sh", "-c", "jq --version; python -c 'import six'").out.startswith("jq-1")


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _spoil(folder: str, digest: str) -> None:
    """Other bytes of the same length and time, in every file kept for a digest."""
    spoilt = 0
    for top, _, files in os.walk(folder):
        for name in files:
            path = f"{top}/{name}"
            if digest in path and not name.startswith("manifest") and os.path.getsize(path) > 100:
                times = os.stat(path)
                with open(path, "r+b") as file:
                    file.seek(50)
                    file.write(b"spoilt")
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
                spoilt += 1
    assert spoilt


def test_every_example_is_looked_at() -> None:
    found = {name for name in os.listdir(EXAMPLES) if os.path.isdir(f"{EXAMPLES}/{name}")}
    assert found == {*NAMES, "shop-stack"}


@pytest.mark.soak
def test_images_of_the_stack_are_the_same_when_built_again(new: New) -> None:
    assert "every step gave the same bytes again" in new("shop-stack")("build", "--check").out
