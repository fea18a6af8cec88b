"""Moved."""

from devenv.paths import Paths as Paths
from devenv.paths import locate as locate
