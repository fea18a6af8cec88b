"""Values that are right by themselves → what is wrong with them together: twice the same, hidden, unknown, never to be."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from devenv.model.manifest import UNLOCKABLE, Dependency, From, Mount, Port, Source

from .document import Place
from .services import Drawn
from .values import did_you_mean, nearest, show
from .waits import cycles

Found = Mapping[str, tuple[Place, Any]]
Trouble = tuple[Place, str, str]


class Whole(NamedTuple):
    """All of a manifest. `declared` are the names that stand under `services`, `volumes` and `secrets`, those of faulty ones
    too.
    """

    found: Found
    base: From | None
    sources: Sequence[Source]
    services: Mapping[str, Drawn]
    declared: Mapping[str, Sequence[str]]


def troubles(whole: Whole) -> Iterator[Trouble]:
    """Everything that only the whole manifest shows."""
    yield from _ports(whole.found)
    yield from _unconnected(whole)
    yield from _online(whole.found)
    yield from _sources(whole.found)
    yield from _names(whole)
    for name, drawn in whole.services.items():
        yield from _mounts(whole, name, drawn)
        yield from _ranges(whole.found, name, drawn)
    yield from _waits(whole)


def _ports(found: Found) -> Iterator[Trouble]:
    """Ports that get in each other's way, the project's and those of all services."""
    ports: list[tuple[str, Place, Port]] = []
    alike: dict[tuple[object, ...], list[tuple[str, Place, Port]]] = {}
    ranges: list[tuple[str, Place, Port]] = []
    for where, (place, port) in found.items():
        if not isinstance(port, Port):
            continue
        owner = where.rpartition("[")[0]
        # Ranges overlap; anything else is in the way of what has the same number only.
        key = (port.protocol, port.host) if port.host else (port.protocol, owner, port.container)
        for _, first, other in ports if port.last else [*alike.get(key, ()), *ranges]:
            if message := _clash(other, port):
                yield (
                    place,
                    f"`{owner}`: {message}, first in line {first.line}",
                    "choose another host port, or remove one",
                )
                break
        one = (owner, place, port)
        ports.append(one)
        (ranges if port.last else alike.setdefault(key, [])).append(one)


def _unconnected(whole: Whole) -> Iterator[Trouble]:
    """What nobody could reach without a network."""
    none, chosen = whole.found.get("network", (None, "bridge"))
    if chosen != "none" or none is None:
        return
    for where, (place, value) in whole.found.items():
        if isinstance(value, Port):
            message = f"`{where}`: nobody can reach a port of what has no network, as line {none.line} wants it"
            yield place, message, "remove it, or `network: none`"
    if whole.declared["services"]:
        yield none, "`network`: with 'none', services can't reach each other", "remove it, or `services`"


def _clash(one: Port, two: Port) -> str:
    everywhere = "0.0.0.0" in (one.address, two.address)
    if one.protocol != two.protocol or not (everywhere or one.address == two.address):
        return ""
    if one.host is None or two.host is None:
        same = one.host == two.host and one.container == two.container
        return f"port {two.container} is published twice" if same else ""
    first = max(one.host, two.host)
    return f"host port {first} is published twice" if first <= min(one.last or one.host, two.last or two.host) else ""


def _online(found: Found) -> Iterator[Trouble]:
    """Packages that no lock can hold, where nobody allowed them."""
    for where, (place, value) in found.items():
        key, listed, _ = where.partition("python.packages[")
        if listed and "git+" in value.partition(";")[0] and not found.get(f"{key}python.network", (place, False))[1]:
            name = show(value.partition("@")[0].strip())  # not its address: that may hold a password
            yield (
                place,
                f"`{where}`: {name} comes from a repository, which can't be locked",
                UNLOCKABLE.format("python"),
            )


def _sources(found: Found) -> Iterator[Trouble]:
    sources: list[tuple[Place, Source]] = []
    for place, value in found.values():
        if isinstance(value, Source):
            for other_place, other in sources:
                if value.target == other.target:
                    yield (
                        place,
                        f"`source`: {value.target} is a target twice, first in line {other_place.line}",
                        "choose another target",
                    )
                elif other.target.startswith(value.target + "/"):
                    yield (
                        place,
                        f"`source`: {value.target} would hide {other.target}",
                        "list the outer folder first",
                    )
            sources.append((place, value))


def _names(whole: Whole) -> Iterator[Trouble]:
    """Names that services use, and nobody declares; of what differs between replicas, the first."""
    for dotted, (place, value) in whole.found.items():
        if isinstance(value, Mount):
            kind, uses = "volumes", [one.volume for one in mounts(whole, dotted, value) if one.volume]
        elif match := re.fullmatch(r"services\.[^.]+\.(?:secrets\[[0-9]+\]|depends_on\.([^.]+))", dotted):
            kind, uses = ("services", [match[1]]) if match[1] else ("secrets", [value])
        else:
            continue
        known = whole.declared[kind]
        unknown = [name for name in uses if name not in known]
        if unknown:
            message = f"`{dotted}`: there is no {kind[:-1]} {show(unknown[0])}"
            yield place, message, _meant(kind, unknown[0], known)


def mounts(whole: Whole, dotted: str, mount: Mount) -> Iterable[Mount]:
    """What a mount is in each of its service's replicas, the distinct ones. It alone, when the service has a fault."""
    match = re.fullmatch(r"services\.([^.]+)\.volumes\[([0-9]+)\]", dotted)
    drawn = whole.services.get(match[1]) if match else None
    if match is None or drawn is None:
        return (mount,)
    return dict.fromkeys(of_one[int(match[2])] for of_one in drawn.mounts)


def _meant(kind: str, used: str, known: Sequence[str]) -> str:
    """A hint for a name that nobody declares."""
    if kind == "services":
        if used == "workspace":
            return "the workspace is ready last, when all services are"
        of = re.sub("-[0-9]+$", "", used)
        return f"write {of!r}: all of its replicas are waited for" if of in known else did_you_mean(used, known)
    if near := nearest(used, known):
        return f"did you mean {near!r}?"
    value = "{}" if kind == "volumes" else "{from_env: VARIABLE}"
    folder = f"; a folder's path begins with ./: './{used}'" if kind == "volumes" else ""
    return f"declare it at the top level: `{kind}: {{{used}: {value}}}`{folder}"


def _mounts(whole: Whole, name: str, drawn: Drawn) -> Iterator[Trouble]:
    """Mounts of a service that hide each other, or the project's folder. What several replicas have is told once."""
    taken = () if drawn.image else [source.target for source in whole.sources]
    for mounts in drawn.mounts:
        hidden = list(_hidden(whole.found, f"services.{name}.volumes", mounts, taken))
        yield from hidden
        if hidden:
            break


def _hidden(found: Found, where: str, mounts: Sequence[Mount], taken: Sequence[str]) -> Iterator[Trouble]:
    places: dict[str, Place] = {}
    before: list[str] = []
    for number, mount in enumerate(mounts):
        place, target = found[f"{where}[{number}]"][0], mount.target
        begun = bisect_left(before, f"{target}/")  # what is in it would come next
        if target in places:
            message = f"{target} is a target twice, first in line {places[target].line}"
            yield place, f"`{where}`: {message}", "choose another target"
        elif begun < len(before) and before[begun].startswith(f"{target}/"):
            yield place, f"`{where}`: {target} would hide {before[begun]}", "list the outer folder first"
        elif target in taken:
            hint = "choose another target; without an image of its own, a service sees the project's `source`"
            yield place, f"`{where}`: {target} is where the project is seen", hint
        places.setdefault(target, place)
        insort(before, target)


def _ranges(found: Found, name: str, drawn: Drawn) -> Iterator[Trouble]:
    """Ranges of host ports that aren't enough for all replicas."""
    wanted = len(drawn.service.replicas)
    for number, port in enumerate(drawn.service.ports):
        if port.host is None or port.last is None or port.last - port.host + 1 >= wanted:
            continue
        where = f"services.{name}.ports[{number}]"
        have = port.last - port.host + 1
        last = port.host + wanted - 1
        hint = f"write {port.host}-{last}:{port.container}, for example" if last <= 65535 else "begin it lower"
        yield found[where][0], f"`{where}`: {have} host port{'s' * (have != 1)} for {wanted} replicas", hint


def _waits(whole: Whole) -> Iterator[Trouble]:
    """Dependencies that can't come true."""
    services, found = whole.services, whole.found
    needs = {name: [one.service for one in drawn.service.depends_on] for name, drawn in services.items()}
    for path in cycles(needs):
        place = found[f"services.{path[-2]}.depends_on.{path[-1]}"][0]
        told = f"{path[0]} waits for itself" if len(path) == 2 else f"{' → '.join(path)} wait for each other"
        yield place, f"`services.{path[-2]}.depends_on`: {told}", "remove one of these dependencies"
    every = ((name, one) for name, drawn in services.items() for one in drawn.service.depends_on)
    waits = [(name, one) for name, one in every if one.service in services]
    for name, one in waits:
        if one.condition == "healthy" and services[one.service].first.healthcheck is None:
            where = f"services.{name}.depends_on.{one.service}"
            hint = f"give it one, or wait for `started`: `depends_on: {{{one.service}: started}}`"
            yield found[where][0], f"`{where}`: {one.service} has no healthcheck", hint
    yield from _one_shots(whole, waits)


def _one_shots(whole: Whole, waits: Iterable[tuple[str, Dependency]]) -> Iterator[Trouble]:
    """Services that others wait for to end, and that never will, or for the opposite at the same time."""
    ended: dict[str, tuple[str, Place]] = {}
    for name, one in waits:
        if one.condition == "completed":
            place = whole.found[f"services.{name}.depends_on.{one.service}"][0]
            ended.setdefault(one.service, (name, place))
    for service, (name, place) in ended.items():
        drawn = whole.services[service]
        where = f"services.{service}"
        told = f"{name} waits for it to end, in line {place.line}"
        if drawn.service.restart.policy == "always":
            message = f"`{where}.restart`: with 'always' it never ends, and {told}"
            yield whole.found[f"{where}.restart"][0], message, "write 'on-failure', or 'no'"
        base = drawn.image.get("from", whole.base)
        if drawn.first.command is None and base is not None and base.kind == "bootstrap":
            dotted = f"services.{name}.depends_on.{service}"
            yield place, f"`{dotted}`: {service} has no command, so it never ends", f"give {service} a `command`"
    for name, one in waits:
        if one.condition == "healthy" and one.service in ended:
            other, place = ended[one.service]
            where = f"services.{name}.depends_on.{one.service}"
            message = f"`{where}`: it can't be waited for as healthy: {other} waits for it to end, in line {place.line}"
            yield whole.found[where][0], message, "wait for it in one way"
