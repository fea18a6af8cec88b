"""The verbs lock and outdated, and what `--locked` refuses; the world outside answers from a table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devenv.cli.project import debian_arch
from devenv.lock.document import read
from devenv.model.lock import Section

from .render_cases import sha256
from .test_cli import Shop
from .test_lock_resolve import PROBED, apt, uv

FILE = "devenv.lock.yml"


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    made = Shop(Path(os.path.realpath(tmp_path)), capsys)
    made.machine.workshop.answers = {"json.dumps": PROBED, "--print-uris": apt("curl=7", "python3")}
    made.machine.workshop.answers["pip compile"] = uv("django==5.2", "pip==1")
    (made.folder / "devenv.yml").write_text("from: bootstrap:bookworm\napt: [curl]\npython: {packages: [django]}\n")
    return made


def section(shop: Shop) -> Section:
    return read((shop.folder / FILE).read_bytes(), FILE).sections[debian_arch()]


def test_lock_writes_what_it_resolved_and_then_nothing(shop: Shop) -> None:
    code, out, _ = shop("lock")
    assert code == 0 and "curl" in out and "django" in out
    text = (shop.folder / FILE).read_bytes()
    before = os.stat(shop.folder / FILE)
    assert shop("lock").out == "nothing to change\n"
    assert shop("lock", "--check").code == 0
    assert os.stat(shop.folder / FILE) == before and (shop.folder / FILE).read_bytes() == text


def test_lock_tells_changes_as_json(shop: Shop) -> None:
    found = json.loads(shop("lock", "--json").out)
    assert found["path"] == f"{shop.folder}/{FILE}"
    assert {"group": "apt", "name": "curl", "before": "", "after": "7"} in found["changes"]


@pytest.mark.parametrize("arguments", [("lock", "--check"), ("up", "--locked"), ("build", "--locked"), ("outdated",)])
def test_a_manifest_that_isnt_locked_is_refused_with_what_differs(arguments: tuple[str, ...], shop: Shop) -> None:
    code, _, err = shop(*arguments)
    assert code == 2 and FILE in err and "`devenv lock`" in err
    assert shop("lock").code == 0
    text = (shop.folder / FILE).read_bytes()
    (shop.folder / "devenv.yml").write_text("from: bootstrap:bookworm\napt: [curl, jq]\npython: {packages: [flask]}\n")
    code, _, err = shop(*arguments)
    assert code == 2 and "apt +jq, python.packages +flask -django" in err and "`devenv lock`" in err
    assert (shop.folder / FILE).read_bytes() == text


def test_up_writes_the_lock_where_there_is_none(shop: Shop) -> None:
    assert shop("up").code == 0
    assert {deb.name for deb in section(shop).apt.packages} == {"curl", "python3"}  # type: ignore[union-attr]


@pytest.mark.parametrize("verb", ["plan", "render"])
def test_looking_writes_no_lock(verb: str, shop: Shop) -> None:
    assert shop(verb).code == 0
    assert not (shop.folder / FILE).exists() and shop.machine.workshop.asked == []


def test_upgrade_by_a_name_spelled_otherwise(shop: Shop) -> None:
    shop("lock")
    shop.machine.workshop.answers["pip compile"] = "asked otherwise"
    newer = {"--upgrade-package django": uv("django==6.0", "pip==1")}
    shop.machine.workshop.answers = newer | shop.machine.workshop.answers
    code, out, _ = shop("lock", "--upgrade", "Django")
    assert code == 0 and out.split()[-4:] == ["python", "django", "5.2", "6.0"]
    assert shop("lock", "--upgrade", "djngo").code == 2
    assert "names need --upgrade" in shop("lock", "django").err


def test_outdated_lists_what_could_be_newer_and_writes_nothing(shop: Shop) -> None:
    shop("lock")
    text = (shop.folder / FILE).read_bytes()
    shop.machine.workshop.answers |= {
        "--print-uris": apt("curl=8", "python3"),
        "pip compile": uv("django==6.0", "new==1"),
    }
    found = json.loads(shop("outdated", "--json").out)
    assert [(one["name"], one["before"], one["after"]) for one in found] == [
        ("curl", "7", "8"),
        ("django", "5.2", "6.0"),
    ]
    assert (shop.folder / FILE).read_bytes() == text


def test_outdated_tells_what_is_newer_than_the_manifest_allows(shop: Shop) -> None:
    shop("lock")
    shop.machine.workshop.answers = {"--no-deps": uv("django==6.0", "pip==1")} | shop.machine.workshop.answers
    assert [line.split() for line in shop("outdated").out.splitlines()] == [
        ["group", "package", "locked", "allowed", "latest"],
        ["python", "django", "5.2", "-", "6.0"],
    ]
    (found,) = json.loads(shop("outdated", "--json").out)
    assert found == {"group": "python", "name": "django", "before": "5.2", "after": "5.2", "latest": "6.0"}


def test_outdated_tells_what_it_can_where_the_newest_isn_t_to_be_had(shop: Shop) -> None:
    shop("lock")
    answers = {"--no-deps": "nothing that can be read"} | shop.machine.workshop.answers
    shop.machine.workshop.answers = answers | {"--print-uris": apt("curl=8", "python3")}
    code, out, err = shop("outdated", "--json")
    assert code == 0 and [(one["name"], one["latest"]) for one in json.loads(out)] == [("curl", "8")]
    assert "warning: what is newer than devenv.yml allows couldn't be found out" in err


def test_a_lock_names_an_image_as_the_manifest_does(shop: Shop) -> None:
    """Or it would hold in this folder only."""
    digest = f"sha256:{sha256('image')}"
    (shop.folder / "images/base").mkdir(parents=True)
    shop.machine.workshop.digests = {f"oci:{shop.folder}/images/base:v1": digest}
    (shop.folder / "devenv.yml").write_text("from: oci:images/base:v1\n")
    assert shop("lock").code == 0
    assert section(shop).images == (("oci:images/base:v1", digest),)


def test_a_broken_lock_stops_what_would_build_with_it(shop: Shop) -> None:
    shop("lock")
    text = (shop.folder / FILE).read_text()
    (shop.folder / FILE).write_text(text.replace("\n    - curl", "\n<<<<<<< HEAD\n    - curl"))
    for verb in ("up", "plan", "lock"):
        code, _, err = shop(verb)
        assert code == 2 and "merge" in err and f"{FILE}:" in err


def test_the_other_architectures_of_a_lock_stay(shop: Shop) -> None:
    other = '  clock: "2026-01-31T12:00:00Z"\n'
    (shop.folder / FILE).write_text(f"version: 1\nm68k:\n{other}...\n")
    assert shop("lock").code == 0
    assert f"\nm68k:\n{other}" in (shop.folder / FILE).read_text() and section(shop).apt
