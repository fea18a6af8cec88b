"""A file of tests that can't be loaded on one side: one thing that is broken, or mended, and all of its tests with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.cli import document
from devenv.model.trial import Case, Outcome, Run, Side, Verdict
from devenv.trial import heard, junit
from devenv.trial.gist import gist
from devenv.trial.report.words import named, sentence
from devenv.trial.unloaded import completed, gathered
from devenv.trial.verdict import judge

CART = """
import sys, pytest
from json import {name}
def test_sum(): pass
@pytest.mark.skip
def test_later(): pass
class TestCart:
    def test_count(self): pass
    def test_bad(self): assert 0
"""


def ran(folder: Path, *more: str) -> Run:
    """What pytest itself says of a folder, as trials ask it."""
    report = folder / "report.xml"
    options = f"--junitxml={report} -o junit_family=xunit1 --continue-on-collection-errors -p no:cacheprovider"
    environment = {"PATH": os.environ["PATH"], "PYTEST_ADDOPTS": options, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *more], cwd=folder, env=environment, capture_output=True, check=False
    )
    found = heard.heard([("report.xml", "junit", report.read_bytes())], "")
    return Run(done.returncode, 0.0, 1.0, cases=found.cases)


def told(outcomes: Mapping[str, Outcome]) -> Run:
    return Run(1, 0.0, 1.0, cases=tuple(Case(name, outcome, detail="why") for name, outcome in outcomes.items()))


def judged(baseline: Run, variant: Run) -> Verdict:
    return judge(Side("baseline", runs=(baseline,)), Side("variant", runs=(variant,)), reruns=0)


def kinds(verdict: Verdict) -> dict[str, str]:
    return {one.name: one.kind for one in verdict.differences}


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Run, Run]:
    """As it is, and where what it imports is gone."""
    found = []
    for name in ("dumps", "nothing"):
        folder = tmp_path / name / "tests"
        folder.mkdir(parents=True)
        (folder / "test_cart.py").write_text(CART.format(name=name))
        (folder / "test_other.py").write_text("def test_fine(): pass\n")
        found.append(ran(tmp_path / name))
    return found[0], found[1]


def test_a_file_that_cant_be_imported_any_more_is_one_regression(sides: tuple[Run, Run]) -> None:
    verdict = judged(*sides)
    assert verdict.outcome == "regression"
    assert verdict.reasons[0].startswith(
        "tests/test_cart.py can't be imported any more (ImportError: cannot import name"
    )
    assert verdict.reasons[0].endswith("): its 2 tests fail with it.")
    assert kinds(verdict) == {
        "tests/test_cart.py": "newly failing",
        "tests/test_cart.py::test_sum": "newly failing",
        "tests/test_cart.py::TestCart::test_count": "newly failing",
        "tests/test_cart.py::TestCart::test_bad": "still failing",
    }
    assert sentence(verdict) == "2 newly failing, 1 still failing; 1 passed on both sides, 1 skipped"
    assert [named(one) for one in gathered(verdict.differences)] == [
        "tests/test_cart.py (2 tests)",
        "tests/test_cart.py::TestCart::test_bad",
    ]
    inside = {one["name"]: one["within"] for one in json.loads(json.dumps(document.verdict(verdict)))["tests"]}
    assert inside["tests/test_cart.py"] is None
    assert inside["tests/test_cart.py::test_sum"] == "tests/test_cart.py"


def test_a_file_that_can_be_imported_again_is_fixed(sides: tuple[Run, Run]) -> None:
    verdict = judged(sides[1], sides[0])
    assert verdict.outcome == "no regression"
    assert "tests/test_cart.py can be imported now: its 2 tests are fixed with it." in verdict.reasons
    found = kinds(verdict)
    assert found.pop("tests/test_cart.py::TestCart::test_bad") == "still failing"
    assert set(found.values()) == {"fixed"} and len(found) == 3


def test_a_folder_whose_conftest_cant_be_loaded_holds_its_files(tmp_path: Path) -> None:
    sides = []
    for name, first in (("old", ""), ("new", "import nothing_of_that_name\n")):
        folder = tmp_path / name / "shop"
        folder.mkdir(parents=True)
        (folder / "conftest.py").write_text(first)
        (folder / "test_a.py").write_text("def test_fine(): pass\n")
        (tmp_path / name / "test_b.py").write_text("def test_fine(): pass\n")
        sides.append(ran(tmp_path / name, "."))
    verdict = judged(*sides)
    assert kinds(verdict) == {"shop": "newly failing", "shop/test_a.py::test_fine": "newly failing"}
    assert verdict.reasons[0].startswith("shop can't be loaded any more (ModuleNotFoundError: No module named")


@pytest.mark.parametrize(
    ("holder", "test"),
    [
        ("src/cart.test.ts", "src/cart.test.ts::cart > total"),  # Jest, Vitest
        ("shop/cart", "shop/cart::TestTotal/empty"),  # go test
        ("com.shop.CartTest", "com.shop.CartTest::total"),  # Surefire
        ("tests.test_shop", "tests.test_shop.CartTest.test_total (i=2)"),  # unittest
    ],
)
def test_every_tool_s_own_is_known(holder: str, test: str) -> None:
    assert kinds(judged(told({test: "passed"}), told({holder: "error"}))) == {
        holder: "newly failing",
        test: "newly failing",
    }
    assert kinds(judged(told({holder: "error"}), told({test: "passed"}))) == {holder: "fixed", test: "fixed"}


def test_what_isn_t_in_it_only_begins_alike() -> None:
    others: dict[str, Outcome] = {"shop/cart/api::TestA": "passed", "shop/carts::TestA": "passed"}
    verdict = judged(told(others), told({"shop/cart": "error"}))
    assert kinds(verdict) == {"shop/cart": "only here", **dict.fromkeys(others, "gone")}


def test_a_suite_that_fails_as_a_whole_after_its_tests_holds_none_back() -> None:
    verdict = judged(
        told({"a.test.js::one": "passed", "a.test.js::two": "passed"}),
        told({"a.test.js": "error", "a.test.js::one": "passed"}),
    )
    assert kinds(verdict) == {"a.test.js": "newly failing", "a.test.js::two": "gone"}
    assert verdict.reasons[0] == "1 test fails in every run of the variant and in none of the baseline: a.test.js."


def test_of_two_calls_only_the_one_that_can_t_load_it_is_lost() -> None:
    twice: dict[str, Outcome] = {"a.py::one": "passed", "a.py::one (2)": "passed"}
    verdict = judged(told(twice), told({"a.py::one": "passed", "a.py (2)": "error"}))
    assert kinds(verdict) == {"a.py (2)": "newly failing", "a.py::one (2)": "newly failing"}
    assert set(kinds(judged(told(twice), told({"a.py": "error"}))).values()) == {"newly failing"}


def test_a_file_of_which_two_calls_run_a_part_each_is_one() -> None:
    verdict = judged(
        told({"a.py::slow": "passed", "a.py::fast": "passed"}), told({"a.py": "error", "a.py (2)": "error"})
    )
    assert kinds(verdict) == dict.fromkeys(("a.py", "a.py::slow", "a.py::fast"), "newly failing")


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_names_of_very_many_parts_cost_no_more_than_others(outcome: Outcome) -> None:
    names = [f"{number}.{'.'.join('a' * 498)}" for number in range(200)]
    cases = tuple(Case(name, outcome) for name in names)
    run = {case.name: case for case in cases}
    tracemalloc.start()
    try:
        assert completed([run, run]) == ((run, run), {})
        assert junit.joined([junit.Report(cases)]).cases == cases
        assert len(junit.joined([junit.Report(cases)] * 2).cases) == 400
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_is_known_however_deep_it_is_among_the_parts_that_are_looked_at() -> None:
    holder = ".".join(["shop"] * 20)
    found = kinds(judged(told({f"{holder}.Cart.test_a": "passed"}), told({holder: "error"})))
    assert found == {holder: "newly failing", f"{holder}.Cart.test_a": "newly failing"}


def test_several_are_told_in_one_sentence() -> None:
    tests: dict[str, Outcome] = {f"t/test_{sign}.py::test_{n}": "passed" for sign in "abcdef" for n in range(3)}
    verdict = judged(told(tests), told({f"t/test_{sign}.py": "error" for sign in "abcdef"}))
    assert verdict.reasons[0] == (
        "6 files can't be imported any more: t/test_a.py (why), t/test_b.py (why), t/test_c.py (why) and 3 more: "
        "their 18 tests fail with them."
    )


def test_what_several_calls_and_other_tools_tell_has_its_own_words() -> None:
    again = judged(
        told({"a.py::one": "passed", "a.py::one (2)": "passed"}), told({"a.py::one": "passed", "a.py (2)": "error"})
    )
    assert again.reasons[0] == "a.py (2) can't be imported any more (why): one test fails with it."
    back = judged(told({"a.py": "error"}), told({"a.py::one": "passed"}))
    assert "a.py can be imported now: one test is fixed with it." in back.reasons
    classes = {"shop.cart", "shop.till"}
    verdict = judged(told({f"{one}.Test.test_a": "passed" for one in classes}), told(dict.fromkeys(classes, "error")))
    assert verdict.reasons[0].startswith("2 suites can't be loaded any more: shop.cart (why), shop.till (why): ")
    files = ("a.test.mjs", "b.spec.tsx (2)")
    verdict = judged(told({f"{one}::t": "passed" for one in files}), told(dict.fromkeys(files, "error")))
    assert verdict.reasons[0].startswith("2 files can't be loaded any more: ")


def test_gist_of_what_can_t_be_parsed_or_compiled_is_the_fault() -> None:
    python = "x\nE     File \"t.py\", line 1\nE       def f(: (\nE             ^\nE   SyntaxError: '(' was never closed"
    assert gist(python) == "SyntaxError: '(' was never closed"
    assert gist("[build failed]\n# shop/cart\n./cart.go:3:2: undefined: x\n") == "./cart.go:3:2: undefined: x"
