"""Asking uv, and what it answers (captured from uv 0.13; hosts are examples) as Dists."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Collection
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devenv.errors import EngineError
from devenv.lock import python as lock
from devenv.lock.python import distributions, foreign, layered, names_indexes, repositories, versions
from devenv.lock.tags import best
from devenv.model.lock import Dist, Repository

from .render_cases import dist

HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11.2"\n'
FILES = "https://files.example/packages"
MARKUPSAFE = f"""
[[packages]]
name = "markupsafe"
version = "3.0.3"
sdist = {{ url = "{FILES}/7e/99/7690b6d4034fffd95959cbe0c02de8deb3098cc577c67bb6a24fe5d7caa7/markupsafe-3.0.3.tar.gz", upload-time = 2025-09-27T18:37:40Z, size = 80313, hashes = {{ sha256 = "722695808f4b6457b320fdc131280796bdceb04ab50fe1795cd540799ebe1698" }} }}
wheels = [{{ url = "{FILES}/30/ac/0273f6fcb5f42e314c6d8cd99effae6a5354604d461b8d392b5ec9530a54/markupsafe-3.0.3-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl", upload-time = 2025-09-27T18:36:22Z, size = 22940, hashes = {{ sha256 = "0bf2a864d67e76e5c9a34dc26ec616a66b9888e25e7b9460e1c76d3293bd9dbf" }} }}]
"""  # noqa: E501
SIX = f"""
[[packages]]
name = "six"
version = "1.17.0"
sdist = {{ url = "{FILES}/94/e7/b2c673351809dca68a0e064b6af791aa332cf192da575fd474ed7d6f16a2/six-1.17.0.tar.gz", upload-time = 2024-12-04T17:35:28Z, size = 34031, hashes = {{ sha256 = "ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81" }} }}
wheels = [{{ url = "{FILES}/b7/ce/149a00dd41f10bc29e5921b496af8b574d8413afcd5e30dfa0ed46c2cc5e/six-1.17.0-py2.py3-none-any.whl", upload-time = 2024-12-04T17:35:26Z, size = 11050, hashes = {{ sha256 = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274" }} }}]
"""  # noqa: E501
DOCOPT = f"""
[[packages]]
name = "docopt"
version = "0.6.2"
sdist = {{ url = "{FILES}/a2/55/8f8cab2afd404cf578136ef2cc5dfb50baa1761b68c9da1fb1e4eed343c9/docopt-0.6.2.tar.gz", upload-time = 2014-06-16T11:18:57Z, size = 25901, hashes = {{ sha256 = "49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491" }} }}
"""  # noqa: E501
TORCHY = """
[[packages]]
name = "torchy"
version = "2.5.1+cpu"
wheels = [{ url = "https://index.example/files/torchy-2.5.1%2Bcpu-py3-none-any.whl", hashes = { sha256 = "2ac99ea241183e496d6037ae65128cf051875b79ded7c60b26ad6372467e5d59" } }]
"""  # noqa: E501
WHEEL_BY_URL = f"""
[[packages]]
name = "six"
version = "1.17.0"
archive = {{ url = "{FILES}/b7/ce/149a00dd/six-1.17.0-py2.py3-none-any.whl", hashes = {{ sha256 = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274" }} }}
"""  # noqa: E501
ARCHIVE_BY_URL = """
[[packages]]
name = "a-thing"
version = "1.0"
archive = { url = "https://me:secret@code.example/a-thing/v1.0.tar.gz?x=1#egg=thing", hashes = { sha256 = "0ebc0ef1f16ec5760b1df46406f7719219fb2016f514b8c1ed61f28ece473d3c" } }
"""  # noqa: E501
GIT = """
[[packages]]
name = "thing"
version = "1.0"
vcs = { type = "git", url = "https://code.example/thing", commit-id = "057c1b1e137f058beabacce5a088988b5fe606c1" }
"""
FOLDER = '\n[[packages]]\nname = "thing"\ndirectory = { path = "/run/devenv/project/lib" }\n'
FILE = '\n[[packages]]\nname = "thing"\narchive = { path = "/x/thing-1.tar.gz", hashes = { sha256 = "00" } }\n'


def resolved(*packages: str, also: Collection[str] = ()) -> tuple[Dist, ...]:
    return distributions(HEAD + "".join(packages), best, also)


def test_wheels_are_taken_before_source_archives() -> None:
    assert resolved(SIX, MARKUPSAFE) == (
        Dist(
            "markupsafe",
            "3.0.3",
            22940,
            "0bf2a864d67e76e5c9a34dc26ec616a66b9888e25e7b9460e1c76d3293bd9dbf",
            "markupsafe-3.0.3-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        ),
        Dist(
            "six",
            "1.17.0",
            11050,
            "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
            "six-1.17.0-py2.py3-none-any.whl",
        ),
    )


def test_a_source_archive_is_taken_where_no_wheel_suits() -> None:
    (found,) = resolved(DOCOPT)
    assert (found.file, found.is_wheel, found.size, found.url) == ("docopt-0.6.2.tar.gz", False, 25901, "")
    (found,) = distributions(
        HEAD + MARKUPSAFE, lambda files: best(files, python="3.13", arch="amd64", glibc=(2, 36)), ()
    )
    assert found.file == "markupsafe-3.0.3.tar.gz"


def test_a_wheel_s_name_is_read_from_its_address() -> None:
    """A `+` is `%2B` there, and no wheel's name has that."""
    (found,) = resolved(TORCHY)
    assert (found.file, found.version, found.size) == ("torchy-2.5.1+cpu-py3-none-any.whl", "2.5.1+cpu", 0)


def test_what_comes_from_another_index_keeps_its_address() -> None:
    found = {one.name: one.url for one in resolved(TORCHY, SIX, also={"torchy"})}
    assert found == {"six": "", "torchy": "https://index.example/files/torchy-2.5.1%2Bcpu-py3-none-any.whl"}


def test_what_is_named_by_its_address_keeps_it() -> None:
    (found,) = resolved(WHEEL_BY_URL)
    assert (found.file, found.url) == (
        "six-1.17.0-py2.py3-none-any.whl",
        f"{FILES}/b7/ce/149a00dd/six-1.17.0-py2.py3-none-any.whl",
    )


def test_a_source_archive_has_a_name_of_its_own_and_its_address_no_password() -> None:
    (found,) = resolved(ARCHIVE_BY_URL)
    assert (found.file, found.url) == ("a_thing-1.0.tar.gz", "https://code.example/a-thing/v1.0.tar.gz?x=1")
    (unnamed,) = resolved(ARCHIVE_BY_URL.replace('version = "1.0"\n', "").replace("v1.0.tar.gz", "main.zip"))
    assert (unnamed.file, unnamed.version) == ("a_thing-0.zip", "0")


@pytest.mark.parametrize(("package", "way"), [(GIT, "network: true"), (FOLDER, "on_create"), (FILE, "on_create")])
def test_what_has_no_bytes_of_its_own_is_refused_with_the_way_out(package: str, way: str) -> None:
    with pytest.raises(EngineError, match=r"lock thing: .*can't be locked") as caught:
        resolved(SIX, package)
    assert way in caught.value.hint


def test_repositories_are_known_by_their_commits_without_passwords() -> None:
    words = 'requested-revision = "main", subdirectory = "lib", commit-id'
    package = GIT.replace("https://", "https://me:secret@").replace("commit-id", words)
    assert distributions(HEAD + SIX + package, best, repositories=True) == resolved(SIX)
    (found,) = repositories(HEAD + SIX + package)
    assert found == Repository(
        "thing", "057c1b1e137f058beabacce5a088988b5fe606c1", "https://code.example/thing", "main", "lib"
    )
    assert found.requirement == f"thing @ git+https://code.example/thing@{found.commit}#subdirectory=lib"


@pytest.mark.parametrize("url", ["ssh://git@code.example/thing", "file:///srv/thing", "git://code.example/thing"])
def test_a_repository_that_a_step_couldnt_reach_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="lock thing: it comes from"):
        repositories(HEAD + GIT.replace("https://code.example/thing", url))


@pytest.mark.parametrize("package", [FOLDER, FILE])
def test_folders_are_refused_whatever_is_allowed(package: str) -> None:
    with pytest.raises(EngineError, match="it comes from a folder"):
        distributions(HEAD + package, best, repositories=True)


@pytest.mark.parametrize(
    "text",
    [
        "not [toml",
        "packages = 1",
        "packages = [1]",
        '[[packages]]\nversion = "1"',
        '[[packages]]\nname = "x"\nversion = "1"',
        SIX.replace("url =", "address ="),
        SIX.replace("sha256 =", "md5 ="),
        SIX.replace("4721f391", "xyz"),
        SIX.replace("hashes = {", "hashed = {"),
        SIX.replace("size = 11050", 'size = "many"'),
        SIX.replace("wheels = [{", "wheels = [1, {"),
        SIX.replace("wheels = [{", "wheels = 1\nwhales = [{"),
        re.sub("archive = .*", "archive = 1", WHEEL_BY_URL),
    ],
)
def test_an_answer_that_isnt_one_is_one_error(text: str) -> None:
    with pytest.raises(EngineError, match=r"^lock "):
        distributions(text, best)


def test_nothing_resolved_is_nothing() -> None:
    assert distributions("", best) == ()


# Other indexes ------------------------------------------------------------------------------------

ANNOTATED = """\
six==1.17.0
    # from https://mirror.example/simple
torchy==2.5.1+cpu
    # from https://me:****@index.example/simple
"""


def test_versions_of_what_comes_from_an_index_are_asked_for() -> None:
    assert versions(HEAD + TORCHY + DOCOPT + ARCHIVE_BY_URL) == "torchy==2.5.1+cpu\ndocopt==0.6.2\n"


@pytest.mark.parametrize(
    "said",
    [
        "--extra-index-url https://index.example/simple\ntorchy",
        "-i https://me:secret@index.example/simple/",
        '[[tool.uv.index]]\nurl = "https://index.example/simple"\n',
    ],
)
def test_an_index_that_the_project_names_is_foreign(said: str) -> None:
    assert foreign(ANNOTATED, {"requirements.txt": said.encode()}) == {"torchy"}


@pytest.mark.parametrize(
    "said", ["", "--extra-index-url https://index.example/simple2", "-i https://index.example/simple/more"]
)
def test_the_host_s_own_index_isnt_foreign(said: str) -> None:
    assert foreign(ANNOTATED, {"requirements.txt": said.encode()}) == frozenset()


@pytest.mark.parametrize(
    ("file", "said", "may"),
    [
        ("requirements.txt", "django\n", False),
        ("requirements.txt", "--extra-index-url https://index.example/simple", True),
        ("requirements.txt", "django\n-i https://index.example", True),
        ("requirements.txt", "--find-links https://index.example", True),
        ("pyproject.toml", '[[tool.uv.index]]\nurl = "x"', True),
        ("uv.lock", 'source = { registry = "https://index.example/simple" }', False),
    ],
)
def test_other_indexes_are_asked_about_only_where_there_may_be_some(file: str, said: str, may: bool) -> None:
    assert names_indexes({file: said.encode()}) == may


# Layers -------------------------------------------------------------------------------------------


def test_each_name_keeps_its_layer_and_what_is_new_makes_one() -> None:
    before = (dist("django==5.2"), dist("six", 2))
    after = layered(before, (dist("django==6.0"), dist("flask"), dist("six")))
    assert {one.name: one.layer for one in after} == {"django": 1, "flask": 3, "six": 2}


def test_the_first_lock_is_one_layer_and_one_for_each_of_the_largest_wheels() -> None:
    assert {one.layer for one in layered((), (dist("jinja2"), dist("six")))} == {1}
    mib = 1 << 20
    sizes = {"django": 8 * mib, "jinja2": mib - 1, "numpy": 18 * mib, "pandas": 12 * mib, "six": 1000, "sympy": mib}
    wheels = tuple(dist(name)._replace(size=size) for name, size in sizes.items())
    found = {one.name: one.layer for one in layered((), wheels)}
    assert found == {"django": 4, "jinja2": 1, "numpy": 2, "pandas": 3, "six": 1, "sympy": 5}
    assert found == {one.name: one.layer for one in layered((), wheels[::-1])}
    later = layered(
        layered((), wheels), (*(one._replace(size=1) for one in wheels), dist("torch")._replace(size=99 * mib))
    )
    assert {one.name: one.layer for one in later} == {**found, "torch": 6}
    many = layered((), tuple(dist(f"p{number}")._replace(size=(20 - number) * mib) for number in range(10)))
    assert [one.layer for one in many] == [2, 3, 4, 5, 6, 7, 1, 1, 1, 1]
    archive = dist("uwsgi")._replace(size=9 * mib, file="uwsgi-2.tar.gz")
    assert [one.layer for one in layered((), (archive, dist("six")))] == [1, 1]


def test_the_last_layer_takes_what_comes_when_there_are_many() -> None:
    found: tuple[Dist, ...] = ()
    for count in range(1, 20):
        found = layered(found, tuple(dist(f"p{number}") for number in range(count)))
    assert [one.layer for one in found] == [*range(1, 17), 16, 16, 16]


# Commands -----------------------------------------------------------------------------------------

HOSTILE = ("a b.txt", "$(touch pwned).txt", "it's.txt", "-x.txt", "a;touch pwned.txt", 'a"b.txt')


def script(command: tuple[str, ...], folder: Path, uv: str) -> str:
    """A command's shell script, with the places of a root elsewhere."""
    assert command[:2] == ("/bin/sh", "-c")
    # By name: this Python may itself be somewhere beneath /tmp.
    text = re.sub(r"/tmp/(?=pylock\.toml|lock\d)", f"{folder}/tmp/", command[2].replace(lock.UV, "UV"))
    text = text.replace("/run/devenv", f"{folder}/run")
    return text.replace("UV", uv)


@pytest.mark.parametrize("pinned", [False, True])
def test_names_of_files_stay_words(pinned: bool, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {tmp_path}/words\n")
    uv.chmod(0o755)
    (tmp_path / "run").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "run/pins.toml").write_text("pins")
    command = lock.compile_command("/opt/my python", HOSTILE, ("lib's", ""), ("six'",), pinned=pinned)
    done = subprocess.run(["/bin/sh", "-c", script(command, tmp_path, str(uv))], cwd=tmp_path, capture_output=True)
    words = (tmp_path / "words").read_text().split("\n")
    assert (done.returncode, done.stderr) == (0, b"")
    project = f"{tmp_path}/run/project"
    assert {f"{project}/{name}" for name in HOSTILE} <= set(words)
    assert {f"{project}/lib's", f"{project}/", "/opt/my python", "six'"} <= set(words)
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "tmp/pylock.toml").exists() == pinned


def wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def run(folder: Path, command: tuple[str, ...]) -> str:
    """What uv itself answers, from a folder of wheels."""
    uv = shutil.which("uv", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    assert uv, "uv comes with the project"
    (folder / "tmp/pylock.toml").unlink(missing_ok=True)
    (folder / "uv.toml").write_text('no-index = true\nfind-links = ["wheels"]\n')
    env = {"PATH": os.environ["PATH"], "UV_CONFIG_FILE": f"{folder}/uv.toml", "HOME": str(folder)}
    done = subprocess.run(
        ["/bin/sh", "-c", script(command, folder, uv)], env=env, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / "tmp/pylock.toml").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("run/project", "tmp", "wheels"):
        (tmp_path / name).mkdir(parents=True)
    for name, version in (("demo_a", "1.0"), ("demo_a", "2.0"), ("demo_b", "1.0"), ("demo_b", "2.0")):
        wheel(tmp_path / "wheels", name, version)
    (tmp_path / "run/asked.in").write_text("demo-a\nDemo_B\n")
    return tmp_path


def test_uv_keeps_what_is_locked_but_for_what_is_renewed(root: Path) -> None:
    (root / "run/pins.toml").write_text(lock.pins((dist("demo-a==1.0"), dist("demo-b==1.0"))))
    for upgrade, found in (((), ["1.0", "1.0"]), (("demo-b",), ["1.0", "2.0"])):
        text = run(root, lock.compile_command(sys.executable, (), (), upgrade, pinned=True))
        assert [line.split('"')[1] for line in text.splitlines() if line.startswith("version")] == found
    text = run(root, lock.compile_command(sys.executable, (), (), (), pinned=False))
    assert text.count('version = "2.0"') == 2


def test_uv_says_which_versions_it_was_asked_about(root: Path) -> None:
    (root / "run/asked.in").write_text("demo-a==1.0\n")
    (root / "run/project/a b.txt").write_text("demo-b\n")
    text = run(root, lock.index_command(sys.executable, ("a b.txt",)))
    assert [line for line in text.splitlines() if "==" in line] == ["demo-a==1.0", "demo-b==2.0"]


UV_LOCK = """version = 1
revision = 3
requires-python = ">=3.8"

[[package]]
name = "app"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "demo-b" }}, {{ name = "demo-p" }}, {{ name = "demo-q", marker = "sys_platform == 'linux'" }}]

[[package]]
name = "demo-b"
version = "1.0"
source = {{ registry = "https://index.example/simple" }}
wheels = [{{ url = "https://index.example/demo_b-1.0-py3-none-any.whl", hash = "{b}" }}]

[[package]]
name = "demo-p"
version = "1.0+x"
source = {{ registry = "{url}/simple/" }}
sdist = {{ url = "{url}/demo_p-1.0+x.tar.gz", hash = "{b}", size = 9 }}
wheels = [{{ url = "{url}/demo_p-1.0%2Bx-py3-none-any.whl", hash = "{p}" }}]

[[package]]
name = "demo-q"
version = "2.0"
source = {{ registry = "{url}/simple" }}
wheels = [{{ url = "{url}/demo_q-2.0-py3-none-any.whl", hash = "{q}" }}]
"""
PRIVATE = """[project]
name = "app"
version = "0"
requires-python = ">=3.8"
dependencies = ["demo-b", "demo-p", "demo-q; sys_platform == 'linux'"]

[[tool.uv.index]]
url = "https://index.example/simple"
default = true

[[tool.uv.index]]
name = "private"
url = "{url}/simple"
"""


def locked(url: str, folder: Path) -> dict[str, bytes]:
    """A project whose uv.lock has two packages from an index of its own."""
    hashes = {
        letter: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        for letter in "bpq"
        for file in folder.glob(f"demo_{letter}*")
    }
    hashes = {**dict.fromkeys("bpq", f"sha256:{'0' * 64}"), **hashes}
    return {"uv.lock": UV_LOCK.format(url=url, **hashes).encode(), "pyproject.toml": PRIVATE.format(url=url).encode()}


def test_what_a_uv_lock_has_from_an_index_of_its_own_is_taken_from_there(root: Path) -> None:
    for name, version in (("demo_p", "1.0+x"), ("demo_q", "2.0")):
        wheel(root / "tmp", name, version)
    handler = partial(SimpleHTTPRequestHandler, directory=str(root / "tmp"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        contents = locked(url, root / "tmp")
        for name, content in contents.items():
            (root / "run/project" / name).write_bytes(content)
        found = lock.elsewhere(contents, best)
        assert found == (
            ("demo-p", "1.0+x", f"{url}/demo_p-1.0%2Bx-py3-none-any.whl"),
            ("demo-q", "2.0", f"{url}/demo_q-2.0-py3-none-any.whl"),
        )
        (root / "run/asked.in").write_text("")
        text = run(root, lock.compile_command(sys.executable, (), ("",), (), pinned=False, elsewhere=found))
        server.shutdown()
    dists = distributions(text, best)
    assert [(one.name, one.url) for one in dists] == [("demo-b", ""), *((name, place) for name, _, place in found)]
    assert all(one.sha256 in contents["uv.lock"].decode() for one in dists[1:])


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('name = "private"', 'default = true\nname = "private"'),
        ("[[tool.uv.index]]", "[[tool.other]]"),
        ("[project]", "[project"),
    ],
)
def test_what_a_uv_lock_has_from_the_index_of_whoever_made_it_is_the_host_s(
    was: str, becomes: str, tmp_path: Path
) -> None:
    contents = locked("https://private.example", tmp_path)
    changed = contents["pyproject.toml"].decode().replace(was, becomes)
    assert lock.elsewhere({**contents, "pyproject.toml": changed.encode()}, best) == ()


@pytest.mark.parametrize("text", ["package = 1", "package = [1]", '[[package]]\nsource = "x"', "[[package", ""])
def test_a_uv_lock_that_is_none_says_nothing(text: str, tmp_path: Path) -> None:
    contents = locked("https://private.example", tmp_path)
    assert lock.elsewhere({**contents, "uv.lock": text.encode()}, best) == ()


def test_an_address_in_a_uv_lock_has_no_password_and_can_be_no_script(tmp_path: Path) -> None:
    contents = locked("https://private.example", tmp_path)
    text = contents["uv.lock"].decode().replace('url = "https://private', 'url = "https://me:secret@private')
    found = lock.elsewhere({**contents, "uv.lock": text.encode()}, best)
    assert [url.partition("/demo")[0] for _, _, url in found] == ["https://private.example"] * 2
    for bad in ("2.0#e touch pwned;#", "2.0\\n", "2.0&", "2.0'; touch pwned; '"):
        worse = text.replace('version = "2.0"', f"version = {json.dumps(bad)}").replace("demo_q-2.0", f"demo_q-{bad}")
        assert "demo-q" not in {name for name, _, _ in lock.elsewhere({**contents, "uv.lock": worse.encode()}, best)}


# Interpreters -------------------------------------------------------------------------------------


def test_probe_says_which_python_there_is(tmp_path: Path) -> None:
    for command, there in ((sys.executable, True), ("/nowhere/python3", False)):
        argv = [word.replace(lock.ANSWER, f"{tmp_path}/pylock.toml") for word in lock.probe(command)]
        subprocess.run(argv, check=True)
        found = tmp_path / "pylock.toml"
        answer = lock.probed(found.read_text() if found.exists() else "")
        assert (answer is not None) == there
        if answer:
            assert answer[0].startswith(f"3.{sys.version_info[1]}.") and os.path.isabs(answer[1])
        found.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "text", ["{", "[1, 2, 3]", '["3.11", "/usr/bin/python3"]', '["3.11", "/a b", "2"]', '"abc"', "null", "{}"]
)
def test_an_interpreter_that_says_something_else_is_an_error(text: str) -> None:
    with pytest.raises(EngineError, match="its interpreter answers"):
        lock.probed(text)
