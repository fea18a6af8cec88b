"""The first bad version, and the smallest guilty set: found, and with how many questions."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Collection

import pytest

from devenv.trial import bisect, smallest


def searched(count: int, first_bad: int, skipped: Collection[int] = ()) -> tuple[bisect.Found, list[int]]:
    """A search among versions 0 (good) … count (bad), of which `first_bad` is the first bad one; and what was asked, in order."""
    versions = [f"1.{number}" for number in range(count + 1)]
    asked: list[int] = []
    search = bisect.search(versions)
    try:
        version = next(search)
        while True:
            asked.append(versions.index(version))
            answer: bisect.Answer = "skip" if asked[-1] in skipped else "bad" if asked[-1] >= first_bad else "good"
            version = search.send(answer)
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize("count", range(1, 201))
def test_bisect_finds_the_first_bad_version_with_as_few_questions_as_can_be(count: int) -> None:
    for first_bad in range(1, count + 1):
        found, asked = searched(count, first_bad)
        assert found == bisect.Found((f"1.{first_bad}",), f"1.{first_bad - 1}")
        assert len(asked) <= math.ceil(math.log2(count)) + 2
        assert len(asked) == len(set(asked))


@pytest.mark.parametrize("seed", range(60))
def test_bisect_with_skips_names_only_what_could_not_be_told(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(2, 120)
    first_bad = chance.randint(1, count)
    skipped = {at for at in range(1, count) if chance.random() < chance.choice((0.1, 0.5, 0.9))}
    found, asked = searched(count, first_bad, skipped)
    suspects = [int(version.removeprefix("1.")) for version in found.suspects]
    assert first_bad in suspects
    assert suspects[-1] not in skipped
    assert all(at in skipped for at in suspects[:-1])
    assert found.good == f"1.{suspects[0] - 1}"
    assert suspects[0] - 1 not in skipped
    assert len(asked) == len(set(asked))


def test_bisect_leaves_a_block_of_versions_that_cant_be_installed_quickly() -> None:
    found, asked = searched(1000, 940, skipped=range(400, 600))
    assert found.suspects == ("1.940",)
    assert len(asked) <= math.ceil(math.log2(1000)) + 2 + 10


def test_bisect_believes_neither_end_untried() -> None:
    assert searched(8, 0)[0] == bisect.Found(trouble="1.0 is bad, not good: there is nothing to look for.")
    assert searched(8, 9)[0] == bisect.Found(trouble="1.8 is good, not bad: there is nothing to look for.", good="1.0")
    assert (
        searched(8, 4, skipped={0})[0].trouble
        == "1.0, which is said to be good, can't be tried: name the nearest one that can be installed."
    )
    assert (
        searched(8, 4, skipped={8})[0].trouble
        == "1.8, which is said to be bad, can't be tried: name the nearest one that can be installed."
    )
    assert searched(0, 0) == (bisect.Found(trouble="There are no two versions to look between."), [])


def reduced(changes: str, judge: Callable[[set[str]], bisect.Answer]) -> tuple[smallest.Guilty, list[smallest.Subset]]:
    """The smallest guilty set of changes, each a letter; and what was asked, in order."""
    asked: list[smallest.Subset] = []
    search = smallest.search(changes)
    try:
        subset = next(search)
        while True:
            asked.append(subset)
            subset = search.send(judge(set(subset)))
    except StopIteration as end:
        return end.value, asked


def guilty(*culprits: str) -> Callable[[set[str]], bisect.Answer]:
    return lambda subset: "bad" if any(set(culprit) <= subset for culprit in culprits) else "good"


@pytest.mark.parametrize("size", range(1, 13))
def test_smallest_finds_any_one_and_any_pair(size: int) -> None:
    changes = "abcdefghijkl"[:size]
    culprits = [*changes, *("".join(pair) for pair in itertools.combinations(changes, 2))]
    for culprit in culprits:
        found, asked = reduced(changes, guilty(culprit))
        assert found == smallest.Guilty(tuple(culprit))
        assert len(asked) == len(set(asked)) <= size * size + 3 * size
        assert () not in asked


def test_smallest_asks_little_where_one_is_guilty() -> None:
    _, asked = reduced("abcdefghijklmnop", guilty("k"))
    assert len(asked) <= 2 * math.log2(16) + 1


def test_smallest_of_several_guilty_sets_is_minimal_by_itself() -> None:
    judge = guilty("abc", "fg")
    found, _ = reduced("abcdefgh", judge)
    assert judge(set(found.changes)) == "bad"
    assert all(judge(set(found.changes) - {one}) == "good" for one in found.changes)


def test_smallest_says_what_could_not_be_told() -> None:
    # b needs a to be installed: without it nothing can be said
    found, _ = reduced("abcd", lambda subset: "skip" if "b" in subset and "a" not in subset else guilty("b")(subset))
    assert found == smallest.Guilty(("a", "b"), unsure=("a",))


def test_smallest_wants_all_of_them_to_be_bad_together() -> None:
    assert reduced("ab", guilty())[0].trouble == "These changes aren't bad together: there is nothing to look for."
    assert reduced("ab", lambda _: "skip")[0].trouble == "These changes can't be tried together."


def test_smallest_keeps_the_order_and_names_nothing_twice() -> None:
    assert reduced("cbac", guilty("ac"))[0].changes == ("c", "a")
