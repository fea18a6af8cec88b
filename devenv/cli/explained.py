"""Records, a plan, a step with all its inputs → lines for people on stdout, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from devenv import changes
from devenv.build.caption import caption
from devenv.cli import document, show
from devenv.console import clean, colours, fold, paint, seconds, size
from devenv.model.build import Configure, Keyed
from devenv.model.container import Container, State
from devenv.model.manifest import FROM_LOCK, FROM_MANIFEST, Pairs
from devenv.model.plan import Change, Desired, Plan, Record, StepPlan

_DONE = {
    "keep": "taken from the store",
    "build": "built",
    "create": "created",
    "replace": "replaced",
    "start": "started",
}
_TEXT = 44  # of what a step is, in characters
_LINES = 12  # of one thing's changes, where it isn't the only thing that is told


class StepView(NamedTuple):
    """A step as it is wanted now: `status` says what `up` would do about it; `size` and `made` are its layer's."""

    place: str
    keyed: Keyed
    parent: str
    status: str
    changes: tuple[Change, ...]
    size: int | None = None
    made: float | None = None

    @property
    def inputs(self) -> Pairs:
        """What its key was made of, as it may be shown."""
        hidden = ("parent", FROM_LOCK)
        return tuple(
            (name.removeprefix(FROM_MANIFEST), _value(name, value))
            for name, value in self.keyed.inputs
            if name not in hidden and (value or name.startswith("env."))
        )

    @property
    def packages(self) -> tuple[str, ...]:
        """What it takes of the lock."""
        return tuple(changes.items(FROM_LOCK, dict(self.keyed.inputs).get(FROM_LOCK, "")) or ())


class One(NamedTuple):
    """What was asked about: steps, or a container."""

    wanted: Desired
    decided: Plan
    steps: tuple[StepView, ...] = ()
    container: str = ""
    state: State | None = None


def steps(
    wanted: Desired, state: State, decided: Plan, stored: Callable[[str], tuple[int, float] | None]
) -> tuple[StepView, ...]:
    """All steps that leave files behind."""
    planned = {step.key: step for action in decided.actions for step in action.steps}
    layered = [one for one in wanted.steps if not isinstance(one[1].step.operation, Configure)]
    places = {keyed.result: keyed.step.place or position for position, keyed in layered}
    bases = {dict(inputs).get("key", ""): dict(inputs).get("from", "") for _, inputs in wanted.built}
    found = []
    for position, keyed in layered:
        step = planned.get(keyed.key, StepPlan("", "", keyed.key in state.cached, "in the store"))
        layer = stored(keyed.key) or (None, None)
        parent = places.get(keyed.parent) or bases.get(keyed.parent) or "nothing"
        place = keyed.step.place or position
        status = step.reason if step.cached else f"to be built: {step.reason}" if planned else "no longer in the store"
        found.append(StepView(place, keyed, parent, status, step.changes, *layer))
    return tuple(found)


def past(records: Mapping[str, Record], containers: Sequence[Container], now: float, env: Mapping[str, str]) -> None:
    """What was last done to the image, step by step, and to each container, and why."""
    colour = colours(sys.stdout, env)
    names = [one.name for one in containers] or [name for name in records if name != "image" and " " not in name]
    width = max(map(len, ("image", *names)))
    if "image" not in records and not containers:
        print("nothing was built or brought up here yet")
        return
    if image := records.get("image"):
        reason = "" if image.verb == "keep" else image.reason
        _head("image", width, image, reason.partition(": ")[0] if image.changes else reason, now, colour)
        shown = {change._replace(place="") for step in image.steps for change in step.changes}
        _changes([change for change in image.changes if change._replace(place="") not in shown], colour, 4)
        _steps(image.steps, colour)
        _error(image, colour)
    for name in names:
        made, started = records.get(name), records.get(f"start {name}")
        if made:
            _head(name, width, made, "" if made.changes else made.reason, now, colour)
            _changes(made.changes, colour, 4)
        else:
            print(f"{paint(name.ljust(width), 'bold', colour)}  nobody wrote down why it was made")
        if started and started.reason != "it is new":
            print(f"{' ' * width}  {_sentence(started, started.reason, now)}")
        for record in filter(None, (made, started)):
            _error(record, colour)


def now(decided: Plan, env: Mapping[str, str]) -> None:
    """What `up` would do, if anything."""
    print()
    if decided.idle and not any(action.changes for action in decided.actions):
        print("now: nothing to do")
    else:
        show.plan(decided, env, diff=True)


def one(told: One, records: Mapping[str, Record], now: float, env: Mapping[str, str]) -> None:
    """All there is to say of some steps, or of a container."""
    colour = colours(sys.stdout, env)
    if told.container:
        _container(told, records, now, colour)
    last = {step.position: (step, records["image"]) for step in records["image"].steps} if "image" in records else {}
    for number, view in enumerate(told.steps):
        if number:
            print()
        print(f"{paint(clean(view.place), 'bold', colour)}  {clean(caption(view.keyed.step.words, 400))}")
        if view.place in last:
            step, record = last[view.place]
            _row("last", _step_sentence(step, record, now))
            _changes(step.changes, colour, 4, whole=True)
        if view.place not in last or view.status != "in the store":
            _row("now", view.status)
            _changes(view.changes, colour, 4, whole=True)
        _row("key", view.keyed.key[:12])
        _row("on", f"{view.parent}  {view.keyed.parent[:12]}")
        if view.keyed.step.online:
            _row("online", "it has network, and nothing locks what it fetches: no promise that it does the same twice")
        if view.size is not None:
            _row("layer", f"{size(view.size)}, made {show.age(now - (view.made or now))} ago")
        if view.packages:
            count = len(view.packages)
            _row("takes", f"{count} package{'s' if count > 1 else ''} of {FROM_LOCK}")
            for package in view.packages:
                print(f"    {clean(package)}")
        _inputs(view.inputs, colour)


def one_document(told: One, records: Mapping[str, Record]) -> document.Document:
    """The same for --json."""
    found: document.Document = {"environment": document.environment(told.wanted.environment)}
    if told.container:
        last = [document.record(one) for name, one in records.items() if name.split(" ")[-1] == told.container]
        actions = [document.action(one) for one in told.decided.actions if one.object == told.container]
        return {**found, "container": told.container, "inputs": _shown(_made_from(told)), "last": last, "now": actions}
    image = records.get("image")
    last_steps = {step.position: document.step(step) for step in image.steps} if image else {}
    return {
        **found,
        "steps": [
            {
                "position": view.place,
                "text": view.keyed.step.words,
                "key": view.keyed.key,
                "parent": view.keyed.parent,
                "status": view.status,
                "changes": [document.change(one) for one in view.changes],
                "size": view.size,
                "made": view.made,
                "network": view.keyed.step.online,
                "inputs": dict(view.inputs),
                "packages": list(view.packages),
                "last": last_steps.get(view.place),
            }
            for view in told.steps
        ],
    }


def _container(told: One, records: Mapping[str, Record], now: float, colour: bool) -> None:
    name = told.container
    print(paint(clean(name), "bold", colour))
    for record in filter(None, (records.get(name), records.get(f"start {name}"))):
        if record.verb != "start" or record.reason != "it is new":
            _row("last", _sentence(record, record.reason, now))
            _changes(record.changes, colour, 4, whole=True)
    actions = [one for one in told.decided.actions if one.object == name and one.verb != "start"] or [
        one for one in told.decided.actions if one.object == name
    ]
    for action in actions[:1]:
        _row("now", action.reason if action.verb == "keep" else f"to {action.verb}: {action.reason}")
        _changes(action.changes, colour, 4, whole=True)
    _inputs(tuple(_shown(_made_from(told)).items()), colour)


def _made_from(told: One) -> Pairs:
    """The inputs a container was made from; of one that isn't there, what it would be made from."""
    known = (one.inputs for one in (told.state.containers if told.state else ()) if one.name == told.container)
    return next(known, told.wanted.spec.inputs)


def _shown(inputs: Pairs) -> dict[str, str]:
    return {name: _value(name, value) for name, value in inputs}


def _value(name: str, value: str) -> str:
    """As it may be shown; of a digest its first digits."""
    shown = changes.shown(name, value)
    return shown[:12] if changes.is_digest(shown) else shown


def _head(name: str, width: int, record: Record, reason: str, now: float, colour: bool) -> None:
    text = _sentence(record, reason, now)
    print(f"{paint(clean(name).ljust(width), 'bold', colour)}  {fold(text, sys.stdout, width + 2, width + 4)}")


def _sentence(record: Record, reason: str, now: float) -> str:
    """`built 2 min ago in 4.2 s: apt +jq`."""
    took = f" in {seconds(record.seconds)}" if record.seconds >= 0.1 else ""
    verb = f"{record.verb} failed" if record.error else _DONE.get(record.verb, record.verb)
    return clean(f"{verb} {show.age(now - record.when)} ago{took}" + (f": {reason}" if reason else ""))


def _steps(found: Sequence[StepPlan], colour: bool) -> None:
    texts = [clean(caption(step.text, _TEXT)) for step in found]
    place, text = (max(map(len, column), default=0) for column in ([clean(step.position) for step in found], texts))
    for step, shown in zip(found, texts, strict=True):
        done = (step.reason if step.cached else _built(step)) + ("  (has network)" if step.online else "")
        line = f"  {clean(step.position).ljust(place)}  {shown.ljust(text)}  {clean(done)}"
        print(paint(line, "dim", colour) if step.cached else line)
        _changes(step.changes, colour, place + 4)


def _built(step: StepPlan, built: str = "built") -> str:
    """A step that ran; its changes, where there are any, stand beneath."""
    if step.outcome:
        built = "failed" if step.outcome == "failed" else "not reached"
    took = f"{built} in {seconds(step.seconds)}" if step.seconds >= 0.05 else built
    return took if step.changes or step.outcome == "skipped" else f"{took}: {step.reason}"


def _step_sentence(step: StepPlan, record: Record, now: float) -> str:
    when = f"{show.age(now - record.when)} ago"
    return f"{step.reason}, {when}" if step.cached else _built(step, f"built {when}")


def _changes(found: Sequence[Change], colour: bool, indent: int, *, whole: bool = False) -> None:
    """Each changed input before and after, and where it is written; of very many only the first."""
    told = [(sign, _with_digests(change, sign, text), place) for change, sign, text, place in show.placed(found)]
    kept = told if whole or len(told) <= _LINES else told[: _LINES - 1]
    width = max((len(clean(text)) for _, text, place in kept if place and len(text) <= 2 * _TEXT), default=0)
    for sign, text, place in kept:
        line = paint(f"{sign} {clean(text).ljust(width if place else 0)}", show.SIGNS[sign], colour)
        print(f"{' ' * indent}{line}" + (f"  {paint(clean(place), 'dim', colour)}" if place else ""))
    if len(kept) < len(told):
        print(f"{' ' * indent}… and {len(told) - len(kept)} more")


def _with_digests(change: Change, sign: str, text: str) -> str:
    """Of a file's content only the digest is known, before and after."""
    before, after = (value.rpartition(" ")[2] for value in (change.before, change.after))
    if change.name == "image" or sign != "~":
        return text
    known = all(value and (changes.is_digest(value) or changes.is_file(change)) for value in (before, after))
    return f"{text}, {before[:12]} → {after[:12]}" if known and before != after else text


def _error(record: Record, colour: bool) -> None:
    if record.error:
        print(f"  {paint('failed:', 'red', colour)} {clean(record.error)}")


def _inputs(found: Pairs, colour: bool) -> None:
    _row("inputs", "")
    width = max((len(clean(name)) for name, _ in found if len(name) <= _TEXT), default=0)
    for name, value in found:
        text = fold(clean(value.replace("\n", " ")), sys.stdout, width + 6, width + 6)
        print(f"    {paint(clean(name).ljust(width), 'dim', colour)}  {text}".rstrip())


def _row(name: str, text: str) -> None:
    print(f"  {name.ljust(6)}  {clean(text)}".rstrip())
