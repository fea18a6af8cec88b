"""What tools printed: the tests that Python's unittest and go test name, and the warnings of anybody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from devenv.errors import InputError
from devenv.model.trial import Case, Notice
from devenv.trial import go_text, notices, unittest_text
from devenv.trial.heard import Heard, heard

CARTS = """
import unittest

class CartTest(unittest.TestCase):
    def test_good(self):
        "Sums."
    def test_prints(self):
        print("hello (world.of.words)")
        print("ok")
    def test_bad(self):
        "Has a description."
        self.assertEqual(1, 2)
    def test_error(self):
        raise RuntimeError("broken")
    @unittest.skip("later")
    def test_later(self):
        pass
    @unittest.expectedFailure
    def test_expected(self):
        self.fail()
    @unittest.expectedFailure
    def test_unexpected(self):
        pass
    def test_parts(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

class UpTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("up")
    def test_never(self):
        pass
"""


def unittest_output(folder: str, *options: str) -> str:
    with open(f"{folder}/carts.py", "w", encoding="utf-8") as file:
        file.write(CARTS)
    command = [sys.executable, "-m", "unittest", *options, "carts", "gone"]
    return subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout


BAD = {
    "carts.CartTest.test_bad": "failed",
    "carts.CartTest.test_error": "error",
    "carts.CartTest.test_unexpected": "failed",
    "carts.CartTest.test_parts (number=1)": "failed",
    "carts.UpTest.setUpClass": "error",
    "gone": "error",
}


def test_unittest_names_what_fails_and_counts_the_rest(tmp_path: os.PathLike[str]) -> None:
    told = unittest_text.read(unittest_output(os.fspath(tmp_path)))
    assert told is not None
    assert {case.name: case.outcome for case in told.cases} == BAD
    assert told.unnamed == 2  # test_good and test_prints
    details = {case.name: case.detail for case in told.cases}
    assert details["carts.CartTest.test_bad"].startswith("Traceback (most recent call last):")
    assert details["carts.CartTest.test_bad"].endswith("AssertionError: 1 != 2")
    assert details["gone"].endswith("No module named 'gone'")


def test_unittest_names_all_when_it_is_asked_to(tmp_path: os.PathLike[str]) -> None:
    told = unittest_text.read(unittest_output(os.fspath(tmp_path), "-v"))
    assert told is not None
    assert told.unnamed == 0
    assert {case.name: case.outcome for case in told.cases if "test_parts" not in case.name} == {
        **{name: outcome for name, outcome in BAD.items() if "test_parts" not in name},
        "carts.CartTest.test_good": "passed",
        "carts.CartTest.test_prints": "passed",
        "carts.CartTest.test_later": "skipped",
        "carts.CartTest.test_expected": "skipped",
    }


def test_unittest_of_another_python_has_the_same_names() -> None:
    old = (
        "F.\n"
        + "=" * 70
        + "\nFAIL: test_sum (shop.CartTest)\n"
        + "-" * 70
        + "\nboom\n\n"
        + "-" * 70
        + "\nRan 2 tests in 0.1s\n"
    )
    new = old.replace("(shop.CartTest)", "(shop.CartTest.test_sum)")
    assert unittest_text.read(old) == unittest_text.read(new) == unittest_text.Told(
        (Case("shop.CartTest.test_sum", "failed", 0.0, "boom"),), unnamed=1
    )  # fmt: skip


def test_unittest_several_runs_are_one_and_none_is_none() -> None:
    run = "..\n" + "-" * 70 + "\nRan 2 tests in 0.001s\n\nOK (skipped=1)\n"
    assert unittest_text.read(run + "\x1b[32m" + run) == unittest_text.Told((), unnamed=2)
    assert unittest_text.read(run.replace("OK (", "FAILED (failures=1, ")) == unittest_text.Told(())
    assert unittest_text.read("all is well\n") is None
    assert unittest_text.read("=" * 70 + "\nFAIL: test_sum (shop.CartTest)\n") is None


GO = """\
=== RUN   TestSum
=== RUN   TestSum/empty
    cart_test.go:12: want 0, got 1
=== RUN   TestSum/full
--- FAIL: TestSum (0.00s)
    --- FAIL: TestSum/empty (0.00s)
    --- PASS: TestSum/full (0.12s)
=== RUN   TestLater
    cart_test.go:20: later
--- SKIP: TestLater (0.00s)
=== RUN   TestPrints
without a line's end--- PASS: TestPrints (0.00s)
FAIL
FAIL\tshop/cart\t0.124s
ok  \tshop/stock\t0.004s
# shop/till
till/till.go:7:2: undefined: total
FAIL\tshop/till [build failed]
?   \tshop/names\t[no test files]
FAIL
"""


def test_go_names_tests_by_their_package() -> None:
    assert go_text.read(GO) == (
        Case("shop/cart::TestSum", "failed"),
        Case("shop/cart::TestSum/empty", "failed", 0.0, "cart_test.go:12: want 0, got 1"),
        Case("shop/cart::TestSum/full", "passed", 0.12),
        Case("shop/cart::TestLater", "skipped"),
        Case("shop/cart::TestPrints", "passed"),
        Case("shop/till", "error", 0.0, "[build failed]\n# shop/till\ntill/till.go:7:2: undefined: total"),
    )
    assert go_text.read("--- FAIL: TestSum (0.00s)\n") is None
    twice = go_text.read("--- FAIL: TestA (0.00s)\nFAIL\tshop\t0.1s\n--- PASS: TestA (0.00s)\nok  \tshop\t0.1s\n") or ()
    assert [(case.name, case.outcome) for case in twice] == [("shop::TestA", "failed"), ("shop::TestA (2)", "passed")]


def test_heard_is_the_report_where_there_is_one_else_what_was_printed() -> None:
    report = b'<testsuite><testcase classname="c" name="t" file="/srv/a.c"/></testsuite>'
    printed = "-" * 70 + "\nRan 2 tests in 0.1s\n\nOK\n"
    assert heard([("r.xml", "junit", report)], printed, "/srv") == Heard((Case("a.c::c::t", "passed"),))
    assert heard([("r.xml", "junit", report[:-9])], "") == Heard((Case("/srv/a.c::c::t", "passed"),), cut=True)
    assert heard([("r.json", "jest", b'{"testResults": []}')], printed) == Heard(())
    assert heard([], printed) == Heard((), unnamed=2)
    assert heard([], printed + GO) == Heard(go_text.read(GO), unnamed=2)
    assert heard([], "done\n") == Heard()
    with pytest.raises(InputError, match=r"r\.xml:1:1: it is no XML"):
        heard([("r.xml", "junit", b"?")], printed)


@pytest.mark.parametrize(
    ("lines", "category", "text"),
    [
        ("/opt/venv/lib/python3.11/site-packages/shop/cart.py:12: DeprecationWarning: sum is old\n  sum()", "DeprecationWarning",
         "sum is old"),
        ("sys:1: ResourceWarning: unclosed file <_io.TextIOWrapper name='/tmp/tmpab12cd34/x' fd=7>", "ResourceWarning",
         "unclosed file <_io.TextIOWrapper name='/tmp/…' fd=7>"),
        ("<string>:1: django.utils.deprecation.RemovedInDjango60Warning: gone soon", "RemovedInDjango60Warning", "gone soon"),
        ("(node:4711) [DEP0040] DeprecationWarning: The `punycode` module is deprecated.", "DeprecationWarning",
         "[DEP0040] The `punycode` module is deprecated."),
        ("(node:4711) ExperimentalWarning: SQLite is new\n(Use `node --trace-warnings ...` to show where)", "ExperimentalWarning",
         "SQLite is new"),
        ("npm WARN deprecated glob@7.2.3: no longer supported", "npm warn deprecated", "glob@7.2.3: no longer supported"),
        ("npm warn deprecated glob@7.2.3: no longer supported", "npm warn deprecated", "glob@7.2.3: no longer supported"),
        ("lib/cart.rb:12: warning: method redefined", "warning", "method redefined"),
        ("src/cart.c:12:3: warning: unused variable 'x' [-Wunused-variable]", "-Wunused-variable", "unused variable 'x'"),
        ("\x1b[33mwarning\x1b[0m: unused import: `a`\n --> src/main.rs:3:5", "warning", "unused import: `a`"),
        ("# shop/cart\n./cart.go:12:2: fmt.Printf format %d has arg s of wrong type string", "go vet",
         "fmt.Printf format %d has arg s of wrong type string"),
        ("PHP Deprecated:  sum() is old in /srv/cart.php on line 12", "Deprecated", "sum() is old"),
    ],
)  # fmt: skip
def test_notices_of_every_tool(lines: str, category: str, text: str) -> None:
    assert notices.read(lines.splitlines()) == (Notice(category, text),)


SUMMARY = """\
=============================== warnings summary ===============================
tests/test_a.py::test_x
tests/test_a.py::test_y
  /opt/venv/lib/python3.11/site-packages/shop/cart.py:12: DeprecationWarning: sum is old
    return sum()

tests/test_b.py: 12 warnings
  /srv/tests/test_b.py:3: PytestUnknownMarkWarning: Unknown pytest.mark.slow - is this a typo?
    @pytest.mark.slow

-- Docs: https://docs.pytest.org/en/stable/how-to/capture-warnings.html
"""


def test_notices_of_pytest_are_its_warnings_not_its_tests() -> None:
    assert notices.read(SUMMARY.splitlines()) == (
        Notice("DeprecationWarning", "sum is old"),
        Notice("PytestUnknownMarkWarning", "Unknown pytest.mark.slow - is this a typo?"),
    )


def test_notices_are_the_same_in_any_order_and_number() -> None:
    lines = SUMMARY.splitlines()
    blocks = (
        "\n".join((*lines[6:], *lines[:6], *lines)).replace(":12: Dep", ":99: Dep").replace("python3.11", "python3.13")
    )
    assert notices.read(blocks.splitlines()) == notices.read(lines)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("object at 0x7f5ffa7220d0 leaked", "object at 0x7f00000000a8 leaked"),
        ("process 4711 (pid=4712) took 1.25s", "process 1 (pid=2) took 13 ms"),
        ("since 2026-11-30T11:26:13.123Z", "since 2026-12-01 09:00:00"),
        ("/opt/venv/lib/python3.11/site-packages/a/b.py:12: bad", "/usr/lib/python3/dist-packages/a/b.py:13: bad"),
        ("see node_modules/a.js:1:2", "see /srv/node_modules/a.js:77:1"),
        ("in /tmp/pytest-of-ann/pytest-3/a, line 7", "in /tmp/b, line 9"),
        ("id 0b5c3a52-12fd-4f6e-8c53-0f4b1f2f0001", "id 7b5c3a52-12fd-4f6e-8c53-0f4b1f2f0002"),
        ("connect to localhost:43211 failed", "connect to localhost:5000 failed"),
    ],
)
def test_notices_leave_out_what_is_another_in_every_run(one: str, other: str) -> None:
    assert notices.steady(one) == notices.steady(other)


@pytest.mark.parametrize(
    "text", ["removed in 3.14", "use sum2 instead of sum", "glob@7.2.3", "1 vulnerability", "2 seats left"]
)
def test_notices_keep_what_says_something(text: str) -> None:
    assert notices.steady(text) == text


def test_notices_are_no_more_than_anybody_reads() -> None:
    many = [f"warning: {'x' * 10_000} {number}" for number in range(2)] + [
        f"warning: number{number}" for number in range(9_999)
    ]
    found = notices.read(many)
    assert len(found) == notices.MOST
    assert max(len(notice.text) for notice in found) == notices.LONG
    assert notices.read(["Warnings are warned of.", "we warn: nothing", "WARNING:root:logged", ""]) == ()
