"""What Python's unittest printed (Django's test runner too) → its tests: those that it names, and how many more passed. Pure.

It has no variable that would make it write a report; by itself it names only what fails, with `-v` every test.
Format: `_WritelnDecorator` and `TextTestResult` of Lib/unittest/runner.py. Before 3.11 a test is told as
`test_total (tests.test_shop.CartTest)`, since then as `test_total (tests.test_shop.CartTest.test_total)`: one name here,
`tests.test_shop.CartTest.test_total`, as both sides may have different Pythons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from devenv.model.trial import Case, Outcome

DETAIL = 8_000
"""Characters kept of why a test failed."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_RAN = re.compile(r"^Ran (\d{1,9}) tests? in ", re.MULTILINE)
_RESULT = re.compile(r"^(?:OK|FAILED) \((.{0,200})\)$", re.MULTILINE)
_COUNT = re.compile(r"(?:^|, )(skipped|expected failures|failures|errors)=(\d{1,9})")
_HEADS: dict[str, Outcome] = {"FAIL": "failed", "ERROR": "error", "UNEXPECTED SUCCESS": "failed"}
_HEAD = re.compile(r"^(FAIL|ERROR|UNEXPECTED SUCCESS): (.{1,1000})$")
_LINE = re.compile(r"^([A-Za-z_]\w{0,200} \((?:[\w<>]{1,200}\.){1,50}\w{1,200}\)) \.\.\. ")
_ENDED = re.compile(r"^(?:.{0,1000} \.\.\. )?(ok|FAIL|ERROR|skipped .{0,1000}|expected failure|unexpected success)$")
_STARTED = re.compile(r"^[A-Za-z_]\w{0,200} \((?:[\w<>]{1,200}\.){1,50}\w{1,200}\)$")
_TEST = re.compile(r"^(\S{1,500}) \(([\w.<>]{1,500})\)(.*)$")
_AROUND = re.compile(r"\b(setUp|tearDown)(Class|Module)$")  # not among those that ran
_RULE = "=" * 70
_LINED = "-" * 70


class Told(NamedTuple):
    """`unnamed`: how many more tests passed without being named."""

    cases: tuple[Case, ...]
    unnamed: int = 0


def read(text: str) -> Told | None:
    """The tests of all test runs in a command's output; None when none of them came to its end."""
    text = _ESCAPES.sub("", text)
    ran = sum(int(number) for number in _RAN.findall(text))
    if not _RAN.search(text):
        return None
    lines = text.splitlines()
    verbose = tuple(_verbose(lines))
    if len(verbose) < ran / 2:  # with `-v` each test is told; a few such lines are what tests print
        verbose = ()
    found = {case.name: case for case in (*verbose, *_failed(lines))}
    whole = {_whole(name) for name in found if not _AROUND.search(name)}
    counted = [count for result in _RESULT.findall(text) for count in _COUNT.findall(result)]
    skipped = sum(int(number) for what, number in counted if what in ("skipped", "expected failures"))
    bad = sum(int(number) for what, number in counted if what in ("failures", "errors"))
    left = max(0, skipped - sum(case.outcome == "skipped" for case in found.values()))
    left += max(0, bad - sum(case.outcome in ("failed", "error") for case in found.values()))
    return Told(tuple(found.values()), max(0, ran - len(whole) - left))


def _failed(lines: list[str]) -> Iterator[Case]:
    """Each block between `=====` and the next rule: heading, its description, `-----`, the traceback."""
    at = 0
    while at < len(lines):
        head = _HEAD.match(lines[at]) if at and lines[at - 1] == _RULE else None
        at += 1
        if head:
            end = next((i for i in range(at, len(lines)) if _ends(lines, i)), len(lines))
            start = next((i + 1 for i in range(at, end) if lines[i] == _LINED), at)
            yield Case(_name(head[2]), _HEADS[head[1]], 0.0, "\n".join(lines[start:end]).strip()[:DETAIL])
            at = end


def _ends(lines: list[str], at: int) -> bool:
    """Whether a block ends before this line: at the next one's rule, or at the count."""
    line = lines[at]
    return line == _RULE or (line == _LINED and at + 1 < len(lines) and _RAN.match(lines[at + 1]) is not None)


def _verbose(lines: list[str]) -> Iterator[Case]:
    """Those with `-v`: `name ... ok`; of a test with a description, that is a line of its own, and what a test prints is between."""
    name = ""
    for line in lines:
        if line == _RULE:
            name = ""
        elif start := _LINE.match(line):
            name = start[1]
        elif _STARTED.match(line):
            name = line
            continue
        ended = _ENDED.match(line) if name else None
        if ended:
            yield Case(_name(name), _outcome(ended[1]))
            name = ""


def _outcome(word: str) -> Outcome:
    if word.startswith(("skipped", "expected")):
        return "skipped"
    return "passed" if word == "ok" else "error" if word == "ERROR" else "failed"


def _name(told: str) -> str:
    """`test_total (shop.CartTest) (i=2)` → `shop.CartTest.test_total (i=2)`."""
    test = _TEST.match(told)
    if test is None:
        return told
    name, where, more = test.groups()
    name = where if f".{where}".endswith(f".{name}") else f"{where}.{name}"
    return name.removeprefix("unittest.loader._FailedTest.") + more


def _whole(name: str) -> str:
    """Of a sub-test, the test."""
    return name.partition(" ")[0]
