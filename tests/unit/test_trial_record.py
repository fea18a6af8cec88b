"""A trial as it is kept, and what can't be one."""

from __future__ import annotations

import json

import pytest

from devenv.errors import StoreError
from devenv.model.plan import Change
from devenv.model.trial import Case, Difference, Moved, Notice, Run, Side, Trial, Verdict
from devenv.trial.record import read, written

RUN = Run(
    1,
    1.5,
    2.0,
    None,
    (Case("a::b", "failed", 0.5, "why\n<b>"),),
    (Notice("DeprecationWarning", "x"),),
    "0.log",
    True,
    3,
)
TRIAL = Trial(
    "7",
    "try",
    "shop",
    "abc",
    "/shop",
    1.0,
    2.5,
    "pytest -q",
    Side("baseline", image="sha256:0", runs=(RUN, RUN._replace(code=None, cpu=1.25, cases=None))),
    (
        Side(
            "django=6.0", (Change("vars.django", "5.2", "6.0"),), moved=(Moved("python", "django", "5.2", "6.0", True),)
        ),
        Side("x=1", failed="no such version", stage="lock"),
    ),
    (
        Verdict("regression", ("Because.",), (Difference("a::b", "newly failing", ("passed",), ("failed", "")),), 3),
        Verdict("not judged"),
    ),
    (("seed", "0"),),
    ("django=6.0",),
    (("5.2", "good"),),
    ("5.2", "6.0"),
    "devenv try django=6.0",
)


def test_a_trial_comes_back_as_it_was() -> None:
    assert read(written(TRIAL), "t.json") == TRIAL


def test_its_code_is_that_of_its_verdicts_or_of_what_was_found() -> None:
    assert (
        TRIAL.code == 1
        and TRIAL._replace(verdicts=TRIAL.verdicts[1:]).code == 2
        and TRIAL._replace(verdicts=()).code == 0
    )
    found = TRIAL._replace(kind="bisect")
    assert found.code == 0 and found._replace(guilty=()).code == 2


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"kind": "other"},
        {"seconds": "2"},
        {"variants": {}},
        {"variants": [{"name": 1}]},
        {"baseline": None},
        {"controlled": [["a"]]},
        {"tried": [["a", "b", "c"]]},
        {"started": True},
    ],
)
def test_what_is_no_trial_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(StoreError, match=r"t\.json"):
        read(json.dumps({**json.loads(written(TRIAL)), **change}), "t.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"version": 1}', "[" * 100_000])
def test_what_is_no_json_of_ours_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match=r"t\.json"):
        read(text, "t.json")
