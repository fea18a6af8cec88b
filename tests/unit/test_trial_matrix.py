"""Combinations: their order, what is left out, what is added."""

from __future__ import annotations

import pytest

from devenv.errors import InputError
from devenv.trial.matrix import combinations

PYTHON = ("python", ("3.12", "3.13"))
POSTGRES = ("db.apt.postgresql", ("15", "17"))


def test_matrix_is_the_cross_product_in_order() -> None:
    assert combinations((PYTHON, POSTGRES)) == (
        (("python", "3.12"), ("db.apt.postgresql", "15")),
        (("python", "3.12"), ("db.apt.postgresql", "17")),
        (("python", "3.13"), ("db.apt.postgresql", "15")),
        (("python", "3.13"), ("db.apt.postgresql", "17")),
    )


def test_matrix_tries_nothing_twice() -> None:
    assert combinations((("python", ("3.12", "3.12")),), include=((("python", "3.9"),), (("python", "3.9"),))) == (
        (("python", "3.12"),),
        (("python", "3.9"),),
    )


def test_matrix_exclude_takes_whatever_has_all_its_values() -> None:
    found = combinations((PYTHON, POSTGRES), exclude=((("python", "3.13"), ("db.apt.postgresql", "15")),))
    assert len(found) == 3
    assert combinations((PYTHON, POSTGRES), exclude=((("python", "3.13"),),)) == found[:2]
    assert len(combinations((PYTHON, POSTGRES), exclude=((("python", "2"),),))) == 4
    assert len(combinations((PYTHON, POSTGRES), exclude=((),))) == 4


def test_matrix_include_adds_as_github_does() -> None:
    """The rule, case by case: added where it changes no own value, a later one over an earlier one, alone where it fits nowhere."""
    axes = (("size", ("s", "l")), ("shop", ("a", "b")))
    include = (
        (("colour", "red"),),
        (("colour", "blue"), ("shop", "a")),
        (("size", "s"), ("door", "open")),
        (("size", "m"),),
        (("size", "m"), ("shop", "a")),
    )
    assert [dict(one) for one in combinations(axes, include=include)] == [
        {"size": "s", "shop": "a", "colour": "blue", "door": "open"},
        {"size": "s", "shop": "b", "colour": "red", "door": "open"},
        {"size": "l", "shop": "a", "colour": "blue"},
        {"size": "l", "shop": "b", "colour": "red"},
        {"size": "m"},
        {"size": "m", "shop": "a"},
    ]


def test_matrix_include_comes_after_exclude_and_stands_alone_without_axes() -> None:
    axes = (("python", ("3.12",)),)
    assert combinations(axes, exclude=((("python", "3.12"),),), include=((("python", "3.12"),),)) == (
        (("python", "3.12"),),
    )
    assert combinations((), include=((("a", "1"),), (("a", "2"),))) == ((("a", "1"),), (("a", "2"),))
    assert combinations(()) == ()


def test_matrix_tells_all_faults_at_once() -> None:
    with pytest.raises(InputError) as error:
        combinations((PYTHON, PYTHON, ("node", ())), exclude=((("pyton", "3.12"),),), place="devenv.yml: matrix")
    assert str(error.value) == (
        "devenv.yml: matrix: the axis `python` is there 2 times\n  hint: put its values into one\n"
        "devenv.yml: matrix: the axis `node` has no values\n"
        "devenv.yml: matrix: `exclude` speaks of `pyton`, which is no axis\n  hint: the axes are python, node"
    )


def test_matrix_has_a_limit_after_what_is_left_out() -> None:
    many = tuple(str(number) for number in range(20))
    with pytest.raises(InputError, match="400 combinations; at most 256 are tried"):
        combinations((("a", many), ("b", many)))
    out = tuple((("b", number),) for number in many[5:])
    assert len(combinations((("a", many), ("b", many)), exclude=out)) == 100
    with pytest.raises(InputError, match="3200000 combinations, before any is left out"):
        combinations(tuple((name, many) for name in "abcde"))
