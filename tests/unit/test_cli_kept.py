"""What `try --keep` left, and `--variant`, against an engine in memory: the same again, and names that are checked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.test_cli import Shop, verbs

MANIFEST = """\
from: file:Containerfile
name: shop
vars: {pin: "1"}
env: {PIN: "{{ pin }}"}
secrets: {KEY: {from_env: SHOP_KEY}}
test: pytest -q
services:
  db: {command: postgres}
variants:
  next: {vars: {pin: "2"}}
"""


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    folder = Path(os.path.realpath(tmp_path)) / "shop"
    folder.mkdir()
    made = Shop(folder, capsys)
    (made.folder / "Containerfile").write_text("FROM scratch\nRUN one\n")
    (made.folder / "devenv.yml").write_text(MANIFEST)
    made.env |= {"SHOP_KEY": "k1", "HOME": "/root", "DEVENV_HOME": f"{tmp_path}/home"}
    return made


def states(shop: Shop, variant: str) -> dict[str, str]:
    here = shop.machine.engine.environment(str(shop.folder), variant)
    return {one.name: one.status for one in shop.machine.engine.containers(here.id)} if here else {}


@pytest.fixture
def tried(shop: Shop) -> Shop:
    done = shop("try", "pin=2", "--keep", "--", "true")
    assert "kept shop.try-pin-2: devenv shell --variant pin-2" in done.err
    shop.ran.clear()
    return shop


def test_what_is_kept_can_be_tested(tried: Shop) -> None:
    for words in (("test", "--variant", "pin-2", "-k", "one"), ("--variant", "baseline", "test", "-k", "one")):
        assert tried(*words).code == 0
    assert {one.argv for one in tried.ran} == {("/bin/sh", "-c", 'pytest -q "$@"', "sh", "-k", "one")}


def test_the_command_of_a_trial_is_the_test_where_the_manifest_has_none(shop: Shop) -> None:
    (shop.folder / "devenv.yml").write_text(MANIFEST.replace("test: pytest -q\n", ""))
    shop("try", "pin=2", "--keep", "--", "make", "test")
    shop("--variant", "pin-2", "test")
    assert shop.ran[-1].argv == ("/bin/sh", "-c", 'make test "$@"', "sh")


def test_what_is_kept_starts_again_as_it_was_tried_whatever_devenv_yml_says(tried: Shop) -> None:
    assert states(tried, "try:pin-2") == {"workspace": "running", "db-1": "running"}
    assert tried("stop", "--variant", "pin-2").code == 0
    told = tried("test", "--variant", "pin-2")
    assert told.code == 2 and "hint: `devenv up --variant pin-2` starts it" in told.err
    (tried.folder / "devenv.yml").write_text(MANIFEST.replace('pin: "1"', 'pin: "7"').replace("pytest", "other"))
    planned = json.loads(tried("plan", "--variant", "pin-2", "--json").out)["actions"]
    assert {one["verb"] for one in planned if one["object"] in ("workspace", "db-1")} >= {"start"}
    assert not {one["verb"] for one in planned} & {"build", "create", "replace", "remove"}
    told = tried("up", "--variant", "pin-2")
    assert told.code == 0, told.err
    assert "started  workspace" in told.out and told.out.endswith("next: devenv shell --variant pin-2\n")
    assert states(tried, "try:pin-2") == {"workspace": "running", "db-1": "running"}
    home = tried.machine.engine.environment(str(tried.folder), "try:pin-2")
    assert home and tried.machine.engine.secrets[home.id]["KEY"] == b"k1"
    again = tried("--variant", "pin-2", "up")
    assert again.code == 0 and "started" not in again.out and "kept" in again.out
    assert states(tried, "try:baseline") == {"workspace": "running", "db-1": "running"}  # it was no business of theirs


def test_what_is_kept_starts_as_a_whole_or_not_at_all(tried: Shop) -> None:
    for words in (("up", "db"), ("up", "--no-cache"), ("scale", "db=2"), ("plan", "--profile", "debug")):
        told = tried("--variant", "pin-2", *words)
        assert told.code == 2 and "pin-2 is what `try --keep` left" in told.err, words


def test_one_command_runs_beside_what_is_kept(tried: Shop) -> None:
    assert tried("--variant", "pin-2", "run", "--", "python", "-V").code == 0
    (process,) = tried.ran
    assert process.argv == ("python", "-V")
    assert dict(process.env)["PIN"] == "2"


def test_what_is_kept_is_named_by_its_prompt(tried: Shop) -> None:
    engine = tried.machine.engine
    prompts = {
        (home.variant, one.name): dict(engine.specs[one.id].process.env)["debian_chroot"]
        for home in engine.environments()
        for one in engine.containers(home.id)
    }
    assert prompts == {
        ("try:baseline", "workspace"): "devenv:shop.try-baseline",
        ("try:baseline", "db-1"): "devenv:shop.try-baseline/db-1",
        ("try:pin-2", "workspace"): "devenv:shop.try-pin-2",
        ("try:pin-2", "db-1"): "devenv:shop.try-pin-2/db-1",
    }


def test_a_kept_side_whose_image_is_gone_says_so(tried: Shop) -> None:
    tried("stop", "--variant", "pin-2")
    tried.machine.engine.pictures.clear()
    told = tried("up", "--variant", "pin-2")
    assert told.code == 2
    assert "shop.try-pin-2: its image is not in the store any more" in told.err


def test_a_kept_side_of_which_nothing_is_written_can_still_be_entered(tried: Shop, tmp_path: Path) -> None:
    for file in (tmp_path / "home/trials/kept").iterdir():
        file.write_text("{}")
    told = tried("up", "--variant", "pin-2")
    assert told.code == 2 and "can only be entered, stopped and taken down" in told.err
    assert tried("exec", "--variant", "pin-2", "--", "true").code == 0


def test_what_is_written_of_a_kept_side_goes_with_it(tried: Shop, tmp_path: Path) -> None:
    tried("down", "--volumes", "--variant", "pin-2")
    tried("try", "pin=3", "--keep", "--", "true")
    engine = tried.machine.engine
    known = {one.id for one in engine.environments() if one.variant.startswith("try:")}
    assert {file.name.partition(".")[0] for file in (tmp_path / "home/trials/kept").iterdir()} == known


def test_plan_of_a_kept_side_tells_of_a_secret_that_is_not_set(tried: Shop) -> None:
    tried("stop", "--variant", "pin-2")
    del tried.env["SHOP_KEY"]
    told = tried("plan", "--variant", "pin-2")
    assert (told.code, "`up` would fail: `secrets.KEY`: the variable SHOP_KEY isn't set" in told.err) == (0, True)
    assert tried("up", "--variant", "pin-2").code == 2


def test_verbs_of_the_manifest_say_what_a_kept_side_is_for(tried: Shop) -> None:
    for words in (("build",), ("lock",), ("render",), ("explain",)):
        told = tried("--variant", "baseline", *words)
        assert told.code == 2, words
        assert "baseline is no variant of devenv.yml, but what `try --keep` left" in told.err, words


def test_a_variant_that_nobody_knows_is_an_error_everywhere(tried: Shop) -> None:
    every = (
        "up",
        "plan",
        "test",
        "ps",
        "logs",
        "events",
        "port",
        "stats",
        "top",
        "attach",
        "stop",
        "down",
        "shell",
        "explain",
        "build",
        "digest",
        "render",
    )
    for verb in (*every, "run", "exec"):
        rest = ("--", "true") if verb in ("run", "exec") else ()
        told = tried("--variant", "nosuch", verb, *rest)
        assert (told.code, told.out) == (2, ""), verb
        assert "devenv.yml: there is no variant 'nosuch'" in told.err, verb
        assert "one of: next, baseline, pin-2" in told.err, verb
    assert "did you mean 'baseline'?" in tried("ps", "--variant", "baselin").err


def test_each_verb_is_about_a_variant_or_says_that_it_is_not(tried: Shop) -> None:
    for verb in verbs():
        before, after = tried("--variant", "nosuch", verb, "--help"), tried(verb, "--help")
        if "--variant" in after.out or verb in ("try", "matrix", "bisect"):
            assert before.code == 0, verb
        else:
            assert (before.code, before.out) == (2, ""), verb
            assert f"--variant: {verb} is the same for all variants" in before.err


def test_ps_of_a_variant_is_of_that_one_only(tried: Shop) -> None:
    assert tried("up").code == 0

    def listed(*words: str) -> set[str]:
        return {row["environment"]["name"] for row in json.loads(tried(*words, "--json").out)}

    assert listed("ps") == {"shop", "shop.try-baseline", "shop.try-pin-2"}
    assert listed("--variant", "pin-2", "ps") == listed("ps", "--all", "--variant", "pin-2") == {"shop.try-pin-2"}
    assert listed("ps", "--variant", "next") == set()  # it could be brought up, and wasn't
    assert tried("ps", "--variant", "next").code == 0


@pytest.mark.parametrize("verb", ["logs", "events", "port", "stats", "top", "attach"])
def test_verbs_that_look_take_a_variant_behind_them(tried: Shop, verb: str) -> None:
    before = tried("--variant", "pin-2", verb)
    assert (before.code, before.err) == tried(verb, "--variant", "pin-2")[::2]
    told = tried(verb, "--variant", "next")
    assert told.code == 2 and "has no environment next yet" in told.err
