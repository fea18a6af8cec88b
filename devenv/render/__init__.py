"""Manifest → Containerfile, and the sandbox in which a manifest's own strings are expanded."""

from .containerfile import Facts, containerfile, own_file, references, templates_folder
from .requirements import facts
from .sandbox import expand

__all__ = ["Facts", "containerfile", "expand", "facts", "own_file", "references", "templates_folder"]
