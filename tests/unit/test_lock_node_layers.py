"""npm packages → layers: one more is one more layer; install scripts find what they may use, and the rest is apart from them."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping

import pytest

from devenv.lock.node_layers import layered
from devenv.model import npm
from devenv.model.lock import Module

Needs = Mapping[str, Collection[str]]


def module(text: str) -> Module:
    """`a/b` (b inside of a's folder), `a@2.0.0`, `esbuild!` (it has install scripts), `a:x` (with a command x)."""
    names, _, command = text.partition(":")
    names, _, version = names.rstrip("!").partition("@")
    path = "/".join(f"node_modules/{name}" for name in names.split("/"))
    bins = ((command.rstrip("!"), "cli.js"),) if command else ()
    return Module(path, version or "1.0.0", "sha512-AA==", bins=bins, scripts=text.endswith("!"))


def modules(text: str) -> tuple[Module, ...]:
    return tuple(map(module, text.split()))


def layers(found: Iterable[Module]) -> dict[str, int]:
    return {one.path.replace("node_modules/", ""): one.layer for one in found}


def grown(*texts: str, needs: Needs | None = None) -> dict[str, int]:
    """What becomes of the packages when they are these, one time after the other."""
    found: tuple[Module, ...] = ()
    for text in texts:
        found = layered(found, modules(text), needs or {})
    return layers(found)


def test_what_is_there_at_first_is_one_layer() -> None:
    assert grown("a b c/d") == {"a": 1, "b": 1, "c/d": 1}
    assert layered((), (), {}) == ()


def test_scripts_and_all_they_may_use_are_a_layer_apart() -> None:
    needs = {"a": {"b"}, "x": {"y"}, "y": {"z"}}
    assert grown("a b x! y z", needs=needs) == {"a": 1, "b": 1, "x": 2, "y": 2, "z": 2}
    assert grown("x! y z", needs=needs) == {"x": 1, "y": 1, "z": 1}


def test_what_comes_later_makes_a_layer_of_its_own() -> None:
    assert grown("a b x!", "a b c x!", "a b c d x!") == {"a": 1, "b": 1, "x": 2, "c": 3, "d": 4}


def test_what_comes_with_scripts_makes_two() -> None:
    needs = {"y": {"z"}, "x": {"v"}}
    assert grown("a x! v", "a c x! v y! z", needs=needs) == {"a": 1, "x": 2, "v": 2, "c": 3, "y": 4, "z": 4}


def test_another_version_stays_where_it_was_and_so_do_the_others() -> None:
    assert grown("a b x!", "a b c x!", "a@2.0.0 c x@2.0.0!") == {"a": 1, "x": 2, "c": 3}


def test_what_goes_leaves_the_others_where_they_are() -> None:
    assert grown("a x!", "a b x!", "a b c x!", "a c") == {"a": 1, "c": 4}


def test_what_is_inside_of_a_package_is_in_its_layer() -> None:
    found = grown("a a/b x x/y!", "a a/c x x/y! d d/e", needs={"d": {"a"}})
    assert found == {"a": 1, "a/c": 1, "x": 2, "x/y": 2, "d": 3, "d/e": 3}


def test_packages_with_a_command_of_one_name_stay_together() -> None:
    assert grown("a:one b", "a:one b c:one d") == {"a": 1, "b": 1, "c": 1, "d": 2}
    # Scripts may run it, whosever it is.
    assert grown("a:one b x:one!", needs={"a": {"b"}}) == {"a": 1, "b": 1, "x": 1}
    # Those inside of others have a folder of their own.
    assert grown("a:one", "a:one b b/c:one") == {"a": 1, "b": 2, "b/c": 2}


def test_what_new_scripts_use_comes_along() -> None:
    assert grown("a b", "a b x!", needs={"x": {"b"}}) == {"a": 1, "b": 2, "x": 2}


def test_scripts_upon_those_that_are_there_leave_these_alone() -> None:
    assert grown("a x! z", "a x! z y! w", needs={"x": {"z"}, "y": {"z", "w"}}) == {
        "a": 1,
        "x": 2,
        "z": 2,
        "y": 3,
        "w": 3,
    }


def test_when_scripts_need_what_came_later_all_of_them_are_one_layer_again() -> None:
    before = layered((), modules("a x!"), {})
    before = layered(before, modules("a x! y!"), {})
    assert layers(before) == {"a": 1, "x": 2, "y": 3}
    found = layered(before, modules("a x@2.0.0! y! z"), {"x": {"z"}})
    assert layers(found) == {"a": 1, "x": 2, "y": 2, "z": 2}


def test_what_is_left_without_scripts_goes_on_being_there_for_later_ones() -> None:
    needs = {"x": {"z"}, "y": {"z"}}
    assert grown("a x! z", "a x! z y!", "a z y!", needs=needs) == {"a": 1, "z": 3, "y": 3}


def test_what_no_script_uses_any_more_is_just_put_in_place() -> None:
    assert grown("a x! z", "a z", needs={"x": {"z"}})["z"] == 2
    assert grown("a x! z", "a y! z", needs={"x": {"z"}}) == {"a": 1, "z": 2, "y": 3}


def test_a_lock_that_has_all_in_one_layer_is_put_in_order() -> None:
    before = modules("a x! z")
    assert layers(layered(before, before, {"x": {"z"}})) == {"a": 2, "x": 1, "z": 1}


def test_from_the_eighth_layer_on_the_last_of_its_kind_takes_what_comes() -> None:
    texts = [" ".join(f"p{number}" for number in range(count)) for count in range(1, 12)]
    assert max(grown(*texts).values()) == 8
    found = grown(*texts, f"{texts[-1]} x!", f"{texts[-1]} more x! y!")
    assert (found["more"], found["x"], found["y"]) == (8, 9, 9)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_comes_and_goes(seed: int) -> None:
    """Scripts find what they may use before them; what can't be told apart stays together; what is settled stays so."""
    chance = random.Random(seed)
    names = [f"p{number}" for number in range(12)]
    found: tuple[Module, ...] = ()
    for _ in range(12):
        here = chance.sample(names, chance.randint(1, len(names)))
        needs = {name: set(chance.sample(names, chance.randint(0, 2))) for name in names}
        texts = [f"{name}{chance.choice(['', '', ':c', ':d'])}{chance.choice(['', '', '', '!'])}" for name in here]
        texts += [f"{name}/inner{chance.choice(['', '!'])}" for name in here if chance.random() < 0.2]
        found = layered(found, modules(" ".join(texts)), needs)
        assert layered(found, found, needs) == found
        one_layer(found)
        all_there(found, needs)


def one_layer(found: Iterable[Module]) -> None:
    together: dict[str, set[int]] = {}
    for one in found:
        names = npm.names(one.path)
        together.setdefault(names[0], set()).add(one.layer)
        for command, _ in one.bins if len(names) == 1 else ():
            together.setdefault(f"command {command}", set()).add(one.layer)
    assert all(len(numbers) == 1 for numbers in together.values())


def all_there(found: Iterable[Module], needs: Needs) -> None:
    """What a stage would have when it runs a layer's scripts."""
    at = {npm.names(one.path)[0]: one.layer for one in found}
    running = {one.layer for one in found if one.scripts}
    for one in found:
        waiting, seen = [npm.names(one.path)[0]] if one.scripts else [], set[str]()
        while waiting:
            name = waiting.pop()
            if name in at and name not in seen:
                seen.add(name)
                waiting += needs.get(name, ())
                assert at[name] in running and at[name] <= one.layer, (one, name)
