"""Patterns of ignore files and sources: the meaning moby's patternmatcher gives them."""

from __future__ import annotations

import time

import pytest

from devenv.build.ignore import Matcher, read
from devenv.build.words import Malformed

MATCHES = [
    ("**", "file", True),
    ("**/", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("abc/**", "abc", False),
    ("**/dir", "dir", True),
    ("**/dir", "a/dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**file", "dir/dir/file", True),
    ("**/file*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt**", "a/file.txt", True),
    ("*.txt", "a/file.txt", False),
    ("*", "a/b/c", True),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    ("a[^b]c", "a/c", False),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abc/def", False),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a\\\\", "a\\", True),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("/leading", "leading/x", True),
    ("dir/", "dir/x", True),
    ("./a/../b", "b", True),
    ("node_modules", "sub/node_modules", False),
    ("a*b*c", "axxbyyc", True),
    ("a*b*c", "axxbyyd", False),
    ("a*bc*bd", "abcbcbd", True),
    ("new\nline*", "new\nline\n", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), MATCHES)
def test_matcher_matches_a_path_or_its_folders(pattern: str, path: str, expected: bool) -> None:
    assert Matcher((pattern,)).matches(path)[0] is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (("**", "!util/docker/web"), "util/docker/web/foo", False),
        (("**", "!util/docker/web", "util/docker/web/foo"), "util/docker/web/foo", True),
        (("*", "!*.md"), "README.md", False),
        (("*", "!*.md", "README*"), "README.md", True),
        (("*.md", "!README*.md", "README-secret.md"), "README-secret.md", True),
        (("dir", "!dir/keep"), "dir/keep/x", False),
        (("dir", "!dir/keep"), "dir/other", True),
        (("!dir", "dir"), "dir/x", True),
        ((), "anything", False),
    ],
)
def test_matcher_lets_the_last_match_decide(patterns: tuple[str, ...], path: str, expected: bool) -> None:
    assert Matcher(patterns).matches(path)[0] is expected


@pytest.mark.parametrize(
    ("patterns", "folder", "expected"),
    [
        (("dir",), "dir", False),
        (("dir", "!dir/keep"), "dir", True),
        (("dir", "!other/keep"), "dir", False),
        (("dir", "!**/keep"), "dir", True),
        (("a", "!a/b/*.txt"), "a/b/c", True),
        (("a", "!a/b"), "a/c", False),
    ],
)
def test_matcher_reopens_only_what_a_negation_could_reach(
    patterns: tuple[str, ...], folder: str, expected: bool
) -> None:
    assert Matcher(patterns).reopens(folder) is expected


@pytest.mark.parametrize("pattern", ["[", "a[", "[]a]", "[b-a]", "[a-", "x\\", "!", "**/a/**/b/**/c/**/d/**/e/f"])
def test_matcher_refuses_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(Malformed):
        Matcher((pattern,))


def test_matcher_is_quick_on_a_pattern_made_to_be_slow() -> None:
    matcher = Matcher(("*a" * 30 + "b", "**/a*/**/a*/**/a*/**/*z"))
    started = time.process_time()
    assert not matcher.matches("a" * 250)[0]
    assert not matcher.match("/".join(["a"] * 100))[0]
    assert time.process_time() - started < 2


def test_read_cleans_lines_and_leaves_comments_out() -> None:
    text = "\ufeff# comment\n\n  /a/b/  \r\n!  ./c\n #not-a-comment\n**/d\n"
    assert read(text) == ("a/b", "!c", "#not-a-comment", "**/d")
