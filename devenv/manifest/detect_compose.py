"""A compose file → which of its services is the project's own, what that gives to the manifest, and a note of all else."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from shlex import join
from typing import Any, NamedTuple

from . import clues
from .detected import Draft, comment, distinct
from .values import VARIABLE

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")

_LANGUAGE = re.compile(
    r"(?:.*/)?(python|pypy|node|bun|deno|ruby|golang|rust|php|perl|elixir|erlang|haskell|julia|swift|openjdk"
    r"|eclipse-temurin|amazoncorretto|maven|gradle|clojure|dart|sdk)(?:[:@].*)?"
)
_SERVER = re.compile(
    r"(?:.*/)?(postgres|postgis|pgvector|mysql|mariadb|mongo|redis|valkey|memcached|rabbitmq|elasticsearch|opensearch"
    r"|kafka|cp-kafka|zookeeper|nats|minio|nginx|traefik|caddy|haproxy|httpd|mailhog|mailpit|adminer|pgadmin4|phpmyadmin"
    r"|localstack|keycloak|grafana|prometheus|clickhouse-server|vault|consul|etcd)(?:[:@].*)?"
)
"""Images that are a project's surroundings, whatever they publish."""

_SECRET = re.compile(
    r"(?i)(^|_)(pass|pwd|key|keys|pin|auth)($|_)|passw|passphrase|secret|token|apikey|credential|private"
)
_LOGIN = re.compile(r"://[^/@\s]*:[^/@\s]+@")

_TAKEN = ("build", "image", "ports", "environment", "command", "volumes")
_NEEDLESS = ("container_name", "hostname", "restart", "stdin_open", "tty", "depends_on", "links", "networks", "init")
"""Keys that say nothing a workspace lacks: its containers find each other, and what they depend on is noted itself."""


class Compose(NamedTuple):
    """A compose file: its services, and the name of the one that is the project's own, "" where none is."""

    name: str = ""
    services: Mapping[str, Any] = {}
    own: str = ""

    @property
    def image(self) -> str:
        """The image that the own service runs without building it, or ""."""
        image = clues.at(self.services.get(self.own), "image")
        return image if isinstance(image, str) and not clues.at(self.services[self.own], "build") else ""

    @property
    def containerfile(self) -> str:
        """The path of the own service's Containerfile, "" where it names none."""
        build = clues.at(self.services.get(self.own), "build")
        named, context = clues.at(build, "dockerfile"), clues.at(build, "context")
        folder = context if isinstance(context, str) else "."
        return posixpath.normpath(posixpath.join(folder, named)) if isinstance(named, str) else ""

    @property
    def command(self) -> str:
        """What the own service runs, on one line, or ""."""
        given = clues.at(self.services.get(self.own), "command")
        words = clues.texts(given)
        text = join(words) if words and words == given else given
        return clues.command(text.replace("$$", "$")) if isinstance(text, str) else ""


def read(files: Mapping[str, str], chosen: str) -> Compose:
    """The folder's compose file. `chosen` is the service that a devcontainer names."""
    for name in FILES:
        if services := clues.table(clues.from_yaml(files.get(name, "")), "services"):
            return Compose(name, services, chosen if chosen in services else _own(services))
    return Compose()


def _own(services: Mapping[str, Any]) -> str:
    """The one that is built or has the project's folder in it; else the only one of a language, or that is reached."""
    published = [name for name, service in services.items() if clues.at(service, "ports")]
    images = {name: str(clues.at(service, "image")) for name, service in services.items()}
    built = [name for name, service in services.items() if clues.at(service, "build")]
    sure = (
        [name for name in built if _context(services[name]) == "."],
        built,
        [name for name, service in services.items() if any(map(_is_here, _volumes(service)))],
    )
    for names in sure:
        if names:
            return next((name for name in names if name in published), names[0])
    likely = (
        [name for name in services if _LANGUAGE.fullmatch(images[name])],
        [name for name in published if not _SERVER.fullmatch(images[name])],
    )
    return next((names[0] for names in likely if len(names) == 1), "")


def _context(service: Any) -> str:
    build = clues.at(service, "build")
    context = build if isinstance(build, str) else clues.at(build, "context") or "."
    return posixpath.normpath(context) if isinstance(context, str) else ""


def _volumes(service: Any) -> list[Any]:
    volumes = clues.at(service, "volumes")
    return volumes if isinstance(volumes, list) else []


def _is_here(volume: Any) -> bool:
    """Whether it is the project's folder, which a workspace has."""
    source = clues.at(volume, "source") if isinstance(volume, dict) else str(volume).partition(":")[0]
    return isinstance(source, str) and source in (".", "./", "${PWD}", "$PWD")


def _target(volume: Any) -> str:
    """Where a volume is seen inside."""
    target = clues.at(volume, "target") if isinstance(volume, dict) else f"{volume}:".split(":")[1]
    return str(target).rstrip("/")


def detect(compose: Compose, found: Draft) -> None:
    """Take the own service's ports, which go before all others', and variables; note what can't be."""
    if compose.own:
        service = compose.services[compose.own]
        _ports(compose, clues.at(service, "ports"), found)
        _variables(compose, clues.at(service, "environment"), found)
        _note(compose, "keys are left out", _unused(compose, service), found)
    if others := [name for name in compose.services if name != compose.own]:
        shown = ", ".join(map(comment, others))
        found.notes.append(f"of {compose.name}, these are left out; `services:` is where they belong: {shown}")


def _note(compose: Compose, what: str, names: list[str], found: Draft) -> None:
    if names:
        shown = ", ".join(map(comment, names))
        found.notes.append(f"of {compose.name}'s {comment(compose.own)}, these {what}: {shown}")


def _ports(compose: Compose, values: Any, found: Draft) -> None:
    texts = [_port(value) for value in (values if isinstance(values, list) else [values] if values else [])]
    taken = distinct([port for text in texts for port in clues.ports([text])])
    _note(compose, "ports are left out", [text for text in texts if text.removesuffix("/tcp") not in taken], found)
    found.ports[:0] = taken


def _port(value: Any) -> str:
    """A port in Compose's short form."""
    if not isinstance(value, dict):
        return str(value)
    parts = [str(value[key]) for key in ("host_ip", "published", "target") if value.get(key)]
    protocol = value.get("protocol")
    return ":".join(parts) + (f"/{protocol}" if protocol else "")


def _variables(compose: Compose, values: Any, found: Draft) -> None:
    secret, outside, unfit = [], [], []
    for name, value in _pairs(values):
        plain = value.replace("$$", "") if isinstance(value, str) else None
        if _SECRET.search(name) or (plain and _LOGIN.search(plain)):
            secret.append(name)
        elif plain is None or "$" in plain:
            outside.append(name)
        elif not re.fullmatch(VARIABLE, name) or not _writable(plain):
            unfit.append(name)
        else:
            found.env[name] = str(value).replace("$$", "$")
    left = "variables are left out, as they"
    _note(compose, f"{left} look like secrets; `secrets:` is where those belong", secret, found)
    _note(compose, "variables are left out, as Compose fills them in from outside", outside, found)
    _note(compose, f"{left} can't be written here as they are", unfit, found)


def _pairs(values: Any) -> list[tuple[str, Any]]:
    """Variables of a mapping or a list; None for a value that is the caller's own."""
    if isinstance(values, dict):
        return list(values.items())
    pairs = [text.partition("=") for text in clues.texts(values)]
    return [(name, value if equals else None) for name, equals, value in pairs]


def _writable(value: str) -> bool:
    return not value or (bool(clues.command(value)) and value == value.strip())


def _unused(compose: Compose, service: dict[str, Any]) -> list[str]:
    """The keys of the own service that nothing is made of."""
    build = service.get("build")
    found = [f"build.{key}" for key in build if key not in ("context", "dockerfile")] if isinstance(build, dict) else []
    if build and _context(service) != ".":
        found.insert(0, "build")
    image = compose.image
    if image and not (clues.python_in(image) or clues.node_in(image) or clues.suite_in(image) or clues.debian(image)):
        found.append("image")
    if service.get("command") and not compose.command:
        found.append("command")
    if not all(map(_is_here, _volumes(service))):
        found.append("volumes")
    seen = [_target(volume) for volume in _volumes(service) if _is_here(volume)]
    known = (*_TAKEN, *_NEEDLESS, *(("working_dir",) if str(service.get("working_dir")).rstrip("/") in seen else ()))
    found += [key for key, value in service.items() if value and key not in known]
    return sorted(found)
