"""Reports as the tools write them, and as nobody should: which tests they tell of, by which names."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from devenv.errors import InputError
from devenv.model.trial import Case
from devenv.trial import jest, junit

SHOP = """
import unittest
import pytest

def test_total(): pass

@pytest.mark.parametrize("n", [1, 2, "a::b"])
def test_count(n): assert n != 2

class TestCart:
    class TestEmpty:
        def test_sum(self):
            print("a <", "b \\x1b[31m")
            assert 0, "no \\x01 \\u2603 ]]>"

@pytest.fixture
def up(): raise RuntimeError("up")

@pytest.fixture
def down():
    yield
    raise RuntimeError("down")

def test_up(up): pass
def test_down(down): pass
def test_both(down): assert 0

@pytest.mark.skip(reason="later")
def test_later(): pass

@pytest.mark.xfail
def test_expected(): assert 0

class Old(unittest.TestCase):
    def test_old(self): pass
"""


def report(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites>{body}</testsuites>'.encode()


def names(data: bytes, root: str = "") -> list[str]:
    return [case.name for case in junit.read(data, "report.xml", root).cases]


def pytest_report(folder: str, family: str) -> bytes:
    """What pytest itself writes of the tests above, and of a file that can't be imported."""
    os.mkdir(f"{folder}/tests")
    for name, text in (("tests/test_shop.py", SHOP), ("tests/test_gone.py", "import nothing_of_that_name\n")):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    options = f"--junitxml=report.xml -o junit_family={family} --continue-on-collection-errors -p no:cacheprovider"
    environment = {"PATH": os.environ["PATH"], "PYTEST_ADDOPTS": options, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q"]
    assert subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode == 1
    with open(f"{folder}/report.xml", "rb") as file:
        return file.read()


def test_junit_of_pytest_has_its_own_names(tmp_path: os.PathLike[str]) -> None:
    cases = junit.read(pytest_report(os.fspath(tmp_path), "xunit1"), "report.xml").cases
    assert {case.name: case.outcome for case in cases} == {
        "tests/test_gone.py": "error",
        "tests/test_shop.py::test_total": "passed",
        "tests/test_shop.py::test_count[1]": "passed",
        "tests/test_shop.py::test_count[2]": "failed",
        "tests/test_shop.py::test_count[a::b]": "passed",
        "tests/test_shop.py::TestCart::TestEmpty::test_sum": "failed",
        "tests/test_shop.py::test_up": "error",
        "tests/test_shop.py::test_down": "error",
        "tests/test_shop.py::test_both": "error",  # which pytest tells twice
        "tests/test_shop.py::test_later": "skipped",
        "tests/test_shop.py::test_expected": "skipped",
        "tests/test_shop.py::Old::test_old": "passed",
    }
    details = {case.name.rpartition("::")[2]: case.detail for case in cases}
    assert "assert 0" in details["test_both"] and "RuntimeError: down" in details["test_both"]
    assert "☃ ]]>" in details["test_sum"]
    assert "a < b" not in "".join(details.values())  # what it printed
    assert "No module named 'nothing_of_that_name'" in details["tests/test_gone.py"]


def test_junit_of_pytest_in_its_other_family_is_told_apart_too(tmp_path: os.PathLike[str]) -> None:
    found = names(pytest_report(os.fspath(tmp_path), "xunit2"))
    assert len(found) == len(set(found)) == 12
    assert "tests.test_shop.TestCart.TestEmpty::test_sum" in found


def test_junit_of_node_has_its_groups_in_front() -> None:
    body = """
	<testcase name="adds" time="0.000994" classname="test"/>
	<testcase name="adds" time="0.000098" classname="test" failure="1 == 2">
		<failure type="testCodeFailure" message="1 == 2">
Error: 1 == 2
    at TestContext.&lt;anonymous> (/srv/shop/a.test.js:3:28)
		</failure>
	</testcase>
	<testcase name="later" time="0.000089" classname="test"><skipped type="todo" message="true"/></testcase>
	<testsuite name="shop" time="0.000719" disabled="0" errors="0" tests="2" failures="1" skipped="0" hostname="vm">
		<testcase name="sells" time="0.000167" classname="test"/>
		<testsuite name="inner"><testcase name="deep &lt;&amp;>" time="0.000117" classname="test"/></testsuite>
	</testsuite>
	<testcase name="adds" time="0.001016" classname="test"/>
	<testcase name="/srv/shop/c.test.js" time="0.070201" classname="test" failure="test failed"><failure message="x"/></testcase>
	<!-- tests 9 -->"""
    cases = junit.read(report(body), "node.xml", root="/srv/shop").cases
    assert [(case.name, case.outcome) for case in cases] == [
        ("adds", "passed"),
        ("adds (2)", "failed"),
        ("later", "skipped"),
        ("shop > sells", "passed"),
        ("shop > inner > deep <&>", "passed"),
        ("adds (3)", "passed"),
        ("c.test.js", "failed"),
    ]
    assert cases[1].detail == "Error: 1 == 2\n    at TestContext.<anonymous> (/srv/shop/a.test.js:3:28)"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        # pytest, a test that is called like its file, and a file that can't be imported
        ('<testsuite name="pytest"><testcase classname="test_a" name="test_a" file="test_a.py"/></testsuite>', "test_a.py::test_a"),
        ('<testsuite name="pytest"><testcase classname="" name="test_a" file="test_a.py"/></testsuite>', "test_a.py"),
        # Vitest
        ('<testsuite name="src/cart.test.ts"><testcase classname="src/cart.test.ts" name="cart &gt; sums"/></testsuite>',
         "src/cart.test.ts::cart > sums"),
        # jest-junit
        ('<testsuite name="cart"><testcase classname=" cart sums" name=" cart sums" time="0.001"/></testsuite>', "cart sums"),
        # mocha-junit-reporter
        ('<testsuite name="cart" file="/srv/shop/test/cart.js"><testcase name="cart sums" classname="sums"/></testsuite>',
         "test/cart.js::sums::cart sums"),
        # Mocha's own xunit
        ('<testsuite name="Mocha Tests"><testcase classname="cart empty" name="sums" time="0.001"/></testsuite>',
         "cart empty::sums"),
        # gotestsum, go-junit-report
        ('<testsuite name="shop/cart"><testcase classname="shop/cart" name="TestSum/empty" time="0.000000"/></testsuite>',
         "shop/cart::TestSum/empty"),
        # Surefire
        ('<testsuite name="com.shop.CartTest"><testcase name="sums" classname="com.shop.CartTest" time="0.01"/></testsuite>',
         "com.shop.CartTest::sums"),
        # unittest-xml-reporting, whose suites have the time in their names
        ('<testsuite name="tests.test_cart.CartTest-20261130112313" file="tests/test_cart.py"><testcase '
         'classname="tests.test_cart.CartTest" name="test_sum" file="tests/test_cart.py" line="7"/></testsuite>',
         "tests/test_cart.py::CartTest::test_sum"),
        # PHPUnit, a data provider
        ('<testsuite name="/srv/shop/phpunit.xml"><testsuite name="Unit"><testsuite name="Tests\\CartTest" '
         'file="/srv/shop/tests/CartTest.php"><testsuite name="Tests\\CartTest::testSum"><testcase name="testSum with data set #0" '
         'file="/srv/shop/tests/CartTest.php" class="Tests\\CartTest" classname="Tests.CartTest"/></testsuite></testsuite>'
         "</testsuite></testsuite>", "tests/CartTest.php::Tests.CartTest::testSum with data set #0"),
        # RSpec
        ('<testsuite name="rspec"><testcase classname="spec.cart_spec" name="Cart sums" file="./spec/cart_spec.rb"/></testsuite>',
         "spec/cart_spec.rb::Cart sums"),
        # an address, which is another one in every run
        ('<testsuite name="s"><testcase classname="c" name="test[&lt;f at 0x7f5ffa7220d0&gt;]"/></testsuite>', "c::test[<f at 0x…>]"),
        ('<testsuite name="s"><testcase/></testsuite>', "(without a name)"),
    ],
)  # fmt: skip
def test_junit_names_are_what_tells_tests_apart(body: str, name: str) -> None:
    assert names(report(body), root="/srv/shop/") == [name]


@pytest.mark.parametrize(
    ("suite", "group"),
    [
        ("shop", "test"),
        ("Mocha Tests", "shop"),
    ],  # node --test, Mocha: newer versions tell the file, which older ones didn't
)
def test_junit_names_are_the_same_by_all_versions_of_a_tool(suite: str, group: str) -> None:
    old = f'<testsuite name="{suite}"><testcase classname="{group}" name="sums"/></testsuite>'
    new = old.replace("/>", ' file="/srv/shop/cart.test.js"/>')
    assert names(report(old)) == names(report(new))


def test_junit_outcomes_are_the_worst_that_is_told() -> None:
    body = """<testsuite name="s">
    <testcase name="a"><failure/><error/></testcase><testcase name="b"><error/><failure/></testcase>
    <testcase name="c"><flakyFailure message="once"/><system-out>failed</system-out></testcase>
    <testcase name="d" status="notrun"/><testcase name="e"><skipped/><failure/></testcase>
    <testcase name="f"><properties><property name="error" value="x"/></properties></testcase></testsuite>"""
    outcomes = [case.outcome for case in junit.read(report(body), "r").cases]
    assert outcomes == ["error", "error", "passed", "skipped", "failed", "passed"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.25", 0.25),
        ("1,234.5", 1234.5),
        ("0,25", 0.25),
        ("", 0),
        ("fast", 0),
        ("nan", 0),
        ("inf", 0),
        ("-1", 0),
        ("1e3", 1000),
    ],
)
def test_junit_durations_of_any_kind(text: str, seconds: float) -> None:
    assert junit.duration(text) == seconds


def test_junit_several_reports_are_one() -> None:
    one = junit.read(report('<testsuite><testcase classname="c" name="t" time="1"/></testsuite>'), "1.xml")
    two = junit.read(
        report('<testsuite><testcase classname="c" name="t"><failure/></testcase></testsuite>')[:-20], "2.xml"
    )
    assert junit.joined([one, two]) == junit.Report((Case("c::t", "passed", 1.0), Case("c::t (2)", "failed")), cut=True)
    assert junit.joined([]) == junit.Report()


def test_junit_a_file_that_cant_be_loaded_in_one_report_counts_for_its_tests() -> None:
    def of(*cases: Case) -> junit.Report:
        return junit.Report(cases)

    good, bad = Case("a.py::t", "passed"), Case("a.py::t", "failed")
    torn, gone = Case("a.py::t", "error"), Case("a.py", "error")
    for reports, names in (
        ((good, gone, good), ["a.py::t", "a.py (2)", "a.py::t (3)"]),
        ((gone, gone, good), ["a.py", "a.py (2)", "a.py::t (3)"]),
        ((bad, torn), ["a.py::t", "a.py::t (2)"]),  # no tear-down of the same test
    ):
        assert [case.name for case in junit.joined(map(of, reports)).cases] == names


def test_junit_of_a_run_that_was_killed_has_what_was_complete() -> None:
    whole = report(
        '<testsuite name="s"><testcase name="a"/><testcase name="b"><failure>é</failure></testcase></testsuite>'
    )
    for end in range(len(whole)):
        found = junit.read(whole[:end], "report.xml")
        assert found.cut
        assert [case.name for case in found.cases] == ["a", "b"][
            : whole[:end].count(b"/>") + whole[:end].count(b"</testcase>")
        ]
    assert not junit.read(whole, "report.xml").cut


def test_junit_survives_what_tests_print() -> None:
    data = report('<testsuite><testcase name="a"><failure>\x01\x1b[31m</failure></testcase></testsuite>')
    assert junit.read(data.replace(b"[31m", b"\xff\xfe"), "r").cases == (Case("a", "failed", 0.0, "??��"),)
    latin = b'<?xml version="1.0" encoding="ISO-8859-1"?><testsuite><testcase name="\xe9t\xe9"/></testsuite>'
    assert names(latin) == ["été"]
    assert names('<?xml version="1.0"?><testsuite><testcase name="été"/></testsuite>'.encode("utf-16")) == ["été"]


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LAUGHS, "report.xml:1:37: it declares a document type (<!DOCTYPE lolz>), and with it entities: it isn't read"),
        (b"<html>\n<body/></html>", "report.xml:1:1: it is no JUnit XML: its root is <html>, not <testsuites>"),
        (b"<testsuite>\n  <testcase></testsuite>", "report.xml:2:15: it is no XML: mismatched tag"),
        (
            b'<?xml version="1.0" encoding="x-shop"?><testsuite/>',
            "report.xml:1:1: it is no XML: unknown encoding: x-shop",
        ),
        (
            b'<?xml version="1.0" encoding="shift_jis"?><testsuite/>',
            "report.xml:1:1: it is no XML: multi-byte encodings are not supported",
        ),
        (b"all is well\n", "report.xml:1:1: it is no XML: syntax error"),
        (b"<testsuite>&nbsp;</testsuite>", "report.xml:1:12: it is no XML: undefined entity"),
        (b"<testsuite>" * 300, "report.xml:1:2201: more than 200 elements are one within the other"),
        (b" " * ((64 << 20) + 1), "report.xml: it has 64 MiB; a JUnit report may have 64"),
    ],
)
def test_junit_refuses_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        junit.read(data, "report.xml")
    assert str(error.value) == message


def test_junit_keeps_no_more_than_anybody_reads() -> None:
    name, why = "n" * 100_000, "why " * 100_000
    (case,) = junit.read(
        report(f'<testsuite><testcase name="{name}"><failure>{why}</failure></testcase></testsuite>'), "r"
    ).cases
    assert len(case.name) == junit.NAME
    assert junit.DETAIL - 4 < len(case.detail) <= junit.DETAIL  # less the white space around it
    with pytest.raises(InputError, match="it has more than 200000 tests"):
        junit.read(report("<testsuite>" + "<testcase/>" * 200_001 + "</testsuite>"), "r")


def test_junit_and_jest_of_anything_are_tests_or_a_refusal() -> None:
    chance = random.Random(7)
    pieces = [
        b"<testsuite>",
        b"</testcase>",
        b"<testcase/>",
        b"<failure>",
        b"&#1;",
        b"\xff",
        b"]]>",
        b"<![CDATA[",
        b"null",
        b"[",
        b"{}",
    ]
    whole = report('<testsuite name="s"><testcase name="a"/><testcase name="a"><error>e</error></testcase></testsuite>')
    for data in (whole, JEST) * 300:
        for _ in range(chance.randint(1, 6)):
            start, end = sorted(chance.randint(0, len(data)) for _ in range(2))
            data = data[:start] + chance.choice([*pieces, data[start:end], bytes([chance.randrange(256)])]) + data[end:]
        for read in (junit.read, jest.read):
            try:
                cases = read(data, "report").cases
            except InputError as error:
                assert str(error).startswith("report:")
            else:
                assert len({case.name for case in cases}) == len(cases)


JEST = b"""{"numTotalTests": 4, "success": false, "testResults": [
 {"name": "/srv/shop/cart.test.js", "status": "failed", "message": "", "assertionResults": [
  {"ancestorTitles": ["cart", "empty"], "title": "sums", "fullName": "cart empty sums", "status": "passed", "duration": 12,
   "failureMessages": []},
  {"ancestorTitles": [], "title": "sums", "status": "failed", "duration": null, "failureMessages": ["Error: 1", "Error: 2"]},
  {"ancestorTitles": [], "title": "later", "status": "todo", "duration": null, "failureMessages": []}]},
 {"name": "/srv/shop/gone.test.js", "status": "failed", "message": "  \\u25cf Test suite failed to run\\n\\n    Cannot find module 'x'\\n",
  "assertionResults": []}]}"""


def test_jest_tells_its_tests_with_their_file() -> None:
    assert jest.read(JEST, "jest.json", root="/srv/shop") == junit.Report(
        (
            Case("cart.test.js::cart > empty > sums", "passed", 0.012),
            Case("cart.test.js::sums", "failed", 0.0, "Error: 1\n\nError: 2"),
            Case("cart.test.js::later", "skipped"),
            Case("gone.test.js", "error", 0.0, "Cannot find module 'x'"),
        )
    )


@pytest.mark.parametrize("end", range(0, len(JEST), 7))
def test_jest_of_a_run_that_was_killed_tells_nothing(end: int) -> None:
    assert jest.read(JEST[:end], "jest.json") == junit.Report((), cut=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "jest.json: it is no report of Jest's: it has no list `testResults`"),
        (b'{"testResults": [}]} ', "jest.json:1:18: it is no JSON: Expecting value"),
        (b"[" * 100_000, "jest.json: its lists and objects are nested too deeply"),
        (b" " * ((16 << 20) + 1), "jest.json: it has 16 MiB; Jest's report may have 16"),
    ],
)
def test_jest_refuses_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        jest.read(data, "jest.json")
    assert str(error.value) == message


def test_jest_of_any_shape_is_read_as_far_as_it_goes() -> None:
    odd = b'{"testResults": [1, {"assertionResults": 2}, {"assertionResults": [3, {"title": 4, "status": [], "duration": true}]}]}'
    assert [case.outcome for case in jest.read(odd, "jest.json").cases] == ["skipped"]
