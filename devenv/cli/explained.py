"""Records, a plan, a step with all its inputs → lines for people on stdout, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from devenv import changes
from devenv.build.caption import called, caption
from devenv.cli import document, show
from devenv.cli.ways import span
from devenv.console import clean, colours, fold, paint, seconds, size
from devenv.desired import owner
from devenv.model.build import Configure, Keyed
from devenv.model.container import Container, State
from devenv.model.image import PROJECT
from devenv.model.manifest import FROM_LOCK, FROM_MANIFEST, Pairs
from devenv.model.plan import Change, Desired, Plan, Record, StepPlan, WantedImage

_DONE = {
    "keep": "taken from the store",
    "build": "built",
    "create": "created",
    "replace": "replaced",
    "start": "started",
    "wait": "waited for",
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
    image: str = PROJECT
    size: int | None = None
    made: float | None = None

    @property
    def label(self) -> str:
        """Its place, behind the service whose own image it is of."""
        return called(owner(self.image), self.place)

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
    """What was asked about: steps, or containers."""

    wanted: Desired
    decided: Plan
    steps: tuple[StepView, ...] = ()
    containers: tuple[str, ...] = ()
    state: State | None = None


def steps(
    wanted: Desired, state: State, decided: Plan, stored: Callable[[str], tuple[int, float] | None]
) -> tuple[StepView, ...]:
    """All steps that leave files behind, of all images."""
    return tuple(view for image in wanted.images for view in _steps_of(image, state, decided, stored))


def _steps_of(
    wanted: WantedImage, state: State, decided: Plan, stored: Callable[[str], tuple[int, float] | None]
) -> Iterator[StepView]:
    planned = {step.key: step for action in decided.actions if action.image == wanted.name for step in action.steps}
    layered = [one for one in wanted.steps if not isinstance(one[1].step.operation, Configure)]
    places = {keyed.result: keyed.step.place or position for position, keyed in layered}
    bases = {dict(inputs).get("key", ""): dict(inputs).get("from", "") for _, inputs in wanted.built}
    for position, keyed in layered:
        step = planned.get(keyed.key, StepPlan("", "", keyed.key in state.cached, "in the store"))
        layer = stored(keyed.key) or (None, None)
        parent = places.get(keyed.parent) or bases.get(keyed.parent) or "nothing"
        place = keyed.step.place or position
        status = step.reason if step.cached else f"to be built: {step.reason}" if planned else "no longer in the store"
        yield StepView(place, keyed, parent, status, step.changes, wanted.name, *layer)


def past(records: Mapping[str, Record], containers: Sequence[Container], now: float, env: Mapping[str, str]) -> None:
    """What was last done to the images, step by step, and to each container, and why."""
    colour = colours(sys.stdout, env)
    images = [name for name in records if name.partition(" ")[0] == PROJECT]
    names = [one.name for one in containers] or [name for name in records if name not in images and " " not in name]
    if not images and not containers:
        print("nothing was built or brought up here yet")
        return
    services = {one.name: one.service for one in containers if one.index}
    groups = _alike(names, lambda name: (services.get(name, name), _past_of(name, records)))
    width = max(map(len, (*(images or [PROJECT]), *map(span, groups))))
    for name in images:
        image = records[name]
        reason = "" if image.verb == "keep" else image.reason
        _head(name, width, image, reason.partition(": ")[0] if image.changes else reason, now, colour)
        shown = {change._replace(place="") for step in image.steps for change in step.changes}
        _changes([change for change in image.changes if change._replace(place="") not in shown], colour, 4)
        _steps(image.steps, colour)
        _error(image, colour)
    for group in groups:
        made, started = records.get(group[0]), records.get(f"start {group[0]}")
        if made:
            _head(span(group), width, made, "" if made.changes else made.reason, now, colour)
            _changes(made.changes, colour, 4)
        else:
            print(f"{paint(span(group).ljust(width), 'bold', colour)}  nobody wrote down why it was made")
        if started and started.reason != "it is new":
            print(f"{' ' * width}  {_sentence(started, started.reason, now)}")
        for record in filter(None, (made, started)):
            _error(record, colour)


def _alike(names: Sequence[str], key: Callable[[str], object]) -> list[list[str]]:
    """Names of which the same is to be told, in the order of the first of each."""
    found: dict[object, list[str]] = {}
    for name in sorted(names, key=_numbered):
        found.setdefault(key(name), []).append(name)
    return list(found.values())


def _numbered(name: str) -> tuple[str, int]:
    """web-2 comes before web-10."""
    service, _, number = name.rpartition("-")
    return (service, int(number)) if service and number.isdecimal() else (name, 0)


def _past_of(name: str, records: Mapping[str, Record]) -> object:
    """What is told of a container, but for when to the second."""
    found = (records.get(name), records.get(f"start {name}"))
    return tuple(one and (one.verb, one.reason, one.changes, one.error, round(one.when / 60)) for one in found)


def now(decided: Plan, env: Mapping[str, str]) -> None:
    """What `up` would do, if anything."""
    print()
    if decided.idle and not any(action.changes for action in decided.actions):
        print("now: nothing to do")
    else:
        show.plan(decided, env, diff=True)


def one(told: One, records: Mapping[str, Record], now: float, env: Mapping[str, str]) -> None:
    """All there is to say of some steps, or of containers: of replicas that are all the same, once."""
    colour = colours(sys.stdout, env)

    def shown(name: str) -> object:
        now = tuple((verb, [change.name for change in found]) for verb, _, found in _now_of(told, name)[:1])
        return _past_of(name, records), str(now), tuple(key for key, _ in _made_from(told, name))

    for number, group in enumerate(_alike(told.containers, shown)):
        if number:
            print()
        _container(told, group, records, now, colour)
    last = _last_steps(records)
    for number, view in enumerate(told.steps):
        if number or told.containers:
            print()
        print(f"{paint(clean(view.label), 'bold', colour)}  {clean(caption(view.keyed.step.words, 400))}")
        if (view.image, view.place) in last:
            step, record = last[view.image, view.place]
            _row("last", _step_sentence(step, record, now))
            _changes(step.changes, colour, 4, whole=True)
        if (view.image, view.place) not in last or view.status != "in the store":
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
    if told.containers:
        return {**found, **_container_document(told, told.containers, records)}
    last = {place: document.step(step) for place, (step, _) in _last_steps(records).items()}
    return {
        **found,
        "steps": [
            {
                "position": view.place,
                "service": owner(view.image) or None,
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
                "last": last.get((view.image, view.place)),
            }
            for view in told.steps
        ],
    }


def _last_steps(records: Mapping[str, Record]) -> dict[tuple[str, str], tuple[StepPlan, Record]]:
    """(image, place) → a step as it was built last, and with what."""
    return {
        (name.removeprefix(f"{PROJECT} "), step.position): (step, record)
        for name, record in records.items()
        if name.partition(" ")[0] == PROJECT
        for step in record.steps
    }


def _container_document(told: One, names: Sequence[str], records: Mapping[str, Record]) -> document.Document:
    def one(name: str) -> document.Document:
        last = [document.record(one) for key, one in records.items() if key in (name, f"start {name}")]
        actions = [document.action(action) for action in told.decided.actions if action.object == name]
        return {"container": name, "inputs": _shown(_made_from(told, name)), "last": last, "now": actions}

    return one(names[0]) if len(names) == 1 else {"containers": [one(name) for name in names]}


def _container(told: One, names: Sequence[str], records: Mapping[str, Record], now: float, colour: bool) -> None:
    name = names[0]
    print(paint(clean(span(names)), "bold", colour))
    for record in filter(None, (records.get(name), records.get(f"start {name}"))):
        if record.verb != "start" or record.reason != "it is new":
            _row("last", _sentence(record, record.reason, now))
            _changes(record.changes, colour, 4, whole=True)
    for verb, reason, found in _now_of(told, name)[:1]:
        _row("now", reason if verb == "keep" else f"to {verb}: {reason}")
        _changes(found, colour, 4, whole=True)
    each = [_shown(_made_from(told, one)) for one in names]
    told_all = ((key, dict.fromkeys(one[key] for one in each)) for key in each[0])
    _inputs(tuple((key, changes.shortened(list(values))) for key, values in told_all), colour)


def _now_of(told: One, name: str) -> tuple[tuple[str, str, tuple[Change, ...]], ...]:
    """(verb, reason, changes) of what `up` would do to a container; what follows from that comes last."""
    found = [one for one in told.decided.actions if one.object == name]
    found.sort(key=lambda one: one.verb in ("start", "wait"))
    return tuple((one.verb, one.reason, one.changes) for one in found)


def _made_from(told: One, name: str) -> Pairs:
    """The inputs a container was made from; of one that isn't there, what it would be made from."""
    specs = [told.wanted.spec, *(spec for service in told.wanted.services for spec in service.specs)]
    made = {spec.name: spec.inputs for spec in specs}
    made |= {known.name: known.inputs for known in (told.state.containers if told.state else ())}
    return made.get(name, ())


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
        built = "not reached" if step.outcome == "skipped" else step.outcome
    took = (
        f"{built} {'after' if step.outcome == 'stopped' else 'in'} {seconds(step.seconds)}"
        if step.seconds >= 0.05
        else built
    )
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
    # An image's key is what it is made from; `ps` shows what it is.
    told = [("image key" if name == "image" else name, value) for name, value in found]
    width = max((len(clean(name)) for name, _ in told if len(name) <= _TEXT), default=0)
    for name, value in told:
        text = fold(clean(value.replace("\n", " ")), sys.stdout, width + 6, width + 6)
        print(f"    {paint(clean(name).ljust(width), 'dim', colour)}  {text}".rstrip())


def _row(name: str, text: str) -> None:
    print(f"  {name.ljust(6)}  {clean(text)}".rstrip())
