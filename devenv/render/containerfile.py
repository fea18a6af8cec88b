"""Manifest and templates → the text of a Containerfile.

Names in it come from outside, as BuildKit's named contexts: `devenv-packages`, what the lock names (lock/parcels.py),
`devenv-tools`, a folder with `uv`, and, for a base that isn't bootstrapped, `devenv-base`: see `references`. How the
user, environment variables, ports and command are set is no part of the image: changing them rebuilds nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from devenv.errors import DevenvError
from devenv.model.lock import Section
from devenv.model.manifest import Manifest, Pairs

from .apt import apt_layers
from .node import NodeParts, node_parts
from .python import PythonParts, python_parts
from .templates import source

if TYPE_CHECKING:
    from jinja2 import Environment


class _Base(NamedTuple):
    written: str
    reference: str
    foreign: bool


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
    apt = apt_layers(manifest, section.apt, section.arch) if section.apt else ()
    python = python_parts(manifest, manifest.python, section.python) if manifest.python and section.python else None
    node = node_parts(manifest, manifest.node, section.node) if manifest.node and section.node else None
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


def _env(python: PythonParts | None, node: NodeParts | None) -> Pairs:
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


def _contexts(base: _Base, packages: bool, python: PythonParts | None) -> Pairs:
    suite = base.reference.partition(":")[2]
    meaning = f"a minimal Debian {suite}, such as docker-image://debian:{suite}-slim"
    found = [(base.reference, base.written if base.foreign else meaning)]
    if packages:
        found.append(("devenv-packages", "what devenv.lock.yml names: `devenv render --packages FOLDER` fetches it"))
    if python and (python.sources or python.interpreter or python.repositories):
        found.append(("devenv-tools", "a folder with uv"))
    return tuple(found)


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
