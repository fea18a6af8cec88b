"""What the supervisor's rules promise: when a container is started again, and what its health checks make of it. No clock."""

from __future__ import annotations

import pytest

from devenv.engine.native.supervisor.policy import Checked, Seen, asks, delay, given_up, judged, pause, wait
from devenv.model.manifest import Healthcheck, Restart

NO, ALWAYS, ON_FAILURE, TWICE = Restart(), Restart("always"), Restart("on-failure"), Restart("on-failure", 2)
CHECK = Healthcheck("true", interval=2.0, timeout=1.0, retries=3, start_period=5.0)


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        (NO, 0, False),
        (NO, 1, False),
        (NO, None, False),
        (ALWAYS, 0, True),
        (ALWAYS, 1, True),
        (ALWAYS, None, True),
        (ON_FAILURE, 0, False),
        (ON_FAILURE, 1, True),
        (ON_FAILURE, 137, True),
        (ON_FAILURE, None, True),
    ],
)
def test_policy_says_whether_it_is_started_again(restart: Restart, code: int | None, again: bool) -> None:
    assert (delay(restart, code, 0) is not None) == again


def test_policy_waits_twice_as_long_each_time_up_to_a_minute() -> None:
    waits = [delay(ALWAYS, 1, tries) for tries in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[9:] == [51.2, 60.0, 60.0]
    assert delay(ALWAYS, 1, 100_000) == 60.0


def test_policy_waits_until_the_moment_that_was_written_down() -> None:
    seen = Seen("c", "web-1", code=1, restart=ALWAYS, tries=9)
    assert wait(seen, 1000.0) == 51.2
    assert wait(seen._replace(again=1040.0), 1000.0) == 40.0
    assert wait(seen._replace(again=900.0), 1000.0) == 0.0  # whoever watched was killed
    assert wait(seen._replace(again=9000.0), 1000.0) == 51.2  # the clock was put back
    assert wait(seen._replace(again=1040.0, restart=NO), 1000.0) is None


def test_policy_gives_up_after_as_many_times_in_a_row_as_allowed() -> None:
    assert [delay(TWICE, 1, tries) for tries in range(4)] == [0.1, 0.2, None, None]
    assert [given_up(TWICE, 1, tries) for tries in range(4)] == [False, False, True, True]
    assert not given_up(TWICE, 0, 2)
    assert not given_up(ON_FAILURE, 1, 1000)


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        (Seen("c", "web-1", pid=1), False),
        (Seen("c", "web-1", pid=1, check=CHECK), True),
        (Seen("c", "web-1", pid=1, restart=ALWAYS), True),
        (Seen("c", "web-1", pid=1, shared=True), True),
        (Seen("c", "web-1", check=CHECK, shared=True), False),
        (Seen("c", "web-1", code=1, restart=TWICE, tries=1), True),
        (Seen("c", "web-1", code=1, restart=TWICE, tries=2), False),
        (Seen("c", "web-1", code=0, restart=ON_FAILURE), False),
        (Seen("c", "web-1", code=0, restart=ALWAYS), True),
    ],
)
def test_policy_says_for_whom_somebody_is_awake(seen: Seen, asked: bool) -> None:
    assert asks(seen) == asked


def test_health_has_time_to_start_and_then_is_unhealthy() -> None:
    starting = Checked()
    for elapsed in (0.0, 1.0, 10.9):  # 5 + 3 × 2 seconds
        starting = judged(starting, False, CHECK, elapsed)
        assert starting.health == "starting"
    assert judged(starting, False, CHECK, 11.0).health == "unhealthy"
    assert judged(starting, True, CHECK, 10.9) == Checked("healthy")


def test_health_is_lost_by_failures_in_a_row_only() -> None:
    found, said = Checked("healthy"), []
    for passed in (False, False, True, False, False, False, False):
        found = judged(found, passed, CHECK, 1000.0)
        said.append(found.health)
    assert said == [*["healthy"] * 5, "unhealthy", "unhealthy"]


def test_health_comes_back_with_the_first_success() -> None:
    assert judged(Checked("unhealthy", 17), True, CHECK, 1000.0) == Checked("healthy")
    assert judged(Checked("unhealthy"), False, CHECK, 1000.0).health == "unhealthy"


def test_checks_come_soon_after_the_start_and_then_ever_more_seldom() -> None:
    starting = Checked()
    assert [pause(starting, CHECK, elapsed) for elapsed in (-1.0, 0.0, 1.0, 10.0, 1000.0)] == [
        0.01,
        0.01,
        0.05,
        0.5,
        2.0,
    ]
    assert pause(Checked("healthy"), CHECK, 0.0) == pause(Checked("unhealthy"), CHECK, 0.0) == 2.0
