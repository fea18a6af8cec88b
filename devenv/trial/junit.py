"""JUnit XML of any tool, as bytes nobody vouches for → the tests in it. Pure.

There is no standard: Jenkins' schema is the nearest (https://github.com/jenkinsci/xunit-plugin, junit-10.xsd), and each tool
puts its file, its class and its title where it likes. A test's name is made of what distinguishes it and is the same in every
run: `tests/test_shop.py::TestCart::test_total[2]` (pytest), `com.shop.CartTest::total`, `src/cart.test.ts::cart > total`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from devenv.errors import Fault, InputError
from devenv.model.trial import Case, Outcome

from .unloaded import BAD, stems

SIZE = 64 << 20
"""Bytes a report may have."""
DEPTH = 200
"""Elements one within the other."""
CASES = 200_000
NAME = 1_000
"""Characters kept of a name or a part of it."""
DETAIL = 8_000
"""Characters kept of why a test failed."""

_CHUNK = 1 << 20
_ROOTS = {"testsuites", "testsuite"}
_WORSE: tuple[Outcome, ...] = ("passed", "skipped", "failed", "error")
_OUTCOMES: dict[str, Outcome] = {"failure": "failed", "error": "error", "skipped": "skipped"}
_NOT_RUN = {"notrun", "disabled", "skipped", "ignored"}  # GoogleTest's `status`, others' too
_CUT = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
}
_DECLARED = re.compile(rb"""<\?xml[^>]{0,80}encoding=["']([\w.-]+)""")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_FORBIDDEN = bytes(ord("?") if code < 32 and code not in b"\t\n\r" else code for code in range(256))


class Report(NamedTuple):
    """The tests of one report, in its order, no name twice. `cut`: it ends in the middle, so there may have been more."""

    cases: tuple[Case, ...] = ()
    cut: bool = False


class Told(NamedTuple):
    """A testcase as it stands there, before those of one name are told apart."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str


def read(data: bytes, file: str, root: str = "") -> Report:
    """What a report says. `file` is what to call it, `root` the folder beneath which paths are told relatively.

    Raises InputError, with the place: it is no JUnit XML, too large, too deep, or has a document type or entities.
    """
    if len(data) > SIZE:
        raise InputError(Fault(file, 0, 0, f"it has {len(data) >> 20} MiB; a JUnit report may have {SIZE >> 20}"))
    reader = _Reader(file, root)
    return Report(numbered(reader.told), reader.cut) if reader.parse(_clean(data)) else Report()


def joined(reports: Iterable[Report]) -> Report:
    """Several reports of one run as one: what has the same name in two of them is numbered too.

    A file that couldn't be loaded in one of them counts for all of its tests: they are as many in every run.
    """
    known = tuple(reports)
    if len(known) == 1:
        return known[0]
    names = {case.name for report in known for case in report.cases}
    found: dict[str, Case] = {}
    told: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for report in known:
        above = {one for case in report.cases for one in stems(case.name) if one in names}
        for case in report.cases:
            nth = 1 + told[case.name] + sum(lost[one] for one in stems(case.name))
            name = case.name if nth == 1 else f"{case.name} ({nth})"
            while name in found:  # somebody named a test like that
                name += "'"
            found[name] = case._replace(name=name)
        told.update(above | {case.name for case in report.cases})
        lost.update({case.name for case in report.cases if case.outcome in BAD} - above)
    return Report(tuple(found.values()), any(report.cut for report in known))


def numbered(told: Iterable[Told]) -> tuple[Case, ...]:
    """No name twice: the second of a name becomes `name (2)`, in the order in which they stand.

    One that fails and whose tear-down then fails too is told twice by pytest: that is one test, as bad as the worse.
    """
    found: dict[str, Case] = {}
    times: dict[str, int] = {}
    for one in told:
        before = found.get(one.name)
        if before and one.outcome == "error" and before.outcome == "failed":
            found[one.name] = _worse(before, one)
            continue
        times[one.name] = nth = times.get(one.name, 0) + 1
        name = one.name if nth == 1 else f"{one.name} ({nth})"
        while name in found:  # somebody named a test like that
            name += "'"
        found[name] = Case(name, one.outcome, one.seconds, one.detail)
    return tuple(found.values())


def _worse(first: Case, then: Told) -> Case:
    detail = "\n\n".join(part for part in (first.detail, then.detail) if part)
    return Case(first.name, then.outcome, max(first.seconds, then.seconds), detail[:DETAIL])


def _clean(data: bytes) -> bytes:
    """Tools print what tests print: characters that XML forbids, bytes that are no UTF-8. Neither may cost a report."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data  # UTF-16; expat knows it
    declared = _DECLARED.match(data[:200].lstrip(b"\xef\xbb\xbf"))
    if declared is None or declared[1].lower() in (b"utf-8", b"utf8"):
        data = data.decode("utf-8", "replace").encode()
    return data.translate(_FORBIDDEN)


class _Reader:
    """What expat calls. `told`: every complete testcase."""

    def __init__(self, file: str, root: str) -> None:
        self.file = file
        self.root = root.rstrip("/") + "/" if root else ""
        self.told: list[Told] = []
        self.cut = False
        self._depth = 0
        self._suites: list[tuple[str, str]] = []  # (name, file)
        self._case: Mapping[str, str] | None = None
        self._outcome: Outcome = "passed"
        self._detail: list[str] = []
        self._room = 0
        self._listening = False
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype

    def parse(self, data: bytes) -> bool:
        """Whether there was anything at all to read."""
        try:
            for start in range(0, len(data), _CHUNK):
                self._parser.Parse(data[start : start + _CHUNK], False)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            if error.code not in _CUT:
                cause = expat.ErrorString(error.code)
                raise InputError(Fault(self.file, error.lineno, error.offset + 1, f"it is no XML: {cause}")) from error
            self.cut = True
        except (LookupError, ValueError) as error:  # of the encoding that it declares
            raise InputError(Fault(self.file, 1, 1, f"it is no XML: {error}")) from error
        return bool(data.strip()) or self.cut

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if self._depth == 0 and tag not in _ROOTS:
            self._refuse(f"it is no JUnit XML: its root is <{tag[:40]}>, not <testsuites>")
        self._depth += 1
        if self._depth > DEPTH:
            self._refuse(f"more than {DEPTH} elements are one within the other")
        if tag == "testsuite":
            self._suites.append((attributes.get("name", "")[:NAME], attributes.get("file", "")[:NAME]))
        elif tag == "testcase":
            if len(self.told) >= CASES:
                self._refuse(f"it has more than {CASES} tests")
            self._case, self._detail, self._room = attributes, [], DETAIL
            not_run = attributes.get("status", "").lower() in _NOT_RUN
            self._outcome = "skipped" if not_run else "passed"
        elif self._case is not None and tag in _OUTCOMES:
            self._outcome = max(self._outcome, _OUTCOMES[tag], key=_WORSE.index)
            self._listening = True
            self._text(attributes.get("message", "").strip() + "\n")

    def _text(self, text: str) -> None:
        if self._listening and self._room > 0:
            self._detail.append(text[: self._room])
            self._room -= len(text)

    def _end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        self._depth -= 1
        if tag == "testsuite":
            self._suites.pop()
        elif tag in _OUTCOMES:
            self._listening = False
        elif tag == "testcase" and self._case is not None:
            name = self._named(self._case)
            seconds = duration(self._case.get("time", ""))
            self.told.append(Told(name, self._outcome, seconds, _once("".join(self._detail))))
            self._case = None

    def _named(self, case: Mapping[str, str]) -> str:
        suites = [name for name, _ in self._suites if name]
        title = case.get("name", "").removeprefix(self.root)[:NAME]
        group = case.get("classname", "").removeprefix(self.root)[:NAME]
        if group == "test":  # node --test calls each so; its groups are suites
            return named("", "", " > ".join((*suites, title)))
        if "Mocha Tests" in suites:  # like Node's, newer versions tell the file: both sides may not be of one version
            return named("", group, title)
        file = case.get("file") or next((file for _, file in reversed(self._suites) if file), "")
        return named(file.removeprefix(self.root).removeprefix("./")[:NAME], group, title)

    def _doctype(self, name: str, *_: object) -> None:
        self._refuse(f"it declares a document type (<!DOCTYPE {name[:40]}>), and with it entities: it isn't read")

    def _refuse(self, message: str) -> NoReturn:
        place = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        raise InputError(Fault(self.file, *place, message))


def named(file: str, group: str, title: str) -> str:
    """A test's name, of the file, the class or package, and the title that its tool tells; each may be "".

    A class that begins with its file's name in dots (pytest, unittest) loses that; what only repeats is left out.
    """
    dotted = file.rpartition(".")[0].replace("/", ".")
    if title in (file, dotted) and not group:  # pytest: the file itself, which can't be imported, or the folder
        title = ""
    if dotted and (group == dotted or group.startswith(f"{dotted}.")):
        group = group[len(dotted) + 1 :].replace(".", "::")
    if group in (file, title):
        group = ""
    return _ADDRESS.sub("0x…", "::".join(part for part in (file, group, title.strip()) if part)) or "(without a name)"


def duration(text: str) -> float:
    """Seconds: `0.25`, `1,234.5` (Surefire), `0,25` (another language's comma); 0 for what is none."""
    text = text.strip()
    text = text.replace(",", "") if "." in text else text.replace(",", ".")
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _once(detail: str) -> str:
    """Message and text, the message once: most tools begin the text with it."""
    message, _, text = detail.partition("\n")
    return text.strip() if message in text else detail.strip()
