"""The command line with services, against an engine in memory: what is brought up, named, scaled, entered, told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devenv.engine import Pulse
from devenv.model.container import Environment, Heard
from devenv.quick import names_container
from devenv.quick.formats import door
from tests.unit.test_cli import Shop

MANIFEST = """\
from: file:Containerfile
name: shop
env: {COLOUR: red}
secrets: {KEY: {from_env: SHOP_KEY}, TOKEN: {from_file: token}}
services:
  web:
    command: serve {{ index }}
    replicas: 3
    ports: ["8080:80"]
    depends_on: {db: healthy, migrate: completed}
    secrets: [KEY]
  db:
    command: postgres
    ports: ["5432:5432"]
    healthcheck: {test: pg_isready, interval: 1s, retries: 3}
  migrate:
    command: migrate
    depends_on: {db: healthy}
  admin:
    command: admin
    profiles: [debug]
    depends_on: [db]
"""


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    made = Shop(Path(os.path.realpath(tmp_path)), capsys)
    (made.folder / "Containerfile").write_text("FROM scratch\nRUN one\n")
    (made.folder / "devenv.yml").write_text(MANIFEST)
    (made.folder / "token").write_text("t1")
    made.env |= {"SHOP_KEY": "k1", "HOME": "/root"}
    made.machine.engine.ends["migrate-1"] = 0
    return made


def running(shop: Shop) -> list[str]:
    return [one.name for one in shop.machine.engine.containers() if one.status == "running"]


def test_up_brings_all_up_and_has_a_line_for_each_service(shop: Shop) -> None:
    code, out, err = shop("up")
    assert code == 0, err
    assert out.startswith("wrote    lock       there is none yet")  # which may have taken its time
    assert out.splitlines()[1:] == [
        "built    image      its one step: there is none yet",
        "created  workspace  there is none yet",
        "started  workspace  it is new",
        "created  db-1       there is none yet; healthy",
        "created  migrate-1  there is none yet; completed",
        *(line for line in out.splitlines() if line.startswith("created  web-1…3    there is none yet")),
        "http://127.0.0.1:5432  → port 5432 of db-1",
        "http://127.0.0.1:8080  → port 80 of web",
        "next: devenv shell",
    ]
    assert "✓ web  0.1 s" in err and "web-1" not in err
    assert running(shop) == ["db-1", "web-1", "web-2", "web-3", "workspace"]
    assert ("supervise", next(iter(shop.machine.engine.known))) in shop.machine.engine.did


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"web-1": "", "web-2": "", "web-3": ""}, "http://127.0.0.1:8080  → port 80 of web: nothing listens on 80 yet"),
        (
            {"web-1": "", "web-2": "loopback", "web-3": ""},
            "http://127.0.0.1:8080  → port 80 of web: what listens on 80 is reached from inside only; bind it to 0.0.0.0",
        ),
        ({"web-1": "", "web-2": "loopback"}, "http://127.0.0.1:8080  → port 80 of web"),
    ],
    ids=["nobody", "loopback", "one-does"],
)
def test_up_says_where_nobody_answers(shop: Shop, told: dict[str, Heard], line: str) -> None:
    hears = shop.machine.engine.hears
    hears |= {(name, 80): heard for name, heard in told.items()}
    hears["db-1", 5432] = ""  # it has a health check, and that is well
    for _ in range(2):
        lines = shop("up").out.splitlines()
        assert line in lines and "http://127.0.0.1:5432  → port 5432 of db-1" in lines


def test_up_again_keeps_all(shop: Shop) -> None:
    shop("up")
    assert all(line.startswith("kept") for line in shop("up").out.splitlines()[:5])


def test_up_json_has_every_action_and_says_whose_it_is(shop: Shop) -> None:
    told = json.loads(shop("up", "--json").out)
    assert [one["object"] for one in told["actions"] if one["service"] == "web"] == [
        *("web-1", "web-1", "web-2", "web-2", "web-3", "web-3")
    ]
    (db,) = (one for one in told["containers"] if one["name"] == "db-1")
    assert (db["service"], db["index"], db["health"], db["restarts"]) == ("db", 1, "healthy", 0)
    (own,) = (one for one in told["containers"] if one["name"] == "workspace")
    assert (own["service"], own["index"], own["health"]) == ("workspace", None, None)


def test_up_supplies_the_secrets_that_are_asked_for(shop: Shop) -> None:
    shop("up")
    assert list(shop.machine.engine.secrets.values()) == [{"KEY": b"k1", "TOKEN": b"t1"}]


def test_up_without_a_secret_says_where_it_is_asked_for_and_changes_nothing(shop: Shop) -> None:
    del shop.env["SHOP_KEY"]
    (shop.folder / "token").unlink()
    code, _, err = shop("up")
    assert code == 2
    assert "devenv.yml:4:" in err
    assert "`secrets.KEY`: the variable SHOP_KEY isn't set\n  hint: export SHOP_KEY=…" in err
    assert "`secrets.TOKEN`: token can't be read: No such file" in err
    assert shop.machine.engine.containers() == ()
    assert not (shop.folder / "devenv.lock.yml").exists()
    code, _, err = shop("plan")
    assert code == 0
    assert "`up` would fail: `secrets.KEY`: the variable SHOP_KEY isn't set" in err


def test_a_port_that_somebody_has_is_told_before_anything_is_locked_and_by_plan(shop: Shop) -> None:
    shop.machine.engine.refuses["db-1"] = "publish port 127.0.0.1:5432: postgres (pid 7) has it"
    code, _, err = shop("up")
    assert (code, "error: publish port 127.0.0.1:5432: postgres (pid 7) has it" in err) == (1, True)
    assert not (shop.folder / "devenv.lock.yml").exists()
    told = json.loads(shop("plan", "--json").out)
    assert told["warnings"] == ["`up` would fail: publish port 127.0.0.1:5432: postgres (pid 7) has it"]
    assert "5432" in shop("up", "web").err  # which depends on db
    shop.machine.engine.refuses.clear()
    assert shop("up").code == 0
    assert shop("plan").err == ""


def test_up_that_starts_nothing_needs_no_secret_and_says_so(shop: Shop) -> None:
    shop("up")
    del shop.env["SHOP_KEY"]
    code, out, err = shop("up")
    assert (code, "replaced" in out) == (0, False)
    assert "`secrets.KEY`: the variable SHOP_KEY isn't set: what runs keeps the one that it was given" in err
    assert "secrets" not in shop("up", "db").err


def test_a_secret_of_a_container_that_is_stopped_is_told_before_anything_is_locked(shop: Shop) -> None:
    shop("up")
    shop("stop")
    del shop.env["SHOP_KEY"]
    lock = shop.folder / "devenv.lock.yml"
    lock.unlink()
    code, _, err = shop("up")
    assert (code, "`secrets.KEY`: the variable SHOP_KEY isn't set" in err) == (2, True)
    assert not lock.exists()


def test_what_runs_and_is_kept_keeps_up_from_failing_though_the_lock_is_lost(shop: Shop) -> None:
    shop("up")
    del shop.env["SHOP_KEY"]
    shop.machine.engine.refuses |= dict.fromkeys(("workspace", "web-1", "db-1"), "its folder isn't there")
    (shop.folder / "devenv.lock.yml").unlink()
    assert "would fail" not in shop("plan").err
    code, out, err = shop("up")
    assert (code, "replaced" in out) == (0, False), err


def test_a_port_that_somebody_has_is_reported_alike_with_and_without_a_lock(shop: Shop) -> None:
    shop.machine.engine.refuses |= {"db-1": "5432 is taken", "web-2": "8080 is taken"}

    def errors() -> set[str]:
        told = json.loads(shop("up", "--json").out)
        assert not told["ok"]
        return {one["error"] for one in told["actions"] if one["error"]}

    assert errors() == {"5432 is taken", "8080 is taken"}
    assert not (shop.folder / "devenv.lock.yml").exists()
    shop("lock")
    assert errors() == {"5432 is taken", "8080 is taken"}


def test_plan_tells_what_is_wrong_with_secrets_in_the_manifests_order(shop: Shop) -> None:
    del shop.env["SHOP_KEY"]
    (shop.folder / "token").unlink()
    told = json.loads(shop("plan", "--json").out)["warnings"]
    assert ["KEY" in told[0], "TOKEN" in told[1], len(told)] == [True, True, 2]


def replaced(shop: Shop, *words: str) -> dict[str, str]:
    """Containers that a command replaces → why."""
    told = json.loads(shop(*words, "--json").out)
    return {one["object"]: one["reason"] for one in told["actions"] if one["verb"] == "replace"}


@pytest.mark.parametrize("verb", ["plan", "up"])
def test_another_secret_replaces_those_that_were_given_it_and_shows_nothing_of_it(shop: Shop, verb: str) -> None:
    shop("up")
    shop.env["SHOP_KEY"] = "k2"
    every = ("workspace", "web-1", "web-2", "web-3")
    assert replaced(shop, verb) == dict.fromkeys(every, "secrets.KEY changed")
    shop("up")
    (shop.folder / "token").write_text("t2")
    told = json.loads(shop(verb, "--json").out)
    (change,) = next(one["changes"] for one in told["actions"] if one["verb"] == "replace")
    assert {one["object"] for one in told["actions"] if one["verb"] == "replace"} == {"workspace"}
    assert (change["name"], change["before"], change["after"]) == ("secrets.TOKEN", "(not shown)", "(not shown)")
    assert change["place"].startswith("devenv.yml:4:")
    shop("up")
    assert replaced(shop, verb) == {}
    assert list(shop.machine.engine.secrets.values()) == [{"KEY": b"k2", "TOKEN": b"t2"}]


def test_a_secret_that_is_new_and_cant_be_read_is_an_error_though_all_runs(shop: Shop) -> None:
    shop("up")
    (shop.folder / "devenv.yml").write_text(MANIFEST.replace("secrets: {KEY", "secrets: {NEW: {from_env: NEW}, KEY"))
    code, _, err = shop("up")
    assert (code, "`secrets.NEW`: the variable NEW isn't set" in err) == (2, True)


def test_explain_shows_nothing_of_a_secret(shop: Shop) -> None:
    shop("up")
    shop.env["SHOP_KEY"] = "k2"
    told = shop("explain", "web-1").out + shop("explain", "web-1", "--json").out + shop("plan", "--diff").out
    assert "secrets.KEY" in told and "print of" not in told


def test_up_of_a_service_that_fails_says_so_and_leaves_the_rest(shop: Shop) -> None:
    shop.machine.engine.ends["web-2"] = 3
    code, out, err = shop("up")
    assert code == 1
    assert "failed   web-2" in out and "created  web-1, web-3" in out
    assert "error: start web-2: its command ended at once with exit code 3" in err
    assert "web-1" in running(shop)


def test_up_tells_the_same_failure_of_many_replicas_once(shop: Shop) -> None:
    shop.machine.engine.ends |= {"web-1": 3, "web-2": 3, "web-3": 3}
    _, out, err = shop("up")
    assert "failed   web-1…3" in out
    assert err.count("error:") == 1
    assert "the same of web-2…3" in err


def test_up_of_one_service_touches_only_what_it_needs(shop: Shop) -> None:
    assert shop("up", "migrate").code == 0
    assert running(shop) == ["db-1"]
    failed = shop("up", "wbe")
    assert (failed.code, "service wbe: devenv.yml has no such one" in failed.err) == (2, True)


def test_profile_brings_its_services_and_the_next_up_takes_them_away(shop: Shop) -> None:
    assert shop("up", "--profile", "debug").code == 0
    assert "admin-1" in running(shop)
    assert "removed  admin-1    its profiles aren't asked for" in shop("up").out
    shop.env["DEVENV_PROFILES"] = "other, debug"
    shop("up")
    assert "admin-1" in running(shop)
    failed = shop("up", "--profile", "dbug")
    assert failed.code == 2
    assert "profile dbug: no service of devenv.yml has it\n  hint: its profiles: debug" in failed.err


def test_scale_makes_more_and_fewer_and_the_next_up_goes_back(shop: Shop) -> None:
    shop("up")
    assert "created  web-4…5" in shop("scale", "web=5").out
    assert "remove  web-4…5    replicas: 3" in shop("plan").out
    assert "removed  web-2…5    replicas: 1" in shop("scale", "web=1").out
    assert "created  web-2…3" in shop("up").out
    assert shop("scale", "web=0").code == 0
    assert running(shop) == ["db-1", "workspace"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("web", "scale: 'web' isn't SERVICE=N\n  hint: as in web=5"),
        ("web=-1", "isn't SERVICE=N"),
        ("web=x", "isn't SERVICE=N"),
        ("wbe=2", "there is no such service"),
        ("web=5000", "5,0"),
    ],
)
def test_scale_refuses_what_it_cant_do(shop: Shop, asked: str, told: str) -> None:
    code, _, err = shop("scale", asked)
    assert (code, told in err) == (2, True), err


def test_what_isnt_as_the_manifest_says_leaves_no_receipt(shop: Shop) -> None:
    shop("up")
    shop("scale", "web=4")
    assert shop.machine.engine.receipts[str(shop.folder)] == ""


def test_exec_says_of_options_behind_a_container_where_they_stand(shop: Shop) -> None:
    shop("up")
    code, _, err = shop("exec", "web-3", "--user", "root", "--", "ls")
    assert code == 2
    assert "exec: --user stands behind web-3, where its command is" in err
    assert "hint: options stand before it: devenv exec --user … web-3 COMMAND" in err


def test_exec_goes_where_its_first_word_says(shop: Shop) -> None:
    shop("up")
    engine = shop.machine.engine
    ids = {one.id: one.name for one in engine.containers()}

    def entered(*words: str) -> list[tuple[str, ...]]:
        engine.did.clear()
        shop(*words)
        return [(ids[one[1]], *one[2:]) for one in engine.did if one[0] == "execute"]

    assert entered("exec", "ls") == [("workspace", "ls")]
    assert entered("exec", "web-3", "ls", "-l") == [("web-3", "ls", "-l")]
    assert entered("exec", "db", "psql", "--all") == [("db-1", "psql", "--all")]
    assert entered("exec", "web-3", "--", "web-3") == [("web-3", "web-3")]
    assert entered("exec", "--", "web-3", "ls") == [("workspace", "web-3", "ls")]
    assert entered("exec", "-s", "web-2", "db") == [("web-2", "db")]
    assert entered("exec", "-s", "shop/db", "--", "ls") == [("db-1", "ls")]
    assert entered("exec", "workspace", "ls") == [("workspace", "ls")]
    failed = shop("exec", "web-9", "ls")
    assert (
        failed.code,
        "web-9: web has no such replica" in failed.err,
        "it has web-1, web-2, web-3" in failed.err,
    ) == (2, True, True)
    for words in (("exec", "web", "--all", "ls"), ("exec", "--all", "web", "ls"), ("exec", "--all", "-s", "web", "ls")):
        assert entered(*words) == [("web-1", "ls"), ("web-2", "ls"), ("web-3", "ls")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("exec", "we"), ["web", "web-1", "web-2", "web-3"]),
        (("exec", "web-3"), ["web-3"]),
        (("exec", ""), ["@files@"]),
        (("exec", "py"), ["@files@"]),
        (("exec", "web-1", "we"), ["@files@"]),
        (("exec", "-s", "db"), ["db", "db-1"]),
        (("shell", "web-"), ["web-1", "web-2", "web-3"]),
        (("scale", "w"), ["web="]),
        (("scale", "web=3", "d"), ["db="]),
        (("cp", "db"), ["db:", "db-1:"]),
        *(
            ((verb, "web-"), ["web-1", "web-2", "web-3"])
            for verb in ("logs", "port", "stats", "top", "events", "attach")
        ),
        (("logs", "shop/d"), ["shop/db-1"]),
        (("stop", "s"), ["shop"]),
        (("stop", "web-2", "d"), ["db", "db-1"]),
        (("restart", "web-"), ["web-1", "web-2", "web-3"]),
    ],
)
def test_names_of_containers_are_completed(shop: Shop, words: tuple[str, ...], names: list[str]) -> None:
    shop("up")
    assert shop.completed(*words) == names


def test_exec_in_each_replica_says_who_said_what_and_returns_the_first_code(shop: Shop) -> None:
    shop("up")
    shop.lines, shop.codes = ("hello",), {("ls",): 4}
    ran = shop("exec", "web", "--all", "ls")
    assert (ran.code, ran.out) == (4, "web-1 │ hello\nweb-2 │ hello\nweb-3 │ hello\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("exec", "web", "ls"), "shop: web has 3 replicas\n  hint: name one of them: web-1, web-2, web-3"),
        (("exec", "web-3"), "no command for web-3\n  hint: name one: devenv exec web-3 COMMAND"),
        (("exec", "--all", "ls"), "of which service?"),
        (("exec", "migrate", "ls"), "migrate: isn't running"),
        (("exec", "-s", "nope", "ls"), "shop: has no container nope"),
        (("shell", "web"), "web has 3 replicas"),
        (("down", "web-1"), "web-1: belongs to the service web"),
    ],
)
def test_what_cant_be_meant_is_told(shop: Shop, words: tuple[str, ...], told: str) -> None:
    shop("up")
    code, _, err = shop(*words)
    assert (code, told in err) == (2, True), err


def test_names_lead_to_containers_from_anywhere(shop: Shop) -> None:
    shop("up")
    for one in shop.machine.engine.containers():
        shop.machine.engine.lines[one.id] = [one.name]
    for words in (("logs", "db"), ("logs", "db-1"), ("-C", "/", "logs", "shop/db"), ("-C", "/", "logs", "shop/db-1")):
        assert shop(*words).out == "db-1\n"


def test_plan_tells_one_change_of_all_replicas_once_and_where_it_is_written(shop: Shop) -> None:
    shop("up")
    (shop.folder / "devenv.yml").write_text(MANIFEST.replace("serve {{", "serve -v {{").replace("red", "blue"))
    out = shop("plan", "--diff").out
    assert "replace  web-1…3    command, env.COLOUR changed\n" in out.replace(
        "env.COLOUR, command", "command, env.COLOUR"
    )
    assert "+ env.COLOUR: blue  devenv.yml:3:15" in out
    assert "+ command: serve -v 1  devenv.yml:7:14" in out


def test_explain_of_a_service_tells_of_its_replicas_together(shop: Shop) -> None:
    shop("up")
    out = shop("explain", "web").out
    assert out.startswith("web-1…3\n  last    created ")
    assert "command            serve 1, serve 2, serve 3\n" in out
    told = json.loads(shop("explain", "web", "--json").out)
    assert [one["container"] for one in told["containers"]] == ["web-1", "web-2", "web-3"]
    assert json.loads(shop("explain", "db-1", "--json").out)["inputs"]["healthcheck.test"] == "pg_isready"


def test_explain_remembers_what_didnt_get_ready(shop: Shop) -> None:
    shop.machine.engine.ends["migrate-1"] = 1
    shop("up")
    assert "wait for migrate-1: its command ended with exit code 1" in shop("explain").out


def test_stop_and_down_take_all(shop: Shop) -> None:
    shop("up")
    assert "stopped  web-1…3" in shop("stop").out
    assert running(shop) == []
    assert "removed    web-1…3      asked for" in shop("down").out
    assert shop.machine.engine.containers() == ()


def test_stop_of_some_touches_nothing_else_and_up_starts_them(shop: Shop) -> None:
    shop("up")
    assert shop("stop", "web-2").out.splitlines()[0] == "stopped  web-2  asked for"
    assert running(shop) == ["db-1", "web-1", "web-3", "workspace"]
    assert shop("stop", "db", "web").code == 0  # first those that depend on others
    names = {one.id: one.name for one in shop.machine.engine.containers()}
    stops = [names[one[1]] for one in shop.machine.engine.did if one[0] == "stop"]
    assert stops[-1] == "db-1" and running(shop) == ["workspace"]
    assert shop("up", "db").code == 0
    assert running(shop) == ["db-1", "workspace"]


def test_stop_takes_a_word_for_a_service_before_an_environment(shop: Shop) -> None:
    shop("up")
    engine = shop.machine.engine
    engine.register(Environment("abcdef123456", "web", "/gone/web"))
    assert shop("stop", "web").code == 0
    assert running(shop) == ["db-1", "workspace"]
    told = shop("stop", "webb")
    assert (told.code, "shop: has no container webb\n  hint: it has" in told.err) == (2, True)
    assert shop("stop", "abcd").out == ""  # that one, and it has no containers
    told = shop("-C", "/", "stop", "webb")
    assert (told.code, "environment webb: there is none" in told.err) == (2, True)


def test_restart_starts_all_that_runs_as_it_is_without_reading_the_manifest(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text(MANIFEST + "hooks: {on_start: [warm, 'serve; sit']}\n")
    shop("up")
    shop("stop", "web-3")
    (shop.folder / "devenv.yml").write_text("nonsense: [")
    shop.machine.engine.did.clear()
    code, out, err = shop("restart")
    assert code == 0, err
    lines = [" ".join(line.split("  (")[0].split()) for line in out.splitlines()]
    assert lines[:5] == [
        "restarted db-1 asked for; healthy",
        "restarted web-1…2 asked for; runs",
        "restarted workspace asked for",
        "ran on_start: warm it was started",
        "ran on_start: serve; sit it was started",
    ]
    assert running(shop) == ["db-1", "web-1", "web-2", "workspace"]
    did = shop.machine.engine.did
    assert [one[-1] for one in did if one[0] == "execute"] == ["warm", "serve; sit"]
    assert not {"create", "remove", "build"} & {one[0] for one in did} and did[-1][0] == "supervise"
    assert all(one.start_hooks_done for one in shop.machine.engine.containers() if one.name == "workspace")


def test_restart_of_some_starts_what_does_not_run_too(shop: Shop) -> None:
    shop("up")
    shop("stop", "web")
    told = json.loads(shop("restart", "web-2", "migrate", "--json").out)
    assert [(one["verb"], one["object"]) for one in told["actions"]] == [
        *(("start", "migrate-1"), ("wait", "migrate-1"), ("start", "web-2"))
    ]
    assert running(shop) == ["db-1", "web-2", "workspace"]


def test_restart_of_nothing_that_runs_says_so(shop: Shop) -> None:
    shop("up")
    shop("stop")
    told = shop("restart")
    assert (told.code, told.err) == (2, "error: shop: nothing of it runs\n  hint: `devenv up` starts it\n")
    shop("run", "--keep", "ls")
    kept = next(one.name for one in shop.machine.engine.containers() if not one.service)
    told = shop("restart", kept)
    assert (told.code, f"{kept}: left by run --keep" in told.err) == (2, True), told.err


@pytest.mark.parametrize(
    ("word", "named"),
    [("web", True), ("web-3", True), ("run-ab12cd", True), ("web-x", False), ("webs", False), ("python", False)],
)
def test_the_quick_door_knows_words_that_can_be_a_container_s_name(word: str, named: bool) -> None:
    assert names_container(word, ["db", "web"]) is named


def test_a_door_has_the_services_for_the_quick_door() -> None:
    kind, services, container = door(Pulse("c1", 1, 2, "b", "/crun", ""), ["web", "db"]).split("\0")[:3]
    assert (kind, services, container) == ("door 2", "db web", "c1")
