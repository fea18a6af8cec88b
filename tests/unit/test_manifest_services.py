"""What right services, volumes and secrets become. Wrong ones have their cases in manifest_cases/service_*."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from devenv.errors import InputError
from devenv.manifest import load, parse
from devenv.manifest.check import TEMPLATES
from devenv.manifest.keys_service import SERVICE
from devenv.model.manifest import (
    Dependency,
    From,
    Healthcheck,
    Limits,
    Manifest,
    Mount,
    Node,
    Port,
    Python,
    Replica,
    Restart,
    Secret,
    Service,
)
from devenv.render.sandbox import expand

FACTS = {"arch": "amd64", "user": "ann"}
HEAD = "from: bootstrap:bookworm\n"


def read(text: str, scale: Mapping[str, int] | None = None, head: str = HEAD) -> Manifest:
    return parse(
        (head + text).encode(), "/p/shop/devenv.yml", facts=FACTS, expand=expand, scale=scale or {}, home="/home/ann"
    )


def service(text: str, scale: Mapping[str, int] | None = None) -> Service:
    """The service of a manifest that has one of them."""
    (one,) = read(text, scale).services
    return one


def refused(text: str, scale: Mapping[str, int] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(text, scale)
    return str(caught.value).replace("/p/shop/", "")


def test_parse_takes_every_key_of_a_service() -> None:
    manifest = read("""
name: shop
secrets: {API_KEY: {from_env: SHOP_API_KEY}, TOKEN: {from_file: ~/.token}, c.d: {from_file: ./x/../y}}
volumes: {pgdata: {}, unused: }
services:
  db:
    from: bootstrap:trixie
    apt: [postgresql]
    python: {version: 3.13, packages: [six]}
    node: {version: 22}
    contexts: {a: ../other}
    command: postgres -D data
    env: {A: x}
    user: postgres:postgres
    workdir: /var/lib/
    volumes: [pgdata:/var/lib/postgresql, "./conf/:/etc/conf:ro", "~/seed.sql:/seed.sql:rw", "/srv/x:/x"]
    ports: ["5432", "5433:5432", "127.0.0.2:9000-9002:8000/udp"]
    secrets: [API_KEY]
    healthcheck: {test: pg_isready, interval: 500ms, timeout: 1.5s, retries: 30, start_period: 2m}
    depends_on: {cache: healthy, migrate: completed}
    replicas: 2
    restart: on-failure:5
    limits: {memory: 1G}
    stop_signal: INT
    stop_grace: 1h
    profiles: [debug, a_1]
  cache: {healthcheck: redis-cli ping}
  migrate: {command: migrate}
""")
    assert manifest.secrets == (
        Secret("API_KEY", from_env="SHOP_API_KEY"),
        Secret("TOKEN", from_file="~/.token"),
        Secret("c.d", from_file="y"),
    )
    assert manifest.volumes == ("pgdata", "unused")
    db = manifest.services[0]
    replica = Replica(
        1,
        "postgres -D data",
        (("A", "x"),),
        "postgres:postgres",
        "/var/lib",
        (
            Mount("/var/lib/postgresql", volume="pgdata"),
            Mount("/etc/conf", path="conf", readonly=True),
            Mount("/seed.sql", path="/home/ann/seed.sql"),
            Mount("/x", path="/srv/x"),
        ),
        Healthcheck("pg_isready", 0.5, 1.5, 30, 120.0),
    )
    assert db.image is not None
    assert db._replace(image=None) == Service(
        "db",
        None,
        (replica, replica._replace(index=2)),
        (Port(5432), Port(5432, 5433), Port(8000, 9000, "127.0.0.2", "udp", 9002)),
        ("API_KEY",),
        (Dependency("cache", "healthy"), Dependency("migrate", "completed")),
        Restart("on-failure", 5),
        Limits(1 << 30),
        "SIGINT",
        3600.0,
        ("debug", "a_1"),
    )


def test_parse_takes_a_service_with_nothing_said() -> None:
    manifest = read("services:\n  idle:\n  other: {}\n")
    replica = Replica(1, workdir="/workspace")
    assert manifest.services == (Service("idle", replicas=(replica,)), Service("other", replicas=(replica,)))


def test_parse_makes_a_manifest_of_a_service_s_image() -> None:
    manifest = read("""
name: shop
certificates: none
proxy: none
mirror: http://mirror.example/debian
snapshot: http://snapshot.example/{time}
apt: [git]
contexts: {x: here}
services:
  db:
    from: file:db/Containerfile
    apt: [jq, postgresql]
    python: {packages: [six]}
    node: {lock: db/package-lock.json}
    contexts: {"debian:12": bootstrap:bookworm}
    command: x
""")
    image = manifest.services[0].image
    assert image is not None
    assert image._replace(places={}) == Manifest(
        "/p/shop/devenv.yml",
        "/p/shop",
        "shop-db",
        From("file", "db/Containerfile"),
        apt=("jq", "postgresql"),
        python=Python(packages=("six",)),
        node=Node(lock="db/package-lock.json"),
        contexts=(("debian:12", "bootstrap:bookworm"),),
        certificates="none",
        proxy="none",
        mirror="http://mirror.example/debian",
        snapshot="http://snapshot.example/{time}",
        service="db",
    )


def test_parse_tells_an_image_where_its_values_stand() -> None:
    manifest = read("mirror: http://m.example\napt: [git]\nservices:\n  db:\n    apt: [jq, pg]\n    env: {A: x}\n")
    image = manifest.services[0].image
    assert image is not None
    assert dict(image.places) == {
        "mirror": (2, 9),
        "from": (1, 7),
        "apt": (6, 10),
        "apt[0]": (6, 11),
        "apt[1]": (6, 15),
    }
    assert manifest.places["services.db.apt[1]"] == (6, 15) and manifest.places["services.db.env.A"] == (7, 14)


def test_parse_puts_the_project_s_contexts_beneath_with_its_base() -> None:
    text = "contexts: {a: one, b: two}\nservices: {x: {contexts: {b: own}}, y: {from: file:C, contexts: {b: own}}}\n"
    x, y = read(text, head="from: file:Containerfile\n").services
    assert x.image and y.image
    assert (x.image.base, x.image.contexts) == (From("file", "Containerfile"), (("a", "one"), ("b", "own")))
    assert y.image.contexts == (("b", "own"),)
    assert x.image.places["contexts.a"] == (2, 15)


@pytest.mark.parametrize("key", ["apt: []", "apt:", "python:", "node: {}", "contexts: {}", "from: bootstrap:sid"])
def test_parse_gives_a_service_an_image_for_any_key_of_one(key: str) -> None:
    one = service(f"env: {{A: x}}\nuser: app\nservices:\n  db:\n    {key}\n")
    assert one.image is not None and one.replicas == (Replica(1),)


def test_parse_puts_the_project_beneath_a_service_without_an_image() -> None:
    text = "env: {A: a, B: b}\nuser: app\nworkdir: /workspace/src\nservices:\n"
    plain, own = read(
        f"{text}  plain:\n  own: {{env: {{B: x, C: '{{{{ A }}}}{{{{ B }}}}'}}, user: root, workdir: /}}\n"
    ).services
    assert plain.replicas == (Replica(1, env=(("A", "a"), ("B", "b")), user="app", workdir="/workspace/src"),)
    assert own.replicas == (Replica(1, env=(("A", "a"), ("B", "x"), ("C", "ax")), user="root", workdir="/"),)


def test_parse_renders_each_replica() -> None:
    one = service("""
volumes: {data-1: {}, data-2: {}, data-3: {}}
services:
  web:
    apt: [git]
    replicas: 3
    env: {ID: "{{ project }}-{{ index }}", PLAIN: x, NEXT: "{{ ID | upper }}"}
    command: "serve {{ 8000 + (index | int) }} {{ NEXT }}"
    user: "100{{ index }}"
    workdir: /srv/{{ index }}
    volumes: ["data-{{ index }}:/data"]
    healthcheck: {test: "check {{ ID }}", retries: "{{ index }}"}
""")
    assert one.replicas == tuple(
        Replica(
            number,
            f"serve {8000 + number} SHOP-{number}",
            (("ID", f"shop-{number}"), ("PLAIN", "x"), ("NEXT", f"SHOP-{number}")),
            f"100{number}",
            f"/srv/{number}",
            (Mount("/data", volume=f"data-{number}"),),
            Healthcheck(f"check shop-{number}", retries=number),
        )
        for number in (1, 2, 3)
    )


def test_parse_renders_what_only_the_braces_in_a_text_hide() -> None:
    one = service("services: {web: {replicas: 2, command: \"{{ '}}' ~ index }}\"}}\n")
    assert [replica.command for replica in one.replicas] == ["}}1", "}}2"]


def test_parse_tells_what_a_replica_s_variable_hides() -> None:
    one = service("vars: {x: outer}\nservices: {a: {replicas: 2, env: {x: '{{ index }}'}, command: '{{ x }}'}}\n")
    assert [replica.command for replica in one.replicas] == ["1", "2"]


def test_parse_keeps_a_service_s_variables_to_itself() -> None:
    text = "services: {a: {env: {OWN: x}, ports: ['{{ PORT }}']}, b: {command: '{{ OWN }}'}}\nenv: {PORT: '80'}\n"
    assert "`services.b.command`" in refused(text) and "`services.a" not in refused(text)


def test_parse_tells_a_fault_of_several_replicas_once() -> None:
    assert refused("services: {a: {replicas: 9, user: 'A{{ index }}'}}\n").count("devenv.yml") == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1s", 1.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0s", 0.0)]
)
def test_parse_takes_a_duration(text: str, seconds: float) -> None:
    assert service(f"services: {{a: {{stop_grace: {text}}}}}\n").stop_grace == seconds


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", Restart("no")),
        ("always", Restart("always")),
        ("on-failure", Restart("on-failure")),
        ("on-failure:3", Restart("on-failure", 3)),
    ],
)
def test_parse_takes_a_restart_policy(text: str, policy: Restart) -> None:
    assert service(f"services: {{a: {{restart: {text}}}}}\n").restart == policy


@pytest.mark.parametrize(("text", "signal"), [("SIGQUIT", "SIGQUIT"), ("USR1", "SIGUSR1"), ("15", "15"), ("03", "3")])
def test_parse_takes_a_stop_signal(text: str, signal: str) -> None:
    assert service(f"services: {{a: {{stop_signal: {text}}}}}\n").stop_signal == signal


def test_parse_takes_dependencies_as_a_list() -> None:
    one = read("services:\n  a:\n    depends_on:\n      - b\n      - c\n      - b\n  b:\n  c:\n")
    assert one.services[0].depends_on == (Dependency("b"), Dependency("c"))
    assert one.places["services.a.depends_on.c"] == (6, 9)


def test_parse_takes_no_replicas() -> None:
    assert service("services: {a: {replicas: 0, command: '{{ index }}'}}\n").replicas == ()
    assert "'nope' is undefined" in refused("services: {a: {replicas: 0, command: '{{ nope }}'}}\n")


def test_parse_takes_a_volume_within_the_project_s_folder() -> None:
    mounts = service("volumes: {m: {}}\nservices: {a: {volumes: ['m:/workspace/node_modules']}}\n").replicas[0].mounts
    assert mounts == (Mount("/workspace/node_modules", volume="m"),)


def test_scale_counts_instead_of_what_is_written() -> None:
    text = "services: {a: {replicas: 5, command: 'x{{ index }}'}, b: {}}\n"
    a, b = read(text, {"a": 2, "b": 3}).services
    assert [replica.command for replica in a.replicas] == ["x1", "x2"]
    assert [replica.index for replica in b.replicas] == [1, 2, 3]
    assert read(text, {"a": 0}).services[0].replicas == ()


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"wbe": 1}, "devenv.yml: scale 'wbe': there is no such service\n  hint: did you mean 'web'?"),
        ({"zzz": 1}, "devenv.yml: scale 'zzz': there is no such service\n  hint: one of: web, db"),
        ({"web": 1001}, "devenv.yml: scale web: there can't be 1,001 replicas\n  hint: choose between 0 and 1,000"),
        ({"web": -1}, "devenv.yml: scale web: there can't be -1 replicas"),
        ({"web": 3}, "devenv.yml:2:26: `services.web.ports[0]`: 2 host ports for 3 replicas\n  hint: write 80-82:80"),
        ({"db": 1000}, "`services.db.replicas`: with it, all services together are 1,001 containers"),
    ],
)
def test_scale_names_what_can_t_be(scale: Mapping[str, int], message: str) -> None:
    assert message in refused("services: {web: {ports: ['80-81:80']}, db: {}}\n", scale)


def test_scale_of_a_manifest_without_services_is_refused() -> None:
    assert "scale 'web': there is no such service\n  hint: the manifest has no services" in refused("", {"web": 1})


def test_secret_written_in_place_of_a_variable_is_not_shown() -> None:
    text = refused("secrets: {KEY: {from_env: sk-live-123}}\n")
    assert "`secrets.KEY.from_env`: it is not the name of a variable" in text and "sk-live" not in text


def many(count: int, text: str) -> str:
    """So many items of a mapping, `N` their number."""
    return ", ".join(text.replace("N", str(number)) for number in range(count))


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ("a: {replicas: 1000, env: {" + many(1000, "EN: '{{ index }}N'") + "}}", f"more than {TEMPLATES:,} templates"),
        (
            "a: {replicas: 1000, env: {I: '{{ index }}', " + many(4000, "EN: x") + "}}",
            "all values together are too much",
        ),
        (
            "a: {replicas: 1000, env: {A: &x " + "x" * 60000 + ", I: '{{ index }}', " + many(4000, "EN: *x") + "}}",
            "all values together are too much",
        ),
        (many(1000, "sNx: {replicas: 1000, command: '{{ index }}'}"), "all services together are 2,000 containers"),
    ],
    ids=["templates", "values", "large values", "services"],
)
def test_parse_refuses_replicas_that_are_too_much(services: str, message: str) -> None:
    assert message in refused(f"services: {{{services}}}\n")


def test_parse_takes_a_long_chain_of_services() -> None:
    chain = "".join(f"  s{n}x: {{depends_on: [s{n + 1}x]}}\n" for n in range(900))
    assert len(read(f"services:\n{chain}  s900x:\n").services) == 901
    assert "s0x → s1x → " in refused(f"services:\n{chain}  s900x: {{depends_on: [s0x]}}\n")


def test_parse_fails_only_with_faults() -> None:
    chance = random.Random(2026)
    keys = (*(key.name for key in SERVICE.keys), "zzz", "test", "interval")
    texts = ["a", "b", "web-1", "9", "-1", "1s", "{{ index }}", "{{ x", "v:/a", "./x:/b:ro", "80-82:80", "~", "''"]
    texts += ["healthy", "always", "[a, b]", "{a: healthy}", "{a: completed, b: x}", "[v:/a, './b:/a']", "{}", "[[]]"]
    outcomes = set()
    for _ in range(600):
        lines = [f"  {chance.choice('abc')}{chance.choice(('', 'x', '.y', '-1'))}: &n{n}\n" for n in range(2)]
        for n in range(2):
            chosen = chance.sample(keys, chance.randrange(4))
            lines[n] += "".join(f"    {key}: {chance.choice(texts)}\n" for key in chosen)
        text = "volumes: {v: }\nsecrets: {a: {from_env: A}}\nservices:\n" + "".join(lines) + "  c: *n0\n"
        try:
            read(text, {"a": chance.randrange(3)} if chance.random() < 0.2 else {})
            outcomes.add("read")
        except InputError as error:
            assert error.faults
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def project(tmp_path: Path, *lines: str) -> str:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "devenv.yml").write_text("\n".join((HEAD, *lines, "")))
    return str(folder / "devenv.yml")


def loaded(path: str, *forbidden: str, home: str = "", scale: Mapping[str, int] | None = None) -> Manifest:
    return load(path, facts=FACTS, expand=expand, forbidden=forbidden, home=home, scale=scale or {})


def turned_down(path: str, *forbidden: str) -> str:
    with pytest.raises(InputError) as caught:
        loaded(path, *forbidden)
    return str(caught.value)


def test_load_takes_files_and_folders_to_mount(tmp_path: Path) -> None:
    path = project(tmp_path, "services: {a: {volumes: ['./conf:/a', './devenv.yml:/b:ro', '../other:/c', '~/d:/d']}}")
    for folder in ("shop/conf", "other", "home/d"):
        (tmp_path / folder).mkdir(parents=True)
    mounts = loaded(path, home=f"{tmp_path}/home").services[0].replicas[0].mounts
    assert [mount.path for mount in mounts] == ["conf", "devenv.yml", "../other", f"{tmp_path}/home/d"]


def test_load_looks_at_what_each_replica_mounts(tmp_path: Path) -> None:
    path = project(tmp_path, "services: {a: {volumes: ['./data-{{ index }}:/a']}}")
    for number in (1, 2):
        (tmp_path / f"shop/data-{number}").mkdir()
    assert len(loaded(path, scale={"a": 2}).services[0].replicas) == 2
    with pytest.raises(InputError, match="data-3 does not exist"):
        loaded(path, scale={"a": 4})


@pytest.mark.parametrize("place", ["/", "/etc", "/etc/passwd", "/proc/self", "/sys/kernel", "/dev"])
def test_load_refuses_to_mount_the_system(tmp_path: Path, place: str) -> None:
    assert "belongs to the system" in turned_down(project(tmp_path, f"services: {{a: {{volumes: ['{place}:/a']}}}}"))


@pytest.mark.parametrize("place", ["/", "/etc", "elsewhere"])
def test_load_refuses_to_mount_through_a_link(tmp_path: Path, place: str) -> None:
    path = project(tmp_path, "services: {a: {volumes: ['./link:/a']}}")
    (tmp_path / "shop/elsewhere").mkdir()
    os.symlink(place, tmp_path / "shop/link")
    text = turned_down(path)
    assert "belongs to the system" in text if place.startswith("/") else "is, or leads through, a link" in text


def test_load_refuses_to_mount_the_store_and_what_contains_it(tmp_path: Path) -> None:
    path = project(tmp_path, "source: []", "services: {a: {volumes: ['./store/in:/a', './:/b', './beside:/c']}}")
    for folder in ("store/in", "beside"):
        (tmp_path / "shop" / folder).mkdir(parents=True)
    text = turned_down(path, f"{tmp_path}/shop/store")
    assert text.count("holds devenv's own store") == 2 and "beside" not in text


def test_load_refuses_to_mount_sockets_and_devices(tmp_path: Path) -> None:
    path = project(tmp_path, "services: {a: {volumes: ['./x.sock:/a', './fifo:/b']}}")
    os.mkfifo(tmp_path / "shop/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/shop/x.sock")
        assert turned_down(path).count("is neither a folder nor a regular file") == 2


def test_load_looks_at_the_files_of_a_service_s_image(tmp_path: Path) -> None:
    path = project(tmp_path, "services: {a: {python: {requirements: [r.txt]}}, b: {from: file:C}}")
    (tmp_path / "shop/C").symlink_to("/etc/passwd")
    text = turned_down(path)
    assert "`services.a.python.requirements[0]`: r.txt does not exist" in text
    assert "`services.b.from`: C is outside the project folder" in text


def test_load_reads_no_secret(tmp_path: Path) -> None:
    path = project(tmp_path, "secrets: {A: {from_file: missing}, B: {from_env: NOBODY_SETS_IT}}")
    assert loaded(path).secrets == (Secret("A", from_file="missing"), Secret("B", from_env="NOBODY_SETS_IT"))
