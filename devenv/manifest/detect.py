"""Names and contents of the files in a folder → the text of a first devenv.yml, with a reason beside each line."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import clues
from .values import project_name

_REQUIREMENTS = (
    *("requirements.txt", "requirements-dev.txt", "requirements_dev.txt", "requirements-test.txt"),
    *("dev-requirements.txt", "test-requirements.txt", "requirements/dev.txt", "requirements/test.txt"),
)
_CONTAINERFILES = ("Containerfile", "Dockerfile", ".devcontainer/Dockerfile")
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_DEVCONTAINER = (".devcontainer/devcontainer.json", ".devcontainer.json")
_FOREIGN_LOCKS = ("yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")

DETECTED: tuple[str, ...] = (
    *("pyproject.toml", "uv.lock", *_REQUIREMENTS, "manage.py", ".python-version"),
    *("package.json", "package-lock.json", *_FOREIGN_LOCKS, ".nvmrc", ".node-version", ".tool-versions"),
    *(*_CONTAINERFILES, *_COMPOSE, *_DEVCONTAINER),
)
"""The files `draft` knows what to make of, as paths from the project folder."""

_NATIVE = {
    "psycopg2": ("build-essential", "libpq-dev"),
    "psycopg": ("libpq5",),
    "mysqlclient": ("build-essential", "default-libmysqlclient-dev", "pkg-config"),
    "python-ldap": ("build-essential", "libldap-dev", "libsasl2-dev"),
    "pycairo": ("build-essential", "libcairo2-dev", "pkg-config"),
}
_NODE_PORTS = {"next": "3000", "vite": "5173", "express": "3000", "fastify": "3000", "@angular/cli": "4200"}


@dataclass(slots=True)
class _Draft:
    """What is going to be written. Texts are quoted already; a note is a comment line."""

    base: str = "bootstrap:bookworm"
    why: str = "Debian 12, built from its own packages"
    contexts: list[str] = field(default_factory=list)
    apt: list[str] = field(default_factory=list)
    python: list[str] = field(default_factory=list)
    node: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    test: str = ""
    notes: list[str] = field(default_factory=list)


def draft(files: Mapping[str, str], name: str) -> str:
    """A manifest for a folder with these files (path from the folder → content, "" if not read). `parse` accepts it."""
    found = _Draft()
    container = _containerfile(files)
    images = _images(files, container)
    _python(files, images, found)
    _node(files, images, found)
    _base(files, container, images, found)
    _devcontainer(files, found)
    _compose(files, found)
    return _text(project_name(name), found)


def _containerfile(files: Mapping[str, str]) -> str:
    """The Containerfile that says most: the devcontainer's, the compose file's, the folder's."""
    for name in _DEVCONTAINER:
        devcontainer = clues.from_json(files.get(name, ""))
        named = clues.at(devcontainer, "build", "dockerfile") or devcontainer.get("dockerFile")
        if isinstance(named, str):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), named))
            if path in files:
                return path
    for service in _services(files).values():
        named = clues.at(service, "build", "dockerfile")
        if isinstance(named, str) and posixpath.normpath(named) in files:
            return posixpath.normpath(named)
    return next((name for name in _CONTAINERFILES if name in files), "")


def _images(files: Mapping[str, str], container: str) -> list[str]:
    """The image references that the Containerfile or the devcontainer name."""
    named = [clues.from_json(files.get(name, "")).get("image") for name in _DEVCONTAINER]
    return [image for image in named if isinstance(image, str)] + clues.images(files.get(container, ""))


def _base(files: Mapping[str, str], container: str, images: list[str], found: _Draft) -> None:
    suite = next((suite for suite in map(clues.suite_in, images) if suite), "")
    if suite:
        found.base, found.why = f"bootstrap:{suite}", "the Debian release that the project's image has"
    if not container:
        return
    found.ports += clues.exposed(files[container])
    used = clues.images(files[container])
    foreign = [image for image in used if not clues.debian(image)]
    shown = ", ".join(_comment(image) for image in foreign)
    if foreign and (found.python or found.node):
        found.notes.append(f"{container} builds on {shown}: images from registries are not supported yet")
        return
    found.base, found.why = f"file:{container}", "built as it is, with devenv's own builder"
    found.contexts = [f'"{image}": bootstrap:{clues.debian(image)}' for image in used if clues.debian(image)]
    if foreign:
        found.notes.append(f"say in `contexts:` where {shown} comes from (oci:DIRECTORY, bootstrap:SUITE)")
    # What the Containerfile installs is in the image already.
    found.python, found.node, found.apt = [], [], []


def _python(files: Mapping[str, str], images: list[str], found: _Draft) -> None:
    pyproject = clues.from_toml(files.get("pyproject.toml", ""))
    named = [name for name in _REQUIREMENTS if name in files]
    version, source = _python_version(files, pyproject, images)
    if not (named or version or files.keys() & {"pyproject.toml", "uv.lock", "manage.py"}):
        return
    found.python.append(
        f'version: "{version}"  # from {source}' if version else '# version: "3.13"  # default: the base\'s own'
    )
    packages: list[str] = []
    if "uv.lock" in files:
        named = ["uv.lock"]
    elif not named and isinstance(pyproject.get("project"), dict):
        named, packages = ["pyproject.toml"], _development(pyproject)
    elif not named and "pyproject.toml" in files:
        found.python.append('# packages: ["django==5.2"]  # pyproject.toml has no [project] table to install from')
    found.python += [f"requirements: {_list(named)}"] if named else []
    found.python += [f"packages: {_list(packages)}"] if packages else []
    said = "\n".join(files.get(name, "") for name in ("pyproject.toml", "uv.lock", *_REQUIREMENTS))
    for package, needs in _NATIVE.items():
        if re.search(rf"(?im)(^|[\"'\s]){package}(?![\w-])", said):
            found.apt += needs
    _python_commands(files, said, found)


def _python_commands(files: Mapping[str, str], said: str, found: _Draft) -> None:
    django = "manage.py" in files
    if django:
        found.ports.append("8000")
        found.hooks.append("python manage.py migrate")
    if re.search(r"\bpytest\b", said):
        found.test = "pytest -q"
    else:
        found.test = "python manage.py test" if django else "python -m unittest"


def _python_version(files: Mapping[str, str], pyproject: dict[str, Any], images: list[str]) -> tuple[str, str]:
    """The version and the file that says it, the most explicit first."""
    tools = clues.tool_version(files.get(".tool-versions", ""), "python")
    required = clues.at(pyproject, "project", "requires-python")
    named = (
        (clues.python_version(files.get(".python-version", "")), ".python-version"),
        (clues.python_version(tools), ".tool-versions"),
        *((clues.python_version(_feature(files, name, "python")), "devcontainer.json") for name in _DEVCONTAINER),
        *((clues.python_version(clues.python_in(image)), _comment(image)) for image in images),
        (clues.required_python(required if isinstance(required, str) else ""), "pyproject.toml"),
    )
    return next(((version, source) for version, source in named if version), ("", ""))


def _development(pyproject: dict[str, Any]) -> list[str]:
    """What pyproject.toml lists for development, which installing from it doesn't bring."""
    groups = (clues.at(pyproject, "project", "optional-dependencies"), pyproject.get("dependency-groups"))
    lists = (clues.at(group, name) for group in groups for name in ("dev", "test", "tests"))
    return list(dict.fromkeys(clues.pip_packages(*lists)))


def _node(files: Mapping[str, str], images: list[str], found: _Draft) -> None:
    if "package.json" not in files:
        return
    package = clues.from_json(files["package.json"])
    tools = clues.tool_version(files.get(".tool-versions", ""), "nodejs", "node")
    engines = clues.at(package, "engines", "node")
    pinned = re.match(r"\s*[\^~=v]?\s*(\d{1,2})(?=$|[.\s])", engines) if isinstance(engines, str) else None
    named = (
        *((clues.node_version(files.get(name, "")), name) for name in (".nvmrc", ".node-version")),
        (clues.node_version(tools), ".tool-versions"),
        *((clues.node_version(_feature(files, name, "node")), "devcontainer.json") for name in _DEVCONTAINER),
        *((clues.node_in(image), _comment(image)) for image in images),
        (pinned[1] if pinned else "", "package.json"),
    )
    version, source = next(((version, source) for version, source in named if version), ("", ""))
    found.node.append(
        f'version: "{version}"  # from {source}' if version else '# version: "22"  # default: the newest long-term one'
    )
    if "package-lock.json" in files:
        found.node.append("lock: package-lock.json")
    else:
        found.hooks.append("npm install")
        other = next((name for name in _FOREIGN_LOCKS if name in files), "")
        found.notes += [f"{other} is not supported yet: `npm install` doesn't look at it"] if other else []
    _node_commands(package, found)


def _node_commands(package: dict[str, Any], found: _Draft) -> None:
    test = clues.at(package, "scripts", "test")
    if isinstance(test, str) and "no test specified" not in test and not found.test:
        found.test = "npm test"
    wanted = {**clues.table(package, "dependencies"), **clues.table(package, "devDependencies")}
    found.ports += [port for name, port in _NODE_PORTS.items() if name in wanted][:1]


def _feature(files: Mapping[str, str], name: str, tool: str) -> str:
    """The version of a devcontainer's feature (`…/features/python:1`), or ""."""
    for feature, options in clues.table(clues.from_json(files.get(name, "")), "features").items():
        version = clues.at(options, "version")
        if re.search(rf"/{tool}(:|$)", feature) and isinstance(version, str):
            return version
    return ""


def _devcontainer(files: Mapping[str, str], found: _Draft) -> None:
    for name in _DEVCONTAINER:
        devcontainer = clues.from_json(files.get(name, ""))
        found.ports += clues.ports(devcontainer.get("forwardPorts"))
        created = clues.command(devcontainer.get("postCreateCommand"))
        found.hooks += [created] if created else []
        for variables in ("containerEnv", "remoteEnv"):
            for key, value in clues.table(devcontainer, variables).items():
                usable = isinstance(value, str) and clues.command(value) and "${" not in value
                if usable and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key):
                    found.env[key] = value


def _services(files: Mapping[str, str]) -> dict[str, Any]:
    for name in _COMPOSE:
        if services := clues.table(clues.from_yaml(files.get(name, "")), "services"):
            return services
    return {}


def _compose(files: Mapping[str, str], found: _Draft) -> None:
    services = _services(files)
    for service in services.values():
        if clues.at(service, "build"):
            found.ports += clues.ports(clues.at(service, "ports"))
    others = [name for name, service in services.items() if not clues.at(service, "build")]
    if others:
        found.notes.append(f"the compose file's services are not supported yet: {', '.join(map(_comment, others))}")


def _text(name: str, found: _Draft) -> str:
    lines = [
        "# The development environment of this project. `devenv up` builds and starts it, `devenv shell` enters it.",
        *(f"# Note: {note}." for note in found.notes),
        f"name: {name}",
        f"from: {_quote(found.base)}  # {found.why}",
        *_block("contexts", found.contexts, "where the images that it names come from"),
    ]
    if found.base.startswith("bootstrap:"):
        lines.append(f"apt: {_list(list(dict.fromkeys(['git', *found.apt])))}  # Debian packages")
    lines += _block("python", found.python) + _block("node", found.node)
    lines.append("source: {path: ., target: /workspace}  # this folder, as it is seen inside")
    lines += _block("env", [f"{key}: {_quote(value)}" for key, value in found.env.items()])
    ports = _distinct(found.ports)
    lines.append(
        f"ports: {_list(ports)}  # on this machine only; `devenv ps` shows them" if ports else '# ports: ["8000"]'
    )
    if found.hooks:
        lines += [
            "hooks:",
            *_block("  on_create", [f"- {_quote(hook)}" for hook in dict.fromkeys(found.hooks)], indent="    "),
        ]
    lines.append(f"test: {_quote(found.test)}" if found.test else "# test: make test")
    return "\n".join(lines) + "\n"


def _distinct(ports: list[str]) -> list[str]:
    """Ports without those whose container port an earlier one has."""
    by_target: dict[str, str] = {}
    for port in ports:
        by_target.setdefault(port.rpartition(":")[2], port)
    hosts: dict[str, str] = {}
    for port in by_target.values():
        host, _, inside = port.rpartition(":")
        hosts.setdefault(host.rpartition(":")[2] or f" {inside}", port)
    return list(hosts.values())


def _block(key: str, lines: list[str], why: str = "", indent: str = "  ") -> list[str]:
    """A key with lines under it; nothing when there are none."""
    head = f"{key}:  # {why}" if why else f"{key}:"
    return [head, *(indent + line for line in lines)] if lines else []


def _list(items: list[str]) -> str:
    return f"[{', '.join(map(_quote, items))}]"


def _quote(text: str) -> str:
    """Text as YAML that reads back the same."""
    if re.fullmatch(r"[A-Za-z][\w./-]*(:[A-Za-z][\w./-]*)?", text, re.ASCII) and text.lower() != "null":
        return text
    if re.fullmatch(r"[a-z]+( [\w./-]+)+", text, re.ASCII):
        return text
    return json.dumps(text, ensure_ascii=False)  # JSON's strings are YAML's


def _comment(text: str) -> str:
    """Text that can't end the comment it stands in."""
    return repr(text[:80])[1:-1]
