"""Axes as they are typed → what each combination asks for."""

from __future__ import annotations

from collections.abc import Sequence

from devenv.errors import Fault, InputError
from devenv.model.manifest import Pairs
from devenv.trial.matrix import combinations

_VARIANT = "variant"


def combined(
    axes: Sequence[str], variants: Sequence[str], exclude: Sequence[str], include: Sequence[str], known: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Words for each (Trying.add). `known` are the manifest's variants: all of them, where nothing else is said. Raises InputError."""
    if not axes and not variants and not include:
        if not known:
            hint = "devenv matrix python=3.12,3.13, or write `variants:`"
            raise InputError(Fault("matrix", 0, 0, "of what? The manifest has no variants", hint))
        variants = known
    found = [_axis(text) for text in axes]
    if variants:
        found.insert(0, (_VARIANT, tuple(variants)))
    pairs = combinations(
        found, [_pairs("--exclude", one) for one in exclude], [_pairs("--include", one) for one in include]
    )
    if not pairs:
        raise InputError(Fault("matrix", 0, 0, "everything is excluded", "name fewer with --exclude"))
    return tuple(tuple(value if name == _VARIANT else f"{name}={value}" for name, value in one) for one in pairs)


def _axis(text: str) -> tuple[str, tuple[str, ...]]:
    name, sign, values = text.partition("=")
    found = tuple(one.strip() for one in values.split(",") if one.strip())
    if not (name and sign and found):
        raise InputError(Fault(text, 0, 0, "isn't NAME=V1,V2…", "such as python=3.12,3.13"))
    return name, found


def _pairs(option: str, text: str) -> Pairs:
    found = [tuple(part.strip() for part in one.split("=", 1)) for one in text.split(",")]
    if any(len(one) != 2 or not all(one) for one in found):
        raise InputError(Fault(option, 0, 0, f"{text} isn't NAME=V,NAME=V", "such as python=3.12,django=6.0"))
    return tuple((name, value) for name, value in found)
