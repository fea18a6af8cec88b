"""Environments and their containers → the table of `ps`. Imports little: the quick door comes here too."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from devenv.console import colours, table
from devenv.model.container import Container, Environment, Heard, Supervisor
from devenv.model.manifest import Port

if TYPE_CHECKING:
    from devenv.engine import Observer
    from devenv.model.plan import Report

Pair = tuple[Environment, Container]
Listening = Mapping[tuple[str, Port], Heard]
"""Of a container (its id) and a published port of it."""

_MAIN = "workspace"
"""As desired.MAIN, whose module takes longer to import than all that is done here."""
_HEADER = ("ENVIRONMENT", "CONTAINER", "STATUS", "HEALTH", "RESTARTS", "PORTS", "IMAGE", "FOLDER")
_ALIVE = ("running", "restarting")
_MOMENT, _PAUSE = 1.0, 0.02
"""Seconds that a server gets to listen, and between two looks."""
_OPTIONAL = (3, 4)
"""Columns that are there when somebody has something in them."""


def listening(engine: Observer, containers: Sequence[Container], report: Report | None = None) -> Listening:
    """Who listens to what comes to published ports of those that run; not where a health check says how it is.

    A command that has just begun, as the report says, gets a moment to do so: whoever reads the address goes there.
    """
    names = _begun(report) if report else set()
    begun = {one.id for one in containers if one.name in names}
    late = time.monotonic() + _MOMENT
    while True:
        found: dict[tuple[str, Port], Heard] = {}
        for one in filter(asked, containers):
            found |= {(one.id, port): heard for port, heard in zip(one.ports, engine.heard(one), strict=True)}
        if time.monotonic() > late or all(heard or one not in begun for (one, _), heard in found.items()):
            return found
        time.sleep(_PAUSE)


def _begun(report: Report) -> set[str]:
    """The containers that were started with a command of the manifest's."""
    starts = [one.action for one in report.results if one.action.verb == "start" and not one.error]
    return {one.object for one in starts if one.spec is not None and one.spec.process.argv}


def asked(one: Container) -> bool:
    """Whether it has to be looked at to know if it answers."""
    return one.status == "running" and bool(one.ports) and not one.health


def shown(pairs: Iterable[Pair], everything: bool, here: str, folder: str) -> list[Pair]:
    """Those to be listed: what runs of a project's folder ("": of all), and all of this environment (an id); grouped by service."""
    found = [
        (home, one)
        for home, one in pairs
        if everything or home.id == here or (one.status in _ALIVE and folder in ("", home.folder))
    ]
    return sorted(found, key=lambda pair: (pair[0].name, pair[0].folder, pair[0].id, rank(pair[1])))


def rank(one: Container) -> tuple[int, str, int, str]:
    """The workspace, the services by name, their replicas by number, what no manifest speaks of."""
    place = 0 if one.name == _MAIN else 1 if one.service else 2
    return place, one.service, one.index, one.name


def containers(
    found: Iterable[Pair],
    gone: Collection[str],
    supervisors: Mapping[str, Supervisor],
    now: float,
    env: Mapping[str, str],
    *,
    others: bool = False,
    inside: bool = False,
) -> None:
    """A line for each container, for each further port of it, and for who watches over them, by environment.

    `gone` are the folders that aren't there any more. `others`: where nothing is listed, there is something elsewhere,
    than in the project that we are `inside` of, or stopped.
    """
    rows: list[tuple[str, ...]] = []
    last: Environment | None = None
    for home, one in found:
        if last is not None and last.id != home.id:
            rows += _watching(last, supervisors, now)
        rows += _rows(
            home,
            one,
            supervisors.get(home.id),
            now,
            tilde(home.folder, env) + (" (gone)" if home.folder in gone else ""),
        )
        last = home
    if last is not None:
        rows += _watching(last, supervisors, now)
    kept = [at for at in range(len(_HEADER)) if at not in _OPTIONAL or any(row[at] not in ("", "-") for row in rows)]
    cells = [tuple(row[at] for at in kept) for row in rows]
    shrink = (len(kept) - 1, 0)
    table([_HEADER[at] for at in kept], cells, sys.stdout, colour=colours(sys.stdout, env), shrink=shrink)
    if others and not rows:
        told = "nothing of this project is there; of others" if inside else "nothing runs; what is stopped"
        print(f"{told}: devenv ps --all", file=sys.stderr)


def _rows(
    home: Environment, one: Container, watching: Supervisor | None, now: float, place: str
) -> list[tuple[str, ...]]:
    # What is stopped keeps its ports, but nobody answers there.
    live = one.ports if one.status == "running" else ()
    ports = [f"{address(port)}→{port.container}" for port in live] or ["-"]
    health = f"{one.health} (stale)" if stale(one, watching) else one.health or "-"
    image = one.image.removeprefix("sha256:")[:12]
    row = (home.name, one.name, status(one, now), health, str(one.restarts or "-"), ports[0], image, place)
    return [row, *(("", "", "", "", "", port, "", "") for port in ports[1:])]


def _watching(home: Environment, supervisors: Mapping[str, Supervisor], now: float) -> list[tuple[str, ...]]:
    one = supervisors.get(home.id)
    if one is None:
        return []
    state = f"up {age(now - one.since)}" if one.running else "killed"
    return [(home.name, "(supervisor)", state, "", "", f"pid {one.pid}", "", "")]


def stale(one: Container, watching: Supervisor | None) -> bool:
    """Whether nobody looks any more how it is."""
    return bool(one.health) and (watching is None or not watching.running)


def status(one: Container, now: float) -> str:
    if one.status == "running":
        return f"up {age(now - one.started)}" if one.started else "up"
    told = one.status if one.exit_code is None else f"{one.status} ({one.exit_code})"
    return told if one.again is None else f"{told}, next in {age(one.again - now + 1)}"


def age(value: float) -> str:
    """Seconds as people say them: `5 s`, `2 min`, `3 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= length:
            return f"{int(value // length)} {unit}"
    return f"{max(0, int(value))} s"


def tilde(path: str, env: Mapping[str, str]) -> str:
    """A path as a shell's prompt has it: `~` for home."""
    home = env.get("HOME", "").rstrip("/")
    return f"~{path.removeprefix(home)}" if home and f"{path}/".startswith(f"{home}/") else path


def address(port: Port) -> str:
    """Where a published port answers: `http://127.0.0.1:8000`; only TCP has the scheme."""
    host = "127.0.0.1" if port.address == "0.0.0.0" else port.address
    return f"http://{host}:{port.host}" if port.protocol == "tcp" else f"{host}:{port.host}/udp"
