"""Plans, reports, containers, images → lines for people on stdout."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from devenv.build.caption import caption
from devenv.console import clean, colours, error, paint, seconds, size, table
from devenv.model.container import Container, Environment
from devenv.model.host import Check, Garbage
from devenv.model.image import Image
from devenv.model.manifest import Port
from devenv.model.plan import Action, Change, Plan, Report, Result

_DONE = {
    "build": "built",
    "keep": "kept",
    "create": "created",
    "replace": "replaced",
    "start": "started",
    "stop": "stopped",
    "remove": "removed",
    "forget": "forgotten",
    "run-hook": "ran",
}
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_WIDEST = 50  # a longer hook pushes its own reason to the right, not everybody's
_STEP = 100  # of a step's text, in characters
_STYLE = {"keep": "dim", "replace": "yellow", "remove": "red", "forget": "red"}


def plan(one: Plan, env: Mapping[str, str], *, diff: bool = False) -> None:
    """What would be done and why; with `diff`, each changed input before and after."""
    colour = colours(sys.stdout, env)
    rows = [(action.verb, _object(action), action.reason) for action in one.actions]
    _rows(rows, [_STYLE.get(action.verb, "green") for action in one.actions], colour)
    for action in one.actions if diff else ():
        _diff(action, colour)
    if one.idle:
        print("nothing to do")


def report(one: Report, containers: Sequence[Container], env: Mapping[str, str]) -> None:
    """What was done, where it answers, what to do next; errors go to stderr."""
    colour = colours(sys.stdout, env)
    rows = [(_outcome(result), _object(result.action), _reason(result)) for result in one.results]
    _rows(rows, [_result_style(result) for result in one.results], colour)
    for result in one.results:
        if result.error:
            error(result.error, env)
    if one.ok:
        _addresses(containers, colour)


def _addresses(containers: Sequence[Container], colour: bool) -> None:
    running = [known for known in containers if known.status == "running"]
    for known in running:
        for port in known.ports:
            print(f"{paint(address(port), 'cyan', colour)}  → port {port.container} of {clean(known.name)}")
    if running:
        print(f"next: {paint('devenv shell', 'bold', colour)}")


def containers(found: Sequence[tuple[Environment, Container]], now: float, env: Mapping[str, str]) -> None:
    """One line for each container."""
    rows = [
        (
            home.name,
            one.name,
            _status(one, now),
            one.address or "-",
            ", ".join(f"{address(port)}→{port.container}" for port in one.ports) or "-",
            home.folder,
        )
        for home, one in found
    ]
    header = ("ENVIRONMENT", "CONTAINER", "STATUS", "ADDRESS", "PORTS", "FOLDER")
    table(header, rows, sys.stdout, colour=colours(sys.stdout, env))


def images(found: Sequence[Image], now: float, env: Mapping[str, str]) -> None:
    """One line for each image."""
    rows = [
        (
            ", ".join(one.references) or "-",
            one.digest.removeprefix("sha256:")[:12],
            str(len(one.layers)),
            size(one.size),
            f"{_age(now - one.created)} ago",
        )
        for one in found
    ]
    table(("REFERENCES", "DIGEST", "LAYERS", "SIZE", "MADE"), rows, sys.stdout, colour=colours(sys.stdout, env))


def garbage(found: Sequence[Garbage], env: Mapping[str, str], *, dry_run: bool) -> None:
    """One line for each thing removed, and what it freed."""
    rows = [(one.kind, one.name, size(one.size), one.reason) for one in found]
    if rows:
        table(("KIND", "NAME", "SIZE", "WHY"), rows, sys.stdout, colour=colours(sys.stdout, env))
    print(f"{'would free' if dry_run else 'freed'} {size(sum(one.size for one in found))}")


def checks(found: Sequence[Check], env: Mapping[str, str]) -> None:
    """One line for each check, and the fix beneath what won't do."""
    colour = colours(sys.stdout, env)
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        sign = paint("✓", "green", colour) if one.ok else paint("✗", "red", colour)
        print(f"{sign} {clean(one.name).ljust(width)}  {clean(one.found)}")
        if one.fix:
            print(f"  {' ' * width}  {paint('fix: ' + clean(one.fix), 'cyan', colour)}")


def address(port: Port) -> str:
    """Where a published port answers: `http://127.0.0.1:8000`; only TCP has the scheme."""
    host = "127.0.0.1" if port.address == "0.0.0.0" else port.address
    return f"http://{host}:{port.host}" if port.protocol == "tcp" else f"{host}:{port.host}/udp"


def _rows(rows: Sequence[tuple[str, str, str]], styles: Iterable[str], colour: bool) -> None:
    """Three aligned columns, the first in its style."""
    first = max((len(row[0]) for row in rows), default=0)
    second = min(_WIDEST, max((len(clean(row[1])) for row in rows), default=0))
    for (verb, thing, reason), style in zip(rows, styles, strict=True):
        print(f"{paint(verb.ljust(first), style, colour)}  {clean(thing).ljust(second)}  {clean(reason)}".rstrip())


def _diff(action: Action, colour: bool) -> None:
    for step in action.steps:
        if not step.cached:
            text = clean(caption(step.text, _STEP))
            print(f"\n{paint('step', 'bold', colour)} {clean(step.position)}  {text}  ({clean(step.reason)})")
            _changes(step.changes, colour)
    if action.changes and not action.steps:
        print(f"\n{paint(action.verb, 'bold', colour)} {clean(action.object)}")
        _changes(action.changes, colour)


def _changes(changes: Iterable[Change], colour: bool) -> None:
    for change in changes:
        for sign, value, style in (("-", change.before, "red"), ("+", change.after, "green")):
            if value:
                print(paint(f"{sign} {clean(change.name)}: {_short(clean(value))}", style, colour))


def _short(value: str) -> str:
    """Keys and digests are told apart by their first digits."""
    return _DIGEST.sub(r"\1…", value)


def _object(action: Action) -> str:
    return f"{action.object}: {action.command}" if action.command else action.object


def _outcome(result: Result) -> str:
    if result.skipped:
        return "skipped"
    return "failed" if result.error else _DONE[result.action.verb]


def _result_style(result: Result) -> str:
    if result.error:
        return "red"
    return "dim" if result.skipped else _STYLE.get(result.action.verb, "green")


def _reason(result: Result) -> str:
    took = f"  ({seconds(result.seconds)})" if result.seconds >= 0.1 else ""
    return result.action.reason + took


def _status(one: Container, now: float) -> str:
    if one.status == "running":
        return f"up {_age(now - one.started)}" if one.started else "up"
    return one.status if one.exit_code is None else f"{one.status} ({one.exit_code})"


def _age(value: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= length:
            return f"{int(value // length)} {unit}"
    return f"{max(0, int(value))} s"
