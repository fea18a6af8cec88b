"""Where our templates are, and what one of them says."""

from __future__ import annotations

import os

from devenv.errors import DevenvError

TEMPLATE = 64 * 1024
"""Size limit of a template in bytes."""


def templates_folder() -> str:
    """Where our templates are: in the wheel inside the package, in a checkout beside it."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, "_templates")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "templates")


def source(templates: str, name: str) -> str | None:
    """A template's source: a plain file beneath the folder, whatever `..`, absolute names and links say."""
    root = os.path.realpath(templates)
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        return None
    if os.path.getsize(path) > TEMPLATE:
        raise DevenvError(f"read template {name}: more than {TEMPLATE // 1024} KiB", hint="split it")
    with open(path, encoding="utf-8") as file:
        return file.read()
