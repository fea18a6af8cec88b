"""The tests that runs told → what had tests in one run and couldn't even be loaded in another. Pure.

A file that can't be imported is told in place of its tests (pytest, Jest and Vitest tell the file, `go test` the package,
Surefire the class): they are neither gone nor new, they fail with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv.model.trial import Case, Difference, Outcome

BAD: tuple[Outcome, ...] = ("failed", "error")

_PARTS = 32
"""Of a name that are looked at: who writes a report may make them as many as it has characters."""

_NUMBERED = re.compile(r"(.*)( \(\d{1,9}\))")


class Gathered(NamedTuple):
    """A test that differs; or a file, with how many tests `inside` share its fate."""

    test: Difference
    inside: int = 0


def gathered(found: Iterable[Difference]) -> list[Gathered]:
    """These, in their order, without the tests that only share the fate of what they are in."""
    known = tuple(found)
    kinds = {one.name: one.kind for one in known}
    alone = [one for one in known if not one.within or kinds.get(one.within) != one.kind]
    inside = Counter(one.within for one in known if one.within and kinds.get(one.within) == one.kind)
    return [Gathered(one, inside[one.name]) for one in alone]


def completed(runs: Sequence[Mapping[str, Case]]) -> tuple[tuple[Mapping[str, Case], ...], Mapping[str, str]]:
    """The runs of both sides, each with what it didn't tell: tests that fail as their file can't be loaded, files that could be.

    And of each such test: what it is in. A file that several calls ran a part of each, and none could load, is told once.
    """
    bad = {name: name for run in runs for name, case in run.items() if case.outcome in BAD}
    if not bad:
        return tuple(runs), {}
    names = {name for run in runs for name in run}
    above = {name: found for name in names if (found := tuple(bad[one] for one in _above(name, names) if one in bad))}
    held: dict[str, list[str]] = {}
    for name in sorted(above):
        for one in above[name]:
            held.setdefault(one, []).append(name)
    told = [_completed(run, held, above) for run in runs]
    within = {name: holder for one in reversed(told) for name, holder in one.within.items()}  # the first run's counts
    return tuple(one.cases for one in told), within


class _Completed(NamedTuple):
    """A run with what it didn't tell; and of each test that it didn't: what it is in."""

    cases: Mapping[str, Case]
    within: Mapping[str, str]


def _completed(
    run: Mapping[str, Case], held: Mapping[str, Sequence[str]], above: Mapping[str, Sequence[str]]
) -> _Completed:
    loaded = {one for name in run for one in above.get(name, ())}
    missing = {one for one in held if one in run and run[one].outcome in BAD} - loaded
    again = {
        name for name in run if name not in held and (numbered := _NUMBERED.fullmatch(name)) and numbered[1] in missing
    }
    found = {one: Case(one, "passed") for one in loaded} | {name: run[name] for name in run if name not in again}
    within: dict[str, str] = {}
    for holder in sorted(missing):
        for name in held[holder]:
            found.setdefault(name, Case(name, "error"))
            within.setdefault(name, holder)
    return _Completed(found, within)


def _above(name: str, names: set[str]) -> Iterator[str]:
    """What a test may be in, the largest first; the second of a name is in the second of that, if there is one."""
    numbered = _NUMBERED.fullmatch(name)
    stem, nth = (numbered[1], numbered[2]) if numbered else (name, "")
    for one in stems(stem):
        yield f"{one}{nth}" if f"{one}{nth}" in names else one


def stems(name: str) -> Iterator[str]:
    """`tests/test_a.py::TestB::test_c` → `tests`, `tests/test_a.py`, `tests/test_a.py::TestB`; of unittest `shop.Cart.test_a` → `shop`, …"""
    file, found, _ = name.partition("::")
    if file.endswith(".py"):  # a folder's conftest.py; a folder of Go's is a package beside those beneath it
        yield from _begun(file, "/")
    if found:
        yield file
        yield from (f"{file}::{group}" for group in _begun(name[len(file) + 2 :], "::"))
    elif "/" not in name:
        yield from _begun(name.partition(" ")[0], ".")


def _begun(text: str, sign: str) -> Iterator[str]:
    parts = text.split(sign, _PARTS)
    return (sign.join(parts[:count]) for count in range(1, len(parts)))
