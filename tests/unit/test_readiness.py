"""When something is looked at again: soon at first, then ever more seldom."""

from __future__ import annotations

from devenv.model.manifest import Healthcheck
from devenv.readiness import gap, patience


def test_gaps_grow_with_the_time_that_has_gone_by_up_to_the_longest() -> None:
    gaps = [gap(seconds, 2.0) for seconds in (0.0, 0.1, 1.0, 10.0, 100.0)]
    assert gaps == [0.01, 0.01, 0.05, 0.5, 2.0]
    assert gap(0.0, 0.005) == 0.005


def test_one_that_nothing_else_is_waited_for_beside_is_looked_at_twice_as_often() -> None:
    assert [gap(seconds, 2.0, alone=True) for seconds in (0.0, 1.0, 10.0, 100.0)] == [0.01, 0.025, 0.25, 2.0]


def test_patience_is_the_start_period_and_all_retries() -> None:
    assert patience(Healthcheck("true", interval=2.0, retries=3, start_period=5.0)) == 11.0
