"""A Trial → Markdown for a pull request: the verdict, what it rests on, the rest folded. Pure.

Names and texts come from tests: none may end a table's row, begin an element, mention anybody or refer to an issue. GitHub
and GitLab look for mentions in what Markdown became, everywhere but in code: so names are code, and in prose an
invisible space follows each sign that could begin one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from devenv.model.trial import Difference, Moved, Side, Trial, Verdict
from devenv.trial.gist import gist
from devenv.trial.unloaded import Gathered, gathered

from .overview import culprit
from .words import (
    ANSWERS,
    ENDINGS,
    OUTCOMES,
    SIGNS,
    STAGES,
    Headline,
    breaks,
    cleaned,
    duration,
    groups,
    headline,
    ordered,
    plural,
    ratio,
    sentence,
    title,
)

MOST = 60_000
"""Characters: GitHub takes 65,536."""

_ROWS = 30
_REASONS = 5
_DETAILED = 10
"""Tests whose failure is shown in full."""
_LINES = 40
"""Lines of one failure, the last ones."""
_WIDE = 200
_PACKAGES = 60
_MARKED = re.compile(r"[\\`*_{}\[\]<>#|~&@$^!]")
_REFERS = re.compile(r"(?<=[@#!~%$&])(?=\w)|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bGH)(?=-\d)")


def markdown(trial: Trial) -> str:
    """The trial in at most MOST characters; what has no room is left out, from the end, and that is said."""
    trial = cleaned(trial)
    kept, size = [], 0
    for part in _parts(trial):
        size += len(part) + 2
        if size > MOST:
            kept.append("*The rest has no room here: `devenv report` shows it.*")
            break
        kept.append(part)
    return "\n\n".join(kept) + "\n"


def _parts(trial: Trial) -> Iterator[str]:
    yield _head(headline(trial))
    yield from _body(trial)
    yield _foot(trial)


def _head(found: Headline) -> str:
    return f"### {found.sign} {_prose(found.word)}" + (found.between + _code(found.title) if found.title else "")


def _body(trial: Trial) -> Iterator[str]:
    pairs = list(zip(trial.variants, trial.verdicts, strict=False))
    if trial.kind == "bisect":
        yield _tried(trial)
    if trial.kind == "matrix":
        yield _grid(pairs)
    alone = trial.kind == "try" and len(pairs) == 1
    told = pairs if trial.kind != "bisect" else [pair for pair in (culprit(trial),) if pair]
    for side, verdict in told:
        if alone:
            yield from _side(side, verdict, trial.id)
        elif verdict.outcome != "no regression" or trial.kind == "bisect":
            yield f"#### {OUTCOMES[verdict.outcome][0]} {_code(title(side))}"
            yield from _side(side, verdict, trial.id)


def _side(side: Side, verdict: Verdict, trial: str) -> Iterator[str]:
    """One variant: what came of it, the tests that differ, the packages, and why tests fail."""
    if told := sentence(verdict):
        yield f"{_prose(told)}."
    if verdict.reasons:
        yield "\n".join(f"- {_prose(one)}" for one in verdict.reasons[:_REASONS])
    if side.failed:
        yield f"{_code(title(side))} {STAGES.get(side.stage, 'has no run')}:"
        yield _fenced(side.failed)
    differences = gathered(ordered(verdict.differences))
    failing = [one for one in differences if breaks(one.test)]
    if failing:
        yield _tests(failing, trial)
    if asked := [one for one in side.moved if one.direct]:
        yield _packages(asked)
    if came := [one for one in side.moved if not one.direct]:
        yield _folded(plural(len(came), "package") + f" that {'came with it' if asked else 'changed'}", _packages(came))
    if others := [one for one in differences if not breaks(one.test)]:
        yield _folded(
            f"{plural(sum(one.inside or 1 for one in others), 'other test')} that differ", _tests(others, trial)
        )
    if verdict.new or verdict.gone:
        yield _folded(_warned(verdict), _notices(verdict))
    if detailed := [one.test for one in failing if one.test.detail]:
        yield _folded("Why they fail", "\n\n".join(_failure(one) for one in detailed[:_DETAILED]))


def _tests(found: Sequence[Gathered], trial: str) -> str:
    rows = []
    for one, inside in found[:_ROWS]:
        times = f"{duration(one.before)} → {duration(one.after)} {ratio(one.before, one.after)}"
        told = times if one.kind in ("slower", "faster") else _code(gist(one.detail))
        name = _code(one.name) + (f" ({plural(inside, 'test')})" if inside else "")
        rows.append((f"{SIGNS[one.kind]} {one.kind}", name, _runs(one.baseline), _runs(one.variant), told))
    return _table(
        ("", "test", "before", "after", ""),
        rows,
        len(found),
        where=f", see <code>devenv report {_inert(trial)} --html FILE</code>",
    )


def _runs(outcomes: Iterable[str]) -> str:
    return " ".join(ENDINGS[one][0] for one in outcomes)


def _packages(moved: Sequence[Moved]) -> str:
    rows = [
        (_prose(group), _code(one.name), _code(one.before), _code(one.after))
        for group, found in groups(moved)
        for one in found
    ]
    return _table(("", "package", "before", "after"), rows, len(rows), most=_PACKAGES)


def _warned(verdict: Verdict) -> str:
    parts = (plural(len(verdict.new), "new warning"), f"{len(verdict.gone)} gone")
    return ", ".join(part for part, found in zip(parts, (verdict.new, verdict.gone), strict=True) if found)


def _notices(verdict: Verdict) -> str:
    signed = [("+", one) for one in verdict.new] + [("−", one) for one in verdict.gone]
    rows = [(sign, _code(one.category), _code(one.text)) for sign, one in signed[:_ROWS]]
    return _table(("", "kind", "text"), rows, len(signed))


def _failure(one: Difference) -> str:
    lines = one.detail.strip("\n").split("\n")
    left = len(lines) - _LINES
    shown = [f"… {plural(left, 'line')} before", *lines[-_LINES:]] if left > 0 else lines
    return f"{_code(one.name)}\n\n{_fenced(chr(10).join(line[: _WIDE * 2] for line in shown))}"


def _grid(pairs: Sequence[tuple[Side, Verdict]]) -> str:
    rows = [
        (f"{OUTCOMES[verdict.outcome][0]} {verdict.outcome}", _code(title(side)), _prose(_brief(side, verdict)))
        for side, verdict in pairs
    ]
    return _table(("verdict", "variant", ""), rows, len(rows), most=_ROWS * 3)


def _brief(side: Side, verdict: Verdict) -> str:
    if side.failed:
        return STAGES.get(side.stage, "has no run")
    return sentence(verdict) or next(iter(verdict.reasons), "")


def _tried(trial: Trial) -> str:
    rows = [
        (f"{number}", _code(what), f"{ANSWERS.get(answer, ('·', ''))[0]} {_prose(answer)}")
        for number, (what, answer) in enumerate(trial.tried, 1)
    ]
    return _table(("", "tried", ""), rows, len(rows), most=_ROWS * 3)


def _foot(trial: Trial) -> str:
    own = f"Trial {_code(trial.id)} of {_code(trial.project)}, {_code(trial.command)}, took {duration(trial.seconds)}."
    lines = [f"<sub>{own}</sub>"]
    if trial.controlled:
        rows = [(_prose(what), _code(value)) for what, value in trial.controlled]
        lines.append(_folded("What was the same on both sides", _table(("what", "value"), rows, len(rows))))
    if trial.again:
        lines.append(_folded("How to repeat it", _fenced(trial.again)))
    return "\n\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], count: int, most: int = _ROWS, where: str = "") -> str:
    """A table of cells that are Markdown; `count` is of how many these rows are the first, `where` tells where all of them are."""
    lines = [header, ["---"] * len(header), *rows[:most]]
    more = f"\n\n… and {count - len(lines) + 2} more{where}" if count > len(lines) - 2 else ""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + more


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _fenced(text: str) -> str:
    """Lines as they are: the fence is longer than any in them."""
    fence = "`" * max(3, *(len(found) + 1 for found in re.findall("`+", text)), 3)
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    """A name: nothing in it means anything."""
    text = " ".join(text.split())
    return f"<code>{_inert(_shortened(text))}</code>" if text else ""


def _prose(text: str) -> str:
    """A sentence of ours with names in it."""
    return "".join(_inert(part) + "&#8203;" for part in _REFERS.split(" ".join(text.split())))[: -len("&#8203;")]


def _inert(text: str) -> str:
    return _MARKED.sub(lambda match: f"&#{ord(match[0])};", text)


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE // 2]}…{text[-_WIDE // 2 :]}"
