"""The verbs that look, against an engine in memory: ps, logs, attach, events, port, stats, top, cp, verify."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from devenv.cli import listing
from devenv.cli.comparing import Replica, Unlike, unlike
from devenv.cli.copying import Place, place
from devenv.cli.seen import seconds
from devenv.cli.since import instant
from devenv.engine import Happening
from devenv.errors import InputError
from devenv.model.container import Container, ContainerSpec, Environment, Process, Supervisor
from devenv.model.image import Rootfs
from devenv.model.manifest import Healthcheck, Port, Restart
from devenv.model.seen import Copied, Touched
from tests.unit.test_cli import Shop

NAMES = ("web-10", "web-2", "db-1", "workspace")


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A workspace, a database, and two of ten replicas of a web server."""
    made = Shop(Path(os.path.realpath(tmp_path)), capsys)
    (made.folder / "devenv.yml").write_text("from: bootstrap:bookworm\n")
    engine = made.machine.engine
    engine.register(Environment("e1", "shop", str(made.folder)))
    image = made.machine.workshop.commit(Rootfs("K"), "K", ("shop:e1",))
    for name in NAMES:
        service, _, index = name.partition("-")
        spec = ContainerSpec("e1", name, name, image.digest, Process(()), service=service, index=int(index or 0))
        if service == "web":
            spec = spec._replace(
                ports=(Port(80, 8080), Port(53, 5353, protocol="udp")), healthcheck=Healthcheck("true")
            )
        (one,) = engine.create([spec])
        engine.start(one.id)
    return made


def container(shop: Shop, name: str) -> Container:
    return next(one for one in shop.machine.engine.containers() if one.name == name)


def change(shop: Shop, name: str, **values: object) -> None:
    found = container(shop, name)
    shop.machine.engine.made[found.id] = found._replace(**values)  # type: ignore[arg-type]


# ps --------------------------------------------------------------------------------------------------------------------


def test_ps_groups_services_and_counts_their_replicas(shop: Shop) -> None:
    assert [line.split()[1] for line in shop("ps").out.splitlines()[1:] if line.startswith("shop")] == [
        *("workspace", "db-1", "web-2", "web-10")
    ]
    assert [one["name"] for one in json.loads(shop("ps", "--json").out)] == ["workspace", "db-1", "web-2", "web-10"]


def test_ps_has_columns_for_health_and_restarts_only_where_there_are_any(shop: Shop) -> None:
    assert "HEALTH" in shop("ps").out and "RESTARTS" not in shop("ps").out
    change(shop, "db-1", restarts=3)
    for name in ("web-2", "web-10"):
        change(shop, name, health="")
    shown = shop("ps").out
    assert "HEALTH" not in shown and "RESTARTS" in shown
    assert next(line for line in shown.splitlines() if "db-1" in line).split()[-4] == "3"


def test_ps_says_when_what_died_is_started_again(shop: Shop) -> None:
    change(shop, "db-1", status="restarting", exit_code=1, restarts=3, again=time.time() + 90.5)
    (line,) = (line for line in shop("ps").out.splitlines() if "db-1" in line)
    assert "restarting (1), next in 1 min" in line and line.split()[-4] == "3"
    (told,) = (one for one in json.loads(shop("ps", "--json").out) if one["name"] == "db-1")
    assert (told["status"], told["exit_code"], told["restarts"]) == ("restarting", 1, 3)
    assert 80 < told["next_start"] - time.time() < 91
    change(shop, "db-1", again=time.time() - 5)
    assert "restarting (1), next in 0 s" in shop("ps").out
    home = shop.machine.engine.known["e1"]
    assert listing.shown(
        [(home, container(shop, "db-1"))], everything=False, here="", folder=""
    )  # as what runs, wherever one is


def test_ps_marks_health_that_nobody_looks_after(shop: Shop) -> None:
    change(shop, "web-2", health="healthy")
    assert "healthy (stale)" in shop("ps").out
    shop.machine.engine.supervisors["e1"] = Supervisor(4711, True, 1.0)
    shown = shop("ps").out
    assert "healthy" in shown and "stale" not in shown
    assert next(line for line in shown.splitlines() if "(supervisor)" in line).split()[-2:] == ["pid", "4711"]
    (told, *_) = json.loads(shop("ps", "--json").out)
    assert told["environment"]["supervisor"] == {"pid": 4711, "running": True, "since": 1.0}


def test_ps_starts_a_supervisor_that_was_killed_again(shop: Shop) -> None:
    shop.machine.engine.supervisors["e1"] = Supervisor(4711, False, 1.0)
    code, out, err = shop("ps")
    assert (code, "killed" in out) == (0, True)
    assert "the supervisor of shop was killed: it is started again" in err
    assert shop.machine.engine.did[-1] == ("supervise", "e1")


# logs, attach, events --------------------------------------------------------------------------------------------------


def test_logs_of_several_have_names_and_one_has_none(shop: Shop) -> None:
    for name, lines in (("web-2", ["0", "1"]), ("web-10", ["a"]), ("db-1", ["x"])):
        shop.machine.engine.lines[container(shop, name).id] = lines
    assert shop("logs", "web").out == "web-2  │ 0\nweb-10 │ a\nweb-2  │ 1\n"
    assert shop("logs", "web-2").out == "0\n1\n"
    assert shop("logs", "db").out == "x\n"
    assert sorted(shop("logs").out.splitlines()) == ["db-1      │ x", "web-10    │ a", "web-2     │ 0", "web-2     │ 1"]
    assert shop("logs", "db-1", "web-10", "-t").out.splitlines()[0] == "db-1   │ 1970-01-01T00:00:00.000+00:00 x"
    assert shop("logs", "-f", "web").out == "web-10 │ a\nweb-2  │ 0\nweb-2  │ 1\n"
    assert shop("-C", "/", "logs", "shop").out == shop("logs").out


def test_logs_have_colours_where_they_are_wanted(shop: Shop) -> None:
    shop.machine.engine.lines[container(shop, "db-1").id] = ["x"]
    shop.env["FORCE_COLOR"] = "1"
    assert shop("logs").out == "\x1b[33mdb-1      │ \x1b[0mx\n"


@pytest.mark.parametrize("verb", ["logs", "stats", "top", "port", "attach"])
def test_names_that_are_none_are_told_with_those_there_are(shop: Shop, verb: str) -> None:
    code, _, err = shop(verb, "wbe")
    assert (code, "has no container wbe" in err, "db-1, web-10" in err) == (2, True, True)


def test_attach_shows_what_is_printed_and_ends_with_the_container(shop: Shop) -> None:
    found = container(shop, "web-2")
    shop.machine.engine.lines[found.id] = ["hello"]
    change(shop, "web-2", status="stopped", exit_code=7)
    assert shop("attach", "web-2")[:2] == (7, "hello\n")


def test_events_are_told_for_all_or_for_some(shop: Shop) -> None:
    shop.machine.engine.happened = [
        Happening(1.5, "web-2", "die", "exit code 1"),
        Happening(2.0, "web-3", "remove"),
        Happening(3.0, "db-1", "health", "healthy"),
    ]
    assert shop("events").out.splitlines() == [
        "1970-01-01T00:00:01.500+00:00  web-2      die      exit code 1",
        "1970-01-01T00:00:02.000+00:00  web-3      remove",
        "1970-01-01T00:00:03.000+00:00  db-1       health   healthy",
    ]
    assert [one["object"] for one in json.loads(shop("events", "web", "--json").out)] == ["web-2", "web-3"]
    assert json.loads(shop("events", "db", "-f", "--json").out) == {
        "time": 3.0,
        "object": "db-1",
        "kind": "health",
        "detail": "healthy",
    }
    assert shop("events", "--since", "1970-01-01T00:00:03Z", "--json").out.count("object") == 1
    assert shop("events", "wbe").code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("90s", 999_999_910.0),
        ("1h30m", 999_994_600.0),
        ("2d", 999_827_200.0),
        ("500ms", 999_999_999.5),
        ("1764482400", 1_764_482_400.0),
        ("1970-01-02T00:00Z", 86400.0),
        ("1970-01-02T01:00+01:00", 86400.0),
    ],
)
def test_since_is_a_moment(text: str, expected: float) -> None:
    assert instant(text, 1e9) == expected


@pytest.mark.parametrize("text", ["10", "10 m", "-5m", "yesterday", "2026-13-01", "1e9"])
def test_since_that_is_none_says_how_to_write_it(text: str) -> None:
    with pytest.raises(InputError, match="10m, 1h30m"):
        instant(text, 1e9)


# port ------------------------------------------------------------------------------------------------------------------


def test_port_says_where_it_answers(shop: Shop) -> None:
    assert shop("port", "web", "80").out == "127.0.0.1:8080\n"
    assert shop("port", "web").out == "80/tcp → 127.0.0.1:8080\n53/udp → 127.0.0.1:5353\n"
    assert shop("port", "shop/web-2", "53/udp").out == "127.0.0.1:5353\n"
    assert json.loads(shop("port", "web", "80", "--json").out) == [
        {"name": "web", "address": "127.0.0.1", "host": 8080, "container": 80, "protocol": "tcp"}
    ]


def test_port_without_a_name_lists_all_where_the_workspace_has_none(shop: Shop) -> None:
    assert shop("port").out == "web 80/tcp → 127.0.0.1:8080\nweb 53/udp → 127.0.0.1:5353\n"
    change(shop, "web-2", ports=(Port(80, 9001),))
    assert shop("port").out == (
        "web-2 80/tcp → 127.0.0.1:9001\nweb-10 80/tcp → 127.0.0.1:8080\nweb-10 53/udp → 127.0.0.1:5353\n"
    )
    assert [(one["name"], one["host"]) for one in json.loads(shop("port", "--json").out)] == [
        *(("web-2", 9001), ("web-10", 8080), ("web-10", 5353))
    ]
    assert shop("port", "53/udp").out == "127.0.0.1:5353\n"
    change(shop, "workspace", ports=(Port(3000, 3000),))
    assert shop("port").out == "3000/tcp → 127.0.0.1:3000\n"


def test_port_of_an_environment_without_any_says_so(shop: Shop) -> None:
    for name in NAMES:
        change(shop, name, ports=())
    failed = shop("port")
    assert (failed.code, "shop: no port of it is published\n  hint: write it in `ports:`" in failed.err) == (1, True)


def test_port_of_several_replicas_with_their_own_has_a_line_for_each(shop: Shop) -> None:
    change(shop, "web-2", ports=(Port(80, 9001, "0.0.0.0"),))
    assert shop("port", "web", "80").out == "127.0.0.1:9001\n127.0.0.1:8080\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("web", "81"), 1, "web: its port 81/tcp isn't published\n  hint: those that are: 53/udp, 80/tcp"),
        (("web", "53"), 1, "web: its port 53/tcp isn't published"),
        (("8000",), 1, "shop: its port 8000/tcp isn't published\n  hint: those that are: 53/udp, 80/tcp"),
        (("db",), 1, "db isn't published"),
        (("web", "http"), 2, "isn't [SERVICE] [PORT]"),
        (("web", "80", "81"), 2, "isn't [SERVICE] [PORT]"),
    ],
)
def test_port_that_answers_nowhere_says_why(shop: Shop, words: tuple[str, ...], code: int, told: str) -> None:
    failed = shop("port", *words)
    assert (failed.code, told in failed.err, failed.out) == (code, True, "")


def test_port_of_what_does_not_run_says_so(shop: Shop) -> None:
    for name in ("web-2", "web-10"):
        shop.machine.engine.stop(container(shop, name).id)
    assert "web: its port 80/tcp answers nowhere: it doesn't run" in shop("port", "web", "80").err


# stats, top ------------------------------------------------------------------------------------------------------------


def test_stats_have_a_line_for_each_that_runs(shop: Shop) -> None:
    shop.machine.engine.stop(container(shop, "web-2").id)
    head, *rows = shop("stats", "web", "db").out.splitlines()
    assert head.split()[:3] == ["CONTAINER", "CPU", "MEMORY"]
    assert [row.split()[:3] for row in rows] == [["db-1", "50.0", "%"], ["web-10", "50.0", "%"]]
    assert "2 B of 2 B" in rows[0]


def test_stats_json_has_every_figure(shop: Shop) -> None:
    (one,) = json.loads(shop("stats", "db", "--json").out)
    assert one == {
        "environment": "e1",
        "id": container(shop, "db-1").id,
        "name": "db-1",
        "service": "db",
        "cpu_percent": 50.0,
        "cpu_seconds": 1.0,
        "memory": 2,
        "memory_limit": 2,
        "received": 2,
        "sent": 2,
        "read": 2,
        "written": 2,
        "pids": 2,
        "pids_limit": 2,
    }


def test_top_lists_processes(shop: Shop) -> None:
    assert shop("top", "db").out.splitlines()[1].split() == ["db-1", "1", "4711", "root", "1:01", "1.0", "kB", "init"]
    (one,) = json.loads(shop("top", "db", "--json").out)
    assert {name: one[name] for name in ("name", "pid", "user", "cpu", "command")} == {
        "name": "db-1",
        "pid": 1,
        "user": "root",
        "cpu": 61.0,
        "command": "init",
    }


@pytest.mark.parametrize(("value", "expected"), [(7.9, "0:07"), (754, "12:34"), (11100, "3:05:00")])
def test_top_shows_cpu_time(value: float, expected: str) -> None:
    assert seconds(value) == expected


# cp --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1:/etc", Place("web-1", "/etc")),
        ("shop/db:etc/x:y", Place("shop/db", "etc/x:y")),
        ("./a:b", Place("", "./a:b")),
        ("/a:b", Place("", "/a:b")),
        ("file", Place("", "file")),
        ("-", Place("", "-")),
    ],
)
def test_cp_tells_containers_from_files(text: str, expected: Place) -> None:
    assert place(text) == expected


def test_cp_takes_paths_from_where_we_are_and_passes_the_container_s_on(shop: Shop) -> None:
    assert shop("cp", "web-2:/var/log/.", "logs/").code == 0
    assert shop("cp", "seed.sql", "db:/tmp").code == 0
    assert shop.machine.engine.did[-2:] == [
        ("fetch", "web-2", "/var/log/.", f"{shop.folder}/logs/"),
        ("send", "db-1", "/tmp", f"{shop.folder}/seed.sql"),
    ]


def test_cp_says_what_was_left_out(shop: Shop) -> None:
    shop.machine.engine.copies = Copied(1, 1, tuple((f"dev/{number}", "a device") for number in range(12)))
    done = shop("cp", "db:/dev", ".")
    assert (done.code, done.err.count("left out dev/"), "left out 2 more" in done.err) == (0, 10, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a", "b"), "neither is in a container"),
        (("web-2:/a", "db:/b"), "both are in containers"),
        ((":/a", "b"), "':/a' isn't CONTAINER:PATH"),
        (("web-2:", "b"), "'web-2:' isn't CONTAINER:PATH"),
        (("-a", "x", "db:/b"), "is for a tar on stdin"),
        (("web:/a", "b"), "web has 2 replicas"),
    ],
)
def test_cp_of_what_can_not_be_says_why(shop: Shop, words: tuple[str, ...], told: str) -> None:
    failed = shop("cp", *words)
    assert (failed.code, told in failed.err) == (2, True)


# verify ----------------------------------------------------------------------------------------------------------------


def test_verify_identical_replicas(shop: Shop) -> None:
    code, out, _ = shop("verify", "--identical", "web")
    assert (code, out.startswith("identical  web: 2 replicas are identical")) == (0, True)
    told = json.loads(shop("verify", "--identical", "web", "--json").out)
    assert (told["identical"], told["replicas"], told["differences"]) == (True, ["web-2", "web-10"], [])


def test_verify_says_which_replica_differs_in_what(shop: Shop) -> None:
    shop.machine.engine.touches["web-10"] = (Touched("/etc/conf", "content"),)
    code, out, _ = shop("verify", "--identical", "web")
    assert (code, out) == (4, "differs  web, of 2\n  web-10  /etc/conf: content\n")
    assert json.loads(shop("verify", "--identical", "web", "--json").out)["differences"] == [
        {"replica": "web-10", "what": "file", "name": "/etc/conf", "found": "content", "instead": ""}
    ]


def test_verify_takes_no_name_in_a_prompt_for_a_difference_but_any_other_variable(shop: Shop) -> None:
    engine = shop.machine.engine
    replicas = {one.id: one.name for one in engine.containers() if one.service == "web"}

    def with_env(*more: tuple[str, str]) -> None:
        for number, (each, name) in enumerate(replicas.items()):
            env = (("debian_chroot", f"devenv:shop.next/{name}"), *(more if number else ()))
            spec = engine.specs[each]
            engine.specs[each] = spec._replace(process=spec.process._replace(env=env))

    with_env()
    assert shop("verify", "--identical", "web").code == 0
    with_env(("LANG", "C"))
    code, out, _ = shop("verify", "--identical", "web")
    assert (code, "process.env: " in out, "Process(" in out) == (4, True, False)


def test_verify_of_what_has_no_replicas_is_wrong_input(shop: Shop) -> None:
    assert shop("verify", "--identical", "workspace").code == 2
    assert shop("verify", "--identical", "nothing").code == 2


def replica(name: str, index: int, **more: object) -> Replica:
    inputs = (("image", "K"), ("env.DEBUG", "0"), ("env.API_KEY", "s"), ("ports", f"900{index}"))
    spec = ContainerSpec("e1", name, name, "sha256:a", Process(("sh", "-c", "serve")), index=index, inputs=inputs)
    container = Container(f"e1-{name}", "e1", name, "sha256:a", "running", index=index)
    return Replica(container, spec._replace(**more), ())  # type: ignore[arg-type]


def test_verify_passes_over_what_each_replica_has_of_its_own() -> None:
    one, other = replica("web-1", 1, ports=(Port(80, 9001),)), replica("web-2", 2, ports=(Port(80, 9002),))
    assert [*unlike((one, other))] == []


def test_verify_compares_images_configuration_and_what_has_no_name_of_the_manifest_s() -> None:
    first, second, third = (replica(f"web-{index}", index) for index in (1, 2, 3))
    second = second._replace(container=second.container._replace(image="sha256:b"))
    inputs = (("env.DEBUG", "1"), ("env.API_KEY", "other"), ("command", "serve"))
    third = third._replace(spec=third.spec._replace(inputs=inputs))
    fourth = replica("web-4", 4, restart=Restart("always"))
    assert [*unlike((first, second, third, fourth))] == [
        Unlike("web-2", "image", "image", "sha256:b", "sha256:a"),
        Unlike("web-3", "configuration", "env.DEBUG", "1", "0"),
        Unlike("web-3", "configuration", "env.API_KEY", "(not shown)", "(not shown)"),
        Unlike("web-3", "configuration", "command", "serve", ""),
        Unlike("web-4", "configuration", "restart", repr(Restart("always")), repr(Restart())),
    ]
