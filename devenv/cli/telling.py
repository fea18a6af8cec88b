"""What was done and why → Records, kept for `explain`; and where what changed is written. Reads no files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from devenv.changes import is_file, items
from devenv.errors import DevenvError
from devenv.model.events import Event, Sink
from devenv.model.image import Image
from devenv.model.manifest import FROM_LOCK, Manifest
from devenv.model.plan import Action, Change, Desired, Plan, Record, Report, Result, StepPlan
from devenv.plan import plan

if TYPE_CHECKING:
    from devenv.cli.session import Machine
    from devenv.engine import Engine

Taken = dict[str, tuple[bool, float]]
"""By name in events: whether it came to its end, and the seconds that took."""

_FILE = "devenv.yml"


def timed(sink: Sink, taken: Taken) -> Sink:
    """The same sink, which also notes how long each thing took, by its name in events."""

    def heard(event: Event) -> None:
        if event.kind in ("done", "failed"):
            taken[event.object] = (event.kind == "done", event.seconds)
        sink(event)

    return heard


def keep(engine: Engine, report: Report, taken: Taken) -> None:
    """Write down what was done to image and containers. What was kept stays known by what was done to it before."""
    from devenv.build.caption import caption

    now = time.time()
    found = []
    for result in report.results:
        action = result.action
        found_there = action.verb == "keep" and action.object == "image" and action.changes
        if result.skipped or (action.verb not in ("build", "create", "replace", "start") and not found_there):
            continue
        titles = ((step, f"{step.position} {caption(step.text, 200)}") for step in action.steps)
        steps = tuple(_outcome(step, taken.get(title), bool(result.error)) for step, title in titles)
        name = f"start {action.object}" if action.verb == "start" else action.object
        seconds = round(result.seconds, 3)
        found.append(
            Record(
                name, action.verb, action.reason, now, seconds, action.changes, steps, result.error.partition("\n")[0]
            )
        )
    if found:
        engine.record(report.environment.id, found)


def _outcome(step: StepPlan, taken: tuple[bool, float] | None, failed: bool) -> StepPlan:
    """The step as it went; what a build that failed didn't come to was skipped."""
    if taken is None:
        return step._replace(outcome="skipped") if failed and not step.cached else step
    return step._replace(seconds=round(taken[1], 3), outcome="" if taken[0] else "failed")


def build(
    machine: Machine,
    wanted: Desired,
    manifest: Manifest,
    make: Callable[[Sink], Image],
    sink: Sink,
    *,
    anew: bool = False,
) -> Image:
    """Make the project's image, touching no container, and write down why it was made."""
    state = machine.engine.observe(wanted.environment, wanted.image_key, [keyed.key for _, keyed in wanted.steps])
    action = placed(plan(wanted, state, rebuild=anew), manifest, wanted).actions[0]
    taken: Taken = {}
    begun = time.monotonic()

    def told(error: str = "") -> None:
        result = Result(action, time.monotonic() - begun, error)
        keep(machine.engine, Report(wanted.environment, (result,)), taken)

    try:
        image = make(timed(sink, taken))
    except DevenvError as failure:
        told(str(failure))
        raise
    told()
    machine.engine.remember(wanted.environment.id, wanted.built, wanted.files)
    return image


def placed(decided: Plan, manifest: Manifest, wanted: Desired) -> Plan:
    """The same plan, each change with the place where it is written."""
    lines = {keyed.key: (keyed.step.line, bool(keyed.step.origins)) for _, keyed in wanted.steps}

    def stepped(step: StepPlan) -> StepPlan:
        line, is_rendered = lines.get(step.key, (0, True))
        own = "" if is_rendered or manifest.base.kind != "file" else f"{manifest.base.value}:{line}"
        return step._replace(changes=_placed(step.changes, manifest, own))

    def acted(action: Action) -> Action:
        steps = tuple(map(stepped, action.steps))
        return action._replace(steps=steps, changes=_placed(action.changes, manifest))

    return decided._replace(actions=tuple(map(acted, decided.actions)))


def _placed(changes: tuple[Change, ...], manifest: Manifest, own: str = "") -> tuple[Change, ...]:
    return tuple(change._replace(place=_place(change, manifest, own)) for change in changes)


def _place(change: Change, manifest: Manifest, own: str) -> str:
    """`devenv.yml:3:12`, of the first item that is new in a list; `own`: the line of a Containerfile's own step."""
    if change.name == FROM_LOCK:
        return FROM_LOCK
    if is_file(change):
        return ""  # it says itself where it is
    if own and change.name not in ("from", *(name for name in manifest.places if not name.startswith("env."))):
        return own
    name = change.name.partition(" ")[0]
    before, after = (items(change.name, value) or [] for value in (change.before, change.after))
    fresh = next((item for item in after if item not in before), "")
    listed = {
        "apt": manifest.apt,
        "python.packages": manifest.python.packages if manifest.python else (),
        "python.requirements": manifest.python.requirements if manifest.python else (),
        "node.packages": manifest.node.packages if manifest.node else (),
    }.get(name, ())
    exact = f"{name}[{listed.index(fresh)}]" if fresh in listed else name
    at = manifest.places.get(exact) or manifest.places.get(name)
    return f"{_FILE}:{at[0]}:{at[1]}" if at else ""
