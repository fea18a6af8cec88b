"""Names and contents of the files in a folder → the text of a first devenv.yml, with a reason beside each line."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from . import clues, detect_compose, detect_node, detect_python
from .detect_compose import Compose
from .detected import Draft, comment, write
from .values import project_name

_CONTAINERFILES = ("Containerfile", "Dockerfile", ".devcontainer/Dockerfile")

_LANGUAGES = {
    "go.mod": (("golang-go", "ca-certificates"), "", "go test ./..."),
    "Cargo.toml": (("cargo", "ca-certificates"), "", "cargo test"),
    "Gemfile": (("ruby-dev", "bundler", "build-essential"), "bundle install", ""),
    "composer.json": (("php-cli", "composer", "unzip"), "composer install", ""),
    "pom.xml": (("maven", "default-jdk-headless"), "", "mvn -q test"),
    "build.gradle": (("default-jdk-headless",), "", "./gradlew test"),
}
"""What Debian has for other languages: its packages, what installs the project's own, what tests it."""

DETECTED: tuple[str, ...] = (
    *(*detect_python.FILES, *detect_node.FILES, ".tool-versions", "Makefile"),
    *(*_CONTAINERFILES, *detect_compose.FILES, *clues.DEVCONTAINER, *_LANGUAGES, "Procfile"),
)
"""The files `draft` knows what to make of, as paths from the project folder."""

NESTED: tuple[str, ...] = (*detect_python.NESTED, *detect_node.NESTED)
"""Those that it looks for in folders of the folder, too: a project may be several."""


def draft(files: Mapping[str, str], name: str) -> str:
    """A manifest for a folder with these files (path from the folder → content, "" if not read). `parse` accepts it."""
    found = Draft()
    compose = detect_compose.read(files, _chosen(files))
    container = _containerfile(files, compose)
    images = _images(files, container, compose)
    detect_python.detect(files, images, found)
    detect_node.detect(files, images, found)
    _languages(files, found)
    _base(files, container, images, found)
    detect_python.finish(found)
    _devcontainer(files, found)
    detect_compose.detect(compose, found)
    _command(files, container, compose, found)
    if not found.test and re.search(r"^test\s*:", files.get("Makefile", ""), re.MULTILINE):
        found.test = "make test"
        found.apt += ["make"] if found.base.startswith("bootstrap:") else []
    found.notes += [f"{path} was left out: {why}" for path, why in unread(files)]
    return write(project_name(name), found)


def unread(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """The files that can't be made out, each with the reason."""
    found = [(path, clues.trouble(path, text)) for path, text in sorted(files.items())]
    return [(path, comment(why)) for path, why in found if why]


def _chosen(files: Mapping[str, str]) -> str:
    """The compose file's service that the devcontainer is, or ""."""
    named = [clues.from_json(files.get(name, "")).get("service") for name in clues.DEVCONTAINER]
    return next((service for service in named if isinstance(service, str)), "")


def _containerfile(files: Mapping[str, str], compose: Compose) -> str:
    """The Containerfile that says most: the devcontainer's, the compose file's, the folder's."""
    for name in clues.DEVCONTAINER:
        devcontainer = clues.from_json(files.get(name, ""))
        named = clues.at(devcontainer, "build", "dockerfile") or devcontainer.get("dockerFile")
        if isinstance(named, str):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), named))
            if path in files:
                return path
    if compose.containerfile in files:
        return compose.containerfile
    return next((name for name in _CONTAINERFILES if name in files), "")


def _images(files: Mapping[str, str], container: str, compose: Compose) -> list[str]:
    """The image references that the devcontainer, the Containerfile or the compose file name."""
    named = [clues.from_json(files.get(name, "")).get("image") for name in clues.DEVCONTAINER]
    own = [compose.image] if compose.image else []
    return [image for image in named if isinstance(image, str)] + clues.images(files.get(container, "")) + own


def _base(files: Mapping[str, str], container: str, images: list[str], found: Draft) -> None:
    suite = next((suite for suite in (clues.debian(image) or clues.suite_in(image) for image in images) if suite), "")
    if suite:
        found.base, found.why = f"bootstrap:{suite}", "the Debian release that the project's image has"
    if not container:
        return
    found.ports += clues.exposed(files[container])
    used = clues.images(files[container])
    foreign = [image for image in used if not clues.debian(image)]
    shown = ", ".join(comment(image) for image in foreign)
    if foreign and (found.python or found.node or found.apt):
        found.notes.append(f"{container} isn't used: it builds on {shown}, and registries are not supported yet")
        installed = clues.apt_installed(files[container])
        if installed:
            found.apt += installed
            found.apt_why = f"as {container} has them"
        return
    found.base, found.why = f"file:{container}", "built as it is, with devenv's own builder"
    found.contexts = [f'"{image}": bootstrap:{clues.debian(image)}' for image in used if clues.debian(image)]
    if foreign:
        found.notes.append(f"say in `contexts:` where {shown} comes from (oci:DIRECTORY, bootstrap:SUITE)")
    # What the Containerfile installs is in the image already.
    found.python, found.node, found.apt, found.hooks, found.later, found.server = [], [], [], [], [], None


def _languages(files: Mapping[str, str], found: Draft) -> None:
    """What Debian has for the other languages, from its newest release."""
    for name, (packages, install, test) in _LANGUAGES.items():
        if name not in files:
            continue
        found.base, found.why = "bootstrap:trixie", "Debian 13, built from its own packages"
        found.apt += packages
        found.apt_why = f"for {name}"
        found.hooks += [install] if install else []
        found.test = found.test or test
        wanted = re.search(r"^go (\d+\.\d+)", files[name], re.MULTILINE) if name == "go.mod" else None
        if wanted:
            found.apt_why = f"Debian's Go; go.mod asks for {wanted[1]}"


def _devcontainer(files: Mapping[str, str], found: Draft) -> None:
    for name in clues.DEVCONTAINER:
        devcontainer = clues.from_json(files.get(name, ""))
        found.ports += clues.ports(devcontainer.get("forwardPorts"))
        created = clues.command(devcontainer.get("postCreateCommand"))
        found.hooks += [created] if created else []
        for variables in ("containerEnv", "remoteEnv"):
            for key, value in clues.table(devcontainer, variables).items():
                usable = isinstance(value, str) and clues.command(value) and "${" not in value
                if usable and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key):
                    found.env[key] = value


def _command(files: Mapping[str, str], container: str, compose: Compose, found: Draft) -> None:
    """What the project's own files run, the most specific first."""
    told = [(compose.command, f"{compose.name}'s command")]
    told.append((clues.run_by(files.get(container, "")), f"{container}'s CMD"))
    procfile = re.search(r"^web:\s*(.+)$", files.get("Procfile", ""), re.MULTILINE)
    told.append((clues.command(procfile[1]) if procfile else "", "Procfile's web"))
    found.command = next(((command, source) for command, source in told if command), ("", ""))
