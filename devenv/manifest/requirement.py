"""How packages are asked for, in a manifest and in the files that it names: name, version, and the same with another version. Pure.

Python's as in PEP 508, and in requirements files (pip) and pyproject.toml (PEP 621); Debian's as for apt-get; npm's as for npm install.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from devenv.model.dist import normal

Write = Callable[[str], str]
"""A version, or a specifier such as `>=2,<3` → how it is asked for."""

_PYTHON = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*"
    r"(?P<spec>\(?\s*(?:[=<>!~].*?|@\s*\S+))?\s*(?P<marker>;.*)?"
)
_APT = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?P<arch>:[a-z0-9-]+)?(?:=(?P<version>.+))?")
_NODE = re.compile(r"(?P<name>(?:@[^/@]+/)?[^@]+)(?:@(?P<version>.+))?")
_OPERATOR = re.compile(r"[=<>!~]")
_FOLDED = re.compile(rb"\\\r?\n")
_OPTION = re.compile(r"\s--?[a-z].*", re.DOTALL)


class Parts(NamedTuple):
    """A package as it is asked for. `version` is "" where any will do; `write` asks for another in the same way."""

    name: str
    version: str
    write: Write


def python(text: str) -> Parts | None:
    """A requirement (PEP 508); None for what is none."""
    match = _PYTHON.fullmatch(text.strip())
    if match is None:
        return None
    before = f"{match['name']}{match['extras'] or ''}"
    marker = f" {match['marker']}" if match["marker"] else ""
    spec = (match["spec"] or "").strip()
    version = spec.removeprefix("==").strip() if not re.search("[,@]", spec) else spec
    return Parts(match["name"], version, lambda value: f"{before}{_specifier(value)}{marker}")


def asking(name: str) -> Write:
    """How a Python package is asked for that wasn't so far."""
    return lambda value: f"{name}{_specifier(value)}"


def _specifier(value: str) -> str:
    return value if _OPERATOR.match(value) else f"=={value}"


def apt(text: str) -> Parts | None:
    """A Debian package. Of a version without a revision (`17`), the newest that begins so is meant: `17*`."""
    match = _APT.fullmatch(text)
    if match is None:
        return None
    before = f"{match['name']}{match['arch'] or ''}"
    return Parts(match["name"], match["version"] or "", lambda value: f"{before}={_debian(value)}")


def _debian(value: str) -> str:
    return value if "-" in value or value.endswith("*") else f"{value}*"


def node(text: str) -> Parts | None:
    """An npm package."""
    match = _NODE.fullmatch(text)
    return Parts(match["name"], match["version"] or "", lambda value: f"{match['name']}@{value}") if match else None


def names(path: str, content: bytes) -> Iterator[Parts]:
    """The Python packages that a requirements file or a pyproject.toml asks for by name, each once; npm's of a package.json."""
    if is_npm(path):
        yield from _of_package(content)
        return
    found: dict[str, Parts] = {}
    for text in _listed(path, content):
        if parts := python(text):
            found.setdefault(normal(parts.name), parts)
    yield from found.values()


def is_npm(path: str) -> bool:
    """Whether a file asks for npm packages."""
    return posixpath.basename(path) == "package.json"


def _of_package(content: bytes) -> Iterator[Parts]:
    """The dependencies of a package.json (npm, package.json(5))."""
    kinds = ("dependencies", "devDependencies", "optionalDependencies")
    try:
        document = json.loads(content)
        listed = {name: str(spec) for kind in kinds for name, spec in document.get(kind, {}).items()}
    except (ValueError, AttributeError, RecursionError):
        return  # npm will say what is wrong with it
    for name, spec in listed.items():
        if parts := node(f"{name}@{spec}"):
            yield parts._replace(version=spec)


def rewritten(path: str, content: bytes, name: str, value: str) -> bytes:
    """The file with another version of one package; all else of it as it was.

    Each requirement of it is written in its own way, with its extras and marker; hashes, which were the old one's, go.
    """
    if posixpath.basename(path) == "pyproject.toml":
        return _in_project(content, name, value)
    lines = content.splitlines(keepends=True)
    made: list[bytes] = []
    while lines:
        line = lines.pop(0)
        while re.search(rb"\\\r?\n\Z", line) and lines:
            line += lines.pop(0)
        parts = python(_requirement(line))
        if parts and normal(parts.name) == normal(name):
            comment = re.search(rb"\s+#[^\r\n]*", line)
            ending = re.search(rb"\r?\n$", line)
            line = b"".join((parts.write(value).encode(), comment[0] if comment else b"", ending[0] if ending else b""))
        made.append(line)
    return b"".join(made)


def _listed(path: str, content: bytes) -> Iterator[str]:
    """What requirements a file has."""
    name = posixpath.basename(path)
    if name.endswith((".txt", ".in")):
        yield from (_requirement(line) for line in _FOLDED.sub(b" ", content).splitlines())
    elif name == "pyproject.toml":
        yield from _of_project(content)


def _requirement(line: bytes) -> str:
    """A line without its comment, and without what pip is told besides (`--hash`)."""
    text = _FOLDED.sub(b" ", line).decode(errors="replace")
    text = re.sub(r"(^|\s)#.*", "", text)
    return "" if text.lstrip().startswith("-") else _OPTION.sub("", text).strip()


def _of_project(content: bytes) -> Iterator[str]:
    """The dependencies of a pyproject.toml, its extras' and groups' too (PEP 621, PEP 735)."""
    try:
        document = tomllib.loads(content.decode())
        project = document.get("project", {})
        optional, groups = project.get("optional-dependencies", {}), document.get("dependency-groups", {})
        every = [*project.get("dependencies", []), *(one for listed in optional.values() for one in listed)]
        every += [one for listed in groups.values() for one in listed]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError):
        return  # uv will say what is wrong with it
    yield from (one for one in every if isinstance(one, str))


def _in_project(content: bytes, name: str, value: str) -> bytes:
    text = content.decode()
    for one in dict.fromkeys(_of_project(content)):
        parts = python(one)
        if parts and normal(parts.name) == normal(name):
            for quoted in (json.dumps(one), f"'{one}'"):
                mark = quoted[0]
                text = text.replace(quoted, f"{mark}{parts.write(value)}{mark}")
    return text.encode()
