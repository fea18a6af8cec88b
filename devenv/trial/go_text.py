"""What `go test -v` printed → its tests, each `package::Test/sub`. Pure.

Format: `go doc test2json` and testing.go: `--- PASS: TestTotal (0.00s)`, indented for sub-tests, and a line for each package
after its tests: `ok  \\tshop/cart\\t0.004s`, `FAIL\\tshop/cart\\t0.004s`, `FAIL\\tshop/cart [build failed]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devenv.model.trial import Case, Outcome

from .junit import Told, numbered

DETAIL = 8_000
"""Characters kept of why a test failed."""

_TEST = re.compile(r"^.{0,2000}?--- (PASS|FAIL|SKIP): (\S{1,1000}) \((\d{1,9}\.\d{1,4})s\)$")
_RUNNING = re.compile(r"^=== (?:RUN|CONT|NAME|PAUSE)\s+(\S{0,1000})$")
_PACKAGE = re.compile(r"^(ok  |FAIL|---|\?   )\t(\S{1,500})(?:\t| )(.{0,200})$")
_OUTCOMES: dict[str, Outcome] = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}


def read(text: str) -> tuple[Case, ...] | None:
    """The tests; None when no package said how it ended.

    A package that fails without a test that does (it can't be built, it panics, its TestMain ends) is a case of its own.
    """
    found: list[Case] = []
    tests: list[Case] = []
    told: dict[str, list[str]] = {}
    running = ""
    packages = 0
    for line in text.splitlines():
        if package := _PACKAGE.match(line):
            packages += 1
            found += _package(package, tests, told)
            tests, told, running = [], {}, ""
        elif test := _TEST.match(line):
            running = test[2]
            tests.append(Case(test[2], _OUTCOMES[test[1]], float(test[3])))
        elif start := _RUNNING.match(line):
            running = start[1]
        else:
            told.setdefault(running, []).append(line.strip())
    return numbered(Told(*case) for case in found) if packages else None


def _package(package: re.Match[str], tests: Sequence[Case], told: dict[str, list[str]]) -> list[Case]:
    name = package[2]
    cases = [
        case._replace(name=f"{name}::{case.name}", detail=_detail(told.get(case.name, ())) if _fails(case) else "")
        for case in tests
    ]
    if package[1] == "FAIL" and not any(_fails(case) for case in tests):
        why = [package[3].strip(), *(line for lines in told.values() for line in lines)]
        cases.append(Case(name, "error", 0.0, _detail(why)))
    return cases


def _fails(case: Case) -> bool:
    return case.outcome == "failed"


def _detail(lines: Sequence[str]) -> str:
    return "\n".join(lines).strip()[-DETAIL:]
