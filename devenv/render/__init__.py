"""Manifest → Containerfile, and the sandbox in which a manifest's own strings are expanded."""

from .containerfile import containerfile, own_file, references, templates_folder
from .requirements import included_by
from .sandbox import expand

__all__ = ["containerfile", "expand", "included_by", "own_file", "references", "templates_folder"]
