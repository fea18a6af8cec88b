"""Manifest → the container that is wanted, and the inputs that say whether another must replace it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from devenv.build.graph import graph
from devenv.build.key import keys
from devenv.build.parse import parse
from devenv.desired import bare, desired, environment, image, one_shot, positions, remembered_hooks, selected, specify
from devenv.desired import words as own_words
from devenv.errors import NotFound
from devenv.model.container import ContainerSpec, Environment, Process
from devenv.model.image import PROJECT, ImageConfig
from devenv.model.manifest import (
    Dependency,
    From,
    Healthcheck,
    Hooks,
    Limits,
    Manifest,
    Mount,
    Port,
    Replica,
    Restart,
    Secret,
    Service,
    Source,
)
from devenv.model.plan import UNREAD, WantedImage

HOME = Environment("e1", "shop", "/p")
PLAIN = Manifest("/p/devenv.yml", "/p", "shop", From("bootstrap", "bookworm"), sources=(Source(".", "/workspace"),))


def changed(**values: Any) -> set[str]:
    """Names of the inputs that differ once these fields of the manifest have other values."""
    before, after = specify(PLAIN, HOME, "K").inputs, specify(PLAIN._replace(**values), HOME, "K").inputs
    return {name for name, _ in set(before) ^ set(after)}


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("env", (("A", "1"),), {"env.A"}),
        ("env", (("A", ""),), {"env.A"}),
        ("ports", (Port(8000),), {"ports"}),
        ("sources", (Source(".", "/workspace", "ro"),), {"source /workspace"}),
        ("sources", (Source(".", "/src"),), {"source /workspace", "source /src"}),
        ("limits", Limits(memory=1 << 30), {"limits.memory"}),
        ("limits", Limits(cpus=1.5, pids=7), {"limits.cpus", "limits.pids"}),
        ("network", "none", {"network"}),
        ("user", "ann", {"user"}),
        ("workdir", "/x", {"workdir"}),
        ("command", "sleep 1", {"command"}),
        ("proxy", "none", {"proxy"}),
        ("runtime", "crun", {"runtime"}),
        ("name", "other", {"name"}),
        ("hooks", Hooks(("a",), ("b",)), set()),
        ("test", "pytest", set()),
        ("apt", ("git",), set()),
    ],
)
def test_inputs_name_what_changed(field: str, value: object, names: set[str]) -> None:
    assert changed(**{field: value}) == names


def test_spec_has_absolute_sources_and_a_waiting_init() -> None:
    spec = specify(PLAIN, HOME, "K", certificates="/etc/bundle.pem")
    assert spec.sources == (Source("/p", "/workspace"),)
    assert spec.process.argv == ()
    assert (spec.name, spec.hostname, spec.certificates) == ("workspace", "shop", "/etc/bundle.pem")


def test_proxy_none_undoes_what_the_engine_lends() -> None:
    env = dict(specify(PLAIN._replace(proxy="none"), HOME, "K").process.env)
    assert env["https_proxy"] == env["HTTPS_PROXY"] == ""


def test_environment_of_a_folder_is_stable_and_its_own() -> None:
    one, other = environment("/a", "shop", None), environment("/b", "shop", None)
    assert one == environment("/a", "shop", None)
    assert one.id != other.id
    assert environment("/a", "renamed", one) == Environment(one.id, "renamed", "/a")


def test_one_shot_has_its_own_name_no_ports_and_the_project_s_defaults() -> None:
    main = specify(PLAIN._replace(user="ann", workdir="/w", env=(("A", "1"),), ports=(Port(80, 80),)), HOME, "K")
    spec = one_shot(main, Process(("true",), env=(("B", "2"),), user="root"), "run-1")
    assert (spec.name, spec.ports, spec.process.user, spec.process.workdir) == ("run-1", (), "root", "/w")
    assert spec.process.env == (("A", "1"), ("B", "2"))


def test_image_remembers_the_hooks_of_the_project_s_own() -> None:
    assert image(PROJECT, "K", (), hooks=Hooks(("a", "b"))).built == (("hooks", (("hooks.on_create", '["a", "b"]'),)),)
    assert image("db", "K", (), bases=(("x:0", ()),)).built == (("x:0", ()),)


def test_hooks_that_were_remembered_are_known_again() -> None:
    hooks = Hooks(("a; b", "c"), ("d",))
    assert remembered_hooks(image(PROJECT, "K", (), hooks=hooks).built) == hooks
    assert remembered_hooks(()) == Hooks()
    assert remembered_hooks((("hooks", (("hooks.on_start", "a; b"),)),)) == Hooks((), ("a; b",))  # of an earlier devenv


def test_bare_has_no_source() -> None:
    assert bare("run-1", "sha256:i", Process(("true",))).sources == ()


def test_positions_are_the_stage_and_the_place_in_it() -> None:
    text = "FROM scratch AS one\nCOPY a /a\nCOPY a /b\nFROM scratch\nCOPY --from=one /a /\nCOPY a /b\n"
    found = graph(parse(text, "Containerfile"), "Containerfile", {}, "", {})
    keyed = keys(found, {}, lambda _name, _what: "digest")
    assert [position for position, _ in positions(found, keyed)] == ["one:1", "one:2", "1:1", "1:2"]


# Services --------------------------------------------------------------------------------------------------------------

CHECK = Healthcheck("pg_isready", 1.0, 5.0, 30)
DB = Service("db", image=PLAIN._replace(name="shop-db"), replicas=(Replica(1, "postgres", healthcheck=CHECK),))
WEB = Service(
    "web",
    replicas=tuple(Replica(index, f"serve {index}", (("COLOUR", "red"),), "ann", "/w") for index in (1, 2, 3)),
    ports=(Port(80, 8080), Port(9000, 9000, last=9002)),
    secrets=("KEY",),
    depends_on=(Dependency("db", "healthy"),),
)
SHOP = PLAIN._replace(services=(WEB, DB), secrets=(Secret("KEY", "KEY"), Secret("TOKEN", "TOKEN")))
IMAGES = (WantedImage(PROJECT, "K"), WantedImage("db", "KD"))


def replicas(*services: Service, manifest: Manifest = SHOP) -> dict[str, ContainerSpec]:
    found = desired(manifest, HOME, IMAGES, services, certificates="/etc/bundle.pem").services
    return {spec.name: spec for service in found for spec in service.specs}


def test_replica_has_its_number_in_its_name_its_own_values_and_its_place_in_the_project() -> None:
    web = replicas(WEB)["web-2"]
    assert (web.name, web.hostname, web.service, web.index) == ("web-2", "web-2", "web", 2)
    assert web.process == Process(("/bin/sh", "-c", "serve 2"), (("COLOUR", "red"),), "ann", "/w")
    assert web.sources == (Source("/p", "/workspace"),)
    assert (web.secrets, web.certificates, web.network) == (("KEY",), "/etc/bundle.pem", "bridge")


def test_replica_with_an_image_of_its_own_sees_no_source() -> None:
    db = replicas(DB)["db-1"]
    assert db.sources == ()
    assert dict(db.inputs)["image"] == "KD"
    assert db.healthcheck == CHECK


@pytest.mark.parametrize(
    ("base", "config", "words"),
    [
        (From("bootstrap", "bookworm"), ImageConfig(cmd=("/bin/bash",)), ()),
        (From("oci", "redis"), ImageConfig(cmd=("redis-server",)), ("redis-server",)),
        (From("file", "db"), ImageConfig(entrypoint=("entry",), cmd=("serve", "-v")), ("entry", "serve", "-v")),
        (From("file", "db"), ImageConfig(entrypoint=("entry",)), ("entry",)),
        (From("file", "db"), ImageConfig(), ()),
    ],
)
def test_an_image_s_own_words_are_what_it_runs_unless_we_made_its_base(
    base: From, config: ImageConfig, words: tuple[str, ...]
) -> None:
    assert own_words(PLAIN._replace(base=base), config) == words


def test_replica_without_a_command_runs_what_its_image_says_and_is_told_by_the_image() -> None:
    bare_db = DB._replace(replicas=(Replica(1),))
    (found,) = desired(SHOP, HOME, IMAGES, (bare_db,), {"db": ("entry", "serve")}).services
    assert found.specs[0].process.argv == ("entry", "serve")
    assert "command" not in dict(found.specs[0].inputs)
    assert replicas(bare_db)["db-1"].process.argv == ()


def test_replicas_share_a_port_and_divide_a_range() -> None:
    assert [spec.ports for spec in replicas(WEB).values()] == [
        (Port(80, 8080), Port(9000, 9000)),
        (Port(80, 8080), Port(9000, 9001)),
        (Port(80, 8080), Port(9000, 9002)),
    ]


def test_replica_s_mounts_are_absolute_and_volumes_stay_names() -> None:
    mounts = (Mount("/data", volume="pgdata"), Mount("/etc/db", path="./conf", readonly=True))
    db = replicas(DB._replace(replicas=(Replica(1, mounts=mounts),)))["db-1"]
    assert db.mounts == (Mount("/data", volume="pgdata"), Mount("/etc/db", path="/p/conf", readonly=True))
    assert [pair for pair in db.inputs if pair[0].startswith("volumes")] == [
        ("volumes /data", "pgdata rw"),
        ("volumes /etc/db", "/p/conf ro"),
    ]


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"restart": Restart("on-failure", 5)}, {"restart"}),
        ({"stop_signal": "SIGINT"}, {"stop_signal"}),
        ({"stop_grace": 3.0}, {"stop_grace"}),
        ({"limits": Limits(memory=1 << 20)}, {"limits.memory"}),
        ({"secrets": ("KEY", "TOKEN")}, {"secrets.TOKEN"}),
        ({"ports": (Port(80),)}, {"ports"}),
        ({"depends_on": ()}, {"depends_on"}),
        ({"profiles": ("debug",)}, set()),
        ({"replicas": (*WEB.replicas, Replica(4, "serve 4"))}, set()),
    ],
)
def test_replica_s_inputs_name_what_changed(changed: dict[str, Any], names: set[str]) -> None:
    before, after = replicas(WEB)["web-2"].inputs, replicas(WEB._replace(**changed))["web-2"].inputs
    assert {name for name, _ in set(before) ^ set(after)} == names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (CHECK._replace(test="true"), "healthcheck.test"),
        (CHECK._replace(interval=0.5), "healthcheck.interval"),
        (CHECK._replace(timeout=9.0), "healthcheck.timeout"),
        (CHECK._replace(retries=1), "healthcheck.retries"),
        (CHECK._replace(start_period=9.0), "healthcheck.start_period"),
    ],
)
def test_replica_s_health_check_is_told_part_by_part(value: Healthcheck, name: str) -> None:
    before = replicas(DB)["db-1"].inputs
    after = replicas(DB._replace(replicas=(Replica(1, "postgres", healthcheck=value),)))["db-1"].inputs
    assert {name for name, _ in set(before) ^ set(after)} == {name}


def test_workspace_gets_all_secrets_and_their_fingerprints_are_inputs() -> None:
    spec = specify(SHOP, HOME, "K", secrets={"KEY": "f1"})
    assert spec.secrets == ("KEY", "TOKEN")
    assert [pair for pair in spec.inputs if pair[0].startswith("secrets")] == [
        *(("secrets.KEY", "f1"), ("secrets.TOKEN", UNREAD))
    ]
    assert (spec.service, spec.index) == ("workspace", 0)


@pytest.mark.parametrize(
    ("service", "others", "awaited"),
    [
        (Service("a"), (), "started"),
        (Service("a", replicas=(Replica(1, healthcheck=CHECK),)), (), "healthy"),
        (Service("a"), (Service("b", depends_on=(Dependency("a", "completed"),)),), "completed"),
        (Service("a"), (Service("b", depends_on=(Dependency("a", "started"),)),), "started"),
        (Service("a", replicas=()), (), "started"),
    ],
)
def test_what_is_waited_for_is_the_strongest_that_anybody_needs(
    service: Service, others: tuple[Service, ...], awaited: str
) -> None:
    assert desired(PLAIN, HOME, IMAGES, (service, *others)).services[0].awaited == awaited


def test_a_one_shot_is_one_though_nobody_who_waits_for_it_is_wanted() -> None:
    job, web = Service("job"), Service("web", depends_on=(Dependency("job", "completed"),))
    assert desired(PLAIN._replace(services=(job, web)), HOME, IMAGES, (job,)).services[0].awaited == "completed"


def names(found: Sequence[Service]) -> list[str]:
    return [service.name for service in found]


CACHE = Service("cache")
QUEUE = Service("queue", depends_on=(Dependency("cache"),))
DEBUG = Service("debug", depends_on=(Dependency("tracer"),), profiles=("debug", "all"))
TRACER = Service("tracer", profiles=("trace",))
ALL = (QUEUE, CACHE, DEBUG, TRACER)


@pytest.mark.parametrize(
    ("profiles", "chosen", "found"),
    [
        ((), (), ["queue", "cache"]),
        (("debug",), (), ["queue", "cache", "debug", "tracer"]),
        (("trace",), (), ["queue", "cache", "tracer"]),
        ((), ("queue",), ["queue", "cache"]),
        ((), ("cache",), ["cache"]),
        ((), ("debug",), ["debug", "tracer"]),
    ],
)
def test_selected_services_bring_what_they_depend_on(
    profiles: tuple[str, ...], chosen: tuple[str, ...], found: list[str]
) -> None:
    assert names(selected(ALL, profiles, chosen)) == found


def test_selected_names_an_unknown_service_and_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"service wbe: devenv\.yml has no such one\n  hint: its services: queue, cache"):
        selected(ALL, (), ("wbe",))


def test_services_that_arent_asked_for_are_known_as_such() -> None:
    assert desired(PLAIN._replace(services=ALL), HOME, IMAGES, (CACHE,)).idle == ("queue", "debug", "tracer")
