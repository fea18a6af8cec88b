"""Wheels made here, unpacked into trees and linked: what is put where, what is refused, what is found out later."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devenv.engine.native.packages.files import EPOCH, Files
from devenv.engine.native.packages.tree import Tree, find, linked, making, verify
from devenv.engine.native.packages.venv import site, venv
from devenv.engine.native.packages.wheel import unpacked
from devenv.errors import StoreError
from devenv.model.lock import Dist

SITE = "lib/python3.11/site-packages"
INFO = "demo-1.0.dist-info"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PLAIN = {"demo/__init__.py": "x = 1\n", f"{INFO}/METADATA": "Name: demo\n", f"{INFO}/WHEEL": WHEEL}


def encoded(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}={base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip('=')}"


def wheel(
    members: Mapping[str, str | bytes],
    *,
    record: str | None = None,
    modes: dict[str, int] | None = None,
    also: Callable[[zipfile.ZipFile], None] | None = None,
) -> bytes:
    """A wheel's bytes; its RECORD is right unless another is given ("": none at all)."""
    if record is None:
        given = {name: data.encode() if isinstance(data, str) else data for name, data in members.items()}
        record = "".join(f'"{name}",{encoded(data)},{len(data)}\n' for name, data in given.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, **({f"{INFO}/RECORD": record} if record else {})}.items():
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o600) << 16
            archive.writestr(info, data)
        if also is not None:
            also(archive)
    return out.getvalue()


def kept(files: Files, data: bytes, name: str = "demo", version: str = "1.0") -> Dist:
    sha256 = hashlib.sha256(data).hexdigest()
    with files.writer(f"{name} {version}", sha256, len(data)) as out:
        out.write(data)
    return Dist(name, version, len(data), sha256, f"{name}-{version}-py3-none-any.whl")


def made(files: Files, data: bytes) -> Tree:
    return unpacked(files, kept(files, data), "3.11")


def package(files: Files, name: str, members: dict[str, str | bytes]) -> Dist:
    info = f"{name}-1.0.dist-info"
    return kept(files, wheel({**members, f"{info}/WHEEL": WHEEL, f"{info}/RECORD": ""}, record=""), name)


def test_wheel_puts_everything_in_its_place(tmp_path: Path) -> None:
    members: dict[str, str | bytes] = {
        **PLAIN,
        "demo/tool": "#!/bin/sh\n",
        "demo-1.0.data/purelib/pure.py": "p",
        "demo-1.0.data/platlib/plat.so": b"\x7fELF",
        "demo-1.0.data/scripts/run": "#!python -E\nprint()\n",
        "demo-1.0.data/scripts/shell": "#!/bin/sh\n",
        "demo-1.0.data/headers/demo.h": "h",
        "demo-1.0.data/data/share/man/demo.1": "m",
        f"{INFO}/INSTALLER": "somebody",
        f"{INFO}/entry_points.txt": "[console_scripts]\nDemo = demo.cli:main.run [extra]\n[other]\nx = y\n",
    }
    before = os.umask(0o077)
    try:
        tree = made(Files(str(tmp_path)), wheel(members, modes={"demo/tool": stat.S_IFREG | 0o711}))
        linked([tree], str(tmp_path / "venv"))
    finally:
        os.umask(before)
    top = tmp_path / "venv"
    found = {str(path.relative_to(top)): path for path in top.rglob("*") if path.is_file()}
    assert set(found) == {
        "bin/Demo",
        "bin/run",
        "bin/shell",
        "include/site/python3.11/demo/demo.h",
        "share/man/demo.1",
        *(f"{SITE}/{name}" for name in ("demo/__init__.py", "demo/tool", "pure.py", "plat.so")),
        *(f"{SITE}/{INFO}/{name}" for name in ("METADATA", "WHEEL", "INSTALLER", "RECORD", "entry_points.txt")),
    }
    executable = {name for name, path in found.items() if path.stat().st_mode & 0o7777 == 0o755}
    assert executable == {"bin/Demo", "bin/run", "bin/shell", f"{SITE}/demo/tool"}
    assert {path.stat().st_mode & 0o7777 for name, path in found.items() if name not in executable} == {0o644}
    assert {path.stat().st_mode & 0o7777 for path in top.rglob("*") if path.is_dir()} == {0o755}
    assert {path.stat().st_mtime for path in (top, *top.rglob("*"))} == {EPOCH}
    assert found["bin/run"].read_text() == "#!/opt/venv/bin/python -E\nprint()\n"
    assert found["bin/shell"].read_text() == "#!/bin/sh\n"
    script = found["bin/Demo"].read_text()
    assert script.startswith("#!/opt/venv/bin/python\n") and "from demo.cli import main\n" in script
    assert "sys.exit(main.run())" in script


def test_wheel_leaves_a_record_of_what_is_installed(tmp_path: Path) -> None:
    names = {**PLAIN, "demo/a,b.py": "", "demo-1.0.data/scripts/run": "#!python\n"}
    tree = made(Files(str(tmp_path)), wheel(names))
    folder = Path(tree.folder, "files", SITE)
    rows = list(csv.reader((folder / INFO / "RECORD").read_text().splitlines()))
    assert rows == sorted(rows)
    assert [f"{INFO}/RECORD", "", ""] in rows
    for path, digest, size in rows:
        if digest:
            data = (folder / path).resolve().read_bytes()
            assert (digest, size) == (encoded(data), str(len(data)))
    there = {str(path) for path in Path(tree.folder, "files").rglob("*") if path.is_file()}
    assert {os.path.normpath(folder / path) for path, _, _ in rows} == there


def symlink(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("demo/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo/__init__.py", "x = 2\n")


def without(name: str) -> dict[str, str | bytes]:
    return {key: data for key, data in PLAIN.items() if key != name}


def encrypted() -> bytes:
    data = bytearray(wheel(PLAIN))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def lying() -> bytes:
    """Its directory says that the first file unpacks to 4 GiB."""
    data = bytearray(wheel(PLAIN))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = b"\xf0\xff\xff\xff"
    return bytes(data)


def renamed() -> bytes:
    """What its directory calls `demo/__init__.py` is called otherwise where it lies."""
    return wheel(PLAIN).replace(b"demo/__init__.py", b"demo/__main__.py", 1)


REFUSED: list[tuple[Callable[[], bytes], str]] = [
    (lambda: wheel({**PLAIN, "../evil": ""}), "'.*/../evil' leads out of it"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/data/../../../etc/passwd": ""}), "leads out of it"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/data//etc/passwd": ""}), "'/etc/passwd' is an absolute path"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/scripts/": ""}), ""),
    (lambda: wheel({**PLAIN, "demo//x": ""}), "is no path of a file"),
    (lambda: wheel({**PLAIN, "demo/./x": ""}), "is no path of a file"),
    (lambda: wheel({**PLAIN, "demo/\x1b[2J": ""}), r"\\x1b.* has control characters"),
    (lambda: wheel({**PLAIN, "demo/" + "x" * 256: ""}), "too long"),
    (lambda: wheel({**PLAIN, "demo/" + "x/" * 100 + "y": ""}), "too deep"),
    (lambda: wheel({**PLAIN, "demo": ""}), "demo is .*in it"),
    (lambda: wheel({**PLAIN, "demo/__init__.py/x": ""}), "demo/__init__.py is a file in it, and a folder"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/purelib/demo/__init__.py": ""}), "demo/__init__.py is in it twice"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/other/x": ""}), "is of no kind that is known"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/scripts/python": ""}), "would replace bin/python"),
    (lambda: wheel({**PLAIN, "demo-1.0.data/data/pyvenv.cfg": ""}), "would replace pyvenv.cfg"),
    (lambda: wheel(PLAIN, also=symlink), "'demo/link' is neither file nor folder"),
    (lambda: wheel(PLAIN, also=twice), "'demo/__init__.py' is in it twice"),
    (lambda: wheel({**PLAIN, "other-1.dist-info/WHEEL": WHEEL}), "it has 2 .dist-info folders"),
    (lambda: wheel({"x.py": ""}, record=""), "it has 0 .dist-info folders"),
    (
        lambda: wheel({name.replace("demo-1.0", "evil-1.0"): "" for name in PLAIN}, record=""),
        "says that it is evil 1.0",
    ),
    (
        lambda: wheel({name.replace("demo-1.0", "demo-2.0"): "" for name in PLAIN}, record=""),
        "says that it is demo 2.0",
    ),
    (lambda: wheel(without(f"{INFO}/WHEEL")), "it has no demo-1.0.dist-info/WHEEL"),
    (lambda: wheel(PLAIN, record=""), "it has no demo-1.0.dist-info/RECORD"),
    (lambda: wheel({**PLAIN, f"{INFO}/WHEEL": "Wheel-Version: 2.0\n"}), "its format is '2.0'"),
    (
        lambda: wheel(PLAIN, record=f"demo/__init__.py,{encoded(b'y')},6\n"),
        "demo/__init__.py isn't what its RECORD says",
    ),
    (lambda: wheel(PLAIN, record="demo/__init__.py,md5=x,6\n"), "its RECORD has a digest by 'md5'"),
    (
        lambda: wheel({**PLAIN, f"{INFO}/entry_points.txt": "[console_scripts]\na = b:c; import os\n"}),
        "entry point 'a'",
    ),
    (lambda: wheel({**PLAIN, f"{INFO}/entry_points.txt": "[console_scripts]\n../a = b:c\n"}), "entry point '../a'"),
    (lambda: wheel({**PLAIN, f"{INFO}/entry_points.txt": "[console_scripts]\npython = b:c\n"}), "replace bin/python"),
    (lambda: wheel({**PLAIN, f"{INFO}/entry_points.txt": "a = b\n"}), "its entry_points.txt: "),
    (lying, "a bomb"),
    (encrypted, "is encrypted"),
    (renamed, "File name in directory"),
    (lambda: wheel(PLAIN)[:-30], "not a zip file"),
    (lambda: b"", "isn't in the store|not a zip file"),
    (lambda: b"PK\x05\x06" + bytes(18), "it has 0 .dist-info"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_wheel_that_is_hostile_or_broken_is_refused_by_name(tmp_path: Path, number: int) -> None:
    build, said = REFUSED[number]
    files = Files(str(tmp_path / "packages"))
    if not said:
        made(files, build())
        return
    with pytest.raises(StoreError, match=f"demo 1.0: .*{said}"):
        made(files, build())
    assert not os.path.isdir(tmp_path / "packages" / "unpacked") and os.listdir(tmp_path / "packages" / "drafts") == []
    assert sorted(os.listdir(tmp_path)) == ["packages"]


def test_wheel_that_was_tampered_with_is_refused_by_name(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    dist = kept(files, wheel(PLAIN))
    Path(files.path(dist.sha256)).write_bytes(wheel({**PLAIN, "demo/evil.py": ""}))
    with pytest.raises(StoreError, match=r"use demo 1\.0: its kept file has sha256"):
        unpacked(files, dist, "3.11")


def tamper_content(path: Path) -> None:
    path.write_text("x = 2\n")


def tamper_mode(path: Path) -> None:
    path.chmod(0o4755)


def tamper_absence(path: Path) -> None:
    path.unlink()


def tamper_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def tamper_kind(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("tamper", [tamper_content, tamper_mode, tamper_absence, tamper_link, tamper_kind])
def test_tree_that_was_tampered_with_is_refused_by_path_and_made_anew(
    tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    files = Files(str(tmp_path))
    dist = kept(files, wheel(PLAIN))
    for use in (lambda tree: linked([tree], str(tmp_path / "a")), verify):
        tree = unpacked(files, dist, "3.11")
        verify(tree)
        tamper(Path(tree.folder, "files", SITE, "demo/__init__.py"))
        with pytest.raises(StoreError, match=rf"use demo 1\.0: {SITE}/demo/__init__\.py was changed in the store: "):
            use(tree)
        assert not os.path.exists(tree.folder)
    linked([unpacked(files, dist, "3.11")], str(tmp_path / "b"))
    assert (tmp_path / "b" / SITE / "demo/__init__.py").read_text() == "x = 1\n"


def test_tree_whose_manifest_is_short_or_changed_is_made_anew(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    dist = kept(files, wheel(PLAIN))
    first = unpacked(files, dist, "3.11")
    for data in (b"", b"\n", Path(first.folder, "manifest").read_bytes()[:-5]):
        Path(first.folder, "manifest").write_bytes(data)
        assert unpacked(files, dist, "3.11") == first
    assert unpacked(files, dist, "3.12").folder != first.folder


def test_tree_is_made_once_by_many(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    key = "0" * 64
    with making(files, "one 1", key) as draft:
        draft.add("a/b", False, [b"first"])
        with making(files, "two 1", key) as other:
            other.add("a/b", False, [b"first"])
    found = find(files, "one 1", key)
    assert found is not None and [entry.path for entry in found.entries] == ["a/b"]
    with pytest.raises(StoreError, match="not a sha256"):
        find(files, "x", "../../etc")


def test_linked_lets_the_last_win_and_says_so(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    one = package(files, "one", {"shared/__init__.py": "", "shared/x.py": "one"})
    two = package(files, "two", {"shared/__init__.py": "", "shared/x.py": "two"})
    (tmp_path / "venv" / SITE / "shared").mkdir(parents=True)
    (tmp_path / "venv" / SITE / "shared" / "x.py").write_text("before")
    assert site(files, str(tmp_path / "venv"), [two, one], "3.11.2") == (
        f"{SITE}/shared/x.py of one 1.0 is overwritten by two 1.0",
        f"{SITE}/shared/x.py was there already, and is overwritten by two 1.0",
    )
    assert (tmp_path / "venv" / SITE / "shared/x.py").read_text() == "two"
    shared = unpacked(files, two, "3.11")
    assert os.path.samefile(tmp_path / "venv" / SITE / "shared/x.py", f"{shared.folder}/files/{SITE}/shared/x.py")


def test_linked_takes_what_is_selected_and_refuses_a_file_that_is_a_folder(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    one = unpacked(files, package(files, "one", {"a/x": "1", "a/y": "2"}), "3.11")
    two = unpacked(files, package(files, "two", {"a": "3"}), "3.11")
    linked([one], str(tmp_path / "some"), lambda path: f"lib/{path[-1]}" if path.endswith("/x") else "")
    assert [str(path.relative_to(tmp_path / "some")) for path in sorted((tmp_path / "some").rglob("*"))] == [
        "lib",
        "lib/x",
    ]
    with pytest.raises(StoreError, match=f"link one 1.0: {SITE}/a is a folder in it, and a file in two 1.0"):
        linked([one, two], str(tmp_path / "both"))


def test_site_takes_no_source_archives(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"use demo 1: demo-1\.tar\.gz is no wheel"):
        site(Files(str(tmp_path)), str(tmp_path / "venv"), [Dist("demo", "1", 1, "0" * 64, "demo-1.tar.gz")], "3.11")


def test_venv_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    def seen(top: Path) -> list[tuple[str, int, float, str]]:
        found = []
        for path in (top, *sorted(top.rglob("*"))):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
            found.append((str(path.relative_to(top)), status.st_mode, status.st_mtime, content))
        return found

    before = os.umask(0o077)
    try:
        venv(str(tmp_path / "a"), "/usr/bin/python3", "3.11.2")
    finally:
        os.umask(before)
    venv(str(tmp_path / "b"), "/usr/bin/python3", "3.11.2")
    assert seen(tmp_path / "a") == seen(tmp_path / "b")


def test_venv_scripts_put_it_first_and_take_it_back(tmp_path: Path) -> None:
    venv(str(tmp_path / "a"), "/usr/bin/python3", "3.11.2")
    script = f". {tmp_path}/a/bin/activate; . {tmp_path}/a/bin/activate; echo $PATH $VIRTUAL_ENV; deactivate; echo $PATH ${{VIRTUAL_ENV-none}}"
    for shell in ("sh", "bash"):
        env = {"PATH": "/usr/bin:/bin", "PS1": "$ "}
        said = subprocess.run([shell, "-euc", script], env=env, capture_output=True, text=True, check=True).stdout
        assert said == "/opt/venv/bin:/usr/bin:/bin /opt/venv\n/usr/bin:/bin none\n"


@pytest.mark.network
def test_venv_and_site_are_what_uv_makes(tmp_path: Path) -> None:
    """`flask numpy requests pip` by uv, and the same wheels by us: paths, modes, contents, and it works."""
    from uv import find_uv_bin

    uv, python = find_uv_bin(), os.path.realpath(sys.executable)
    env = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_LINK_MODE": "copy"}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    subprocess.run([uv, "venv", "-q", "--python", python, theirs], check=True, env=env)
    asked = ["flask", "numpy", "requests", "pip"]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", tmp_path / "wheels", *asked], check=True)
    wheels = sorted((tmp_path / "wheels").iterdir())
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--python",
        theirs / "bin/python",
    ]
    subprocess.run([*command, *wheels], check=True, env=env)

    files = Files(str(tmp_path / "packages"))
    dists = [kept(files, path.read_bytes(), *path.name.lower().split("-")[:2]) for path in wheels]
    version = ".".join(str(part) for part in sys.version_info[:3])
    venv(str(ours), python, version)
    assert site(files, str(ours), dists, version) == ()

    def seen(top: Path) -> dict[str, tuple[int, object]]:
        found: dict[str, tuple[int, object]] = {}
        for path in top.rglob("*"):
            name = str(path.relative_to(top))
            if path.name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"):
                continue
            if name.startswith("bin/") and name.removeprefix("bin/").partition(".")[0] in (
                "activate",
                "activate_this",
                "deactivate",
                "pydoc",
            ):
                continue
            content: object = None
            if path.is_symlink():
                content = os.readlink(path)
            elif path.name == "RECORD":
                content = sorted(
                    line.split(",")[0]
                    for line in path.read_text().splitlines()
                    if not line.split(",")[0].endswith(("REQUESTED", "direct_url.json", "uv_cache.json"))
                )
            elif name == "pyvenv.cfg":
                content = {line for line in path.read_text().splitlines() if not line.startswith("uv = ")}
            elif path.is_file():
                content = hashlib.sha256(
                    path.read_bytes().replace(f"#!{theirs}/".encode(), b"#!/opt/venv/", 1)
                ).digest()
            found[name] = (path.lstat().st_mode, content)
        return found

    expected, found = seen(theirs), seen(ours)
    for name in (".gitignore", ".lock", "CACHEDIR.TAG"):
        expected.pop(name, None)
    assert {
        name: (expected.get(name), found.get(name))
        for name in expected.keys() | found
        if expected.get(name) != found.get(name)
    } == {}
    code = "import flask, numpy, requests; print(numpy.ones(3).sum())"
    assert subprocess.run([ours / "bin/python", "-Bc", code], capture_output=True, check=True).stdout == b"3.0\n"
