"""Variables, quotes and escapes in a word."""

from __future__ import annotations

import pytest

from devenv.build.expand import expand, pairs, platform_arguments
from devenv.build.words import Malformed, split, unquote

VALUES = {"A": "one", "EMPTY": "", "B_2": "two words", "Q": "'q'"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}", "one"),
        ("x${A}y$A.z", "xoneyone.z"),
        ("$AB", ""),
        ("$B_2", "two words"),
        ("$Q", "'q'"),
        ("${UNSET}", ""),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${A:-d}", "one"),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${UNSET+x}", ""),
        ("${A:?m}", "one"),
        ("${EMPTY?m}", ""),
        ("${UNSET:-${A}-${EMPTY:-e}}", "one-e"),
        ("${UNSET:-'a}b'}", "a}b"),
        (r"\$A", "$A"),
        (r"\\$A", "\\one"),
        (r"a\ b", "a b"),
        (r"\n", "n"),
        ("'$A'", "$A"),
        ('"$A"', "one"),
        (r'"\$A \" \\ \n"', '$A " \\ \\n'),
        ('"it\'s"', "it's"),
        ("'a'\"b\"c", "abc"),
        ("$", "$"),
        ("a$/b", "a$/b"),
        ("$$A", "A"),
        ("$1x", "x"),
        ("trailing\\", "trailing"),
    ],
)
def test_expand_gives_what_docker_gives(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${A", "no name or no }"),
        ("${", "no name or no }"),
        ("${}", "no name or no }"),
        ("${:-x}", "no name or no }"),
        ("${A:-x", "no }"),
        ("${UNSET:?give it}", "UNSET: give it"),
        ("${EMPTY:?}", "EMPTY: is empty"),
        ("${UNSET?}", "UNSET: is not set"),
        ("${A%x}", "not supported"),
        ("${A//x/y}", "not supported"),
        ("'a", "a ' has no second one"),
        ('"a', 'a " has no second one'),
        ("${A:-" * 60 + "}" * 60, "nested more than"),
        ("$A" * 50_000, "grows beyond"),
    ],
)
def test_expand_refuses_what_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        expand(text, VALUES)
    assert message in caught.value.message


def test_expand_takes_another_escape() -> None:
    assert expand(r"C:\$A `$A", VALUES, "`") == r"C:\one $A"


def test_expand_leaves_quotes_of_a_heredoc() -> None:
    assert expand("\"$A\" '$A' \\$A", VALUES, quotes=False) == "\"one\" 'one' $A"


def test_pairs_sees_no_value_it_sets_itself() -> None:
    assert pairs(("A=two", "C=$A"), VALUES, "\\") == (("A", "two"), ("C", "one"))


def test_split_keeps_quotes_and_their_spaces() -> None:
    assert split('A=\'a b\' B="c \\" d" C=e\\ f  ') == ("A='a b'", 'B="c \\" d"', "C=e\\ f")


def test_unquote_takes_quotes_and_escapes_away() -> None:
    assert unquote('a\'b c\'"d\\""\\ e') == 'ab cd" e'


def test_platform_arguments_name_all_parts() -> None:
    found = platform_arguments("linux/arm64/v8")
    assert found["TARGETPLATFORM"] == "linux/arm64/v8"
    assert (found["TARGETOS"], found["BUILDARCH"], found["TARGETVARIANT"]) == ("linux", "arm64", "v8")
