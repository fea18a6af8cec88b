"""What changed, in words."""

from __future__ import annotations

import pytest

from devenv.changes import brief, differences, lines, own
from devenv.model.plan import Change

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("name", "before", "after", "short", "full"),
    [
        ("apt", "git, jq", "git, tree", "apt +tree -jq", "- apt: jq|+ apt: tree"),
        ("apt", "a, b", "b, a", "apt in another order", "~ apt: in another order"),
        ("apt", "", "a, b, c, d, e", "apt +a +b +c and 2 more", "+ apt: a|+ apt: b|+ apt: c|+ apt: d|+ apt: e"),
        ("ports", "", "127.0.0.1:80→80", "ports +127.0.0.1:80→80", "+ ports: 127.0.0.1:80→80"),
        ("env.DEBUG", "1", "2", "env.DEBUG 1 → 2", "- env.DEBUG: 1|+ env.DEBUG: 2"),
        ("env.DEBUG", "", "2", "env.DEBUG added", "+ env.DEBUG: 2"),
        ("network", "", "none", "network → none", "+ network: none"),
        ("user", "ann", "", "user removed", "- user: ann"),
        (
            "limits.memory",
            "2147483648",
            "536870912",
            "limits.memory 2G → 512M",
            "- limits.memory: 2G|+ limits.memory: 512M",
        ),
        ("image", A, B, "another image", "~ image: another one"),
        ("requirements.txt", A, B, "requirements.txt edited", "~ requirements.txt: edited"),
        ("requirements.txt", "", B, "requirements.txt added", "~ requirements.txt: added"),
        ("env.API_TOKEN", "canary1", "canary2", "env.API_TOKEN changed", "~ env.API_TOKEN: another value, not shown"),
        ("env.API_TOKEN", "", "canary2", "env.API_TOKEN added", "+ env.API_TOKEN: (not shown)"),
        (
            "env.DB",
            "pg://ann:canary1@h/d",
            "pg://ann:canary2@h/e",
            "env.DB pg://…@h/d → pg://…@h/e",
            "- env.DB: pg://…@h/d|+ env.DB: pg://…@h/e",
        ),
        (
            "env.DB",
            "pg://ann:canary1@h/d",
            "pg://ann:canary2@h/d",
            "env.DB changed",
            "~ env.DB: another value, not shown",
        ),
        (
            "env.DB",
            "pg://ann:p@canary1@h/d@1",
            "pg://h/d@1",
            "env.DB pg://…@h/d@1 → pg://h/d@1",
            "- env.DB: pg://…@h/d@1|+ env.DB: pg://h/d@1",
        ),
        (
            "python.packages",
            "a @ git+https://ann:canary1@h/a, b",
            "a @ git+https://ann:canary2@h/a, b",
            "python.packages changed",
            "~ python.packages: another value, not shown",
        ),
        (
            "sources",
            '["http://a:c@1@h/x","y@z"]',
            '["http://h/x"]',
            "sources +http://h/x -http://…@h/x -y@z",
            "- sources: http://…@h/x|- sources: y@z|+ sources: http://h/x",
        ),
        (
            "source /w",
            "/home/a rw",
            "/home/a ro",
            "source /w /home/a rw → /home/a ro",
            "- source /w: /home/a rw|+ source /w: /home/a ro",
        ),
        (
            "mount cache /c",
            '["/c", "/", "", "apt", false, false, "shared", null, 0, 0, null, ""]',
            '["/c", "/", "", "apt", false, false, "locked", null, 0, 0, null, ""]',
            "mount cache /c changed",
            "- mount cache /c: target=/c, source=/, id=apt, sharing=shared|"
            "+ mount cache /c: target=/c, source=/, id=apt, sharing=locked",
        ),
    ],
)
def test_change_is_told_in_words(name: str, before: str, after: str, short: str, full: str) -> None:
    found = differences(((name, before),) if before else (), ((name, after),) if after else ())
    (change,) = found
    assert brief(change) == short
    assert "|".join(f"{sign} {text}" for sign, text in lines(change)) == full


def test_lines_of_long_commands_show_where_they_differ() -> None:
    start = "install " + "package " * 30
    (old, was), (new, will) = lines(Change("command", start + "git", start + "tree and more"))
    assert (old, new) == ("-", "+")
    assert was.startswith("command: …") and was.endswith(" git") and len(was) < 120
    assert will.endswith(" tree and more")


def test_lines_of_a_change_beyond_what_is_kept_say_so() -> None:
    cut = Change("command", "make … (sha256 aaaaaaaaaaaa)", "make … (sha256 bbbbbbbbbbbb)")
    assert lines(cut) == (("~", "command: changed further on"),)


def test_own_changes_of_a_rendered_step_are_the_manifest_s_and_its_files() -> None:
    before = (("devenv.yml: python.packages", "a"), ("command", "x"), ("context /requirements.txt", A), ("parent", A))
    after = (("devenv.yml: python.packages", "b"), ("command", "y"), ("context /requirements.txt", B), ("parent", B))
    assert [change.name for change in own(before, after)] == ["python.packages", "requirements.txt"]
    template = (before[0], ("command", "z"), *before[2:])
    assert [change.name for change in own(before, template)] == ["command"]


def test_own_changes_of_what_an_older_devenv_remembers_are_the_command() -> None:
    after = (("devenv.yml: apt", "git"), ("command", "y"))
    assert [change.name for change in own((("command", "x"),), after)] == ["command"]
    assert own((("command", "y"),), after) == ()
