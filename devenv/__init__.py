"""devenv: a project's manifest in, its running, isolated development environment out."""

__version__ = "0.1.0"
