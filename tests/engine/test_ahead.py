"""Debian packages that lie unpacked below a step's root: what comes out is what dpkg makes by itself, to the bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from devenv.engine.native.packages import dpkg, plain
from devenv.engine.native.packages.files import Files
from devenv.engine.native.store.transient import fates
from devenv.model.lock import Deb
from tests.engine.project import Project
from tests.unit.test_packages_deb import locked

pytestmark = pytest.mark.engine

CLOCK = 2_000_000_000
BASE = "Package: there\nStatus: install ok installed\nMaintainer: x\nArchitecture: all\nVersion: 1\nDescription: y\n\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a merged /usr and dpkg's database of one package."""
    root = tmp_path / "root"
    for folder in ("usr/bin", "usr/lib", "usr/share/doc", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/lib/dpkg/triggers").mkdir()
    (root / "var/lib/dpkg/status").write_text(BASE)
    (root / "var/lib/dpkg/info/format").write_text("1\n")
    (root / "var/lib/dpkg/info/there.list").write_text("/.\n/usr\n/usr/bin\n/usr/bin/there\n")
    (root / "usr/bin/there").write_text("there\n")
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
            os.utime(path, (1000, 1000))
    return root


class Maker:
    """Builds packages with dpkg-deb, and has them fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(str(folder / "packages"))
        self.built: list[str] = []

    def __call__(self, name: str, *paths: str, fields: str = "", beside: bool = False) -> Deb:
        """`a -> b` is a link, `a/` an empty folder; programs are what is in a bin. `beside` those of other architectures."""
        place, arch = self.folder / name, "all"
        if beside:
            arch = subprocess.run(
                ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
            ).stdout.strip()
            fields += "Multi-Arch: same\n"
        (place / "DEBIAN").mkdir(parents=True)
        for path in paths:
            at, _, link = path.partition(" -> ")
            (place / at).parent.mkdir(parents=True, exist_ok=True)
            if link:
                (place / at).symlink_to(link)
            elif at.endswith("/"):
                (place / at).mkdir()
            else:
                (place / at).write_text(f"{path} of {name}\n" * 50)
                (place / at).chmod(0o755 if "bin/" in at else 0o644)
        for number, each in enumerate(sorted(place.rglob("*"))):
            if each.is_dir():
                each.chmod(0o755)
            os.utime(each, (2000 + number, 2000 + number), follow_symlinks=False)
        control = (
            f"Package: {name}\nVersion: 2:1.0-1\nArchitecture: {arch}\nMaintainer: x\n{fields}Description: y\n z\n"
        )
        (place / "DEBIAN/control").write_text(control)
        (place / "DEBIAN/md5sums").write_text("")
        (place / "DEBIAN/triggers").write_text("activate-noawait some-trigger\n")
        path = f"{self.folder}/{name}.deb"
        env = {**os.environ, "SOURCE_DATE_EPOCH": "5000"}
        argv = ["dpkg-deb", "--root-owner-group", "--build", str(place), path]
        subprocess.run(argv, check=True, capture_output=True, env=env)
        self.built.append(path)
        with open(path, "rb") as file:
            return locked(self.files, file.read(), name, "2:1.0-1", arch)

    def chosen(self, root: Path, *debs: Deb) -> tuple[dpkg.Ground | None, tuple[plain.Content, ...]]:
        contents = plain.contents(debs, self.files, CLOCK)
        assert not [content.fault for content in contents if content.fault]
        ground = dpkg.ground(os.open(root, os.O_RDONLY))
        return ground, dpkg.choose(ground, contents, fates(offline=True)) if ground else ()

    def names(self, root: Path, *debs: Deb) -> list[str]:
        return [content.deb.name for content in self.chosen(root, *debs)[1]]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def tree(root: Path) -> Iterator[tuple[str, int, tuple[int, int], bytes, float]]:
    """All that is in a root but for the files in which dpkg notes what it did and when; times of all but folders."""
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if re.fullmatch(r"var/log.*|var/lib/dpkg/(.*-old|lock.*|available|triggers/.*|parts|alternatives)", name):
            continue
        info = path.lstat()
        data = b""
        if path.is_symlink():
            data = os.readlink(path).encode()
        elif path.is_file():
            data = path.read_bytes()
        time = 0 if path.is_dir() or name.startswith("var/lib/dpkg/") else info.st_mtime
        yield name, info.st_mode, (info.st_uid, info.st_gid), data, time


def done(root: Path, *words: str) -> None:
    argv = ["dpkg", f"--root={root}", "--force-unsafe-io", f"--log={root.parent}/log", *words]
    subprocess.run(argv, check=True, capture_output=True)


def test_packages_are_laid_out_as_dpkg_unpacks_them(root: Path, maker: Maker, tmp_path: Path) -> None:
    debs = [
        maker("one", "usr/bin/one", "bin/uno", "usr/share/doc/one/a", "usr/share/one/empty/", "usr/lib/x/a/b/c"),
        maker("two", "lib/two.so -> two.so.1", "lib/two.so.1", "usr/share/doc/two -> one", beside=True),
    ]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for copy in (ours, theirs):
        subprocess.run(["cp", "-a", str(root), str(copy)], check=True)
    ground, chosen = maker.chosen(root, *debs)
    assert ground is not None and len(chosen) == 2

    dpkg.lay(ground, chosen, f"{tmp_path}/layer", CLOCK)
    empty = "usr/share/one/empty"
    for name, time in ((empty, int(os.stat(tmp_path / "one" / empty).st_mtime)), ("usr", 1000), ("usr/bin", CLOCK)):
        assert (name, os.stat(tmp_path / "layer" / name).st_mtime) == (name, time)
    shutil.copytree(tmp_path / "layer", ours, symlinks=True, dirs_exist_ok=True)
    done(theirs, "--unpack", *maker.built)
    # Configured, both have been written by dpkg.
    for copy in (ours, theirs):
        done(copy, "--configure", "--pending")

    assert list(tree(ours)) == list(tree(theirs))
    status = (ours / "var/lib/dpkg/status").read_text()
    assert status.count("install ok installed") == 3 and "Package: two" in status


def test_packages_of_the_usual_kind_are_all_chosen(root: Path, maker: Maker) -> None:
    assert maker.names(root, maker("one", "usr/bin/one"), maker("two", "usr/bin/two")) == ["one", "two"]


def write(path: str, text: str) -> Callable[[Path], None]:
    def writing(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return writing


def other_folder(root: Path) -> None:
    (root / "usr/bin").chmod(0o775)


def link_as_folder(root: Path) -> None:
    shutil.rmtree(root / "usr/share")
    (root / "usr/share").symlink_to("lib")


def link_as_settings(root: Path) -> None:
    (root / "etc/dpkg").mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg").symlink_to("/opt/settings")


def fifo_as_list(root: Path) -> None:
    os.mkfifo(root / "var/lib/dpkg/info/x.list")


ROOTS: dict[str, tuple[Callable[[Path], None], Sequence[str]]] = {
    "a file is there already": (write("usr/bin/one", ""), ["two"]),
    "a package has the file, be it there or not": (write("var/lib/dpkg/info/x.list", "/bin/one\n"), ["two"]),
    "the file is diverted": (write("var/lib/dpkg/diversions", "/usr/bin/one\n/usr/bin/one.real\nx\n"), ["two"]),
    "the file is overridden": (write("var/lib/dpkg/statoverride", "root root 755 /usr/bin/one\n"), ["two"]),
    "somebody watches the folder": (write("var/lib/dpkg/triggers/File", "/usr/share/doc there/noawait\n"), ["one"]),
    "the folder isn't like others": (other_folder, ["two"]),
    "the folder is a link": (link_as_folder, ["one"]),
    "a package doesn't bear one": (
        write("var/lib/dpkg/status", BASE.replace("Description", "Breaks: x, one (<< 9)\nDescription")),
        ["two"],
    ),
    "two doesn't bear what a package provides": (
        write("var/lib/dpkg/status", BASE.replace("Description", "Provides: old (= 1)\nDescription")),
        ["one"],
    ),
    "a package is there in another version": (write("var/lib/dpkg/status", BASE + BASE.replace("there", "one")), []),
    "a package is half installed": (write("var/lib/dpkg/status", BASE.replace("ok installed", "ok unpacked")), []),
    "dpkg was interrupted": (write("var/lib/dpkg/updates/0001", ""), []),
    "triggers are pending": (write("var/lib/dpkg/triggers/Unincorp", "x there\n"), []),
    "there are several architectures": (write("var/lib/dpkg/arch", "amd64\narm64\n"), []),
    "the database is of another format": (write("var/lib/dpkg/info/format", "2\n"), []),
    "dpkg leaves files out": (write("etc/dpkg/dpkg.cfg.d/docker", "path-exclude /usr/share/doc/*\n"), []),
    "apt tells somebody of the packages": (write("etc/apt/apt.conf.d/x", 'DPkg {Pre-Install-Pkgs {"x";};};\n'), []),
    "root has settings of dpkg": (write("root/.dpkg.cfg", "path-exclude=/usr/share/doc/*\n"), []),
    "settings are elsewhere": (link_as_settings, []),
    "a list is no file": (fifo_as_list, []),
    "there is no dpkg": (write("var/lib/dpkg/status", ""), []),
}


@pytest.mark.parametrize("how", ROOTS)
def test_packages_are_left_to_dpkg_where(root: Path, maker: Maker, how: str) -> None:
    change, left = ROOTS[how]
    change(root)
    two = maker("two", "usr/share/doc/two/a", fields="Conflicts: old (<< 2)\n")
    assert maker.names(root, maker("one", "usr/bin/one"), two) == left


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("usr/bin/x", "usr/bin/x"),
        ("usr/bin/x", "bin/x"),  # the same in this root
        ("usr/share/x", "usr/share/x/y"),
        ("usr/share/x -> y", "usr/share/x/"),
    ],
)
def test_packages_that_have_the_same_are_left_to_dpkg(root: Path, maker: Maker, one: str, two: str) -> None:
    assert maker.names(root, maker("one", one), maker("two", two), maker("three", "usr/bin/three")) == ["three"]


def test_packages_with_what_no_layer_may_have_are_left_to_dpkg(root: Path, maker: Maker) -> None:
    assert maker.names(root, maker("one", "var/log/one/log"), maker("two", "var/cache/apt/x.bin")) == []


def test_packages_that_a_step_left_unpacked_are_told(root: Path, maker: Maker, tmp_path: Path) -> None:
    ground, chosen = maker.chosen(root, maker("one", "usr/bin/one"))
    assert ground is not None
    dpkg.lay(ground, chosen, f"{tmp_path}/layer", CLOCK)
    status = tmp_path / "layer/var/lib/dpkg/status"
    assert dpkg.unfinished(f"{tmp_path}/layer", chosen)
    status.write_text(status.read_text().replace("ok unpacked", "ok installed"))
    assert not dpkg.unfinished(f"{tmp_path}/layer", chosen)


# In a build -------------------------------------------------------------------------------------------------------


def linked(project: Project, path: str) -> int:
    """How many names a file of the newest layer that has it has."""
    numbers = sorted(int(name) for name in os.listdir(project.paths.layers) if name.isdecimal())
    (*_, found) = (at for number in numbers if os.path.lexists(at := f"{project.paths.layer(number)}/{path}"))
    return os.stat(found).st_nlink


def of_apt(project: Project, packages: str, wrapper: str) -> str:
    """Build with an apt-get that does something before; the digest of the packages' layer."""
    line = f"RUN printf '%s\\n' '#!/bin/sh' '{wrapper}' 'exec /usr/bin/apt-get \"$@\"' >/usr/local/bin/apt-get"
    project.write("Containerfile", f"FROM base\n{line} && chmod 755 /usr/local/bin/apt-get\n")
    project.write("devenv.yml", f"from: file:Containerfile\ncontexts: {{base: '{project.base}'}}\napt: {packages}\n")
    digest = project.run("build").strip()
    with open(f"{project.paths.layout}/blobs/sha256/{digest[7:]}") as file:
        (*_, packed, _) = json.load(file)["layers"]  # the last is the folder that it works in
    return str(packed["digest"])


def test_build_has_the_layer_that_dpkg_makes_alone(project: Project) -> None:
    packages = "[jq, openssl, bzip2, texinfo]"
    ours = of_apt(project, packages, ":")
    assert linked(project, "usr/bin/jq") > 1  # the store's and the layer's
    assert linked(project, "usr/bin/openssl") == 1  # it has conffiles
    assert project.run("run", "--no-source", "--", "sh", "-c", "jq --version && dpkg --audit && dpkg --verify jq")
    # When it goes wrong with packages that are unpacked already, all is done once more without any.
    alone = of_apt(project, packages, 'grep -q "ok unpacked" /var/lib/dpkg/status && exit 9')
    assert linked(project, "usr/bin/jq") == 1
    assert ours == alone


def test_build_with_packages_laid_out_is_the_same_again_and_where_ids_cant_be_mapped(project: Project) -> None:
    project.manifest("apt: [jq, openssl]\n")
    digest = project.run("build")
    assert project.run("build", "--check").splitlines() == [digest.strip(), "every step gave the same bytes again"]
    assert project.run("build", "--no-cache", env={"DEVENV_IDMAP": "off"}) == digest
    assert linked(project, "usr/bin/jq") > 1


def test_build_whose_packages_were_changed_in_the_store_is_refused_by_name(project: Project) -> None:
    project.manifest("apt: [jq]\n")
    digest = project.run("build")
    unpacked = f"{project.paths.packages}/unpacked"
    (program,) = (path for path in Path(unpacked).rglob("usr/bin/jq"))
    program.write_bytes(b"x" + program.read_bytes()[1:])
    refused = project.attempt("build", "--no-cache")
    assert refused.returncode != 0
    assert re.search(r"use jq \S+: usr/bin/jq was changed in the store", refused.stderr)
    assert project.run("build", "--no-cache") == digest
