"""What was done and why → Records, kept for `explain`; and where what changed is written. Reads no files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from devenv.changes import is_file, items
from devenv.cli.project import observe
from devenv.desired import owner
from devenv.errors import DevenvError
from devenv.model.events import Event, Sink
from devenv.model.image import PROJECT, Image
from devenv.model.manifest import FROM_LOCK, Manifest
from devenv.model.plan import Action, Change, Desired, Ending, Plan, Record, Report, Result, StepPlan
from devenv.plan import plan

if TYPE_CHECKING:
    from devenv.cli.session import Machine
    from devenv.engine import Engine

Taken = dict[str, tuple[Ending, float]]
"""By name in events: how each thing ended, and the seconds that took."""

_ENDINGS: dict[str, Ending] = {"done": "", "failed": "failed", "stopped": "stopped"}

_FILE = "devenv.yml"


def timed(sink: Sink, taken: Taken) -> Sink:
    """The same sink, which also notes how long each thing took, by its name in events."""

    def heard(event: Event) -> None:
        if event.kind in _ENDINGS:
            taken[event.object] = (_ENDINGS[event.kind], event.seconds)
        sink(event)

    return heard


def keep(engine: Engine, report: Report, taken: Mapping[str, tuple[Ending, float]]) -> None:
    """Write down what was done to image and containers. What was kept stays known by what was done to it before."""
    from devenv.build.caption import called, caption

    now = time.time()
    found = []
    for result in report.results:
        action = result.action
        found_there = action.verb == "keep" and action.image and not action.container and action.changes
        unready = action.verb == "wait" and result.error
        done = action.verb in ("build", "create", "replace", "start")
        if result.skipped or not (done or unready or found_there):
            continue
        own = owner(action.image)
        titles = ((step, called(own, f"{step.position} {caption(step.text, 200)}")) for step in action.steps)
        steps = tuple(_outcome(step, taken.get(title), bool(result.error)) for step, title in titles)
        name = f"start {action.object}" if action.verb in ("start", "wait") else action.object
        seconds = round(result.seconds, 3)
        found.append(
            Record(
                name, action.verb, action.reason, now, seconds, action.changes, steps, result.error.partition("\n")[0]
            )
        )
    if found:
        engine.record(report.environment.id, found)


def _outcome(step: StepPlan, taken: tuple[Ending, float] | None, failed: bool) -> StepPlan:
    """The step as it went; what a build that failed didn't come to was skipped."""
    if taken is None:
        return step._replace(outcome="skipped") if failed and not step.cached else step
    return step._replace(seconds=round(taken[1], 3), outcome=taken[0])


def build(
    machine: Machine,
    wanted: Desired,
    manifest: Manifest,
    images: Collection[str],
    builder: Callable[[Sink], Callable[[str], Image]],
    sink: Sink,
    *,
    anew: bool = False,
) -> dict[str, Image]:
    """Make these of the images that are wanted, touching no container, and write down why they were made.

    When one fails the others are made all the same; then its error is raised, of several the first.
    """
    decided = placed(plan(wanted, observe(machine, wanted), rebuild=anew), manifest, wanted)
    actions = {one.image: one for one in decided.actions if one.verb in ("build", "keep") and not one.container}
    taken: Taken = {}
    make = builder(timed(sink, taken))
    made: dict[str, Image] = {}
    failures: list[DevenvError] = []
    for own in (one for one in wanted.images if one.name in images):
        begun, told = time.monotonic(), ""
        try:
            made[own.name] = make(own.name)
        except DevenvError as failure:
            failures.append(failure)
            told = str(failure)
        result = Result(actions[own.name], time.monotonic() - begun, told)
        keep(machine.engine, Report(wanted.environment, (result,)), taken)
        if not told:
            machine.engine.remember(wanted.environment.id, own.built, own.files, own.name)
    if failures:
        raise failures[0]
    return made


def placed(decided: Plan, manifest: Manifest, wanted: Desired) -> Plan:
    """The same plan, each change with the place where it is written."""
    steps = (keyed for image in wanted.images for _, keyed in image.steps)
    lines = {keyed.key: (keyed.step.line, bool(keyed.step.origins)) for keyed in steps}
    images = {service.name: service.image for service in manifest.services if service.image is not None}

    def stepped(step: StepPlan, made_by: Manifest) -> StepPlan:
        line, is_rendered = lines.get(step.key, (0, True))
        own = "" if is_rendered or made_by.base.kind != "file" else f"{made_by.base.value}:{line}"
        return step._replace(changes=_placed(step.changes, made_by, own))

    def acted(action: Action) -> Action:
        if action.image and not action.container and action.spec is None:
            made_by = manifest if action.image == PROJECT else images.get(action.image, manifest)
            changes = _placed(action.changes, made_by)
            return action._replace(steps=tuple(stepped(step, made_by) for step in action.steps), changes=changes)
        return action._replace(changes=_placed(action.changes, manifest, service=action.service))

    return decided._replace(actions=tuple(map(acted, decided.actions)))


def _placed(changes: tuple[Change, ...], manifest: Manifest, own: str = "", service: str = "") -> tuple[Change, ...]:
    return tuple(change._replace(place=_place(change, manifest, own, service)) for change in changes)


def _place(change: Change, manifest: Manifest, own: str, service: str) -> str:
    """`devenv.yml:3:12`, of the first item that is new in a list; `own`: the line of a Containerfile's own step.

    What isn't said of a service may be said of the project: one that runs its image has its variables.
    """
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
    keys = [f"services.{service}.{key}" for key in (exact, name) if service] + [exact, name]
    at = next((manifest.places[key] for key in keys if key in manifest.places), None)
    return f"{_FILE}:{at[0]}:{at[1]}" if at else ""
