"""A Trial and what its runs printed → one HTML page that needs nothing else. Pure, but for the templates that it is made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from devenv import render
from devenv.model.trial import Difference, Kind, Moved, Notice, Run, Side, Trial, Verdict
from devenv.trial.gist import gist

from . import charts, overview
from .logs import Log, bounded
from .words import (
    ENDINGS,
    OUTCOMES,
    SIGNS,
    STAGES,
    STYLES,
    cleaned,
    comparable,
    counts,
    duration,
    ending,
    groups,
    headline,
    least,
    moment,
    moved_told,
    ordered,
    ratio,
    style,
    tally,
    title,
)

_LOGS = 6_000_000
_LOG = 256_000
"""Characters of all logs, and of one."""
_DETAIL = 24_000
_NAME = 400
_TESTS = 2_000
_NOTICES = 300
_PACKAGES = 12
"""Packages of a group that aren't folded, besides those asked for."""


class Mark(NamedTuple):
    """A sign, how it looks, and what it stands for, for those who don't see it."""

    sign: str
    style: str
    word: str


class Test(NamedTuple):
    mark: Mark
    name: str
    baseline: tuple[Mark, ...]
    variant: tuple[Mark, ...]
    before: str
    after: str
    change: str
    gist: str
    detail: Log | None


class Count(NamedTuple):
    mark: Mark
    number: int


class Packages(NamedTuple):
    group: str
    shown: tuple[Moved, ...]
    folded: tuple[Moved, ...]


class Ran(NamedTuple):
    """One run. `side`: `baseline`, or the variant; `log` None where its output isn't there."""

    side: str
    number: int
    mark: Mark
    wall: str
    cpu: str
    tally: str
    alone: bool
    log: Log | None


class Told(NamedTuple):
    """All that is told of one variant."""

    anchor: str
    title: str
    mark: Mark
    reasons: tuple[str, ...]
    counts: tuple[Count, ...]
    failed: str
    stage: str
    image: str
    moved: str
    packages: tuple[Packages, ...]
    tests: tuple[Test, ...]
    tests_left: int
    timed: bool
    """Whether there is anything to tell of how long these tests take."""
    same: tuple[tuple[str, str, str], ...]
    same_left: int
    new: tuple[Notice, ...]
    gone: tuple[Notice, ...]
    chart: charts.Chart | None
    alone: bool
    """Whether the chart's times are of runs that nothing else of the trial ran beside."""
    runs: tuple[Ran, ...]
    judged: bool


def page(trial: Trial, logs: Mapping[str, str], templates: str) -> str:
    """The page. `logs`: the text of each `Run.log` that there is, by that name; bytes that were no UTF-8 may be surrogates."""
    trial = cleaned(trial)
    share = min(_LOG, _LOGS // max(1, len(logs)))
    kept = {name: bounded(text, share) for name, text in logs.items()}
    return render.page(templates, "report.html.j2", values(trial, kept))


def values(trial: Trial, logs: Mapping[str, Log]) -> dict[str, object]:
    """What the template is given: texts, signs, percents. It decides nothing."""
    single = trial.kind == "try"
    pairs = enumerate(zip(trial.variants, trial.verdicts, strict=False), 1)
    return {
        "trial": trial,
        "headline": headline(trial),
        "when": moment(trial.started),
        "took": duration(trial.seconds),
        "single": single,
        "variants": [_told(trial.baseline, side, verdict, f"v{n}", logs) for n, (side, verdict) in pairs],
        "baseline": _runs(trial.baseline, "baseline", logs),
        "baseline_failed": trial.baseline.failed,
        "baseline_stage": STAGES.get(trial.baseline.stage, "has no run"),
        "baseline_image": trial.baseline.image,
        "grid": overview.grid(trial) if trial.kind == "matrix" else None,
        "line": overview.line(trial) if trial.kind == "bisect" else (),
        "steps": overview.steps(trial) if trial.kind == "bisect" else (),
        "commands": charts.commands(trial),
    }


def _told(baseline: Side, side: Side, verdict: Verdict, anchor: str, logs: Mapping[str, Log]) -> Told:
    differences = ordered(verdict.differences)
    same = _same(baseline, side, {one.name for one in differences})
    return Told(
        anchor=anchor,
        title=title(side),
        mark=Mark(*OUTCOMES[verdict.outcome], verdict.outcome),
        reasons=verdict.reasons,
        counts=_counts(verdict),
        failed=side.failed,
        stage=STAGES.get(side.stage, "has no run"),
        image=side.image,
        moved=moved_told(side.moved) if side.moved else "",
        packages=_packages(side.moved),
        tests=tuple(map(_test, differences[:_TESTS])),
        tests_left=max(0, len(differences) - _TESTS),
        timed=any(one.before is not None or one.after is not None for one in differences),
        same=tuple(same[:_TESTS]),
        same_left=max(0, len(same) - _TESTS),
        new=verdict.new[:_NOTICES],
        gone=verdict.gone[:_NOTICES],
        chart=charts.tests(baseline, side, verdict.differences),
        alone=all(run.alone for one in (baseline, side) for run in comparable(one)),
        runs=_runs(side, "variant", logs),
        judged=bool(differences or same),
    )


def _counts(verdict: Verdict) -> tuple[Count, ...]:
    found = [Count(_kind(kind), count) for kind, count in counts(verdict)]
    if verdict.passed:
        found.append(Count(Mark("✓", "dim", "passed on both sides"), verdict.passed))
    if verdict.skipped:
        found.append(Count(Mark("–", "dim", "skipped"), verdict.skipped))
    return tuple(found)


def _kind(kind: Kind) -> Mark:
    return Mark(SIGNS[kind], STYLES[kind], kind)


def _test(one: Difference) -> Test:
    return Test(
        mark=Mark(SIGNS[one.kind], style(one), one.kind),
        name=_short(one.name),
        baseline=_outcomes(one.baseline),
        variant=_outcomes(one.variant),
        before=duration(one.before),
        after=duration(one.after),
        change=ratio(one.before, one.after) if one.kind in ("slower", "faster") else "",
        gist=gist(one.detail),
        detail=bounded(one.detail, _DETAIL) if one.detail.strip() else None,
    )


def _outcomes(found: Iterable[str]) -> tuple[Mark, ...]:
    return tuple(Mark(*ENDINGS[one], one or "did not run") for one in found)


def _same(baseline: Side, side: Side, differing: set[str]) -> list[tuple[str, str, str]]:
    """The tests that passed on both sides and that there is nothing to say of: name, seconds before and after."""
    old, new = (least(comparable(one), lambda case: case.outcome == "passed") for one in (baseline, side))
    names = sorted(name for name in old if name in new and name not in differing)
    return [(_short(name), duration(old[name]), duration(new[name])) for name in names]


def _packages(moved: Sequence[Moved]) -> tuple[Packages, ...]:
    found = []
    for group, packages in groups(moved):
        shown = max(_PACKAGES, sum(one.direct for one in packages))
        shown = len(packages) if len(packages) <= shown + 3 else shown
        found.append(Packages(group, tuple(packages[:shown]), tuple(packages[shown:])))
    return tuple(found)


def _runs(side: Side, name: str, logs: Mapping[str, Log]) -> tuple[Ran, ...]:
    return tuple(_ran(run, name, number, logs) for number, run in enumerate(side.runs, 1))


def _ran(run: Run, name: str, number: int, logs: Mapping[str, Log]) -> Ran:
    sign, style = ENDINGS["passed" if run.code == 0 else "failed" if run.code else "skipped"]
    return Ran(
        side=name,
        number=number,
        mark=Mark(sign, style, ending(run)),
        wall=duration(run.seconds),
        cpu=duration(run.cpu),
        tally=tally(run),
        alone=run.alone,
        log=logs.get(run.log),
    )


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[-_NAME // 2 :]}"
