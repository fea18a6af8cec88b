"""(Plan, Engine) → Report: the only loop that acts. A failure becomes a Result, and what needs it is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from devenv.engine import Engine, Observer
from devenv.model.events import Event, Sink
from devenv.model.image import Image
from devenv.model.plan import Plan, Report, Result

from .acts import Acts, failure, refused, title

if TYPE_CHECKING:
    from .together import Hands


def provision(
    plan: Plan,
    engine: Engine,
    build: Callable[[str], Image],
    sink: Sink,
    clock: Callable[[], float],
    hands: Hands | None = None,
) -> Report:
    """Do the plan's actions, each after those it needs. `build` makes an image when the plan asks for it, by its name.

    `clock` gives seconds; `hands` do what can be done at the same time, threads if nobody says otherwise. Anything but a
    DevenvError is a bug or an interruption and passes through, with nothing left under way.
    """
    engine.mend()
    acts = Acts(plan, engine, build, sink)
    if (report := refusal(plan, engine)) is not None:
        return report
    if in_turn(plan):
        results = _in_turn(plan, acts, sink, clock)
    else:
        from .together import Together  # one container needs no threads, and `up` shouldn't wait for them

        results = Together(plan, acts, sink, clock, hands).results()
    return Report(plan.environment, results)


def refusal(plan: Plan, engine: Observer) -> Report | None:
    """The report of a plan that can't be carried out as things are, with nothing done; None when it can."""
    why = refused(plan, engine)
    if not why:
        return None
    return Report(plan.environment, tuple(_refused(number, plan, why) for number in range(len(plan.actions))))


def in_turn(plan: Plan) -> bool:
    """Whether nothing in it can be done at the same time, and no service is to be told of."""
    before: int | None = None
    for number, action in enumerate(plan.actions):
        if action.verb == "keep":
            continue
        beside = before is not None and action.after is not None and before not in action.after
        if beside or action.service:
            return False
        before = number
    return True


def _refused(number: int, plan: Plan, why: dict[int, tuple[str, int]]) -> Result:
    action = plan.actions[number]
    if number in why:
        return Result(action, 0.0, *why[number])
    return Result(action, 0.0, skipped=action.verb != "keep")


def _in_turn(plan: Plan, acts: Acts, sink: Sink, clock: Callable[[], float]) -> tuple[Result, ...]:
    results: list[Result] = []
    failed = False
    for number, action in enumerate(plan.actions):
        if failed:
            results.append(Result(action, 0.0, skipped=True))
            continue
        quiet = action.verb in ("keep", "build")  # the builder tells of its own steps
        if not quiet:
            sink(Event("started", title(action), action.reason))
        begun = clock()
        error, code = failure(acts.act, number, action)
        seconds = clock() - begun
        failed = bool(error)
        results.append(Result(action, seconds, error, code))
        if not quiet:
            sink(Event("failed" if failed else "done", title(action), error, seconds))
    return tuple(results)
