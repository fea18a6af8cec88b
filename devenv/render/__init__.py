"""Manifest → Containerfile, and the sandbox in which a manifest's own strings are expanded; values → an HTML page."""

from .containerfile import containerfile, own_file, references
from .page import page
from .requirements import included_by
from .sandbox import expand
from .templates import templates_folder

__all__ = ["containerfile", "expand", "included_by", "own_file", "page", "references", "templates_folder"]
