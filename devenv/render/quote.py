"""A value of unknown making → the same value as data: in a shell command, a Containerfile word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from devenv.errors import DevenvError

Origins = tuple[tuple[str, tuple[str, ...]], ...]
"""Keys of the manifest, each with those of its values that a step is about."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def sh(value: str) -> str:
    """One word for sh(1), and for a Containerfile's RUN line, which ends at a newline whatever the quotes say."""
    return shlex.quote(_one_line(value))


def dockerquote(value: str) -> str:
    """One word of ENV, LABEL, WORKDIR: double quotes where needed, nothing in it is expanded."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]+", value):
        return value
    return '"' + re.sub(r'([\\"$])', r"\\\1", _one_line(value)) + '"'


def origin(values: tuple[str, Sequence[str]]) -> str:
    """A comment that says which key of the manifest the step below comes from (build/origin.py reads it)."""
    key, items = values
    return f"# From `{key}`: {_one_line(', '.join(items))}"


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise DevenvError(
            f"render {_show(value)}: a control character or newline has no place in a Containerfile's line",
            hint="write the value on one line",
        )
    return value


def _show(value: str) -> str:
    return ascii(value if len(value) <= 60 else value[:57] + "...")
