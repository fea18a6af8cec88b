"""What an image shall hold → the description a builder reads: devenv's manifest, and Dockerfiles of several flavours."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from .contenders import BASE, SUITE

APT = ("python3", "python3-venv", "git", "curl", "build-essential", "postgresql-client")
PIP = ("django==5.2", "requests", "numpy", "pandas", "sqlalchemy", "pytest", "flask")
NODE, NPM = "20.20.2", "10.9.9"
"""What devenv locks for this Node.js, and what the peers' image with Node.js is made of."""
NODE_BASE = "devenv-bench/node"
NPM_FILES = ("package.json", "package-lock.json")
CERTIFICATES = "ca.crt"
"""The host's, beside the Dockerfile: lent to steps, not baked."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LENT = f"RUN --mount=type=bind,source={CERTIFICATES},target=/run/ca.crt "


class Content(NamedTuple):
    """What an image holds besides the base."""

    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    npm: str = ""
    """The folder of a package.json and its lock."""
    tools: tuple[str, ...] = ()
    """npm packages for everybody in the image."""


PYTHON = Content(APT, PIP)


def manifest(content: Content, number: str) -> str:
    """devenv.yml; `number`, the round's name, is a comment in it, which changes nothing."""
    lines = [f"# {number}", "name: built", f"from: bootstrap:{SUITE}"]
    if content.apt:
        lines.append(f"apt: [{', '.join(content.apt)}]")
    if content.pip:
        lines.append(f"python: {{packages: [{', '.join(content.pip)}]}}")
    node = ["lock: package-lock.json"] * bool(content.npm)
    node += [f"packages: [{', '.join(content.tools)}]"] * bool(content.tools)
    if node:
        lines.append(f'node: {{version: "{NODE}", {", ".join(node)}}}')
    return "\n".join([*lines, ""])


def dockerfile(content: Content, flavour: str, number: str) -> str:
    """The same as people write it for Docker. `number`, an ENV before every step, makes all layers new.

    `plain`: without caches; `cached`: with cache mounts, pip and npm; `uv`: with cache mounts and devenv's own installer.
    """
    steps = _node(content) if content.npm or content.tools else _python(content, flavour)
    base = NODE_BASE if content.npm or content.tools else BASE
    return "\n".join([f"FROM {base}", f"ENV BENCH_ROUND={number}-{flavour}", *steps, ""])


def node_base() -> str:
    """An image with Node.js in it, as `FROM node:20` is for others: of the npm packages that devenv takes too."""
    links = " && ".join(f"ln -s ../npm/bin/{name}-cli.js /opt/node/bin/{name}" for name in ("npm", "npx"))
    return f"FROM {BASE}\nCOPY . /opt/node\nRUN {links}\nENV PATH=/opt/node/bin:/node_modules/.bin:{_PATH}\n"


def _python(content: Content, flavour: str) -> Iterable[str]:
    apt, tidy = "RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt ", ""
    pip = _LENT
    if flavour == "uv":
        pip += "--mount=type=bind,source=uv,target=/usr/local/bin/uv --mount=type=cache,target=/root/.cache/uv "
        tool = "SSL_CERT_FILE=/run/ca.crt uv pip install -q --link-mode copy --python /opt/venv"
    elif flavour == "cached":
        pip += "--mount=type=cache,target=/root/.cache/pip "
        tool = "PIP_CERT=/run/ca.crt /opt/venv/bin/pip install -q"
    else:
        apt, tidy = "RUN ", " && apt-get clean && rm -rf /var/lib/apt/lists/*"
        tool = "PIP_CERT=/run/ca.crt /opt/venv/bin/pip install -q --no-cache-dir"
    return (
        f"{apt}apt-get update -q && apt-get install -yq --no-install-recommends {' '.join(content.apt)}{tidy}",
        f"{pip}python3 -m venv /opt/venv && {tool} {' '.join(content.pip)}",
        f"ENV PATH=/opt/venv/bin:{_PATH}",
    )


def _node(content: Content) -> Iterable[str]:
    run = f"{_LENT}--mount=type=cache,target=/root/.npm NODE_EXTRA_CA_CERTS=/run/ca.crt npm --no-audit --no-fund"
    if content.tools:
        yield f"{run} install -g {' '.join(content.tools)}"
    if content.npm:
        yield "WORKDIR /"
        yield "COPY package.json package-lock.json /"
        yield f"{run} ci"


def npm_files(content: Content) -> dict[str, str]:
    """The files that the description names, by name."""
    return {name: _read(os.path.join(content.npm, name)) for name in NPM_FILES if content.npm}


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
