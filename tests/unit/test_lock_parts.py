"""A section for all images, and what is locked for one of them: nothing is lost on the way, and nothing is another's."""

from __future__ import annotations

import pytest

from devenv.lock.parts import joined, part
from devenv.model.image import PROJECT
from devenv.model.lock import EPOCH, BaseLock, Section, ServiceLock

from .render_cases import debs, python, section, sha256

BOOKWORM = BaseLock("bookworm", 1_757_000_000, debs("tar"), 1_756_000_000)
TRIXIE = BaseLock("trixie", 1_758_000_000, debs("tar=2"), 1_757_500_000)
IMAGE = ("oci:images/base", f"sha256:{sha256('image')}")

PROJECT_S = section(["curl"], "curl")._replace(clock=BOOKWORM.clock, bases=(BOOKWORM,), images=())
DB = section(["postgresql"], "postgresql")._replace(clock=BOOKWORM.clock, bases=(BOOKWORM,))
NEWER = section(["valkey"], "valkey")._replace(clock=TRIXIE.clock, bases=(TRIXIE,))
WORKER = Section("amd64", EPOCH, (), (IMAGE,), python=python("django"))
BARE = Section("amd64", BOOKWORM.clock, (BOOKWORM,))
NOTHING = Section("amd64", EPOCH)

TOGETHER = {
    "alone": {PROJECT: PROJECT_S},
    "the same base": {PROJECT: PROJECT_S, "db": DB},
    "another base": {PROJECT: PROJECT_S, "cache": NEWER, "db": DB},
    "an image": {PROJECT: PROJECT_S, "worker": WORKER},
    "the project upon nothing": {PROJECT: NOTHING, "db": DB},
    "a service upon nothing": {PROJECT: PROJECT_S, "scratch": NOTHING},
    "all at once": {PROJECT: NEWER, "cache": PROJECT_S, "db": DB, "scratch": NOTHING, "worker": WORKER},
}


@pytest.mark.parametrize("name", TOGETHER)
def test_each_part_of_what_was_joined_is_what_it_was(name: str) -> None:
    parts = TOGETHER[name]
    assert {image: part(joined(parts), image) for image in parts} == parts


def test_a_project_alone_is_its_own_section() -> None:
    assert joined({PROJECT: PROJECT_S}) == PROJECT_S
    assert part(PROJECT_S, PROJECT) == PROJECT_S


def test_a_service_upon_the_project_s_base_says_nothing_of_it() -> None:
    found = joined(TOGETHER["the same base"])
    assert (found.origins, found.services) == (None, (ServiceLock("db", None, DB.apt),))


def test_another_base_says_who_starts_from_which() -> None:
    found = joined(TOGETHER["another base"])
    assert found.origins == ("bootstrap:bookworm",)
    assert {one.name: one.origins for one in found.services} == {"cache": ("bootstrap:trixie",), "db": None}
    assert {base.suite for base in found.bases} == {"bookworm", "trixie"}


def test_the_project_s_clock_is_not_moved_by_a_service_s_base() -> None:
    found = joined(TOGETHER["another base"])
    assert found.clock == BOOKWORM.clock
    assert [part(found, image).clock for image in ("cache", "db")] == [TRIXIE.clock, BOOKWORM.clock]


def test_a_service_with_nothing_but_the_project_s_base_has_no_entry() -> None:
    assert joined({PROJECT: PROJECT_S, "idle": BARE}) == PROJECT_S
    assert part(PROJECT_S, "idle") == BARE
