"""Which steps of two builds are the same ones, and what is told of the others."""

from __future__ import annotations

import pytest

from devenv.model.build import Configure, Keyed, Operation, Run, Step
from devenv.model.container import ContainerSpec, Environment, ObservedImage, Process, State
from devenv.model.image import PROJECT
from devenv.model.manifest import Pairs
from devenv.model.plan import Action, Built, Change, Desired, WantedImage
from devenv.plan import plan
from devenv.reasons import matched

ENVIRONMENT = Environment("e1", "shop", "/home/ann/shop")
A, B, C = "a" * 64, "b" * 64, "c" * 64


def run(command: str, parent: str = "p", **more: str) -> Pairs:
    return (("command", command), ("network", "default"), *more.items(), ("clock", "0"), ("parent", parent))


def copied(source: str, digest: str) -> Pairs:
    return (("target", "/srv"), ("sources", f'["{source}"]'), (f"context {source}", digest), ("parent", "p"))


def apt(layer: int, asked: str, packages: str, digest: str = A) -> Pairs:
    return (
        ("devenv.yml: apt", asked),
        ("command", f"install {packages}"),
        ("mount bind /run/devenv/packages", f'["/run/devenv/packages", "apt/{layer}"]'),
        (f"context devenv-packages apt/{layer}", digest),
        ("clock", "0"),
        ("parent", "base"),
        ("devenv.lock.yml", packages),
    )


def site(layer: int, asked: str, packages: str, file: str = A, digest: str = A) -> Pairs:
    return (
        ("devenv.yml: requirements.txt", file),
        ("devenv.yml: python.packages", asked),
        ("target", "/opt/venv"),
        ("sources", f'["python/{layer}"]'),
        (f"context devenv-packages python/{layer}", digest),
        ("devenv.lock.yml", packages),
    )


def base(name: str, key: str, packages: str = "") -> Pairs:
    return (("from", name), ("key", key), ("devenv.lock.yml", packages))


def told(
    before: dict[str, Pairs],
    after: dict[str, Pairs],
    cached: frozenset[str] = frozenset(),
    files: tuple[dict[str, Pairs], dict[str, Pairs]] = ({}, {}),
    image: str = "",
) -> Action:
    """The plan for the image; `cached` are positions. Positions that aren't steps (`:0`, hooks) are told from."""

    def step(position: str, inputs: Pairs) -> Keyed:
        parent = dict(inputs).get("parent", "p")
        origins = tuple((name[12:], value) for name, value in inputs if name.startswith("devenv.yml: "))
        operation: Operation = Configure() if "parent" not in dict(inputs) and len(inputs) == 1 else Run(("true",))
        return Keyed(
            0, Step(1, position, operation, place=position, origins=origins), position, parent, position, inputs
        )

    steps = tuple((position, step(position, inputs)) for position, inputs in after.items() if position[-2:] != ":0")
    wanted = WantedImage(PROJECT, "K", steps, (*after.items(),), files[1])
    desired = Desired(ENVIRONMENT, (wanted,), ContainerSpec("e1", "workspace", "shop", "", Process(())))
    found = ObservedImage(image, (*before.items(),), files[0])
    state = State(ENVIRONMENT, cached=cached, images={PROJECT: found})
    return plan(desired, state).actions[0]


def reasons(action: Action) -> dict[str, str]:
    return {step.position: step.reason for step in action.steps if not step.cached}


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ([run("a"), run("b")], [run("new"), run("a"), run("b")], {2: 1, 3: 2}),
        ([run("a"), run("b")], [run("b")], {1: 2}),
        ([run("a"), run("b"), run("c")], [run("a"), run("B"), run("c")], {1: 1, 2: 2, 3: 3}),
        ([copied(".", A), run("b")], [run("new"), copied(".", B), run("b")], {2: 1, 3: 2}),
        ([run("a"), copied(".", A)], [copied(".", A), run("a")], {2: 1}),
        ([apt(1, "git", "git 1")], [apt(1, "git", "git 1"), apt(2, "jq", "jq 1")], {1: 1}),
        ([apt(1, "git", "git 1"), apt(2, "jq", "jq 1")], [apt(1, "git, jq", "git 2, jq 1")], {1: 1}),
        ([(("cmd", "a"),)], [(("env.A", "1"),), (("cmd", "b"),)], {2: 1}),
        ([run("a", **{"env.A": "1"}), run("b")], [run("x"), run("a", **{"env.A": "2"}), run("b")], {2: 1, 3: 2}),
    ],
)
def test_matched_steps_are_those_that_do_the_same(
    before: list[Pairs], after: list[Pairs], pairs: dict[int, int]
) -> None:
    def rows(found: list[Pairs]) -> Built:
        return [(f"s:{number}", inputs) for number, inputs in enumerate(found, 1)]

    assert matched(rows(before), rows(after)) == {f"s:{now}": f"s:{then}" for now, then in pairs.items()}


def test_matched_steps_stay_in_their_stage() -> None:
    assert matched([("a:1", run("x"))], [("b:1", run("x"))]) == {}


def test_an_apt_package_more_is_told_though_the_steps_are_counted_anew() -> None:
    before = {"apt:1": apt(1, "git", "git 2.39"), "e:1": run("last", parent="apt:1")}
    after = {**before, "apt:2": apt(2, "jq", "jq 1.6, libjq1 1.6", B)}
    action = told(before, after, frozenset({"apt:1", "e:1"}))
    assert action.reason == "1 of 3 steps: apt:2: apt +jq"
    assert action.changes == (
        Change("apt", "git", "git, jq"),
        Change("devenv.lock.yml", "git 2.39", "git 2.39, jq 1.6, libjq1 1.6"),
    )


def test_a_package_that_moved_to_another_layer_is_not_told_as_gone() -> None:
    before = {"apt:1": apt(1, "git", "git 2.39"), "apt:2": apt(2, "jq", "jq 1.6", B)}
    action = told(before, {"apt:1": apt(1, "git, jq, tree", "git 2.39, jq 1.6, tree 2", C)})
    assert reasons(action) == {"apt:1": "apt +tree"}


def test_layers_made_one_are_told_as_that() -> None:
    before = {"apt:1": apt(1, "git", "git 2.39"), "apt:2": apt(2, "jq", "jq 1.6", B)}
    assert reasons(told(before, {"apt:1": apt(1, "git, jq", "git 2.39, jq 1.6", C)})) == {
        "apt:1": "layers of apt 2 → 1"
    }


def test_a_renewed_lock_is_told_by_package() -> None:
    action = told({"apt:1": apt(1, "git", "git 2.39, zlib 1")}, {"apt:1": apt(1, "git", "git 2.40, zlib 1", B)})
    assert action.reason == "its one step: apt:1: git 2.39 → 2.40"


def test_an_edited_requirements_file_is_named_with_what_it_moved() -> None:
    before = {"e:1": site(1, "six", "numpy 2.1, six 1")}
    action = told(before, {"e:1": site(1, "six", "numpy 2.2, six 1", B, B)})
    assert reasons(action) == {"e:1": "requirements.txt edited, numpy 2.1 → 2.2"}


def test_an_edited_file_is_no_reason_for_the_layer_that_stays_as_it_is() -> None:
    before = {"e:1": site(1, "six", "six 1")}
    after = {"e:1": site(1, "six", "six 1", B), "e:2": site(2, "six", "tomli 2", B, B)}
    action = told(before, after, frozenset({"e:1", "e:2"}), image="sha256:i")
    assert [[change.name for change in step.changes] for step in action.steps] == [
        [],
        ["requirements.txt", "devenv.lock.yml"],
    ]
    assert action.reason == "it is in the store already: e:2: requirements.txt edited"


def test_a_package_more_in_a_requirements_file_is_told_at_its_new_layer() -> None:
    before = {"e:1": site(1, "six", "six 1")}
    after = {"e:1": site(1, "six", "six 1", B), "e:2": site(2, "six", "tomli 2", B, B)}
    assert reasons(told(before, after, frozenset({"e:1"}))) == {"e:2": "requirements.txt edited"}


def test_another_base_is_named_and_not_its_hundred_packages() -> None:
    before = {"base:0": base("bootstrap:bookworm", "base1", "libc6 2.36"), "apt:1": apt(1, "git", "git 2.39")}
    after = {"base:0": base("bootstrap:trixie", "base", "libc6 2.41"), "apt:1": apt(1, "git", "git 2.47", B)}
    action = told(before, after)
    assert action.reason == "its one step: from bootstrap:bookworm → bootstrap:trixie"
    assert action.changes == (Change("from", "bootstrap:bookworm", "bootstrap:trixie"),)


def test_a_base_made_of_newer_packages_is_told_by_package() -> None:
    before = {"base:0": base("bootstrap:bookworm", "old", "libc6 2.36-9"), "s:1": run("a")}
    after = {"base:0": base("bootstrap:bookworm", "p", "libc6 2.36-10"), "s:1": run("a")}
    assert reasons(told(before, after)) == {"s:1": "libc6 2.36-9 → 2.36-10"}


def test_a_base_of_the_same_name_with_other_content_is_named() -> None:
    before, after = ({"s:0": base("oci:/x:base", key), "s:1": run("a")} for key in (A, "p"))
    assert reasons(told(before, after)) == {"s:1": "from oci:/x:base changed"}


def test_a_run_put_in_between_leaves_the_others_what_they_were() -> None:
    action = told(
        {"s:1": run("a"), "s:2": run("b")}, {"s:1": run("a"), "s:2": run("new"), "s:3": run("b", parent="s:2")}
    )
    assert reasons(action) == {"s:1": "no longer in the store", "s:2": "new", "s:3": "follows s:2"}


def test_files_of_a_context_are_named() -> None:
    before = (("app.py", "644 aaaaaaaaaaaa"), ("gone.py", "644 cccccccccccc"), ("run.sh", "644 dddddddddddd"))
    after = (("app.py", "644 bbbbbbbbbbbb"), ("new.py", "644 cccccccccccc"), ("run.sh", "755 dddddddddddd"))
    action = told({"s:1": copied(".", A)}, {"s:1": copied(".", B)}, files=({A: before}, {B: after}))
    assert reasons(action) == {"s:1": "app.py edited, gone.py removed, new.py added, run.sh mode 644 → 755"}


def test_files_of_a_context_too_large_to_remember_are_told_together() -> None:
    action = told({"s:1": copied(".", A)}, {"s:1": copied(".", B)}, files=({A: ()}, {}))
    assert reasons(action) == {"s:1": ". edited"}


def test_an_image_of_before_says_what_is_different_in_it() -> None:
    before = {"apt:1": apt(1, "git", "git 1"), "apt:2": apt(2, "jq", "jq 1")}
    action = told(before, {"apt:1": apt(1, "git", "git 1")}, image="sha256:i")
    assert (action.verb, action.reason) == ("keep", "it is in the store already: apt -jq")


def test_an_image_that_another_project_made_is_told_so() -> None:
    assert told({}, {"s:1": run("a")}, image="sha256:i").reason == "it is in the store already"


def test_a_step_taken_out_is_named() -> None:
    before = {"s:1": run("a"), "s:2": run("b")}
    action = told(before, {"s:1": run("a")}, frozenset({"s:1"}))
    assert action.reason == "every step is in the store, s:2 removed"


def test_a_first_build_has_no_chain_of_reasons() -> None:
    assert set(reasons(told({}, {"s:1": run("a"), "s:2": run("b", parent="s:1")})).values()) == {"new"}


def test_the_clock_is_told_only_where_nothing_else_changed() -> None:
    early, late = (
        tuple((name, clock if name == "clock" else value) for name, value in run("a")) for clock in ("0", "60")
    )
    assert reasons(told({"s:1": early}, {"s:1": late})) == {"s:1": "clock 1970-01-01 00:00 → 1970-01-01 00:01"}
    other = tuple((name, "b" if name == "command" else value) for name, value in late)
    assert reasons(told({"s:1": early}, {"s:1": other})) == {"s:1": "command a → b"}
