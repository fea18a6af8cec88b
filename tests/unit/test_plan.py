"""plan(desired, state): which actions, and the reason each gives."""

from __future__ import annotations

import json

import pytest

from devenv.model.build import Configure, Keyed, Run, Step
from devenv.model.container import Container, ContainerSpec, Environment, ObservedImage, Process, State, Status
from devenv.model.image import PROJECT
from devenv.model.manifest import Hooks, Pairs
from devenv.model.plan import Action, Built, Change, Desired, Plan, WantedImage
from devenv.plan import halt, plan, takedown

ENVIRONMENT = Environment("e1", "shop", "/home/ann/shop")
INPUTS = (("image", "K1"), ("env.DEBUG", "1"), ("ports", "8000"))


def run(
    position: str, key: str, *inputs: tuple[str, str], stage: int = 0, needs: tuple[int, ...] = (), on: str = ""
) -> tuple[str, Keyed]:
    step = Step(1, f"RUN {position}", Run(("/bin/sh", "-c", position)))
    return position, Keyed(stage, step, key, on, key, (*inputs, ("parent", on)), needs)


def wanted(*steps: tuple[str, Keyed], key: str = "K1", inputs: Pairs = INPUTS, hooks: Hooks | None = None) -> Desired:
    spec = ContainerSpec("e1", "workspace", "shop", "", Process(()), inputs=inputs)
    built = tuple((position, keyed.inputs) for position, keyed in steps)
    return Desired(ENVIRONMENT, (WantedImage(PROJECT, key, steps, built),), spec, hooks or Hooks())


def observed(
    status: Status = "running", exit_code: int | None = None, inputs: Pairs = INPUTS, done: bool = True
) -> State:
    started = None if status == "created" else 5.0
    container = Container(
        *("c1", "e1", "workspace", "sha256:i", status),
        started=started,
        exit_code=exit_code,
        inputs=inputs,
        hooks_done=done,
        service="workspace",
    )
    return State(ENVIRONMENT, (container,), images={PROJECT: ObservedImage("sha256:i")})


def stored(digest: str = "", built: Built = (), cached: frozenset[str] = frozenset()) -> State:
    """The same container running, of an image as the store has it."""
    return observed()._replace(images={PROJECT: ObservedImage(digest, tuple(built))}, cached=cached)


def told(answer: Plan) -> list[tuple[str, str, str]]:
    return [(action.verb, action.object, action.reason) for action in answer.actions]


def step_reasons(action: Action) -> list[tuple[str, bool, str]]:
    return [(step.position, step.cached, step.reason) for step in action.steps]


def test_plan_of_nothing_there_builds_creates_and_starts() -> None:
    answer = plan(wanted(run("apt:1", "a")), State(ENVIRONMENT))
    assert told(answer) == [
        ("build", "image", "its one step: there is none yet"),
        ("create", "workspace", "there is none yet"),
        ("start", "workspace", "it is new"),
    ]
    assert not answer.idle


def test_plan_with_nothing_changed_keeps_all_with_a_reason_each() -> None:
    answer = plan(wanted(), observed())
    assert answer.idle
    assert told(answer) == [
        ("keep", "image", "nothing it is made of changed"),
        ("keep", "workspace", "it runs, and nothing changed"),
    ]


def test_plan_replaces_a_container_whose_source_folder_was_made_anew() -> None:
    state = observed()
    lost = state._replace(containers=(state.containers[0]._replace(lost="/home/ann/shop"),))
    answer = plan(wanted(hooks=Hooks(("migrate",), ())), lost)
    assert told(answer) == [
        ("keep", "image", "nothing it is made of changed"),
        ("replace", "workspace", "the folder /home/ann/shop was made anew"),
        ("start", "workspace", "it is new"),
        ("run-hook", "on_create", "the container is new"),
    ]


def test_plan_names_the_step_input_that_changed_and_what_follows_it() -> None:
    desired = wanted(
        run("apt:1", "a1", ("apt", "git"), stage=0),
        run("python:1", "p2", ("packages", "django==6.0"), stage=1),
        run("python:2", "p3", stage=1, on="p2"),
        run("final:1", "f2", ("stage python", "p3"), stage=2, needs=(0, 1)),
        key="K2",
    )
    built = (
        ("apt:1", (("apt", "git"), ("parent", ""))),
        ("python:1", (("packages", "django==5.2"), ("parent", ""))),
        ("python:2", (("parent", "old"),)),
        ("final:1", (("stage python", "p1"), ("parent", ""))),
    )
    state = stored(built=built, cached=frozenset({"a1"}))
    action = plan(desired, state).actions[0]
    assert action.reason == "3 of 4 steps: python:1: packages django==5.2 → django==6.0"
    assert action.changes == (Change("packages", "django==5.2", "django==6.0"),)
    assert step_reasons(action) == [
        ("apt:1", True, "in the store"),
        ("python:1", False, "packages django==5.2 → django==6.0"),
        ("python:2", False, "follows python:1"),
        ("final:1", False, "follows python:1"),
    ]


def test_plan_says_what_changed_in_the_manifest_s_own_words() -> None:
    def step(packages: str, command: str) -> tuple[str, Keyed]:
        origins = (("apt", packages),)
        step = Step(1, "RUN long", Run(("/bin/sh", "-c", "")), place="apt", origins=origins)
        inputs = (("devenv.yml: apt", packages), ("command", command), ("env.X", command), ("parent", ""))
        return "apt:1", Keyed(0, step, command, "", command, inputs)

    before = step("git, jq", "install git jq")
    state = stored(built=((before[0], before[1].inputs),))
    action = plan(wanted(step("git, tree", "install git tree")), state).actions[0]
    assert action.reason == "its one step: apt +tree -jq"
    assert action.changes == (Change("apt", "git, jq", "git, tree"),)
    assert (action.steps[0].position, action.steps[0].text) == ("apt", "git, tree")


def test_plan_counts_the_steps_of_a_base_that_is_built_too() -> None:
    own = run("1:1", "o2", on="n2")
    nested = run("devenv-base/1:1", "n2", ("command", "new"))
    state = stored(built=(("devenv-base/1:1", (("command", "old"),)), ("1:1", (("parent", "n1"),))))
    action = plan(wanted(nested, own), state).actions[0]
    assert action.reason == "all 2 steps: devenv-base/1:1: command old → new"
    assert step_reasons(action)[1] == ("1:1", False, "follows devenv-base/1:1")


def test_plan_leaves_configuring_steps_out_of_the_count() -> None:
    configure = ("final:2", Keyed(0, Step(2, "ENV A=1", Configure()), "c", "", "c"))
    action = plan(wanted(run("final:1", "f"), configure), State(ENVIRONMENT)).actions[0]
    assert action.reason == "its one step: there is none yet"


def test_plan_of_another_base_says_so() -> None:
    state = stored(built=(("a:1", (("parent", "bookworm"),)),))
    action = plan(wanted(run("a:1", "a2", on="trixie"), run("a:2", "a3", on="a2")), state).actions[0]
    assert action.reason == "all 2 steps: what it is built on changed"
    assert step_reasons(action)[1] == ("a:2", False, "follows a:1")


def test_plan_of_a_stage_on_another_says_which_it_follows() -> None:
    desired = wanted(run("base:1", "b2", ("command", "new")), run("final:1", "f2", stage=1, on="b2"))
    state = stored(built=(("base:1", (("command", "old"),)), ("final:1", (("parent", "b1"),))))
    assert step_reasons(plan(desired, state).actions[0])[1] == ("final:1", False, "follows base:1")


def test_plan_names_a_change_of_configuration() -> None:
    configure = ("final:2", Keyed(0, Step(2, "CMD b", Configure()), "c", "f", "f", (("cmd", "b"),)))
    built = (("final:1", (("parent", ""),)), ("final:2", (("cmd", "a"),)))
    state = stored(built=built, cached=frozenset({"f"}))
    action = plan(wanted(run("final:1", "f"), configure), state).actions[0]
    assert action.reason == "every step is in the store, final:2: cmd a → b"


def test_plan_calls_a_step_new_that_stands_where_another_kind_stood() -> None:
    steps = (run("a:1", "a1", ("command", "echo b")), run("a:2", "a2", ("target", "/srv"), on="a1"))
    built = (("a:1", (("target", "/srv"), ("parent", ""))),)
    state = stored(built=built)
    assert step_reasons(plan(wanted(*steps), state).actions[0]) == [
        ("a:1", False, "new"),
        ("a:2", False, "follows a:1"),
    ]


def test_plan_says_when_a_result_was_collected_from_the_store() -> None:
    built = (("a:1", run("a:1", "a")[1].inputs),)
    state = stored(built=built)
    assert step_reasons(plan(wanted(run("a:1", "a")), state).actions[0]) == [("a:1", False, "no longer in the store")]


def test_plan_replaces_the_container_and_names_the_inputs() -> None:
    answer = plan(wanted(inputs=(("image", "K1"), ("env.DEBUG", "0"), ("network", "none"))), observed())
    replacing = answer.actions[1]
    assert (replacing.verb, replacing.reason, replacing.container) == (
        "replace",
        "env.DEBUG 1 → 0, network → none, ports -8000",
        "c1",
    )
    assert replacing.changes == (
        Change("env.DEBUG", "1", "0"),
        Change("network", "", "none"),
        Change("ports", "8000", ""),
    )
    assert answer.actions[2].verb == "start"


def test_plan_replaces_the_container_of_an_image_built_anew() -> None:
    replacing = plan(wanted(), stored("sha256:other")).actions[1]
    assert (replacing.verb, replacing.changes) == ("replace", (Change("image", "sha256:i", "sha256:other"),))


def test_plan_starts_a_stopped_container_and_says_why_it_stopped() -> None:
    reasons = {code: told(plan(wanted(), observed("stopped", code)))[1] for code in (143, 3, None)}
    assert reasons[143] == ("start", "workspace", "it was stopped")
    assert reasons[3] == ("start", "workspace", "its command ended with exit code 3")
    assert reasons[None][2].startswith("it was cut off")


@pytest.mark.parametrize(("code", "how"), [(3, "exit code 3"), (0, "exit code 0"), (None, "its monitor was killed")])
def test_plan_starts_what_waits_to_be_restarted(code: int | None, how: str) -> None:
    answer = plan(wanted(), observed("restarting", code))
    assert told(answer)[-1] == ("start", "workspace", f"it waited to be restarted, after {how}")
    assert told(plan(wanted(), observed("created")))[1] == ("start", "workspace", "it was never started")


def test_plan_runs_on_start_at_each_start_and_on_create_once() -> None:
    desired = wanted(hooks=Hooks(on_create=("migrate",), on_start=("warm",)))
    hooks = [
        [action.command for action in plan(desired, state).actions if action.verb == "run-hook"]
        for state in (
            State(ENVIRONMENT),
            observed("stopped", 0),
            observed("stopped", 0, done=False),
            observed(),
            observed(done=False),
        )
    ]
    assert hooks == [["migrate", "warm"], ["warm"], ["migrate", "warm"], [], ["migrate"]]


def test_plan_ignores_a_change_of_hooks() -> None:
    assert plan(wanted(hooks=Hooks(on_create=("other",), on_start=("other",))), observed()).idle


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Hooks(("a",), ()), Hooks(("b",), ()), "hooks.on_create a → b, from the next new container (up --recreate) on"),
        (Hooks((), ("a",)), Hooks((), ("a", "b")), "hooks.on_start a → a; b, from the next start on"),
        (Hooks(("a",), ()), Hooks(("a",), ()), "nothing changed"),
    ],
)
def test_plan_says_when_changed_hooks_will_run(before: Hooks, after: Hooks, said: str) -> None:
    def row(hooks: Hooks) -> tuple[str, Pairs]:
        return "hooks", tuple((f"hooks.{name}", json.dumps(each)) for name, each in hooks._asdict().items() if each)

    desired = wanted(hooks=after)
    desired = desired._replace(images=(desired.images[0]._replace(built=(row(after),)),))
    answer = plan(desired, stored("sha256:i", (row(before),)))
    assert answer.idle
    assert told(answer)[1] == ("keep", "workspace", f"it runs, and {said}")
    assert answer.images[PROJECT].built == (
        () if before == after else desired.images[0].built
    )  # told once: `up` writes down the new ones


def test_hooks_as_an_earlier_devenv_wrote_them_down_are_the_same() -> None:
    desired = wanted(hooks=Hooks((), ("a", "b")))
    built = (("hooks", (("hooks.on_start", '["a", "b"]'),)),)
    desired = desired._replace(images=(desired.images[0]._replace(built=built),))
    answer = plan(desired, stored("sha256:i", (("hooks", (("hooks.on_start", "a; b"),)),)))
    assert told(answer)[1] == ("keep", "workspace", "it runs, and nothing changed")


def test_plan_recreates_when_asked_for() -> None:
    assert told(plan(wanted(), observed(), recreate=True))[1] == ("replace", "workspace", "asked for")
    assert [verb for verb, *_ in told(plan(wanted(), observed(), rebuild=True))] == ["build", "replace", "start"]


def test_plan_remembers_inputs_only_when_they_differ() -> None:
    desired = wanted(run("a:1", "a"))
    built = desired.images[0].built
    assert plan(desired, observed()).images[PROJECT].built == built
    assert plan(desired, stored("sha256:i", built)).images[PROJECT].built == ()


def test_takedown_removes_containers_then_forgets() -> None:
    state = observed()._replace(volumes=("pgdata",))
    assert [verb for verb, *_ in told(takedown(state))] == ["remove", "forget"]
    assert takedown(state).actions[-1].volumes == ()
    assert takedown(state, volumes=True).actions[-1].volumes == ("pgdata",)


def test_halt_stops_only_what_runs_or_would_soon() -> None:
    assert told(halt(observed())) == [("stop", "workspace", "asked for")]
    assert told(halt(observed("restarting", 1))) == [("stop", "workspace", "asked for")]
    assert halt(observed("stopped", 0)).idle
