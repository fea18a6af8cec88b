"""restart(state, …): what is stopped and started, in which order, what is waited for, which hooks run."""

from __future__ import annotations

from devenv.model.container import ContainerSpec, State
from devenv.model.manifest import Hooks
from devenv.model.plan import Plan, WantedService
from devenv.plan import restart
from tests.unit.test_plan_services import PROCESS, before, service, there, with_container

DB = service("db", awaited="healthy")
API = service("api", needs={"db": "healthy"})
WEB = service("web", 3, needs={"api": "started"})


def again(state: State, *services: WantedService, hooks: Hooks | None = None, names: str = "") -> Plan:
    """A restart of these containers, or of all."""
    known = {spec.name: spec for one in services for spec in one.specs}
    workspace = ContainerSpec("e1", "workspace", "shop", "", PROCESS)
    due = [one for one in state.containers if one.name in (names.split() or [one.name])]
    specs = {one.id: known.get(one.name, workspace) for one in due}
    return restart(state, specs.keys(), specs, hooks or Hooks())


def titles(answer: Plan) -> list[str]:
    return [f"{one.verb} {one.object}" for one in answer.actions]


def test_replicas_are_restarted_one_after_the_other() -> None:
    answer = again(there(WEB), WEB, names="web-1 web-2 web-3")
    assert before(answer, "stop web-1") == set()
    assert before(answer, "stop web-2") == {"stop web-1", "start web-1", "wait web-1"}
    assert "wait web-2" in before(answer, "stop web-3")


def test_services_are_restarted_once_what_they_depend_on_is_ready() -> None:
    answer = again(there(WEB, API, DB), WEB, API, DB)
    assert before(answer, "stop api-1") == {"stop db-1", "start db-1", "wait db-1"}
    assert "start api-1" in before(answer, "stop web-1")
    assert before(answer, "stop workspace") == set()


def test_the_order_holds_across_a_service_that_goes_on() -> None:
    answer = again(there(WEB, API, DB), WEB, API, DB, names="web-1 db-1")
    assert titles(answer) == ["stop db-1", "start db-1", "wait db-1", "stop web-1", "start web-1"]
    assert before(answer, "stop web-1") == {"stop db-1", "start db-1", "wait db-1"}


def test_what_does_not_run_is_only_started() -> None:
    state = with_container(there(DB), "db-1", status="stopped", exit_code=0)
    assert titles(again(state, DB, names="db-1")) == ["start db-1", "wait db-1"]


def test_a_one_shot_is_waited_for_to_its_end() -> None:
    job, web = service("job"), service("web")
    state = with_container(there(job, web), "web-1", inputs=(("depends_on", "job (completed)"),))
    answer = again(state, job, web, names="job-1")
    assert [one.until for one in answer.actions if one.verb == "wait"] == ["completed"]
    assert "wait job-1" in before(again(state, job, web), "stop web-1")


def test_hooks_run_last_where_the_workspace_is_restarted() -> None:
    hooks = Hooks(("make",), ("warm", "serve"))
    answer = again(there(DB), DB, hooks=hooks)
    assert [(one.object, one.command, one.reason) for one in answer.actions[-2:]] == [
        ("on_start", "warm", "it was started"),
        ("on_start", "serve", "it was started"),
    ]
    assert {"start workspace", "wait db-1"} <= before(answer, "run-hook on_start")
    assert "run-hook on_start" not in titles(again(there(DB), DB, hooks=hooks, names="db-1"))
    state = with_container(there(), "workspace", hooks_done=False)
    assert [one.command for one in again(state, hooks=hooks).actions[2:]] == ["make", "warm", "serve"]


def test_a_circle_of_two_manifests_ends() -> None:
    services = service("a", needs={"b": "started"}), service("b", needs={"a": "started"})
    assert len(again(there(*services), *services, names="a-1 b-1").actions) == 4
