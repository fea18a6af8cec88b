"""What a trial says into a log: few lines, each of which tells something."""

from __future__ import annotations

import threading
import time

from devenv.cli.trying.voice import Voice
from devenv.model.events import Event


def started(name: str) -> Event:
    return Event("started", name)


def done(name: str, text: str = "", seconds: float = 0.1) -> Event:
    return Event("done", name, text, seconds)


def test_what_is_quick_has_no_line_in_a_log_and_what_took_long_one() -> None:
    heard: list[Event] = []
    voice = Voice(heard.append, terse=True, about="jinja2=3: ")
    for event in (started("lock apt"), Event("cached", "base"), done("lock apt"), done("lock python", seconds=2.0)):
        voice(event)
    assert heard == [Event("done", "jinja2=3: lock python", "", 2.0)]
    voice.close()


def test_what_goes_wrong_is_told_with_what_it_printed() -> None:
    heard: list[Event] = []
    voice = Voice(heard.append, terse=True)
    told = (
        Event("output", "up x", "no room"),
        Event("failed", "up x", "cause"),
        Event("warning", "x", "odd"),
        done("y", "bad"),
    )
    voice(started("up x"))
    for event in told:
        voice(event)
    assert heard == [*told]
    assert not voice.waiting


def test_what_is_waited_for_is_told_while_it_is() -> None:
    heard: list[Event] = []
    voice = Voice(heard.append, terse=True, patience=0.01)
    voice(started("lock apt"))
    voice.begun("test a, run 2", first=False)
    until = time.monotonic() + 10
    while len(heard) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    voice(done("lock apt"))
    voice.ended(done("test a, run 2"), same=True)
    assert sorted(heard) == sorted(
        [started("lock apt"), started("test a, run 2"), done("lock apt"), done("test a, run 2")]
    )


def test_who_begins_twice_is_waited_for_once() -> None:
    before = set(threading.enumerate())
    voice = Voice(list[Event]().append, terse=True, patience=600)
    for _ in range(2):
        voice(started("lock apt"))
    begun = [one for one in threading.enumerate() if one not in before and isinstance(one, threading.Timer)]
    voice(done("lock apt"))
    assert begun and all(one.finished.is_set() for one in begun)


def test_a_run_that_ends_as_one_before_it_is_in_the_log_already() -> None:
    heard: list[Event] = []
    voice = Voice(heard.append, terse=True)
    voice.begun("test a", first=True)
    voice.ended(done("test a"), same=False)
    for same in (True, False):
        voice.begun("test a, run 2", first=False)
        voice.ended(done("test a, run 2", "exit code 1"), same=same)
    assert heard == [started("test a"), done("test a"), done("test a, run 2", "exit code 1")]


def test_who_watches_is_told_everything() -> None:
    heard: list[Event] = []
    voice = Voice(heard.append, terse=False, about="side: ")
    voice(started("lock"))
    voice(Event("cached", "base"))
    voice.begun("test a, run 2", first=False)
    voice.ended(done("test a, run 2"), same=True)
    assert heard == [started("lock"), Event("cached", "base"), started("test a, run 2"), done("test a, run 2")]
