"""What many replicas went through → a line for each way."""

from __future__ import annotations

import pytest

from devenv.cli.ways import span, ways
from devenv.model.plan import Action, Change, Result, Verb


def did(verb: Verb, name: str, reason: str = "r", *changes: Change, error: str = "", seconds: float = 0.0) -> Result:
    service = name.rpartition("-")[0]
    return Result(Action(verb, name, reason, changes, service=service), seconds, error)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["db-1"], "db-1"),
        (["web-1", "web-2", "web-3"], "web-1…3"),
        (["web-10", "web-9", "web-11"], "web-9…11"),
        (["a-b-1", "a-b-3"], "a-b-1, a-b-3"),
    ],
)
def test_span_is_short_where_numbers_follow_each_other(names: list[str], text: str) -> None:
    assert span(names) == text


def test_ways_are_one_for_replicas_that_went_the_same() -> None:
    found = ways([did("create", "web-1"), did("start", "web-1"), did("create", "web-2"), did("start", "web-2")])
    assert [(way.name, [one.action.verb for one in way.results]) for way in found] == [("web-1…2", ["create", "start"])]


def test_ways_are_apart_where_one_failed_and_say_what() -> None:
    found = ways(
        [did("create", "web-1"), did("start", "web-1"), did("create", "web-2"), did("start", "web-2", error="no")]
    )
    assert [(way.name, way.telling.action.verb, bool(way.failed)) for way in found] == [
        ("web-1", "create", False),
        ("web-2", "start", True),
    ]


def test_ways_of_what_is_no_replica_stay_apart() -> None:
    assert [way.name for way in ways([did("create", "workspace"), did("start", "workspace")])] == ["workspace"] * 2


def test_a_change_that_differs_from_replica_to_replica_is_told_by_its_name() -> None:
    found = ways(
        [
            did("replace", f"web-{index}", f"command {index} → x{index}", Change("command", f"{index}", f"x{index}"))
            for index in (1, 2)
        ]
    )
    assert [(way.name, way.reason(way.results[0].action)) for way in found] == [("web-1…2", "command changed")]


def test_the_slowest_of_all_tells_the_time() -> None:
    (way,) = ways([did("create", "web-1", seconds=1.0), did("create", "web-2", seconds=3.0)])
    assert way.seconds == 3.0
