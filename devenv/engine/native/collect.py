"""gc."""
from __future__ import annotations

from collections.abc import Sequence

from devenv.model.host import Garbage

from .facade import Native


def collect(engine: Native, *, everything: bool, dry_run: bool) -> Sequence[Garbage]:
    raise NotImplementedError
