"""The measurements: contenders in, tables of rows out."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol, TypeVar

from .contenders import DAEMONS, HOME, Contender, project
from .measure import Argv, Failed, Row, outside_memory, say, seconds

SIZES = (1, 5, 20)
LOCK = "devenv.lock.yml"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)
_R = TypeVar("_R")


class Topic(NamedTuple):
    """A table of the page. `failures` name what a contender could not do, so that its rows are missing."""

    title: str
    intro: str
    rows: dict[str, Row]
    failures: list[str]


def _slug(contender: Contender) -> str:
    return contender.name.lower().replace(" ", "-")


def clear(contender: Contender, folder: str) -> None:
    """Nothing of the contender's is left of this project."""
    with suppress(Failed):  # mostly there is nothing left to remove
        seconds((contender.clear or contender.down)(folder), folder, contender.env)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def tolerated(each: _T, topic: Topic, alive: list[_T]) -> Iterator[None]:
    """A contender that fails leaves the topic, with a note; the others go on."""
    try:
        yield
    except (Failed, subprocess.CalledProcessError) as fault:
        say(f"{each.name} is out: {fault}")
        topic.failures.append(f"{each.name}: `{str(fault).splitlines()[0].replace(HOME, '…')}`")
        alive.remove(each)


def twice(action: Callable[[], _R]) -> _R:
    """Do it, and once more when it fails: a mirror on the way does at times."""
    try:
        return action()
    except Failed as fault:
        say(f"once more, after: {fault}")
        return action()


def in_turn(alive: Sequence[_T], number: int) -> list[_T]:
    """Who goes first changes from round to round."""
    first = number % max(1, len(alive))
    return [*alive[first:], *alive[:first]]


def every_day(contenders: Sequence[Contender], rounds: int) -> Topic:
    """One-shot run, up, second up, exec, down: in turn, in a rotating order, after one round that isn't counted."""
    rows = {
        "run": Row("one-shot run of `true`, on the bridge", "ms"),
        "row": Row("the same, five in a row, each", "ms"),
        "up": Row("up: image cached, container absent, source mounted", "ms"),
        "again": Row("up again, nothing changed", "ms"),
        "exec": Row("exec of `true`", "ms"),
        "down": Row("down", "ms"),
    }
    topic = Topic("Every day", f"{rounds} rounds, each contender in turn and in a rotating order.", rows, [])
    folders = {each.name: project(f"{HOME}/projects/{_slug(each)}-day") for each in contenders}
    alive = list(contenders)
    for number in range(rounds + 1):
        for contender in in_turn(alive, number):
            with tolerated(contender, topic, alive):
                taken = _day(contender, folders[contender.name], prove=number == 0)
                if number:
                    for row, value in taken.items():
                        rows[row].add(contender.name, value * 1e3)
            time.sleep(0.3)  # what a command leaves working behind it must not slow down the next contender
        say(f"every day: round {number} of {rounds}" + ("" if number else " (warm-up)"))
    for contender in contenders:
        clear(contender, folders[contender.name])
    return topic


def _day(contender: Contender, folder: str, prove: bool) -> dict[str, float]:
    """Seconds for each thing done once. `prove` also makes sure that source and network are really there."""

    def spent(*argv: str) -> float:
        return seconds(argv, folder, contender.env)

    proofs: list[Argv] = [("grep", "-q", "00000000", "/proc/net/route")] if prove else []  # a default route
    taken = {}
    if contender.run:
        run = contender.run(folder)
        taken["run"] = spent(*run, "true")
        taken["row"] = sum(spent(*run, "true") for _ in range(5)) / 5
        for proof in proofs:
            spent(*run, *proof)
    taken["up"] = spent(*contender.up(folder))
    if contender.again:
        taken["again"] = spent(*contender.again(folder))
    taken["exec"] = spent(*contender.exec(folder), "true")
    for proof in [*proofs, ("test", "-e", "/workspace/marker")] if prove else []:
        spent(*contender.exec(folder), *proof)
    down = spent(*contender.down(folder))
    return taken if contender.clear else {**taken, "down": down}


def growth(contenders: Sequence[Contender], sizes: Sequence[int]) -> Topic:
    """1, 5, 20 containers of one image, each with its own source tree: what one more costs, in time and memory."""
    rows: dict[str, Row] = {"daemon": Row("memory before any container", "MB")}
    for size in sizes:
        rows |= {
            f"memory{size}": Row(f"memory per container, {size} running", "MB"),
            f"up{size}": Row(f"one more `up`, on the way to {size}", "ms"),
            f"run{size}": Row(f"one-shot run beside {size} running", "ms"),
            f"exec{size}": Row(f"exec beside {size} running", "ms"),
        }
    rows["down"] = Row(f"down of each of {max(sizes)}", "ms")
    intro = (
        "devenv's projects have a committed lock, but for the first. "
        "Memory is the proportional set size of every process on the host that is not inside a container: monitors, "
        "shims, daemons. Each contender in turn, alone on the machine."
    )
    topic = Topic("Many containers", intro, rows, [])
    alive = list(contenders)
    for contender in contenders:
        folders = [f"{HOME}/projects/{_slug(contender)}-{number}" for number in range(max(sizes))]
        with tolerated(contender, topic, alive):
            _grow(contender, folders, sizes, rows)
        for folder in filter(os.path.exists, folders):
            clear(contender, folder)
        say(f"many containers: {contender.name} done")
    return topic


def _grow(contender: Contender, folders: list[str], sizes: Sequence[int], rows: dict[str, Row]) -> None:
    ignore = frozenset() if contender.name == "Docker" else DAEMONS

    def settled_memory() -> float:
        time.sleep(2)
        return outside_memory(ignore)

    def measure(row: str, argv: Sequence[str], folder: str) -> None:
        rows[row].add(contender.name, 1e3 * seconds(tuple(argv), folder, contender.env))

    before = settled_memory()
    rows["daemon"].add(contender.name, before)
    made = 0
    for size in sizes:
        for folder in folders[made:size]:
            project(folder)
            with suppress(FileNotFoundError):  # the others' projects have it committed, as they are the same
                shutil.copy(f"{folders[0]}/{LOCK}", folder)
            measure(f"up{size}", contender.up(folder), folder)
        made = size
        rows[f"memory{size}"].add(contender.name, (settled_memory() - before) / size)
        last = folders[size - 1]
        for _ in range(5):
            if contender.run:
                measure(f"run{size}", (*contender.run(last), "true"), last)
            measure(f"exec{size}", (*contender.exec(last), "true"), last)
    for folder in folders[:made]:
        measure("down", contender.down(folder), folder)
        shutil.rmtree(folder)
