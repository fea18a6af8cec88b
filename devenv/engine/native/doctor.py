"""doctor."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from devenv.model.host import Check

from .paths import Paths


def examine(paths: Paths, env: Mapping[str, str]) -> Sequence[Check]:
    raise NotImplementedError
