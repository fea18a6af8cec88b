"""Words of a command line → as what a manifest is to be read. Reads the manifest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from devenv.errors import Fault, InputError
from devenv.model.plan import Change

from . import document, variants
from .load import content
from .override import Project, override
from .parse import Altered
from .values import did_you_mean, show


class Asked(NamedTuple):
    """As what a manifest is to be read, that in words, and what npm must be asked for before (override.Override)."""

    altered: Altered
    changes: tuple[Change, ...] = ()
    npm: tuple[tuple[str, str], ...] = ()


def alter(
    path: str,
    asked: Sequence[str],
    *,
    files: Mapping[str, bytes] = MappingProxyType({}),
    locked: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Asked:
    """What these words make of the manifest in a file, and in words: a name of its `variants:`, and `NAME=VERSION`s.

    `files` and `locked` as override.Project has them. Raises InputError for what isn't there, or could be several things.
    """
    root = document.read(content(path), path)
    known = variants.declared(root)
    named = [text for text in asked if "=" not in text]
    for text in named:
        if text not in known:
            hint = did_you_mean(text, known) if known else "write NAME=VERSION, such as django=6.0"
            raise InputError(Fault(show(text), 0, 0, "devenv.yml has no such variant", hint))
    if len(named) > 1:
        raise InputError(Fault(" ".join(named), 0, 0, "these are two variants", "name one, and what else is to change"))
    tree = variants.varied(root, known[named[0]]) if named else root
    found = override([text for text in asked if "=" in text], Project(tree, files, locked))
    changes = (*variants.told(root, known[named[0]]), *found.changes) if named else found.changes
    altered = Altered(named[0] if named else "", found.edits, found.files, " ".join(asked))
    return Asked(altered, changes, found.npm)
