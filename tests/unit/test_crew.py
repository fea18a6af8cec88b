"""Threads that do what they are given: at the same time, no more of them than were asked for, and none left behind."""

from __future__ import annotations

import threading
import time

import pytest

from devenv.crew import Crew, Done, each
from devenv.errors import EngineError


def test_crew_does_at_the_same_time_what_it_was_given() -> None:
    crew, all_here = Crew(3), threading.Barrier(3)
    for number in range(3):
        crew.give(number, lambda: all_here.wait(10))
    assert {done.number for done in (crew.take(10), crew.take(10), crew.take(10)) if done} == {0, 1, 2}
    crew.dismiss()


def test_crew_has_no_more_threads_than_asked_for_and_than_needed() -> None:
    crew = Crew(2)
    for number in range(20):
        crew.give(number, lambda: None)
    assert sorted(done.number for done in (crew.take(10) for _ in range(20)) if done) == list(range(20))
    assert len(crew.threads) <= 2
    crew.dismiss()
    assert not any(thread.is_alive() for thread in crew.threads)


def test_crew_hands_over_what_went_wrong() -> None:
    crew = Crew()
    crew.give(7, lambda: 1 // 0)
    done = crew.take(10)
    assert isinstance(done, Done) and done.number == 7 and isinstance(done.error, ZeroDivisionError)
    crew.dismiss()


def test_crew_gives_nothing_after_the_time_it_was_given() -> None:
    assert Crew().take(0) is None


def test_crew_dismissed_ends_what_goes_on_and_begins_nothing_more() -> None:
    crew, begun, ended = Crew(1), threading.Event(), threading.Event()
    done: list[str] = []

    def long() -> None:
        begun.set()
        ended.wait(10)
        done.append("long")

    crew.give(1, long)
    crew.give(2, lambda: done.append("next"))
    begun.wait(10)
    crew.dismiss(ended.set)
    assert done == ["long"]
    assert not any(thread.is_alive() for thread in crew.threads)


@pytest.mark.parametrize("count", [1, 40])
def test_crew_begins_a_thread_only_when_nobody_is_free(count: int) -> None:
    crew = Crew(16)
    for number in range(count):
        crew.give(number, lambda: None)
        assert crew.take(10)
    assert len(crew.threads) <= 2
    crew.dismiss()


def test_each_answers_in_order_with_no_more_threads_than_asked_for() -> None:
    seen: set[str] = set()

    def work(number: int) -> int:
        seen.add(threading.current_thread().name)
        return number * number

    assert each(work, range(50), most=3) == [number * number for number in range(50)]
    assert len(seen) <= 3
    assert each(work, ()) == []


def test_each_begins_nothing_more_once_one_failed() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        time.sleep(0.05)

    with pytest.raises(ValueError, match="one"):
        each(work, range(1000))
    assert len(begun) < 100


def test_each_that_is_stopped_waits_for_what_goes_on_and_begins_nothing_more() -> None:
    stop, begun, done = threading.Event(), list[int](), list[int]()

    def work(number: int) -> None:
        begun.append(number)
        stop.set()
        time.sleep(0.2)
        done.append(number)

    with pytest.raises(EngineError, match="stopped"):
        each(work, range(1000), stop.is_set)
    assert sorted(begun) == sorted(done)
    assert len(begun) < 100
