"""What changed, in words."""

from __future__ import annotations

import pytest

from devenv.changes import brief, differences, lines, own, told
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
            "devenv.lock.yml",
            "curl 7, numpy 2.1",
            "jq 1.6, numpy 2.2",
            "numpy 2.1 → 2.2, +jq 1.6, -curl 7",
            "~ numpy 2.1 → 2.2|+ jq 1.6|- curl 7",
        ),
        (
            "devenv.lock.yml",
            "",
            "a 1, b 1, c 1, d 1, e ?",
            "+a 1, +b 1, +c 1 and 2 more",
            "+ a 1|+ b 1|+ c 1|+ d 1|+ e",
        ),
        ("devenv.lock.yml", "a 1, a 2", "a 1, a 3", "a 1/2 → 1/3", "~ a 1/2 → 1/3"),
        (
            "from",
            "file:deploy/Containerfile.prod",
            "bootstrap:bookworm",
            "from file:deploy/Containerfile.prod → bootstrap:bookworm",
            "- from: file:deploy/Containerfile.prod|+ from: bootstrap:bookworm",
        ),
        ("app.py", "644 aaaaaaaaaaaa", "644 bbbbbbbbbbbb", "app.py edited", "~ app.py: edited"),
        ("run.sh", "644 aaaaaaaaaaaa", "755 aaaaaaaaaaaa", "run.sh mode 644 → 755", "~ run.sh: mode 644 → 755"),
        ("ln", "777 → a", "777 → b", "ln edited", "~ ln: edited"),
        (
            "clock",
            "0",
            "86400",
            "clock 1970-01-01 00:00 → 1970-01-02 00:00",
            "- clock: 1970-01-01 00:00|+ clock: 1970-01-02 00:00",
        ),
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


def test_told_words_say_each_thing_once() -> None:
    apt, lock = Change("apt", "git", "git, jq"), Change("devenv.lock.yml", "git 1, zlib 1", "git 1, jq 1.6, zlib 2")
    assert told((apt, lock, apt)) == "apt +jq, zlib 1 → 2"
    assert told((lock,)) == "zlib 1 → 2, +jq 1.6"
    many = [Change(f"{name}.py", "644 aaaaaaaaaaaa", "644 bbbbbbbbbbbb") for name in "abcdef"]
    assert told(many) == "a.py edited, b.py edited, c.py edited and 3 more"


def test_own_changes_of_what_the_lock_names_are_its_packages_not_a_digest() -> None:
    before = (("devenv.yml: apt", "git"), ("context devenv-packages apt/1", A), ("devenv.lock.yml", "git 1"))
    after = (before[0], (before[1][0], B), ("devenv.lock.yml", "git 2"))
    assert [change.name for change in own(before, after)] == ["devenv.lock.yml"]
    assert [brief(change) for change in own(before, (before[0], after[1], before[2]))] == ["devenv.lock.yml edited"]
