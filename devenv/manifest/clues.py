"""The files people keep in a project's folder → what they say, as plain values. Whatever can't be read says nothing."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from devenv.errors import InputError

from . import document
from .values import APT, PIP, PORT, SUITES, Wrong, port

DEVCONTAINER = (".devcontainer/devcontainer.json", ".devcontainer.json")

_NUMBERED = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
_NODE_NAMES = {"hydrogen": "18", "iron": "20", "jod": "22", "krypton": "24"}
_STRING = r'("(?:\\.|[^"\\])*")'


def from_json(text: str) -> dict[str, Any]:
    """A JSON object, with the comments and trailing commas that devcontainer.json may have."""
    bare = re.sub(rf"{_STRING}|//[^\n]*|/\*.*?(?:\*/|\Z)", r"\1", text, flags=re.DOTALL)
    bare = re.sub(rf"{_STRING}|,(?=\s*[\]}}])", r"\1", bare)
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def from_toml(text: str) -> dict[str, Any]:
    """A TOML document."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def from_yaml(text: str) -> dict[str, Any]:
    """A YAML mapping, its scalars as text, or None for nothing."""
    try:
        value = _plain(document.read(text.encode("utf-8", "replace"), ""))
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


def trouble(name: str, text: str) -> str:
    """Why a file can't be made out, "" when it can."""
    if name.endswith(".toml") or name == "Pipfile":
        try:
            tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            return f"it is not TOML: {error}"
    if name.endswith(".json") and not from_json(text) and text.strip() not in ("", "{}"):
        try:
            return "" if isinstance(json.loads(text), dict) else "it holds no JSON object"
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
    if name.endswith((".yml", ".yaml")) and "lock" not in name and text.strip():
        try:
            document.read(text.encode("utf-8", "replace"), "")
        except InputError as error:
            fault = error.faults[0]
            return f"line {fault.line}: {fault.message.partition(' while ')[0]}"
    if name == ".python-version" and text.strip() and not python_version(text):
        return "it names no version 3.8 or newer"
    return ""


def _plain(node: document.Node) -> Any:
    if isinstance(node, document.Scalar):
        return None if node.null else node.text
    if isinstance(node, document.Series):
        return [_plain(item) for item in node.items]
    return {key.text: _plain(value) for key, value in node.entries}


def at(value: Any, *keys: str) -> Any:
    """What is found in nested mappings under these keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def table(value: Any, *keys: str) -> dict[str, Any]:
    """The mapping found under these keys, or an empty one."""
    found = at(value, *keys)
    return found if isinstance(found, dict) else {}


def texts(value: Any) -> list[str]:
    """The texts of a list, whatever else is in it."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def images(containerfile: str) -> list[str]:
    """The image references a Containerfile builds on or copies from, in order, stages of its own left out."""
    found: list[str] = []
    stages: set[str] = {"scratch"}
    defaults: dict[str, str] = {}
    for line in re.sub(r"\\\r?\n", " ", containerfile).splitlines():
        words = line.split()
        first = words[0].upper() if words else ""
        if first == "ARG" and not found:
            defaults.update(word.partition("=")[::2] for word in words[1:] if "=" in word)
        elif first == "FROM":
            rest = [word for word in words[1:] if not word.startswith("--")]
            if rest:
                found += [image for image in [_substitute(rest[0], defaults)] if image not in stages]
            if len(rest) == 3 and rest[1].upper() == "AS":
                stages.add(rest[2])
        elif first in ("COPY", "RUN"):
            options = [word.removeprefix("--mount=") for word in words if word.startswith(("--from=", "--mount="))]
            fields = [field.removeprefix("--") for option in options for field in option.split(",")]
            names = [field.removeprefix("from=") for field in fields if field.startswith("from=")]
            found += [image for image in names if image and image not in stages and not image.isdigit()]
    return list(dict.fromkeys(found))


def _substitute(text: str, defaults: dict[str, str]) -> str:
    return re.sub(
        r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))",
        lambda name: defaults.get(name[1] or name[3], name[2] or name[0]).strip("\"'"),
        text,
    )


def debian(image: str) -> str:
    """The suite of a plain Debian image (`debian:bookworm-slim`), or ""."""
    match = re.fullmatch(r"(?:(?:[\w.-]+/)?library/)?debian:(\w+)(?:\.\d+)?(?:-\d{8})?(?:-slim)?", image)
    suite = _NUMBERED.get(match[1], match[1]) if match else ""
    return suite if suite in SUITES else ""


def suite_in(image: str) -> str:
    """The Debian release named anywhere in an image reference, or ""."""
    return next((suite for suite in SUITES if re.search(rf"\b{suite}\b", image)), "")


def python_in(image: str) -> str:
    """The Python version in a reference of a Python image (`python:3.12-slim`, a devcontainer's), or ""."""
    match = re.search(r"\bpython:(?:[a-z]*-?\d+(?:\.\d+)*-)??(3\.\d{1,2}(?:\.\d{1,2})?)\b", image)
    return match[1] if match else ""


def node_in(image: str) -> str:
    """The Node.js version in a reference of a Node image (`node:20-alpine`), or ""."""
    match = re.search(r"\bnode:(?:\d-(?=\d))?(\d{1,2}(?:\.\d{1,3}){0,2})\b", image)
    return match[1] if match else ""


def python_version(text: str) -> str:
    """`3.N[.P]` in a `.python-version` or the like, or ""."""
    match = re.search(r"^[ \t]*(?:cpython-)?(3\.\d{1,2}(?:\.\d{1,2})?)[ \t\r]*$", text, re.MULTILINE)
    return _supported(match[1]) if match else ""


def _supported(version: str) -> str:
    return version if int(version.split(".")[1]) >= 8 else ""


def node_version(text: str) -> str:
    """The version in an `.nvmrc`, or "" for whatever is newest."""
    word = text.strip().removeprefix("v")
    if word.startswith("lts/"):
        return _NODE_NAMES.get(word[4:].lower(), "")
    return word if re.fullmatch(r"\d{1,2}(\.\d{1,3}){0,2}", word) else ""


def tool_version(text: str, *names: str) -> str:
    """The version of a tool in `.tool-versions`, or ""."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] in names:
            return words[1]
    return ""


def required_python(text: str) -> str:
    """The lowest `3.N` that a requires-python asks for beyond what any supported base has, or ""."""
    lowest = re.search(r"(?:>=|~=|==)\s*3\.(\d{1,2})", text)
    highest = re.search(r"<\s*3\.(\d{1,2})", text)
    if lowest and int(lowest[1]) > 11:
        return f"3.{int(lowest[1])}"
    if highest and 8 < int(highest[1]) <= 11:
        return f"3.{int(highest[1]) - 1}"
    return ""


def ports(values: Any) -> list[str]:
    """Those of these values that are ports as a manifest writes them."""
    found: list[str] = []
    for value in values if isinstance(values, list) else []:
        text = str(value).removesuffix("/tcp")
        try:
            if re.fullmatch(PORT, text):
                port(text)
                found.append(text)
        except Wrong:
            continue
    return found


def exposed(containerfile: str) -> list[str]:
    """The ports of EXPOSE."""
    return ports(
        [word for line in re.findall(r"(?im)^[ \t]*EXPOSE[ \t]+(.*)$", containerfile) for word in line.split()]
    )


def pip_packages(*lists: Any) -> list[str]:
    """Those of these lists' items that are packages as a manifest writes them."""
    return [item for values in lists for item in texts(values) if re.fullmatch(PIP, item) and "{{" not in item]


def feature(files: Mapping[str, str], name: str, tool: str) -> str:
    """The version of a devcontainer's feature (`…/features/python:1`), or ""."""
    for feature, options in table(from_json(files.get(name, "")), "features").items():
        version = at(options, "version")
        if re.search(rf"/{tool}(:|$)", feature) and isinstance(version, str):
            return version
    return ""


def poetry_packages(*tables: dict[str, Any]) -> list[str]:
    """Dependencies as Poetry and Pipenv write them, as pip does; what comes from a folder is left out."""
    found: list[str] = []
    for name, wanted in [pair for one in tables for pair in one.items()]:
        entry = wanted if isinstance(wanted, dict) else {"version": wanted}
        version = entry.get("version", "*")
        if name == "python" or not isinstance(version, str) or "path" in entry:
            continue
        extras = ",".join(texts(entry.get("extras")))
        head = f"{name}[{extras}]" if extras else name
        git = entry.get("git")
        found.append(f"{head} @ git+{git}" if isinstance(git, str) else head + ",".join(_range(version)))
    return list(dict.fromkeys(pip_packages(found)))


def _range(version: str) -> list[str]:
    """`^1.2` and the like as pip's specifiers (Poetry, dependency specification)."""
    found = []
    for part in version.replace(" ", "").split(","):
        match = re.fullmatch(r"([\^~]?)(\d+(?:\.\d+)*)", part)
        if match is None:
            found += [] if part in ("", "*") else [part if part[0] in "<>=!~" else f"=={part}"]
            continue
        numbers = [int(number) for number in match[2].split(".")]
        # ^ keeps the first number that isn't 0, ~ the second one where it is given.
        kept = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
        kept = kept if match[1] == "^" else min(1, len(numbers) - 1)
        if match[1]:
            found += [f">={match[2]}", "<" + ".".join(map(str, (*numbers[:kept], numbers[kept] + 1)))]
        else:
            found.append(f"=={match[2]}")
    return found


def apt_installed(containerfile: str) -> list[str]:
    """The Debian packages that a Containerfile's RUN lines install."""
    found: list[str] = []
    for line in re.sub(r"\\\r?\n", " ", containerfile).splitlines():
        for words in re.findall(r"apt(?:-get)?(?: +-\S+)* +install +([^&;|]*)", line):
            found += [word for word in words.split() if re.fullmatch(APT, word)]
    return list(dict.fromkeys(found))


def run_by(containerfile: str) -> str:
    """What the last CMD of a Containerfile runs, after its ENTRYPOINT, on one line, or ""."""
    found: dict[str, str] = {}
    for name, words in re.findall(
        r"(?m)^[ \t]*(FROM|CMD|ENTRYPOINT)[ \t]+(.*)$", re.sub(r"\\\r?\n", " ", containerfile)
    ):
        if name == "FROM":
            found = {}
            continue
        try:
            value = json.loads(words)
        except (ValueError, RecursionError):
            value = words
        found[name] = " ".join(command(value).split())
    return " ".join(found[name] for name in ("ENTRYPOINT", "CMD") if found.get(name))


def command(value: Any) -> str:
    """A command on one line from what devcontainer.json or package.json have, or ""."""
    words = texts(value)
    text = " ".join(words) if words and all(re.fullmatch(r"[\w./=@:-]+", word) for word in words) else value
    if not isinstance(text, str) or not text.isprintable() or len(text) > 1000:
        return ""
    return "" if any(mark in text for mark in ("{{", "{%", "{#")) else text.strip()
