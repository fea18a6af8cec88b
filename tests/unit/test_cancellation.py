"""A cancellation ends all waiting, as often as it is asked for, until it is over; and writes to no file but its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from select import POLLIN, poll

import pytest

from devenv.engine.native.container.monitor import wait_exit
from devenv.engine.native.running.cancellation import Cancellation


@pytest.fixture
def cancellation() -> Iterator[Cancellation]:
    made = Cancellation()
    yield made
    made.close()


def readable(descriptor: int) -> bool:
    waiting = poll()
    waiting.register(descriptor, POLLIN)
    return bool(waiting.poll(0))


def test_all_who_wait_are_told_and_all_who_come_later_until_it_is_over(cancellation: Cancellation) -> None:
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(wait_exit, os.getpid(), 600, cancellation.descriptor) for _ in range(3)]
        cancellation.ask()
        assert [one.result(20) for one in waiting] == [False] * 3
    cancellation.ask()
    assert cancellation.asked
    assert not wait_exit(os.getpid(), 600, cancellation.descriptor)


def test_once_it_is_over_everybody_waits_again_and_it_can_be_asked_for_again(cancellation: Cancellation) -> None:
    for _ in range(2):
        cancellation.ask()
        cancellation.ask()
        cancellation.end()
        cancellation.end()
        assert not cancellation.asked
        assert not readable(cancellation.descriptor)
    cancellation.ask()
    assert readable(cancellation.descriptor)


def test_once_it_is_closed_nothing_is_written_to_whoever_has_its_number_then(cancellation: Cancellation) -> None:
    number = cancellation.descriptor
    cancellation.close()
    other = os.memfd_create("other")
    if other != number:
        os.dup2(other, number)
    cancellation.ask()
    cancellation.end()
    cancellation.close()
    assert os.fstat(other).st_size == 0
    assert os.fstat(number).st_size == 0  # nor is it closed
    for descriptor in {other, number}:
        os.close(descriptor)
