"""`network: true` under `python:` and `node:`: what no lock can hold is installed with network, and told as no promise.

A package from a git repository is locked by its commit.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.project import Project

pytestmark = [pytest.mark.engine, pytest.mark.network]

HOST = "repositories.test"
"""It has no address: whoever asks for it asks the proxy, which is us."""

PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """
import os, zipfile

FILES = {
    "shop.py": "NAME = 'VALUE'\\n",
    "shop-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: shop\\nVersion: 1.0\\nRequires-Dist: six\\n",
    "shop-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "shop-1.0.dist-info/RECORD": "",
}


def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/shop-1.0-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return "shop-1.0-py3-none-any.whl"
"""


FETCH = """
const fs = require("fs"), http = require("http"), os = require("os");
const proxy = new URL(process.env.http_proxy);
http.get({host: proxy.hostname, port: proxy.port, path: "http://repositories.test/browser"}, (answer) => {
  const folder = `${os.homedir()}/.cache/browser`;
  fs.mkdirSync(folder, {recursive: true});
  answer.pipe(fs.createWriteStream(`${folder}/program`));
});
"""
"""What a browser's npm package does."""
PACKAGE = {
    "name": "shop",
    "version": "1.0.0",
    "bin": "cli.js",
    "scripts": {"prepare": "cp source.js cli.js", "install": "node fetch.js"},
}


def python_package(value: str) -> dict[str, str]:
    return {"pyproject.toml": PYPROJECT, "backend.py": BACKEND.replace("VALUE", value)}


def npm_package() -> dict[str, str]:
    source = '#!/usr/bin/env node\nconsole.log(require("fs").readFileSync(`${process.env.HOME}/.cache/browser/program`, "utf8"))\n'
    return {"package.json": json.dumps(PACKAGE), "source.js": source, "fetch.js": FETCH}


class Served(NamedTuple):
    """A repository that is changed here, and what a step needs to reach it as http://repositories.test/shop.git."""

    folder: str
    bare: str
    env: dict[str, str]

    def commit(self, files: Mapping[str, str]) -> str:
        """Another version of the package; its commit."""
        for name, text in files.items():
            Path(self.folder, name).write_text(text)
        git("-C", self.folder, "add", ".")
        git("-C", self.folder, "commit", "--quiet", "--message", "another version")
        git("-C", self.folder, "push", "--quiet", self.bare, "main")
        git("-C", self.bare, "update-server-info")  # all that a server of mere files needs
        return git("-C", self.folder, "rev-parse", "HEAD").strip()


def git(*words: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@shop.test", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", *who, *words), check=True, capture_output=True, text=True).stdout


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    # A proxy is asked for whole addresses, and a server of files looks for these beneath its folder.
    bare = f"{tmp_path}/http:/{HOST}/shop.git"
    git("init", "--quiet", f"{tmp_path}/work")
    git("init", "--quiet", "--bare", bare)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Served(f"{tmp_path}/work", bare, {"http_proxy": f"http://127.0.0.1:{server.server_port}"})
        server.shutdown()


@pytest.fixture
def image(project: Project) -> str:
    """One with git and Python, to start from."""
    project.write("base/Containerfile", "FROM base\nRUN apt-get -q update && apt-get -q install -y git python3\n")
    done = project.attempt("build", "-t", "git", "--build-context", f"base={project.base}", "base")
    assert done.returncode == 0, done.stderr
    return f"oci:{project.layout('git')}:git"


@pytest.fixture
def asking(project: Project, image: str) -> Project:
    """A project that asks for the repository's Python package."""
    packages = f'["shop @ git+http://{HOST}/shop.git@main"]'
    project.write("devenv.yml", f"from: {image}\npython:\n  network: true\n  packages: {packages}\n")
    return project


def test_a_repository_is_locked_by_commit_installed_with_network_and_reported(asking: Project, served: Served) -> None:
    first = served.commit(python_package("first"))
    done = asking.attempt("up", env=served.env)
    assert done.returncode == 0, done.stderr
    (warning,) = re.findall("^warning: .*", done.stderr, re.M)
    assert f"devenv.yml:3:12: `python.network`: shop @ http://{HOST}/shop.git@{first[:12]}: " in warning
    lock = asking.read("devenv.lock.yml")
    assert f"    - shop {first} http://{HOST}/shop.git revision=main\n" in lock and "    - six 1." in lock

    said = asking.run("exec", "python", "-c", "import shop, six; print(shop.NAME)")
    assert said == "first\n"
    assert "(has network)" in asking.run("explain")
    assert "warning" not in asking.attempt("up", env=served.env).stderr
    assert [step["network"] for step in json.loads(asking.run("explain", "python", "--json"))["steps"]] == [
        False,
        False,
        True,
    ]

    # What is locked stays, whatever the branch is now.
    second = served.commit(python_package("second"))
    asking.write("devenv.yml", asking.read("devenv.yml").replace('["shop', '["iniconfig", "shop'))
    asking.run("lock", env=served.env)
    assert first in asking.read("devenv.lock.yml") and "- iniconfig" in asking.read("devenv.lock.yml")
    asking.run("lock", "--upgrade", "shop", env=served.env)
    assert second in asking.read("devenv.lock.yml")

    checked = asking.attempt("build", "--check", env=served.env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (
        f"network  devenv.yml:3:12: `python.network`: shop @ http://{HOST}/shop.git@{second[:12]}: " in checked.stdout
    )


def test_a_repository_is_refused_where_nobody_allowed_it(project: Project) -> None:
    project.manifest("python: {requirements: [requirements.txt]}\n")
    project.write("requirements.txt", f"six\nshop @ git+http://{HOST}/shop.git\n")
    done = project.attempt("up")
    assert done.returncode == 2 and "requirements.txt:2:1: this comes from a repository" in done.stderr
    assert "`network: true` under `python:`" in done.stderr
    assert not os.path.exists(f"{project.folder}/devenv.lock.yml")


def test_npm_scripts_have_network_and_a_repository_is_installed_where_that_is_allowed(
    project: Project, image: str, served: Served
) -> None:
    Path(os.path.dirname(served.bare), "browser").write_text("a browser")
    commit = served.commit(npm_package())
    project.write("package.json", json.dumps({"dependencies": {"shop": f"git+http://{HOST}/shop.git"}}))
    entry = {"version": "1.0.0", "resolved": f"git+http://{HOST}/shop.git#{commit}", "bin": {"shop": "cli.js"}}
    lock = {"lockfileVersion": 3, "packages": {"": {}, "node_modules/shop": entry | {"hasInstallScript": True}}}
    project.write("package-lock.json", json.dumps(lock))
    project.write("devenv.yml", f"from: {image}\nnode:\n  lock: package-lock.json\n")
    refused = project.attempt("up", env=served.env)
    assert refused.returncode == 2 and "write `network: true` under `node:`" in refused.stderr

    project.write("devenv.yml", f"{project.read('devenv.yml')}  network: true\n")
    done = project.attempt("up", env=served.env)
    assert done.returncode == 0, done.stderr
    (warning,) = re.findall("^warning: .*", done.stderr, re.M)
    assert f"devenv.yml:4:12: `node.network`: shop @ http://{HOST}/shop.git@{commit[:12]}: " in warning
    line = f"    - node_modules/shop 1.0.0 git:{commit} bin=shop:cli.js url=http://{HOST}/shop.git scripts=yes\n"
    assert line in project.read("devenv.lock.yml")
    assert project.run("exec", "shop") == "a browser\n"
    assert "every step gave the same bytes again" in project.run("build", "--check", env=served.env)
