"""plan(desired, state) of several containers: the actions, their reasons, and which must come before which."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from devenv.model.container import Container, ContainerSpec, Environment, ObservedImage, Process, State
from devenv.model.image import PROJECT
from devenv.model.manifest import Condition, Dependency, Healthcheck, Hooks
from devenv.model.plan import Desired, Plan, WantedImage, WantedService
from devenv.plan import halt, plan, takedown

ENVIRONMENT = Environment("e1", "shop", "/home/ann/shop")
PROCESS = Process(("/bin/sh", "-c", "serve"))
CHECK = Healthcheck("true")


def service(
    name: str,
    replicas: int = 1,
    *,
    needs: dict[str, Condition] | None = None,
    awaited: Condition = "started",
    version: str = "1",
    image: str = PROJECT,
) -> WantedService:
    needed = tuple(Dependency(*need) for need in (needs or {}).items())
    inputs = (("env.VERSION", version), ("depends_on", ", ".join(needs or {})))
    specs = tuple(
        ContainerSpec(
            *("e1", f"{name}-{index}", f"{name}-{index}", "", PROCESS),
            inputs=inputs,
            service=name,
            index=index,
            healthcheck=CHECK if awaited == "healthy" else None,
        )
        for index in range(1, replicas + 1)
    )
    return WantedService(name, image, specs, needed, awaited)


def wanted(*services: WantedService, hooks: Hooks | None = None, idle: tuple[str, ...] = ()) -> Desired:
    names = dict.fromkeys([PROJECT, *(one.image for one in services)])
    images = tuple(WantedImage(name, f"key of {name}") for name in names)
    spec = ContainerSpec("e1", "workspace", "shop", "", Process(()), service="workspace")
    return Desired(ENVIRONMENT, images, spec, hooks or Hooks(), services, idle)


def there(*services: WantedService, images: Collection[str] = (PROJECT,)) -> State:
    """All of these running as they are wanted, healthy where they have a health check, and the workspace."""
    workspace = Container("c0", "e1", "workspace", "sha256:i", "running", hooks_done=True, service="workspace")
    found = (
        Container(
            *(f"id of {spec.name}", "e1", spec.name, "sha256:i", "running"),
            started=1.0,
            inputs=spec.inputs,
            service=spec.service,
            index=spec.index,
            health="healthy" if spec.healthcheck else "",
        )
        for one in services
        for spec in one.specs
    )
    return State(ENVIRONMENT, (workspace, *found), images={name: ObservedImage("sha256:i") for name in images})


def with_container(state: State, name: str, **values: object) -> State:
    changed = (one._replace(**values) if one.name == name else one for one in state.containers)  # type: ignore[arg-type]
    return state._replace(containers=tuple(changed))


def told(answer: Plan, *names: str) -> list[str]:
    return [f"{one.verb} {one.object}: {one.reason}" for one in answer.actions if not names or one.object in names]


def before(answer: Plan, what: str) -> set[str]:
    """What must have been done before an action, by `verb object`."""
    titles = [f"{one.verb} {one.object}" for one in answer.actions]
    action = answer.actions[titles.index(what)]
    found, pending = set[int](), list(range(titles.index(what)) if action.after is None else action.after)
    while pending:
        number = pending.pop()
        found.add(number)
        pending += answer.actions[number].after or ()
    return {titles[number] for number in found if answer.actions[number].verb != "keep"}


def test_plan_of_nothing_there_makes_all_and_starts_each_after_what_it_needs() -> None:
    web, db = service("web", 2, needs={"db": "healthy"}), service("db", awaited="healthy")
    answer = plan(wanted(web, db, hooks=Hooks(on_start=("warm",))), State(ENVIRONMENT))
    assert told(answer) == [
        "build image: there is none yet",
        "create workspace: there is none yet",
        "start workspace: it is new",
        "create db-1: there is none yet",
        "start db-1: it is new",
        "wait db-1: until it is healthy",
        "create web-1: there is none yet",
        "start web-1: it is new",
        "create web-2: there is none yet",
        "start web-2: it is new",
        "run-hook on_start: it was started",
    ]
    assert before(answer, "create web-1") == {"build image"}
    assert before(answer, "start web-2") == {*("build image", "create web-2", "create db-1", "start db-1", "wait db-1")}
    assert len(before(answer, "run-hook on_start")) == 10


def test_plan_with_nothing_changed_keeps_all_with_a_reason_each() -> None:
    services = service("db", awaited="healthy"), service("web", 2, needs={"db": "healthy"})
    answer = plan(wanted(*services), there(*services))
    assert answer.idle
    assert told(answer, "db-1", "web-2") == [
        "keep db-1: it runs, and nothing changed",
        "keep web-2: it runs, and nothing changed",
    ]


def test_plan_of_each_condition_waits_for_just_that() -> None:
    for condition, last in (("started", "start a-1"), ("healthy", "wait a-1"), ("completed", "wait a-1")):
        first = service("a", awaited=condition)  # type: ignore[arg-type]
        answer = plan(wanted(first, service("b", needs={"a": condition})), State(ENVIRONMENT))  # type: ignore[dict-item]
        assert last in before(answer, "start b-1")
    healthy = service("a", awaited="healthy")
    answer = plan(wanted(healthy, service("b", needs={"a": "started"})), State(ENVIRONMENT))
    assert "wait a-1" not in before(answer, "start b-1")
    assert "wait a-1: until it is healthy" in told(answer)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"health": "unhealthy"}, ["keep db-1: it runs, and nothing changed", "wait db-1: it is unhealthy"]),
        ({"health": "starting"}, ["keep db-1: it runs, and nothing changed", "wait db-1: it is starting"]),
        ({"health": ""}, ["keep db-1: it runs, and nothing changed", "wait db-1: until it is healthy"]),
        (
            {"status": "stopped", "exit_code": 143},
            ["start db-1: it was stopped", "wait db-1: until it is healthy"],
        ),
        (
            {"status": "stopped", "exit_code": 1},
            ["start db-1: its command ended with exit code 1", "wait db-1: until it is healthy"],
        ),
        (
            {"status": "created", "started": None},
            ["start db-1: it was never started", "wait db-1: until it is healthy"],
        ),
        (
            {"image": "sha256:old"},
            ["replace db-1: another image", "start db-1: it is new", "wait db-1: until it is healthy"],
        ),
        (
            {"lost": "/p"},
            [
                "replace db-1: the folder /p was made anew",
                "start db-1: it is new",
                "wait db-1: until it is healthy",
            ],
        ),
    ],
)
def test_plan_does_what_a_container_lacks_and_says_why(changed: dict[str, object], reason: list[str]) -> None:
    db = service("db", awaited="healthy")
    assert told(plan(wanted(db), with_container(there(db), "db-1", **changed)), "db-1") == reason


@pytest.mark.parametrize(
    ("code", "reasons"),
    [
        (0, ["keep job-1: it has completed, and nothing changed"]),
        (3, ["start job-1: its command ended with exit code 3", "wait job-1: until it has completed"]),
        (
            None,
            [
                "start job-1: it was cut off: the host restarted, or its monitor was killed",
                "wait job-1: until it has completed",
            ],
        ),
    ],
)
def test_plan_runs_a_one_shot_until_it_has_completed_once(code: int | None, reasons: list[str]) -> None:
    job = service("job", awaited="completed")
    state = with_container(there(job), "job-1", status="stopped", exit_code=code)
    assert told(plan(wanted(job), state), "job-1") == reasons


def test_plan_waits_for_a_one_shot_that_still_runs() -> None:
    job = service("job", awaited="completed")
    assert told(plan(wanted(job), there(job)), "job-1") == [
        "keep job-1: it runs, and nothing changed",
        "wait job-1: until it has completed",
    ]


def test_plan_rolls_replicas_each_after_the_one_before_is_ready() -> None:
    answer = plan(
        wanted(service("web", 3, awaited="healthy", version="2")), there(service("web", 3, awaited="healthy"))
    )
    assert "replace web-1: env.VERSION 1 → 2" in told(answer)
    assert before(answer, "replace web-1") == set()
    assert before(answer, "replace web-2") == {"replace web-1", "start web-1", "wait web-1"}
    assert {"wait web-1", "wait web-2"} <= before(answer, "replace web-3")


def test_plan_rolls_without_a_health_check_after_each_is_seen_to_run() -> None:
    answer = plan(wanted(service("web", 2, version="2")), there(service("web", 2)), wait=False)
    assert "wait web-1: until it is seen to run" in told(answer)
    assert "wait web-1" in before(answer, "replace web-2")


def test_plan_makes_more_replicas_before_it_replaces_those_there_are() -> None:
    answer = plan(
        wanted(service("web", 3, awaited="healthy", version="2")), there(service("web", 2, awaited="healthy"))
    )
    assert {"create web-3", "start web-3", "wait web-3"} <= before(answer, "replace web-1")


def test_plan_replaces_a_container_only_when_all_is_ready_that_it_needs() -> None:
    old = service("db", awaited="healthy"), service("web", needs={"db": "healthy"})
    new = service("db", awaited="healthy", version="2"), service("web", needs={"db": "healthy"}, version="2")
    assert "wait db-1" in before(plan(wanted(*new), there(*old)), "replace web-1")


def test_plan_removes_what_is_no_longer_wanted_and_says_why() -> None:
    state = there(service("web", 3), service("mail"), service("debug"))
    kept = Container("c9", "e1", "run-1", "sha256:i", "stopped")
    state = state._replace(containers=(*state.containers, kept))
    answer = plan(wanted(service("web", 2), service("new"), idle=("debug",)), state)
    assert [one for one in told(answer) if one.startswith("remove")] == [
        "remove web-3: replicas: 2",
        "remove mail-1: devenv.yml no longer has it",
        "remove debug-1: its profiles aren't asked for",
    ]
    assert before(answer, "create new-1") == {"remove web-3", "remove mail-1", "remove debug-1"}


def test_plan_of_some_services_touches_nothing_else() -> None:
    services = service("db"), service("web", 2, needs={"db": "started"}, image="web"), service("mail", image="mail")
    state = there(service("gone"), service("web", 3))
    answer = plan(wanted(*services, hooks=Hooks(on_start=("warm",))), state, only={"db", "web"})
    assert [f"{one.verb} {one.object}" for one in answer.actions] == [
        *("keep image", "build image web", "remove web-3", "create db-1", "start db-1", "keep web-1", "keep web-2")
    ]
    assert set(answer.images) == {PROJECT, "web"}


def test_plan_without_waiting_waits_where_somebody_starts_only_then() -> None:
    services = service("db", awaited="healthy"), service("mail", awaited="healthy")
    web = service("web", needs={"db": "healthy"})
    answer = plan(wanted(*services, web), State(ENVIRONMENT), wait=False)
    assert [one.object for one in answer.actions if one.verb == "wait"] == ["db-1"]
    started = with_container(there(*services, web), "db-1", health="starting")
    assert [one.verb for one in plan(wanted(*services, web), started, wait=False).actions if one.object == "db-1"] == [
        "keep"
    ]


def test_plan_recreates_all_when_asked_for() -> None:
    services = service("db"), service("web", 2)
    answer = plan(wanted(*services), there(*services), recreate=True)
    assert [one.object for one in answer.actions if one.verb == "replace"] == ["workspace", "db-1", "web-1", "web-2"]


def test_plan_ignores_a_change_of_what_a_service_starts_after() -> None:
    new = service("db"), service("web", needs={"db": "started"})
    assert plan(wanted(*new), there(service("db"), service("web"))).idle


def test_plan_builds_each_image_for_the_services_that_run_it() -> None:
    answer = plan(wanted(service("db", image="db"), service("web")), State(ENVIRONMENT))
    assert [one.object for one in answer.actions if one.verb == "build"] == ["image", "image db"]
    assert before(answer, "create db-1") == {"build image db"}
    assert before(answer, "create web-1") == {"build image"}


def test_halt_stops_those_first_that_depend_on_others() -> None:
    services = service("db"), service("api", needs={"db": "healthy"}), service("web", 2, needs={"api": "started"})
    answer = halt(there(*services))
    assert before(answer, "stop db-1") == {"stop api-1", "stop web-1", "stop web-2"}
    assert before(answer, "stop workspace") == set()


def test_takedown_removes_in_that_order_and_then_forgets() -> None:
    services = service("db"), service("web", needs={"db": "healthy"})
    answer = takedown(there(*services))
    assert before(answer, "remove db-1") == {"remove web-1"}
    assert len(before(answer, "forget environment")) == 3


def test_halt_of_what_depends_on_each_other_by_now_ends() -> None:
    services = service("a", needs={"b": "started"}), service("b", needs={"a": "started"})
    assert len(halt(there(*services)).actions) == 3
