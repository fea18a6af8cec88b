"""What was found in a folder → the text of its first devenv.yml, with a reason beside each line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DEBIAN = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14"}
PYTHON = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
"""The Python that a Debian release has."""

_HEAD = """\
# `devenv up` builds and starts this environment, `devenv shell` goes inside; there this folder is /workspace.
"""
_NOTHING = "nothing that devenv knows was found here: say below what the project needs"


class Server(NamedTuple):
    """A framework's own server: its command, what it is, its port, and what it lacks to go on once it is started."""

    command: str
    what: str
    port: str
    lacks: str = ""


@dataclass(slots=True)
class Draft:
    """What is going to be written. `packages` and `apt` are texts as they are, `python` and `node` lines of YAML."""

    base: str = "bootstrap:bookworm"
    why: str = "Debian 12, built from its own packages"
    contexts: list[str] = field(default_factory=list)
    apt: list[str] = field(default_factory=list)
    apt_why: str = ""
    python: list[str] = field(default_factory=list)
    node: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    usual: list[str] = field(default_factory=list)
    """Ports of the frameworks used, for when no file names any."""
    command: tuple[str, str] = ("", "")
    """A command that the project's own files run, and where it stands there."""
    server: Server | None = None
    hooks: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    """Hooks that would fail today, each with the reason, as a comment."""
    test: str = ""
    tests: tuple[str, str] = ("", "")
    """A command that would test it, and what it lacks, for when there is no `test`."""
    notes: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the folder says nothing."""
        said = (self.python, self.node, self.apt, self.env, self.ports, self.test)
        return not any(said) and self.base == "bootstrap:bookworm"


def within(files: Mapping[str, str], folder: str) -> dict[str, str]:
    """The files of a folder, by their paths from there."""
    start = f"{folder}/" if folder else ""
    return {path[len(start) :]: text for path, text in files.items() if path.startswith(start)}


def write(name: str, found: Draft) -> str:
    """The text of the manifest."""
    ports = distinct(found.ports or found.usual)
    notes = [_NOTHING] if found.nothing and not found.notes else found.notes
    lines = [
        *(f"# Note: {note}." for note in notes),
        f"name: {name}",
        f"from: {quote(found.base)}  # {found.why}",
        *_block("contexts", found.contexts, "where the images that it names come from"),
        *_apt(found),
        *_block("python", found.python),
        *_block("node", found.node),
        *_block("env", [f"{key}: {quote(value)}" for key, value in found.env.items()]),
        *_ports(ports),
        *_command(found, ports),
        *_hooks(found),
        _test(found),
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _apt(found: Draft) -> list[str]:
    if not found.base.startswith("bootstrap:"):
        return []
    packages = list(dict.fromkeys(found.apt))
    why = f"  # {found.apt_why}" if found.apt_why else "  # Debian packages"
    return [f"apt: {listed(packages)}{why}"] if packages else ["# apt: [curl, make]  # Debian packages"]


def _ports(ports: list[str]) -> list[str]:
    if not ports:
        return ['# ports: ["8000"]']
    return [f"ports: {listed(ports)}  # what listens on 0.0.0.0 inside; `devenv ps` shows the address outside"]


def _command(found: Draft, ports: list[str]) -> list[str]:
    (command, source), server = found.command, found.server
    if server and not server.lacks and server.port in [port.rpartition(":")[2] for port in ports]:
        own = [f"command: {quote(server.command)}  # {server.what}; without it, the container waits for you"]
        return own + ([f"# command: {quote(command)}  # {source}"] if command else [])
    if not command and server:
        command, source = server.command, server.what + (f", once {server.lacks}" if server.lacks else "")
    return [f"# command: {quote(command)}  # {source}; without it, the container waits for you"] if command else []


def _hooks(found: Draft) -> list[str]:
    done = [f"- {quote(hook)}" for hook in dict.fromkeys(found.hooks)]
    later = [f"# - {hook}" for hook in found.later]
    if not done:
        return [
            f"# hooks: {{on_create: [{hook.partition('  # ')[0]}]}}  # {hook.partition('  # ')[2]}"
            for hook in found.later
        ]
    return ["hooks:", *_block("  on_create", [*done, *later], indent="    ")]


def _test(found: Draft) -> str:
    if found.test:
        return f"test: {quote(found.test)}"
    command, lacks = found.tests
    return f"# test: {quote(command or 'COMMAND')}  # what `devenv test` runs" + (f", once {lacks}" if lacks else "")


def distinct(ports: list[str]) -> list[str]:
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


def listed(items: list[str]) -> str:
    """A list on one line."""
    return f"[{', '.join(map(quote, items))}]"


def quote(text: str) -> str:
    """Text as YAML that reads back the same."""
    if re.fullmatch(r"[A-Za-z][\w./-]*(:[A-Za-z][\w./-]*)?", text, re.ASCII) and text.lower() != "null":
        return text
    if re.fullmatch(r"[a-z]+( [\w./-]+)+", text, re.ASCII):
        return text
    return json.dumps(text, ensure_ascii=False)  # JSON's strings are YAML's


def comment(text: str) -> str:
    """Text that can't end the comment it stands in."""
    return repr(text if len(text) <= 100 else text[:99] + "…")[1:-1]
