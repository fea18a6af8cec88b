"""Which containers of an environment somebody may have to be awake for, as their rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.engine.native.records.record import spec_text
from devenv.engine.native.records.state import State
from devenv.engine.native.supervisor.look import look, wanted
from devenv.model.container import ContainerSpec, Process
from devenv.model.manifest import Healthcheck, Port, Restart

ALWAYS = Restart("always")
CHECK = Healthcheck("true")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(f"{tmp_path}/state.db")
    yield opened
    opened.close()


def write(state: State, spec: ContainerSpec, **more: object) -> None:
    """A row of a container that runs, unless `more` says otherwise."""
    columns = {
        "id": f"e1-{spec.name}",
        "environment": "e1",
        "name": spec.name,
        "image": "i",
        "slot": 1,
        "spec": spec_text(spec),
        "created": 1.0,
        "pid": 7,
        "pid_start": 8,
        "boot": state.boot,
        "started": 2.0,
        **more,
    }
    marks = ", ".join("?" * len(columns))
    state.db.execute(f"INSERT INTO container ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))


def replica(name: str, restart: Restart = ALWAYS, check: Healthcheck | None = None, *ports: Port) -> ContainerSpec:
    service, _, index = name.partition("-")
    about = {"service": service, "index": int(index or 0), "restart": restart, "healthcheck": check, "ports": ports}
    return ContainerSpec("e1", name, name, "i", Process(()), **about)  # type: ignore[arg-type]


def test_look_sees_what_was_started_in_this_boot_and_nobody_stopped(state: State) -> None:
    write(state, replica("web-1"))
    write(state, replica("web-2"), pid=None, exit_code=3, tries=2)
    write(state, replica("new-1"), pid=None, started=None, boot=None)
    write(state, replica("stopped-1"), pid=None, stopped=1)
    write(state, replica("going-1"), stopped=2)
    write(state, replica("before-1"), boot="another")  # the host was restarted
    seen = {one.name: one for one in look(state, "e1")}
    assert seen.keys() == {"web-1", "web-2"}
    assert (seen["web-1"].pid, seen["web-1"].start, seen["web-1"].started) == (7, 8, 2.0)
    assert (seen["web-2"].pid, seen["web-2"].code, seen["web-2"].tries) == (None, 3, 2)
    assert look(state, "e2") == ()


def test_look_sees_which_ports_are_shared(state: State) -> None:
    for name, port in (("web-1", 9000), ("web-2", 9000), ("api-1", 9001), ("api-2", 9002)):
        write(state, replica(name, Restart(), None, Port(8000, port)))
    assert {one.name for one in look(state, "e1") if one.shared} == {"web-1", "web-2"}


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        (replica("web-1", Restart()), False),
        (replica("web-1", ALWAYS), True),
        (replica("web-1", Restart(), CHECK), True),
        (replica("web-1", Restart(), None, Port(8000, 9000)), False),
    ],
)
def test_wanted_is_a_supervisor_where_something_asks_for_it(state: State, spec: ContainerSpec, asked: bool) -> None:
    write(state, replica("workspace", Restart()))
    write(state, spec)
    assert wanted(state, "e1") == asked


def test_wanted_is_none_where_all_have_ended_for_good(state: State) -> None:
    write(state, replica("job-1", Restart("on-failure", 2)), pid=None, exit_code=1, tries=2)
    write(state, replica("web-1", Restart("on-failure")), pid=None, exit_code=0)
    assert not wanted(state, "e1")
    write(state, replica("web-2", Restart("on-failure")), pid=None, exit_code=None)  # its monitor was killed
    assert wanted(state, "e1")
