"""The frozen values that flow from room to room. No effects, no imports but the standard library's own types.

They are NamedTuples, where two kinds with equal fields never meet: a dataclass takes five times as long to make,
and the import of dataclasses longer than that of everything else here. And no `from __future__ import annotations`
here: a NamedTuple compiles each annotation that is a string, which is most of the time it takes.
"""

from typing import Any


def plain(value: Any) -> Any:
    """A value of the model as JSON has it: NamedTuples as dicts, tuples as lists, all the way down."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        parts = [plain(one) for one in value]
        return parts if names is None else dict(zip(names, parts, strict=True))
    return value
