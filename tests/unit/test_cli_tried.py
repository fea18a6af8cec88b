"""A trial on a terminal: one line for the verdict, then what matters; and as a JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from devenv.cli import document, tried
from devenv.model.trial import Difference, Trial
from devenv.trial.report import markdown
from tests import trials

KINDS = [trials.django, trials.fine, trials.unbuilt, trials.matrix, trials.bisect, trials.smallest, trials.hostile]


def shown(trial: Trial, capsys: pytest.CaptureFixture[str], **env: str) -> str:
    tried.trial(trial, env)
    return capsys.readouterr().out


@pytest.mark.parametrize("make", KINDS)
def test_tried_lets_no_control_through(make: Callable[[], Trial], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(make(), capsys)
    assert all(sign.isprintable() for sign in text.replace("\n", ""))


def test_tried_has_the_verdict_in_the_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(trials.django(), capsys).splitlines()
    assert lines[0] == "✗ Regression: django 5.2.8 → 6.0"
    assert lines[1].startswith("  3 newly failing, 1 gone, 2 flaky")
    assert "✗ newly failing  tests/test_urls.py" in "\n".join(lines)
    assert "≈ flaky          tests/test_mail.py::test_retry                ✓✗✓     ✗✓✓" in lines
    assert "1.3 s → 2.4 s ×1.86" in "\n".join(lines)
    assert any(line.startswith("python     django") and line.endswith("asked for") for line in lines)
    assert "… and 31 more" in lines


def test_tried_is_short_where_nothing_differs(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(trials.fine()._replace(variants=(trials.fine().variants[0]._replace(moved=()),)), capsys)
    assert text == (
        "✓ No regression: django 5.2.8 → 6.0\n"
        "  37 passed on both sides\n"
        "  · All 37 tests that passed in the baseline pass.\n"
    )  # fmt: skip


def test_tried_is_painted_where_colours_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(trials.django(), capsys, FORCE_COLOR="1").startswith("\x1b[31m✗ Regression\x1b[0m: django")
    assert shown(trials.fine(), capsys, FORCE_COLOR="1").startswith("\x1b[32m✓ No regression\x1b[0m")


def test_tried_says_why_a_variant_has_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(trials.unbuilt(), capsys)
    assert text.startswith("? Not judged: django 5.2.8 → 7.0\n")
    assert "could not be resolved:\n  django 7.0: no such version\n    hint: 6.0 is the newest\n" in text


def test_tried_has_a_matrix_as_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(trials.matrix(), capsys).splitlines()
    assert lines[0] == "✗ Regression in 3 of 6 variants: python × django"
    assert [line.split()[0] for line in lines[2:6]] == ["python", "3.11", "3.12", "3.13"]
    assert lines[3].split("  ")[0] == "3.11" and "baseline" in lines[3] and "? could not be resolved" in lines[3]
    assert lines.count("  django 6.0 needs Python 3.12 or newer") == 1


def test_tried_has_a_bisects_questions_and_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(trials.bisect(), capsys).splitlines()
    assert lines[0] == "✗ First bad version: werkzeug=3.0.0 · 24 versions of werkzeug"
    assert "4  2.3.2  – skip" in lines
    assert "werkzeug 2.0.0 → 3.0.0" in lines


@pytest.mark.parametrize("make", KINDS)
def test_document_of_a_trial_is_json(make: Callable[[], Trial]) -> None:
    one = make()
    found = json.loads(json.dumps(document.trial(one)))
    assert found["id"] == one.id and found["code"] == one.code
    assert len(found["variants"]) == len(one.variants)


def test_document_of_a_trial_has_all_of_it() -> None:
    found = json.loads(json.dumps(document.trial(trials.django())))
    (variant,) = found["variants"]
    assert found["kind"] == "try" and found["again"] == "devenv try django=6.0 -- pytest -q"
    assert variant["changes"] == [{"name": "django", "before": "5.2.8", "after": "6.0", "place": "devenv.yml:6:9"}]
    assert variant["packages"][0] == {
        "group": "python",
        "name": "django",
        "before": "5.2.8",
        "after": "6.0",
        "direct": True,
    }
    assert variant["verdict"]["outcome"] == "regression" and variant["verdict"]["code"] == 1
    first = variant["verdict"]["tests"][0]
    assert (first["kind"], first["variant"]) == ("newly failing", ["failed"] * 3)
    assert variant["verdict"]["tests"][-1]["variant"] == [None] * 3
    assert variant["verdict"]["warnings"]["gone"][0]["category"] == "RemovedInDjango60Warning"
    assert found["baseline"]["runs"][0]["tests"][0]["outcome"] == "passed"
    assert found["baseline"]["runs"][0]["cpu"] == 4.31
    assert document.trial(trials.bisect())["tried"][3] == {"name": "2.3.2", "outcome": "skip"}  # type: ignore[index]


def test_tried_says_where_the_tests_are_that_have_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    one = trials.django()
    failing = tuple(Difference(f"t.py::t{n}", "newly failing", ("passed",), ("failed",)) for n in range(57))
    many = one._replace(verdicts=(one.verdicts[0]._replace(differences=failing),))
    assert f"… and 37 more, see devenv report {one.id} --html FILE" in shown(many, capsys).splitlines()
    assert f"… and 27 more, see <code>devenv report {one.id} --html FILE</code>" in markdown(many).splitlines()
    whole = many._replace(variants=(one.variants[0]._replace(moved=()),))
    assert len(document.trial(whole)["variants"][0]["verdict"]["tests"]) == 57  # type: ignore[index]
