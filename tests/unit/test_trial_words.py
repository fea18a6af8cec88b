"""What is typed behind matrix and bisect → what is tried."""

from __future__ import annotations

import pytest

from devenv.cli.trying.combining import combined
from devenv.cli.trying.search import Range, asked_range
from devenv.cli.trying.sides import Party
from devenv.errors import InputError


def test_axes_are_crossed_and_variants_are_one() -> None:
    assert combined(["python=3.11, 3.12", "a=1"], ["next", "trixie"], [], [], ("next", "trixie")) == (
        ("next", "python=3.11", "a=1"),
        ("next", "python=3.12", "a=1"),
        ("trixie", "python=3.11", "a=1"),
        ("trixie", "python=3.12", "a=1"),
    )


def test_without_a_word_it_is_all_variants() -> None:
    assert combined([], [], [], [], ("next", "trixie")) == (("next",), ("trixie",))
    with pytest.raises(InputError, match="of what\\? The manifest has no variants"):
        combined([], [], [], [], ())


def test_what_is_excluded_and_included() -> None:
    found = combined(["a=1,2", "b=x,y"], [], ["a=1,b=y"], ["a=2,b=y,c=z", "a=3,b=x"], ())
    assert found == (("a=1", "b=x"), ("a=2", "b=x"), ("a=2", "b=y", "c=z"), ("a=3", "b=x"))
    with pytest.raises(InputError, match="everything is excluded"):
        combined(["a=1"], [], ["a=1"], [], ())


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=,"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(InputError, match=r"isn't NAME=V1,V2…"):
        combined([text], [], [], [], ())


@pytest.mark.parametrize("text", ["a", "a=1,b", "=1", "a=1,,b=2"])
def test_what_can_be_no_combination(text: str) -> None:
    with pytest.raises(InputError, match=r"--exclude: .* isn't NAME=V,NAME=V"):
        combined(["a=1"], [], [text], [], ())


def test_a_range_has_two_ends() -> None:
    assert asked_range("db.apt.x=1.0..2") == Range("db.apt.x", "1.0", "2")
    for text in ("a", "a=1", "a=1..", "a=..2", "=1..2", "a=1..1"):
        with pytest.raises(InputError, match=r"isn't NAME=GOOD\.\.BAD"):
            asked_range(text)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("django=6.0", "django-6.0"),
        ("@scope/a=>=1,<2", "scope-a-1-2"),
        ("Next", "next"),
        ("..", "variant"),
        ("x" * 99, "x" * 40),
    ],
)
def test_a_side_is_called_so_that_environments_and_files_can_be(name: str, slug: str) -> None:
    assert Party(name).slug == slug
