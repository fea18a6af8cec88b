"""The command line where services have images of their own, against an engine in memory: built, named, locked, explained."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devenv.cli import asking
from devenv.cli.project import debian_arch, load
from devenv.cli.session import Session, open_native
from devenv.lock.document import read
from devenv.lock.parts import part
from devenv.model.lock import Section

from .test_cli import Shop
from .test_lock_resolve import PROBED, apt, uv

LOCK = "devenv.lock.yml"
MANIFEST = """\
from: bootstrap:bookworm
name: shop
apt: [curl]
services:
  db:
    apt: [postgresql]
    command: postgres
  cache:
    apt: [redis]
    command: redis
  queue:
    apt: [redis]
    command: queue
  web:
    command: serve
    depends_on: [db]
"""
OWN = "FROM bootstrap:bookworm\nRUN make tool\n"


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    made = Shop(Path(os.path.realpath(tmp_path)), capsys)
    # What apt is asked for last in its command.
    made.machine.workshop.answers = {
        "-- curl": apt("curl=7"),
        "-- postgresql": apt("postgresql=15"),
        "-- redis": apt("redis=7"),
        "json.dumps": PROBED,
    }
    (made.folder / "devenv.yml").write_text(MANIFEST)
    return made


def section(shop: Shop) -> Section:
    return read((shop.folder / LOCK).read_bytes(), LOCK).sections[debian_arch()]


def images(shop: Shop) -> dict[str, str]:
    """Digests of what containers run, by their names."""
    return {one.name: one.image for one in shop.machine.engine.containers()}


def changed(shop: Shop, before: str, after: str) -> None:
    text = (shop.folder / "devenv.yml").read_text()
    assert before in text
    (shop.folder / "devenv.yml").write_text(text.replace(before, after))


def test_up_builds_each_image_and_each_service_runs_its_own(shop: Shop) -> None:
    code, out, err = shop("up")
    assert code == 0, err
    told = [line.split("  ")[0] for line in out.splitlines() if line.startswith("built")]
    assert out.startswith("wrote    lock ")
    assert [" ".join(line.split()) for line in out.splitlines()][1:3] == [
        "built image all 2 steps: there is none yet",
        "built image db its one step: there is none yet",
    ]
    assert len(told) == 4
    found = images(shop)
    assert found["web-1"] == found["workspace"] != found["db-1"]
    assert len(set(found.values())) == 3
    names = {name.rpartition(":")[0] for one in shop.machine.engine.images() for name in one.references}
    assert names == {"devenv/shop", "devenv/shop-db", "devenv/shop-cache", "devenv/shop-queue"}


def test_steps_of_a_service_are_told_behind_its_name(shop: Shop) -> None:
    assert {"✓ apt curl", "✓ db apt postgresql"} <= {line.rpartition("  ")[0] for line in shop("up").err.splitlines()}


def test_equal_images_of_two_services_are_one(shop: Shop) -> None:
    shop("up")
    found = images(shop)
    assert found["cache-1"] == found["queue-1"]
    both = next(one for one in shop.machine.engine.images() if one.digest == found["cache-1"])
    assert len(both.references) == 2


def test_up_again_keeps_all(shop: Shop) -> None:
    shop("up")
    ran = len(shop.machine.workshop.ran)
    assert all(line.startswith("kept") for line in shop("up").out.splitlines()[:9])
    assert len(shop.machine.workshop.ran) == ran


def test_a_change_of_one_image_replaces_its_services_only(shop: Shop) -> None:
    shop("up")
    shop.machine.workshop.answers |= {"-- redis valkey": apt("redis=7", "valkey=8")}
    shop.machine.workshop.answers = dict(sorted(shop.machine.workshop.answers.items(), key=lambda one: -len(one[0])))
    changed(shop, "apt: [redis]\n    command: redis", "apt: [redis, valkey]\n    command: redis")
    out = shop("plan", "--diff").out
    assert "build    image cache  1 of 2 steps: apt +valkey" in out
    assert "+ apt: valkey  devenv.yml:9:18" in out
    out = shop("up").out
    assert "wrote     lock         services.cache: apt +valkey" in out
    assert [line for line in out.splitlines() if not line.startswith(("wrote", "kept", "next", "http"))] == [
        "built     image cache  1 of 2 steps: apt +valkey",
        "replaced  cache-1      another image",
    ]


def test_up_of_some_services_builds_what_these_run(shop: Shop) -> None:
    out = shop("up", "cache").out
    assert "image cache" in out and "image db" not in out
    assert list(images(shop)) == ["cache-1"]


def test_an_image_that_fails_is_told_by_its_key_and_the_others_are_made(shop: Shop) -> None:
    (shop.folder / "Broken").write_text("FROM bootstrap:bookworm\nRUN false\n")
    changed(shop, "    apt: [postgresql]", "    from: file:Broken")
    shop.machine.workshop.codes = {("/bin/sh", "-c", "false"): 3}
    code, out, err = shop("up")
    assert code == 1
    assert "failed   image db" in out and "skipped  db-1" in out and "skipped  web-1" in out
    assert f"error: {shop.folder}/Broken:2: RUN false: " in err
    assert {"cache-1", "queue-1", "workspace"} <= set(images(shop))


def test_what_of_the_manifest_fails_names_the_service_s_key(shop: Shop) -> None:
    shop("lock")
    text = shop("render", "db").out
    step = text[text.index("set -- ") : text.index("\n\n# ---- the environment")]
    shop.machine.workshop.codes = {("/bin/sh", "-c", step.replace("\\\n", "")): 100}
    err = shop("up").err
    assert "devenv.yml:6:10: `services.db.apt`: installing postgresql failed" in err, err


# build and digest ----------------------------------------------------------------------------------


def test_build_makes_all_images_and_prints_the_project_s_digest(shop: Shop) -> None:
    built = shop("build")
    assert built.out.count("\n") == 1
    assert shop("digest").out == built.out
    told = json.loads(shop("build", "--json").out)
    assert list(told["services"]) == ["db", "cache", "queue"]
    assert told["digest"] == built.out.strip() != told["services"]["db"]["digest"]
    assert shop("digest", "db").out.strip() == told["services"]["db"]["digest"]
    assert shop("digest", "web").out == built.out


def test_build_of_one_service_makes_its_image_only(shop: Shop) -> None:
    built = shop("build", "--service", "db", "--tag", "database:1")
    (image,) = shop.machine.engine.images()
    assert (image.digest, image.references) == (built.out.strip(), ("database:1",))
    failed = shop("build", "--service", "nope")
    assert (failed.code, "service nope: devenv.yml has no such one" in failed.err) == (2, True)


def test_build_of_a_service_has_no_other_containerfile(shop: Shop) -> None:
    failed = shop("build", "--service", "db", ".")
    assert (failed.code, "--service: can't be with FOLDER" in failed.err) == (2, True)


def test_build_gives_a_name_to_the_project_s_image_and_services_keep_theirs(shop: Shop) -> None:
    shop("build", "--tag", "mine")
    names = {name for one in shop.machine.engine.images() for name in one.references}
    assert {name.partition(":")[0] for name in names} == {
        "mine",
        *(f"devenv/shop-{one}" for one in ("db", "cache", "queue")),
    }


def test_build_of_a_stage_is_of_one_image(shop: Shop) -> None:
    shop("build", "--service", "db", "--target", "apt", "--tag", "stage")
    shop("build", "--target", "base", "--tag", "other")
    assert {one.references for one in shop.machine.engine.images()} == {("stage",), ("other",)}


def test_build_goes_on_when_one_fails_and_says_so_in_the_end(shop: Shop) -> None:
    (shop.folder / "Broken").write_text("FROM bootstrap:bookworm\nRUN false\n")
    changed(shop, "    apt: [postgresql]", "    from: file:Broken")
    shop.machine.workshop.codes = {("/bin/sh", "-c", "false"): 3}
    failed = shop("build")
    assert (failed.code, "Broken:2: RUN false" in failed.err) == (1, True)
    assert len(shop.machine.engine.images()) == 2
    assert "image db     build failed" in shop("explain").out


def test_build_check_does_each_shared_step_once(shop: Shop) -> None:
    shop("build")
    before = len(shop.machine.workshop.ran)
    assert shop("build", "--check").code == 0
    assert len(shop.machine.workshop.ran) - before == 3


def test_an_argument_that_one_of_the_images_declares_is_well_given(shop: Shop) -> None:
    (shop.folder / "Own").write_text("FROM bootstrap:bookworm\nARG WHO\nRUN make $WHO\n")
    changed(shop, "    apt: [postgresql]", "    from: file:Own")
    assert "no ARG declares it" not in shop("build", "--build-arg", "WHO=x").err
    assert (
        shop("build", "--build-arg", "WHOM=x").err.count("--build-arg WHOM: no ARG declares it; did you mean WHO?") == 1
    )


def test_a_cache_gets_all_images_and_gives_what_any_of_them_needs(shop: Shop) -> None:
    assert shop("build", "--cache-to", "cache").code == 0
    place = f"{shop.folder}/cache"
    names = [name.partition(":")[0] for name in shop.machine.workshop.given[place]]
    assert names == ["devenv/shop", "devenv/shop-db", "devenv/shop-cache", "devenv/shop-queue"]
    for one in shop.machine.workshop.caches[place]:
        shop.machine.workshop.forget(one.key)
    shop.machine.workshop.ran.clear()
    assert shop("build", "--cache-from", "cache").code == 0
    assert shop.machine.workshop.ran == []


# lock ----------------------------------------------------------------------------------------------


def test_lock_has_a_part_for_each_image(shop: Shop) -> None:
    out = shop("lock").out
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["apt", "curl"],
        ["bookworm", "base-files"],
        ["cache.apt", "redis"],
        ["db.apt", "postgresql"],
        ["queue.apt", "redis"],
    ]
    assert [one.name for one in section(shop).services] == ["cache", "db", "queue"]
    assert shop("lock", "--check").code == 0


@pytest.mark.parametrize("arguments", [("lock", "--check"), ("up", "--locked"), ("build", "--locked"), ("outdated",)])
def test_a_service_that_isnt_locked_is_refused_by_name(arguments: tuple[str, ...], shop: Shop) -> None:
    shop("lock")
    changed(shop, "[postgresql]", "[postgresql, postgis]")
    changed(shop, "  queue:\n    apt: [redis]\n    command: queue\n", "")
    code, _, err = shop(*arguments)
    assert code == 2
    assert "it isn't what devenv.yml asks for: services.db: apt +postgis; services.queue removed" in err


def test_a_service_whose_profile_isnt_asked_for_is_locked_all_the_same(shop: Shop) -> None:
    changed(shop, "    command: queue\n", "    command: queue\n    profiles: [debug]\n")
    out = shop("up").out
    assert "image queue" not in out
    assert "queue" in [one.name for one in section(shop).services]


def test_upgrade_of_a_service_renews_its_image_alone(shop: Shop) -> None:
    shop("lock")
    shop.machine.workshop.answers |= {"-- redis": apt("redis=8"), "-- curl": apt("curl=8")}
    out = shop("lock", "--upgrade", "--service", "cache").out
    assert [line.split() for line in out.splitlines()[1:]] == [["cache.apt", "redis", "7", "8"]]
    out = shop("lock", "--upgrade", "redis").out
    assert [line.split() for line in out.splitlines()[1:]] == [["queue.apt", "redis", "7", "8"]]
    assert part(section(shop), "queue").apt == part(section(shop), "cache").apt


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--service", "cache"), "--service needs --upgrade"),
        (("--upgrade", "--service", "web"), "web: runs the project's image"),
        (("--upgrade", "--service", "nope"), "service nope: devenv.yml has no such one"),
        (("--upgrade", "--service", "db", "redis"), "redis: isn't locked"),
    ],
)
def test_upgrade_of_what_cant_be_is_refused(words: tuple[str, ...], told: str, shop: Shop) -> None:
    shop("lock")
    failed = shop("lock", *words)
    assert (failed.code, told in failed.err) == (2, True), failed.err


def test_outdated_says_whose_it_is(shop: Shop) -> None:
    shop("lock")
    shop.machine.workshop.answers |= {"-- redis": apt("redis=8")}
    found = json.loads(shop("outdated", "--json").out)
    assert [(one["group"], one["name"], one["after"]) for one in found] == [
        ("cache.apt", "redis", "8"),
        ("queue.apt", "redis", "8"),
    ]


def test_the_files_of_all_images_are_those_that_are_watched(shop: Shop) -> None:
    (shop.folder / "worker.txt").write_text("six\n")
    changed(shop, "    apt: [postgresql]", "    python: {requirements: [worker.txt]}")
    manifest = load(Session(str(shop.folder), shop.env, open_native))
    assert asking.read_of(manifest) == (f"{shop.folder}/worker.txt",)


def test_a_python_of_a_service_s_own_is_locked_from_its_own_files(shop: Shop) -> None:
    (shop.folder / "worker.txt").write_text("six\n")
    changed(shop, "    apt: [postgresql]", "    python: {requirements: [worker.txt]}")
    shop.machine.workshop.answers |= {"-- python3": apt("python3"), "pip compile": uv("six==1.17.0")}
    assert shop("lock").code == 0
    python = part(section(shop), "db").python
    assert python and [name for name, _ in python.asked] == ["worker.txt"]
    assert section(shop).python is None


# render, explain ------------------------------------------------------------------------------------


def test_render_shows_a_service_s_containerfile(shop: Shop) -> None:
    shop("lock")
    own = shop("render", "db").out
    assert "postgresql" in own and "WORKDIR" not in own and "curl" not in own
    assert shop("render", "web").out == shop("render").out
    assert shop("render", "nope").code == 2


def test_render_fetches_a_service_s_packages(shop: Shop) -> None:
    assert shop("render", "db", "--packages", "packages").code == 0
    assert os.listdir(shop.folder / "packages/apt") == ["1"]


def test_explain_of_a_service_has_the_steps_of_its_image(shop: Shop) -> None:
    shop("up")
    out = shop("explain", "db").out
    assert out.startswith("db-1\n") and "\ndb apt  postgresql\n  last    built " in out
    assert shop("explain", "db apt").out.startswith("db apt  postgresql\n")
    assert shop("explain", "apt").out.startswith("apt  curl\n")
    (step,) = json.loads(shop("explain", "db apt", "--json").out)["steps"]
    assert (step["position"], step["service"]) == ("apt", "db")
    failed = shop("explain", "db atp")
    assert (failed.code, "did you mean 'db apt'?" in failed.err) == (2, True)


def test_explain_knows_nothing_more_of_an_image_that_nobody_wants(shop: Shop) -> None:
    shop("up")
    assert "image db" in shop("explain").out
    changed(shop, "  db:\n    apt: [postgresql]\n    command: postgres\n", "")
    changed(shop, "    depends_on: [db]\n", "")
    shop("up")
    assert "db" not in {name for _, name in shop.machine.engine.built}


# What a service without a command runs ----------------------------------------------------------------


def words(shop: Shop, container: str) -> tuple[str, ...]:
    engine = shop.machine.engine
    return next(engine.specs[one.id].process.argv for one in engine.containers() if one.name == container)


def test_a_service_without_a_command_runs_what_its_image_says(shop: Shop) -> None:
    (shop.folder / "Own").write_text('FROM bootstrap:bookworm\nENTRYPOINT ["tool", "--fast"]\nCMD ["serve"]\n')
    (shop.folder / "devenv.yml").write_text(
        "from: bootstrap:bookworm\nservices:\n"
        "  own: {from: 'file:Own'}\n  told: {from: 'file:Own', command: other}\n  bare: {}\n  idle: {apt: [curl]}\n"
    )
    assert shop("up").code == 0
    assert words(shop, "own-1") == ("tool", "--fast", "serve")
    assert words(shop, "told-1") == ("/bin/sh", "-c", "other")
    assert words(shop, "bare-1") == words(shop, "idle-1") == ()
    told = json.loads(shop("explain", "own-1", "--json").out)["inputs"]
    assert "command" not in told
