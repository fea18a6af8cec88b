"""The files people keep in a project's folder → what they say, as plain values. Whatever can't be read says nothing."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from devenv.errors import InputError

from . import document
from .values import PIP, PORT, SUITES, Wrong, port

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
    """A YAML mapping, its scalars as text."""
    try:
        value = _plain(document.read(text.encode("utf-8", "replace"), ""))
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


def _plain(node: document.Node) -> Any:
    if isinstance(node, document.Scalar):
        return node.text
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


def command(value: Any) -> str:
    """A command on one line from what devcontainer.json or package.json have, or ""."""
    words = texts(value)
    text = " ".join(words) if words and all(re.fullmatch(r"[\w./=@:-]+", word) for word in words) else value
    if not isinstance(text, str) or not text.isprintable() or len(text) > 1000:
        return ""
    return "" if any(mark in text for mark in ("{{", "{%", "{#")) else text.strip()
