"""Axes → the combinations of their values, with `exclude` and `include` as GitHub Actions has them. Pure.

https://docs.github.com/actions/writing-workflows/choosing-what-your-workflow-does/running-variations-of-jobs-in-a-workflow
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from devenv.errors import Fault, InputError
from devenv.model.manifest import Pairs

LIMIT = 256
"""Combinations a matrix may have: as many as at GitHub."""
_PRODUCT = 1 << 16  # of which `exclude` may leave few enough

Axis = tuple[str, Sequence[str]]
"""A name and its values: (`python`, (`3.12`, `3.13`))."""


def combinations(
    axes: Sequence[Axis],
    exclude: Sequence[Pairs] = (),
    include: Sequence[Pairs] = (),
    limit: int = LIMIT,
    place: str = "matrix",
) -> tuple[Pairs, ...]:
    """Every combination, (axis, value) each, none twice; the last axis changes first.

    `exclude`: whatever has all these values is left out. `include`, afterwards: its values are added to each combination none
    of whose own they would change; where there is none, it is a combination by itself. Values once added may be changed by a
    later one. Raises InputError, all faults at once, `place` in front: an axis twice or without values, an unknown one in
    `exclude`, more than `limit` combinations.
    """
    _check(axes, exclude, place)
    every = (tuple(zip((name for name, _ in axes), values, strict=True)) for values in _product(axes))
    kept = [own for own in every if not any(set(out) <= set(own) for out in exclude if out)] if axes else []
    found = tuple(dict.fromkeys(_included(kept, include)))
    if len(found) > limit:
        raise InputError(Fault(place, 0, 0, f"{len(found)} combinations; at most {limit} are tried", _FEWER))
    return found


_FEWER = "name fewer values, or leave combinations out with `exclude`"


def _product(axes: Sequence[Axis]) -> itertools.product[tuple[str, ...]]:
    return itertools.product(*(tuple(dict.fromkeys(values)) for _, values in axes))


def _included(own: Sequence[Pairs], include: Sequence[Pairs]) -> list[Pairs]:
    """Combinations with what is added to them, then those that `include` makes."""
    added: list[dict[str, str]] = [{} for _ in own]
    alone: list[Pairs] = []
    for more in include:
        fitting = [
            at for at, pairs in enumerate(own) if all(dict(pairs).get(name, value) == value for name, value in more)
        ]
        for at in fitting:
            added[at].update(more)
        if not fitting:
            alone.append(tuple(dict(more).items()))
    return [tuple({**dict(pairs), **extra}.items()) for pairs, extra in zip(own, added, strict=True)] + alone


def _check(axes: Sequence[Axis], exclude: Sequence[Pairs], place: str) -> None:
    names = [name for name, _ in axes]
    faults = [
        Fault(place, 0, 0, f"the axis `{name}` is there {names.count(name)} times", "put its values into one")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    faults += [Fault(place, 0, 0, f"the axis `{name}` has no values") for name, values in axes if not values]
    faults += [
        Fault(
            place,
            0,
            0,
            f"`exclude` speaks of `{name}`, which is no axis",
            f"the axes are {', '.join(dict.fromkeys(names)) or 'none'}",
        )
        for name in dict.fromkeys(name for out in exclude for name, _ in out)
        if name not in names
    ]
    size = math.prod(len(set(values)) for _, values in axes)
    if size > _PRODUCT:
        faults.append(Fault(place, 0, 0, f"its axes have {size} combinations, before any is left out", _FEWER))
    if faults:
        raise InputError(*faults)
