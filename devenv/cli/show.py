"""Plans, reports, containers, images → lines for people on stdout."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from devenv import changes
from devenv.build.caption import caption
from devenv.cli.listing import Listening, address
from devenv.cli.listing import age as age
from devenv.cli.ways import Way, planned, span, ways
from devenv.cli.ways import verb as way_verb
from devenv.console import clean, colours, error, fold, paint, seconds, size, table
from devenv.lock.compare import Moved, Outdated
from devenv.model.container import KEPT, Container, Environment, Heard
from devenv.model.host import Check, Garbage
from devenv.model.image import Image, Unlike
from devenv.model.manifest import Port
from devenv.model.plan import Action, Change, Plan, Report, Result

_DONE = {
    "lock": "wrote",
    "build": "built",
    "keep": "kept",
    "create": "created",
    "replace": "replaced",
    "start": "started",
    "wait": "awaited",
    "stop": "stopped",
    "remove": "removed",
    "forget": "forgotten",
    "run-hook": "ran",
}
_READY = {"started": "runs", "healthy": "healthy", "completed": "completed"}
SIGNS = {"-": "red", "+": "green", "~": "yellow"}
_WIDEST = 16  # a longer hook pushes its own reason to the right, not everybody's
_DIFFERENCES = 50  # paths of one step that are shown
_MANY = 3  # nameless things of a kind that are shown one by one
_STEP = 100  # of a step's text, in characters
_STYLE = {"keep": "dim", "replace": "yellow", "remove": "red", "forget": "red"}


def plan(one: Plan, env: Mapping[str, str], *, diff: bool = False) -> None:
    """What would be done and why; with `diff`, each changed input before and after."""
    colour = colours(sys.stdout, env)
    found = planned(one.actions)
    verbs = [way_verb(way) for way in found]
    rows = [
        ("write" if verb == "lock" else verb, _thing(way), way.reason(_about(way, verb)))
        for way, verb in zip(found, verbs, strict=True)
    ]
    _rows(rows, [_STYLE.get(verb, "green") for verb in verbs], colour)
    for way in found if diff else ():
        _diff(way.results[0].action, way.name, colour)
    if one.idle:
        print("nothing to do")
    else:
        _next("up", one.environment, colour)


def report(one: Report, containers: Sequence[Container], env: Mapping[str, str], heard: Listening) -> None:
    """What was done, where it answers, what to do next; errors go to stderr."""
    colour = colours(sys.stdout, env)
    found = ways(one.results)
    rows = [(_outcome(way), _thing(way), _reason(way)) for way in found]
    _rows(rows, [_result_style(way.telling) for way in found], colour)
    for way in found:
        if way.failed:
            more = f"\n  the same of {span(way.names[1:])}" if len(way.names) > 1 else ""
            error(way.failed.error + more, env)
    if one.ok:
        running = [known for known in containers if known.status == "running"]
        _addresses(running, colour, heard)
        if running:
            _next("shell", one.environment, colour)


def _next(verb: str, here: Environment, colour: bool) -> None:
    variant = here.variant.removeprefix(KEPT)
    print(f"next: {paint(f'devenv {verb} --variant {variant}' if variant else f'devenv {verb}', 'bold', colour)}")


def _addresses(running: Sequence[Container], colour: bool, heard: Listening) -> None:
    shared: dict[tuple[str, Port], list[Container]] = {}
    for known in running:
        for port in known.ports:
            shared.setdefault((known.service or known.name, port), []).append(known)
    for (service, port), found in shared.items():
        name = found[0].name if len(found) == 1 else service
        deaf = _deaf(port, {heard.get((one.id, port), "all") for one in found})
        style = "dim" if deaf else "cyan"
        print(f"{paint(address(port), style, colour)}  → port {port.container} of {clean(name)}{deaf}")


def _deaf(port: Port, heard: Collection[Heard]) -> str:
    """Why nobody answers at a published port, "" when somebody does: of replicas, one will do."""
    if "all" in heard:
        return ""
    if "loopback" in heard:
        return f": what listens on {port.container} is reached from inside only; bind it to 0.0.0.0"
    return f": nothing listens on {port.container} yet"


def unlike(found: Sequence[Unlike], online: Sequence[str], env: Mapping[str, str]) -> None:
    """Steps that gave two results, and each path in which these differ; and those of which today's answer is no promise."""
    colour = colours(sys.stdout, env)
    if not found:
        print("every step gave the same bytes again")
    for one in found:
        print(f"{paint('differs', 'red', colour)}  {clean(one.step)}")
        for difference in one.differences[:_DIFFERENCES]:
            change = f"  {difference.before} → {difference.after}" if difference.before or difference.after else ""
            print(f"  {clean(difference.path)}: {difference.kind}{clean(change)}")
            for line in difference.lines:
                print(f"    {paint(clean(line), SIGNS.get(line[:1], 'dim'), colour)}")
        if len(one.differences) > _DIFFERENCES:
            print(f"  and {len(one.differences) - _DIFFERENCES} more paths: --json lists them")
    for line in online:
        print(f"{paint('network', 'yellow', colour)}  {clean(line)}")


def moved(found: Sequence[Moved], env: Mapping[str, str]) -> None:
    """A line for each package whose version differs."""
    if not found:
        print("nothing to change")
        return
    rows = [(one.group, one.name, one.before or "-", one.after or "-") for one in found]
    table(("group", "package", "before", "after"), rows, sys.stdout, colour=colours(sys.stdout, env))


def outdated(found: Sequence[Outdated], env: Mapping[str, str]) -> None:
    """A line for each package that could be newer; `-` where devenv.yml allows nothing newer."""
    if not found:
        print("nothing is newer")
        return
    rows = [
        (one.group, one.name, one.before, one.after if one.after != one.before else "-", one.latest) for one in found
    ]
    table(("group", "package", "locked", "allowed", "latest"), rows, sys.stdout, colour=colours(sys.stdout, env))


def images(found: Sequence[Image], now: float, env: Mapping[str, str]) -> None:
    """One line for each image."""
    rows = [
        (
            ", ".join(one.references) or "-",
            one.digest.removeprefix("sha256:")[:12],
            str(len(one.layers)),
            size(one.size),
            f"{age(now - one.created)} ago",
        )
        for one in found
    ]
    header = ("REFERENCES", "DIGEST", "LAYERS", "SIZE", "MADE")
    table(header, rows, sys.stdout, colour=colours(sys.stdout, env), shrink=(0,))


def garbage(found: Sequence[Garbage], env: Mapping[str, str], *, dry_run: bool) -> None:
    """One line for each thing removed, or for all those of a kind that people don't know by name; what it freed."""
    rows = [(one.kind, one.name, size(one.size), one.reason) for one in _gathered(found)]
    if rows:
        table(("KIND", "NAME", "SIZE", "WHY"), rows, sys.stdout, colour=colours(sys.stdout, env), shrink=(1, 3))
    print(f"{'would free' if dry_run else 'freed'} {size(sum(one.size for one in found))}")


def _gathered(found: Sequence[Garbage]) -> Iterator[Garbage]:
    groups: dict[tuple[str, str], list[Garbage]] = {}
    for one in found:
        groups.setdefault((one.kind, one.reason), []).append(one)
    for (kind, reason), members in groups.items():
        if len(members) > _MANY and kind in ("blob", "layer", "draft"):
            yield Garbage(kind, f"{len(members)} of them", sum(one.size for one in members), reason)
        else:
            yield from members


def checks(found: Sequence[Check], env: Mapping[str, str]) -> None:
    """One line for each check, and the fix beneath what won't do."""
    colour = colours(sys.stdout, env)
    width = max((len(one.name) for one in found), default=0)
    start = width + 4
    for one in found:
        sign = paint("✓", "green", colour) if one.ok else paint("✗", "red", colour)
        print(f"{sign} {clean(one.name).ljust(width)}  {fold(clean(one.found), sys.stdout, start, start)}")
        if one.fix:
            fix = fold(f"fix: {clean(one.fix)}", sys.stdout, start, start + 5)
            print(" " * start + paint(fix, "cyan", colour))


def _rows(rows: Sequence[tuple[str, str, str]], styles: Iterable[str], colour: bool) -> None:
    """Three aligned columns, the first in its style."""
    first = max((len(row[0]) for row in rows), default=0)
    fitting = [len(clean(thing)) for _, thing, _ in rows]
    second = max((length for length in fitting if length <= _WIDEST), default=0)
    for (verb, thing, reason), style in zip(rows, styles, strict=True):
        text = f"{clean(thing).ljust(second)}  {clean(reason)}".rstrip()
        print(f"{paint(verb.ljust(first), style, colour)}  {fold(text, sys.stdout, first + 2, first + second + 4)}")


def _diff(action: Action, name: str, colour: bool) -> None:
    """The steps that must run, or the container to be replaced, and under each what changed of it."""
    steps = [step for step in action.steps if not step.cached or step.changes]
    if steps or action.changes:
        print(f"\n{paint(action.verb, 'bold', colour)} {clean(name)}")
    width = max((len(clean(step.position)) for step in steps), default=0)
    for step in steps:
        reason = f"{step.reason}; has network" if step.online else step.reason
        text = f"{clean(caption(step.text, _STEP))}  ({clean(reason)})"
        print(f"  {clean(step.position).ljust(width)}  {fold(text, sys.stdout, width + 4, width + 6)}")
        _changes(step.changes, colour, width + 4)
    if not steps:
        _changes(action.changes, colour, 2)


def _changes(found: Iterable[Change], colour: bool, indent: int) -> None:
    for _, sign, text, place in placed(found):
        beside = f"  {paint(clean(place), 'dim', colour)}" if place else ""
        print(" " * indent + paint(f"{sign} {clean(text)}", SIGNS[sign], colour) + beside)


def placed(found: Iterable[Change]) -> Iterator[tuple[Change, str, str, str]]:
    """(change, sign, text, place): the place beside the first line of a list, else beside what will be."""
    for change in found:
        lines = changes.lines(change)
        beside = 0 if changes.items(change.name, "") is not None else len(lines) - 1
        for number, (sign, text) in enumerate(lines):
            yield change, sign, text, change.place if number == beside else ""


def _about(way: Way, verb: str) -> Action:
    return way.waited.action if verb == "wait" and way.waited else way.results[0].action


def _thing(way: Way) -> str:
    command = way.results[0].action.command
    return f"{way.name}: {command}" if command else way.name


def _outcome(way: Way) -> str:
    result = way.telling
    if result.skipped:
        return "skipped"
    if result.error:
        return "failed"
    return "restarted" if way.again else _DONE[result.action.verb]


def _result_style(result: Result) -> str:
    if result.error:
        return "red"
    return "dim" if result.skipped else _STYLE.get(result.action.verb, "green")


def _reason(way: Way) -> str:
    one, waited = way.telling, way.waited
    reason = way.reason(one.action)
    if one.error and one is not way.results[0]:
        reason = f"{one.action.verb}: {reason}"
    elif waited is not None and not waited.error and not waited.skipped:
        reason = f"{reason}; {_READY[waited.action.until]}"
    return reason + (f"  ({seconds(way.seconds)})" if way.seconds >= 0.1 else "")
