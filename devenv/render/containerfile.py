"""Manifest and templates → the text of a Containerfile.

Names in it come from outside, as BuildKit's named contexts: `devenv-packages`, what the lock names (lock/parcels.py),
`devenv-tools`, a folder with `uv`, and, for a base that isn't bootstrapped, `devenv-base`: see `references`. How the
user, environment variables, ports and command are set is no part of the image: changing them rebuilds nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from devenv.errors import DevenvError
from devenv.model import npm
from devenv.model.dist import named
from devenv.model.lock import AptLock, Deb, Module, NodeLock, PythonLock, Repository, Section
from devenv.model.manifest import Manifest, Node, Pairs, Python

from .per_machine import PerMachine, left_out
from .templates import source

if TYPE_CHECKING:
    from jinja2 import Environment

NODE = "24"
"""The long-term release used when the manifest names none. (26 wants libatomic1, and isn't a long-term one yet.)"""

_SUITE_PYTHON = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
_COMPILERS = {"build-essential", "gcc", "g++", "clang", "make", "cmake", "pkg-config", "pkgconf", "cargo", "rustc"} | {
    "gfortran",
    "git",
}
_NEED_HEADERS = {"build-essential", "gcc", "g++", "clang", "make"}

_Origins = tuple[tuple[str, tuple[str, ...]], ...]
"""Keys of the manifest, each with those of its values that a step is about."""

_ENVIRONMENT: _Origins = (("python", ("virtual environment",)),)


class _Base(NamedTuple):
    written: str
    reference: str
    foreign: bool


class _AptLayer(NamedTuple):
    number: int
    packages: tuple[str, ...]
    automatic: tuple[str, ...]
    origins: _Origins
    left_out: tuple[PerMachine, ...]


class _PythonLayer(NamedTuple):
    number: int
    origins: _Origins


class _Python(NamedTuple):
    parent: str
    layers: tuple[_PythonLayer, ...]
    command: str
    interpreter: str
    sources: tuple[str, ...]
    built: _Origins
    repositories: tuple[Repository, ...]
    origins: _Origins


class _NodeLayer(NamedTuple):
    """`scripts`: the folders of the packages whose install scripts run. `asked`: what of the manifest is in it.

    `repositories`: (folder, what npm fetches into it). `online`: the names of all these, for people.
    """

    number: int
    scripts: tuple[str, ...]
    asked: tuple[str, ...]
    repositories: Pairs
    online: tuple[str, ...]


class _Modules(NamedTuple):
    """The layers of npm packages that are just put in place, and those with install scripts."""

    plain: tuple[_NodeLayer, ...]
    built: tuple[_NodeLayer, ...]
    asked: tuple[str, ...]
    """What is in the layers with install scripts."""


class _Node(NamedTuple):
    parent: str
    headers: str
    version: str
    lock: str
    tools: _Modules
    project: _Modules
    network: bool


def own_file(manifest: Manifest) -> str | None:
    """The project's own Containerfile when that alone is what is built (`from: file:…` and no further parts)."""
    further = manifest.apt or manifest.python or manifest.node
    return manifest.base.value if manifest.base.kind == "file" and not further else None


def references(manifest: Manifest) -> Mapping[str, str]:
    """Where the names come from that the rendered text takes its base from: `devenv-base` → `oci:…` or `file:…`."""
    return {} if manifest.base.kind == "bootstrap" else {"devenv-base": str(manifest.base)}


def containerfile(manifest: Manifest, templates: str, section: Section) -> str:
    """The Containerfile of a manifest and what is locked for it; the same text for the same manifest, templates and lock.

    Raises DevenvError when a value can't be written into it, or a template is at fault.
    """
    base = _base(manifest)
    apt = _apt(manifest, section.apt, section.arch) if section.apt else ()
    python = _python(manifest, manifest.python, section.python) if manifest.python and section.python else None
    node = _node(manifest, manifest.node, section.node) if manifest.node and section.node else None
    return _render(
        templates,
        base=base,
        apt=apt,
        python=python,
        node=node,
        env=_env(python, node),
        workdir=_workdir(manifest),
        contexts=_contexts(base, bool(apt or python or node), python),
    )


def _workdir(manifest: Manifest) -> str:
    """Where an image's processes start, "" for where the base says: a service's image is no place to work in."""
    if manifest.service:
        return ""
    return manifest.workdir or (manifest.sources[0].target if manifest.sources else "/workspace")


def _base(manifest: Manifest) -> _Base:
    origin = manifest.base
    foreign = origin.kind != "bootstrap"
    if not foreign and not re.fullmatch("[a-z][a-z0-9-]*", origin.value):
        raise DevenvError(f"render {origin!s:.60}: not a Debian release", hint="write bootstrap:bookworm, for example")
    return _Base(
        written=re.sub("[^ -~]", "?", str(origin)),
        reference="devenv-base" if foreign else f"bootstrap:{origin.value}",
        foreign=foreign,
    )


def managed(manifest: Manifest) -> bool:
    """Whether the interpreter is one of uv's: the base (or its Debian release) has no Python of that version."""
    own = _SUITE_PYTHON.get(manifest.base.value) if manifest.base.kind == "bootstrap" else None
    return manifest.python is not None and manifest.python.version is not None and manifest.python.version != own


def _python_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which the virtual environment has no interpreter."""
    if manifest.python is None or manifest.base.kind != "bootstrap" or managed(manifest):
        return ()
    # uv, like pip, refuses a Python without distutils, which Debian had apart until 3.10.
    return ("python3", "python3-distutils") if manifest.base.value == "bullseye" else ("python3",)


def _node_needs(manifest: Manifest) -> tuple[str, ...]:
    """Debian packages without which Node.js doesn't start: from 25 on it is linked with libatomic."""
    return ("libatomic1",) if manifest.node and _major(manifest.node.version or NODE) >= 25 else ()


def system_packages(manifest: Manifest) -> tuple[str, ...]:
    """All Debian packages that the image must have, sorted."""
    return tuple(sorted({*manifest.apt, *_python_needs(manifest), *_node_needs(manifest)}))


def _apt(manifest: Manifest, apt: AptLock, arch: str) -> tuple[_AptLayer, ...]:
    """What each layer installs, and which key of the manifest asks for what in it."""
    wanted: list[tuple[str, tuple[str, ...]]] = [("apt", manifest.apt), ("python", _python_needs(manifest))]
    wanted.append(("node", _node_needs(manifest)))
    known = {package for _, packages in wanted for package in packages}
    wanted.append(("python", tuple(name for name in apt.asked if name not in known)))
    debs = {
        number: [deb for deb in apt.packages if deb.layer == number]
        for number in sorted({deb.layer for deb in apt.packages})
    }
    names = {number: {name for deb in found for name in _names(deb, arch)} for number, found in debs.items()}
    brought = set().union(*names.values())
    nowhere = [(key, tuple(one for one in packages if _plain(one) not in brought)) for key, packages in wanted]
    told = {
        number: [(key, tuple(one for one in packages if _plain(one) in here)) for key, packages in wanted]
        for number, here in names.items()
    }
    # What no layer brings was in the base already, or is the name of something that others provide.
    lacking = [number for number, here in told.items() if not any(packages for _, packages in here)]
    for number in lacking or list(told)[:1]:
        told[number] += nowhere if any(packages for _, packages in nowhere) or not lacking else wanted
    asked = {_plain(one) for _, packages in wanted for one in packages}
    return tuple(
        _AptLayer(
            number,
            packages=tuple(sorted(f"{deb.name}:{deb.arch}={deb.version}" for deb in found)),
            automatic=tuple(
                sorted(f"{deb.name}:{deb.arch}" for deb in found if not (deb.manual or asked & _names(deb, arch)))
            ),
            origins=_gathered(told[number]),
            left_out=left_out({deb.name for deb in found}),
        )
        for number, found in debs.items()
    )


def _names(deb: Deb, arch: str) -> set[str]:
    """What a package may be asked for as."""
    return {f"{deb.name}:{deb.arch}"} | ({deb.name} if deb.arch in (arch, "all") else set())


def _gathered(told: Sequence[tuple[str, tuple[str, ...]]]) -> _Origins:
    """Each key once, with all that it asks for."""
    found: dict[str, set[str]] = {}
    for key, packages in told:
        found.setdefault(key, set()).update(packages)
    return tuple((key, tuple(sorted(packages))) for key, packages in found.items() if packages)


def _plain(package: str) -> str:
    """A package as apt is asked for it, without version and release."""
    return re.split("[=/]", package)[0]


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
    if not (managed(manifest) or any(package.endswith("-dev") for package in manifest.apt)):
        harmless |= _NEED_HEADERS
    return _compiles([package for package in manifest.apt if package not in harmless])


def _python(manifest: Manifest, python: Python, lock: PythonLock) -> _Python:
    on_apt = python.build_on == "apt" or (python.build_on == "auto" and _compiles_python(manifest, python))
    sources = tuple(sorted((dist.file, dist.name) for dist in lock.packages if not dist.is_wheel))
    asked = (("python.requirements", python.requirements), ("python.packages", tuple(sorted(python.packages))))
    told = tuple((key, values) for key, values in asked if values) or _ENVIRONMENT
    return _Python(
        # What is compiled needs the interpreter, which apt brings.
        parent="apt"
        if (manifest.apt and (on_apt or not managed(manifest))) or _python_needs(manifest) or lock.needs
        else "base",
        layers=_python_layers(python, lock, told),
        command=lock.command,
        interpreter=lock.version if lock.interpreter else "",
        sources=tuple(file for file, _ in sources),
        built=_asked_for(python, {name for _, name in sources}) or told,
        repositories=tuple(sorted(lock.repositories)),
        origins=told,
    )


def _python_layers(python: Python, lock: PythonLock, told: _Origins) -> tuple[_PythonLayer, ...]:
    """Each with what the manifest asks for that is in it, or the one package that it has. What a file asks for isn't known here:
    it may be in any.
    """
    wheels = [dist for dist in lock.packages if dist.is_wheel]
    found = {number: {dist.name for dist in wheels if dist.layer == number} for number in lock.layers}
    # What isn't locked yet (wants.provisional) will be in the last one.
    known = {one.name for one in lock.packages} | {one.name for one in lock.repositories}
    found[max(found)] |= {named(one) for one in python.packages} - known

    def origins(number: int, names: set[str]) -> _Origins:
        asked = _asked_for(python, names)
        if number == 1 or len(names) > 1:
            return asked or (_ENVIRONMENT if number == 1 else told)
        # The one package alone, and not each time all files that may ask for it.
        by_name = tuple(one for one in asked if one[0] == "python.packages")
        return by_name or ((asked[0][0] if asked else "python", tuple(names)),)

    return tuple(_PythonLayer(number, origins(number, names)) for number, names in found.items())


def _asked_for(python: Python, names: Collection[str]) -> _Origins:
    """The keys of the manifest that ask for these packages."""
    packages = tuple(one for one in sorted(python.packages) if named(one) in names)
    asked = (("python.requirements", python.requirements), ("python.packages", packages))
    return tuple((key, values) for key, values in asked if values)


def _node(manifest: Manifest, node: Node, lock: NodeLock) -> _Node:
    major = _major(node.version or NODE)
    return _Node(
        parent="apt" if (manifest.apt and _compiles(manifest.apt)) or _node_needs(manifest) else "base",
        version=node.version or NODE,
        # node-gyp takes its own configuration from npm's until npm 11, which refuses names it doesn't know.
        headers="npm_config_nodedir" if major < 24 else "npm_package_config_node_gyp_nodedir",
        lock=node.lock if node.lock and lock.project else "",
        tools=_modules(lock.tools if node.packages else (), tuple(sorted(set(node.packages)))),
        project=_modules(lock.project if node.lock else (), (node.lock or "",)),
        network=node.network,
    )


def _modules(modules: Sequence[Module], asked: tuple[str, ...]) -> _Modules:
    found = []
    for number in sorted({module.layer for module in modules}):
        here = [module for module in modules if module.layer == number]
        paths = {module.path for module in here}
        told = tuple(one for one in asked if f"node_modules/{one[0]}{one[1:].partition('@')[0]}" in paths)
        scripts = sorted(module for module in here if module.scripts)
        repositories = tuple((one.path, f"git+{one.url}#{one.commit}") for one in scripts if one.commit)
        online = tuple(sorted({_online(one) for one in scripts}))
        found.append(_NodeLayer(number, tuple(one.path for one in scripts), told or asked, repositories, online))
    plain, built = (tuple(layer for layer in found if bool(layer.scripts) == kind) for kind in (False, True))
    return _Modules(plain, built, tuple(one for one in asked if any(one in layer.asked for layer in built)))


def _online(module: Module) -> str:
    """`esbuild`, `shop @ https://git.example/shop@c0ffee123456`: what has network where the manifest allows it."""
    return f"{npm.name(module)} @ {module.url}@{module.commit[:12]}" if module.commit else npm.name(module)


def _env(python: _Python | None, node: _Node | None) -> Pairs:
    """The variables that make the installed tools found."""
    folders = (
        ("/opt/venv/bin", python is not None),
        ("/node_modules/.bin", node is not None and node.lock),
        ("/opt/npm/bin", node is not None and (node.tools.plain or node.tools.built)),
        ("/opt/node/bin", node is not None),
    )
    path = [folder for folder, wanted in folders if wanted]
    wanted = (
        ("NPM_CONFIG_PREFIX", "/opt/npm" if node and (node.tools.plain or node.tools.built) else ""),
        ("PATH", ":".join((*path, "$PATH")) if path else ""),
        ("VIRTUAL_ENV", "/opt/venv" if python else ""),
    )
    return tuple((name, value) for name, value in wanted if value)


def _contexts(base: _Base, packages: bool, python: _Python | None) -> Pairs:
    suite = base.reference.partition(":")[2]
    meaning = f"a minimal Debian {suite}, such as docker-image://debian:{suite}-slim"
    found = [(base.reference, base.written if base.foreign else meaning)]
    if packages:
        found.append(("devenv-packages", "what devenv.lock.yml names: `devenv render --packages FOLDER` fetches it"))
    if python and (python.sources or python.interpreter or python.repositories):
        found.append(("devenv-tools", "a folder with uv"))
    return tuple(found)


def _major(version: str) -> int:
    match = re.match(r"\d+", version.lstrip("v^~>=< "))
    if not match:
        raise DevenvError(f"render node: {version!r:.60} is not a version", hint='write it as in version: "20"')
    return int(match[0][:4])


def _render(templates: str, **values: object) -> str:
    from jinja2 import TemplateError

    try:
        return _environment(templates).get_template("Containerfile.j2").render(values)
    except (TemplateError, RecursionError) as error:
        name = getattr(error, "filename", None) or getattr(error, "name", None) or "Containerfile.j2"
        place = f"{posixpath.basename(str(name))}:{getattr(error, 'lineno', 0) or 0}"
        reason = "templates include each other without end" if isinstance(error, RecursionError) else str(error)
        raise DevenvError(f"render {place}: {reason}", hint=f"the templates are in {templates}") from error


@cache  # each image of a project has a text of its own, and templates take 10 ms to compile
def _environment(templates: str) -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined  # 60 ms: only where something is rendered
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from devenv.render import quote

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(lambda name: source(templates, name)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.clear()
    environment.filters |= {
        "sh": quote.sh,
        "dockerquote": quote.dockerquote,
        "origin": quote.origin,
    }
    return environment
