"""Manifests whose Containerfile is known: NAME.Containerfile beside this file is what `NAME` renders to."""

from __future__ import annotations

from typing import Any

from devenv.model.manifest import From, Manifest, Node, Python, Source
from devenv.render import Facts


def manifest(base: str = "bootstrap:bookworm", **values: Any) -> Manifest:
    """A manifest of a project that mounts its source, with these values."""
    kind, _, value = base.partition(":")
    values = {"sources": (Source(".", "/workspace"),)} | values
    return Manifest("/project/devenv.yml", "/project", "shop", From(kind, value), **values)  # type: ignore[arg-type]


CASES: dict[str, tuple[Manifest, Facts]] = {
    "base-alone": (manifest(), Facts()),
    "apt": (manifest(apt=("git", "curl", "git", "libpq5=15.5-0+deb12u1", "gcc:arm64")), Facts()),
    "python-alone": (manifest(python=Python()), Facts()),
    "python-beside-apt": (manifest(apt=("curl",), python=Python(packages=("django>=5,<6",))), Facts()),
    "python-on-compilers": (manifest(apt=("libpq-dev", "gcc"), python=Python(packages=("psycopg2==2.9.10",))), Facts()),
    "python-suite-with-distutils-apart": (manifest("bootstrap:bullseye", python=Python(packages=("six",))), Facts()),
    "python-own-version": (manifest("bootstrap:bullseye", python=Python("3.12", packages=("flask",))), Facts()),
    "python-suites-version": (manifest("bootstrap:trixie", python=Python("3.13", packages=("flask",))), Facts()),
    "python-requirements": (
        manifest(python=Python(requirements=("requirements/dev.txt", "api/pyproject.toml"))),
        Facts(included=("requirements/base.txt",)),
    ),
    "python-uv-lock": (manifest(python=Python(requirements=("uv.lock",), packages=("ipython",))), Facts()),
    "node": (manifest(node=Node()), Facts()),
    "node-project": (manifest(node=Node("20", "web/package-lock.json", ("typescript@5",))), Facts("arm64")),
    "node-26": (manifest(apt=("curl",), node=Node("26.1", packages=("pnpm",))), Facts()),
    "oci-base": (manifest("oci:images/base:v1", apt=("curl",), python=Python(), workdir="/srv/my app"), Facts()),
    "own-containerfile-and-more": (manifest("file:Dockerfile", node=Node("22")), Facts()),
    "everything": (
        manifest(
            apt=("git", "curl", "build-essential", "postgresql-client"),
            python=Python(requirements=("requirements.txt",), packages=("django==5.2",)),
            node=Node("20", "package-lock.json", ("typescript@5",)),
        ),
        Facts(),
    ),
}
