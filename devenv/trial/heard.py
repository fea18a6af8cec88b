"""The reports that a run wrote, and what it printed → its tests. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from devenv.model.trial import Case

from . import go_text, jest, junit, unittest_text
from .recognise import Form


class Heard(NamedTuple):
    """`cases` None: nothing was said of single tests. `unnamed`: how many more passed. `cut`: a report ends in the middle, or wasn't read."""

    cases: tuple[Case, ...] | None = None
    unnamed: int = 0
    cut: bool = False


def heard(reports: Iterable[tuple[str, Form, bytes]], output: str, root: str = "") -> Heard:
    """The tests of a run. `reports`: (path, form, content); `root`: the folder beneath which paths are told relatively.

    What it printed counts only where nobody wrote a report: runners that write one print the same tests too.
    Raises InputError for a report that can't be read, naming it.
    """
    read = {"junit": junit.read, "jest": jest.read}
    found = [read[form](data, path, root) for path, form, data in reports]
    if found:
        report = junit.joined(found)
        return Heard(report.cases, cut=report.cut)
    told = unittest_text.read(output)
    tests = go_text.read(output)
    if told is None:
        return Heard(tests)
    return Heard((*told.cases, *(tests or ())), told.unnamed)
