"""Jest's own report (`jest --json --outputFile=…`), as bytes nobody vouches for → its tests. Pure.

Jest writes JUnit XML only with a reporter that has to be installed and configured; this it can by itself. Format:
`FormattedTestResults` of packages/jest-test-result/src/types.ts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from devenv.errors import Fault, InputError
from devenv.model.trial import Outcome

from .junit import CASES, DETAIL, NAME, Report, Told, named, numbered

SIZE = 16 << 20
"""Bytes a report may have: read at once, it takes many times as much memory."""

_HEADING = re.compile(r"^\s*● Test suite failed to run\n")

_OUTCOMES: dict[str, Outcome] = {"passed": "passed", "failed": "failed"}  # pending, todo, skipped, disabled: skipped


def read(data: bytes, file: str, root: str = "") -> Report:
    """What it says, as `junit.read` does. One that ends in the middle says nothing: it is one JSON object.

    Raises InputError, with the place: it is no JSON, or too large.
    """
    if len(data) > SIZE:
        raise InputError(Fault(file, 0, 0, f"it has {len(data) >> 20} MiB; Jest's report may have {SIZE >> 20}"))
    try:
        document = json.loads(data.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        text = error.doc.strip()
        if not text or (text.startswith("{") and (error.pos >= len(text) - 1 or not text.endswith("}"))):
            return Report((), cut=True)
        raise InputError(Fault(file, error.lineno, error.colno, f"it is no JSON: {error.msg}")) from error
    except RecursionError as error:
        raise InputError(Fault(file, 0, 0, "its lists and objects are nested too deeply")) from error
    except ValueError as error:  # a number of more digits than Python reads
        raise InputError(Fault(file, 0, 0, f"it is no report of Jest's: {error}")) from error
    if not isinstance(document, dict) or not isinstance(document.get("testResults"), list):
        raise InputError(Fault(file, 0, 0, "it is no report of Jest's: it has no list `testResults`"))
    told: list[Told] = []
    for suite in document["testResults"]:
        told += _suite(suite if isinstance(suite, dict) else {}, f"{root.rstrip('/')}/" if root else "")
        if len(told) > CASES:
            raise InputError(Fault(file, 0, 0, f"it has more than {CASES} tests"))
    return Report(numbered(told))


def _suite(suite: dict[str, object], root: str) -> Iterator[Told]:
    """The tests of one file; the file itself where it couldn't be run."""
    path = _text(suite.get("name"), NAME).removeprefix(root)
    results = suite.get("assertionResults")
    tests = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    if suite.get("status") == "failed" and not any(one.get("status") == "failed" for one in tests):
        message = _HEADING.sub("", _text(suite.get("message"), DETAIL), count=1)
        yield Told(named(path, "", ""), "error", 0.0, message.strip())
    for one in tests:
        groups = one.get("ancestorTitles")
        titles = [_text(title, NAME) for title in groups] if isinstance(groups, list) else []
        name = named(path, "", " > ".join((*titles, _text(one.get("title"), NAME)))[:NAME])
        messages = one.get("failureMessages")
        detail = "\n\n".join(_text(part, DETAIL) for part in messages) if isinstance(messages, list) else ""
        yield Told(
            name,
            _OUTCOMES.get(_text(one.get("status"), NAME), "skipped"),
            _seconds(one.get("duration")),
            detail[:DETAIL],
        )


def _text(value: object, most: int) -> str:
    """Half of a pair of surrogates, as JSON may have it, is no text."""
    return value[:most].encode(errors="replace").decode() if isinstance(value, str) else ""


def _seconds(milliseconds: object) -> float:
    """Jest tells milliseconds, or null."""
    if isinstance(milliseconds, int | float) and 0 < milliseconds < 1e12:
        return milliseconds / 1000
    return 0.0
