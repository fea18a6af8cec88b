"""plan → provision against the engine in memory: what `up`, a second `up`, `stop` and `down` do."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from devenv.errors import Fault, InputError, StepFailed
from devenv.model.build import Keyed, Run, Step
from devenv.model.container import Container, ContainerSpec, Environment, Process
from devenv.model.events import Event, ignore
from devenv.model.image import PROJECT, Image, Rootfs
from devenv.model.manifest import Hooks, Port
from devenv.model.plan import Desired, Report, WantedImage
from devenv.plan import halt, plan, takedown
from devenv.provision import provision
from tests.fake_engine import FakeEngine, FakeWorkshop

ENVIRONMENT = Environment("e1", "shop", "/home/ann/shop")


def desired(key: str = "K1", debug: str = "1", hooks: Hooks | None = None) -> Desired:
    inputs = (("image", key), ("env.DEBUG", debug))
    process = Process((), env=(("DEBUG", debug),))
    spec = ContainerSpec(
        "e1", "workspace", "shop", "", process, ports=(Port(8000),), inputs=inputs, service="workspace"
    )
    step = Keyed(0, Step(1, "RUN true", Run(("true",))), f"step {key}", "", key, (("instruction", key),))
    image = WantedImage(PROJECT, key, (("apt:1", step),), (("apt:1", step.inputs),))
    return Desired(ENVIRONMENT, (image,), spec, hooks or Hooks())


def builder(engine: FakeEngine, key: str) -> Callable[[str], Image]:
    def build(_name: str) -> Image:
        engine.did.append(("build", key))
        return FakeWorkshop(engine, "/nowhere").commit(Rootfs(key), key, ())

    return build


def up(engine: FakeEngine, want: Desired, build: Callable[[str], Image] | None = None) -> Report:
    (image,) = want.images
    state = engine.observe(ENVIRONMENT, {image.name: image.key}, [keyed.key for _, keyed in image.steps])
    clock = itertools.count().__next__
    return provision(plan(want, state), engine, build or builder(engine, image.key), ignore, clock)


def verbs(report: Report) -> list[str]:
    return [result.action.verb for result in report.results]


def only(engine: FakeEngine) -> Container:
    (container,) = engine.containers()
    return container


def test_up_builds_creates_and_starts() -> None:
    engine = FakeEngine()
    report = up(engine, desired())
    assert report.ok
    assert verbs(report) == ["build", "create", "start"]
    assert only(engine).status == "running"
    assert only(engine).image == next(iter(engine.pictures))


def test_up_again_keeps_everything_and_touches_nothing() -> None:
    engine = FakeEngine()
    up(engine, desired())
    before = list(engine.did)
    report = up(engine, desired())
    assert verbs(report) == ["keep", "keep"]
    assert engine.did == before


def test_up_replaces_what_a_changed_variable_touches_and_names_it() -> None:
    engine = FakeEngine()
    up(engine, desired())
    old = only(engine).id
    report = up(engine, desired(debug="0"))
    assert verbs(report) == ["keep", "replace", "start"]
    assert report.results[1].action.changes[0].name == "env.DEBUG"
    assert only(engine).id != old
    assert engine.did.count(("build", "K1")) == 1


def test_up_with_a_changed_image_builds_and_replaces() -> None:
    engine = FakeEngine()
    up(engine, desired())
    assert verbs(up(engine, desired(key="K2"))) == ["build", "replace", "start"]
    assert engine.pictures[only(engine).image].key == "K2"
    assert engine.recall("e1") == (("apt:1", (("instruction", "K2"),)),)


def test_up_back_to_an_image_in_the_store_builds_nothing_but_remembers_it() -> None:
    engine = FakeEngine()
    for key in ("K1", "K2", "K1"):
        report = up(engine, desired(key=key))
    assert verbs(report) == ["keep", "replace", "start"]
    assert engine.recall("e1") == (("apt:1", (("instruction", "K1"),)),)


@pytest.mark.parametrize("code", [0, 1, None])
def test_up_starts_what_had_stopped(code: int | None) -> None:
    engine = FakeEngine()
    up(engine, desired())
    same = only(engine).id
    engine.crash(same, code)
    assert verbs(up(engine, desired())) == ["keep", "start"]
    assert (only(engine).id, only(engine).status) == (same, "running")


def test_a_failing_build_changes_nothing_and_skips_the_rest() -> None:
    def fails(_name: str) -> Image:
        raise StepFailed("RUN false: exit code 1", code=1)

    engine = FakeEngine()
    report = up(engine, desired(), fails)
    assert not report.ok
    assert [(result.error, result.skipped) for result in report.results] == [
        ("RUN false: exit code 1", False),
        ("", True),
        ("", True),
    ]
    assert engine.did == []
    assert up(engine, desired()).ok


def test_a_failing_build_leaves_the_old_container_running() -> None:
    def fails(_name: str) -> Image:
        raise InputError(Fault("Containerfile", 3, 1, "no such file"))

    engine = FakeEngine()
    up(engine, desired())
    old = only(engine)
    report = up(engine, desired(key="K2"), fails)
    assert report.code == 2
    assert only(engine) == old


def test_a_failing_hook_stops_the_rest_and_is_run_again_next_time() -> None:
    codes = {"migrate": 3}
    engine = FakeEngine(lambda _container, process: (codes.get(process.argv[-1], 0), ("a line",)))
    want = desired(hooks=Hooks(on_create=("install", "migrate"), on_start=("warm",)))
    report = up(engine, want)
    assert "on_create: migrate: exit code 3" in report.results[4].error
    assert (report.results[5].skipped, report.code) == (True, 1)
    assert not only(engine).hooks_done
    codes.clear()
    again = up(engine, want)
    assert [result.action.command for result in again.results if result.action.verb == "run-hook"] == [
        "install",
        "migrate",
    ]
    assert only(engine).hooks_done
    assert verbs(up(engine, want)) == ["keep", "keep"]


def test_a_command_that_ends_at_once_is_an_error() -> None:
    engine = FakeEngine()
    engine.ends["workspace"] = 127
    report = up(engine, desired())
    assert "ended at once with exit code 127" in report.results[2].error


def test_hook_output_is_told_as_events() -> None:
    engine = FakeEngine(lambda _container, _process: (0, ("Applying 0001",)))
    want = desired(hooks=Hooks(on_create=("migrate",)))
    events: list[Event] = []
    state = engine.observe(ENVIRONMENT, {PROJECT: "K1"}, [])
    provision(plan(want, state), engine, builder(engine, "K1"), events.append, itertools.count().__next__)
    assert Event("output", "on_create: migrate", "Applying 0001") in events


def test_each_result_has_its_seconds() -> None:
    assert [result.seconds for result in up(FakeEngine(), desired()).results] == [1, 1, 1]


def test_a_bug_is_no_result() -> None:
    def buggy(_name: str) -> Image:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        up(FakeEngine(), desired(), buggy)


def test_stop_then_down_leave_nothing() -> None:
    engine = FakeEngine()
    up(engine, desired())
    for make in (halt, takedown, takedown):
        state = engine.observe(ENVIRONMENT, {}, [])
        report = provision(make(state), engine, builder(engine, ""), ignore, itertools.count().__next__)
        assert report.ok
    assert engine.containers() == ()
    assert engine.environments() == ()
