"""Which layers a build asks caches for, and which it gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.build.prepare import Prepared, prepare
from devenv.build.share import bring, every, needed
from devenv.errors import NotFound
from devenv.model.events import Event
from tests.fake_engine import FakeEngine, FakeWorkshop

FILE = """FROM bootstrap:bookworm AS tool
RUN make tool
FROM tool AS unused
RUN make unused
FROM bootstrap:bookworm AS other
RUN make other
FROM own AS last
ENV A=1
COPY --from=tool /tool /tool
RUN --mount=type=bind,from=other,target=/other make last
FROM last
WORKDIR /work
"""
OWN = "FROM bootstrap:bookworm\nRUN make own\n"


@pytest.fixture
def shop(tmp_path: Path) -> FakeWorkshop:
    return FakeWorkshop(FakeEngine(), str(tmp_path / "store"))


@pytest.fixture
def prepared(tmp_path: Path, shop: FakeWorkshop) -> Prepared:
    (tmp_path / "Own").write_text(OWN)
    contexts = {"own": f"file:{tmp_path}/Own"}
    return prepare(FILE, "Containerfile", contexts=contexts, folder=str(tmp_path), args={}, target="", workshop=shop)


def titles(prepared: Prepared, *has: str) -> list[str]:
    """What is needed when all that has one of these words in its title is to be had."""
    keys = {one.key for one in every(prepared) if any(word in one.title for word in has)}
    return [one.title.split(" RUN ")[-1].split(" COPY ")[-1] for one in needed(prepared, lambda key: key in keys)]


def test_share_gives_every_layer_once(prepared: Prepared) -> None:
    found = every(prepared)

    assert len({one.key for one in found}) == len(found)
    texts = " | ".join(one.title for one in found)
    for word in ("bootstrap:bookworm", "make own", "make tool", "make other", "--from=tool", "make last", "/work"):
        assert texts.count(word) == 1
    assert "ENV" not in texts  # no layer
    assert all(bool(one.parent) == ("RUN" in one.title) for one in found)


def test_share_asks_for_the_images_own_layers_only_when_all_are_to_be_had(prepared: Prepared) -> None:
    found = titles(prepared, "")

    assert len(found) == 5
    assert not [one for one in found if "make tool" in one or "make other" in one]


def test_share_asks_for_what_a_missing_step_reads(prepared: Prepared) -> None:
    words = ["bootstrap", "make own", "make tool", "make other", "/work"]

    assert any("make tool" in one for one in titles(prepared, *words))
    assert any("make other" in one for one in titles(prepared, *words))
    without = titles(prepared, *words, "--from=tool")
    assert not any("make tool" in one for one in without)
    assert any("make other" in one for one in without)


def test_share_brings_what_the_store_lacks_and_tells_what_is_not_there(prepared: Prepared, shop: FakeWorkshop) -> None:
    other = FakeWorkshop(FakeEngine(), shop.folders)
    for one in every(prepared):
        other._made(one.key)
    other.give("/cache", every(prepared), {"x": "sha256:0"}, lambda _: None)
    shop.caches = other.caches
    base = next(one for one in every(prepared) if one.title.startswith("bootstrap"))
    shop._made(base.key)
    absent: list[NotFound] = []
    events: list[Event] = []

    assert bring(prepared, shop, ["/nowhere", "/cache", "/cache"], events.append, absent.append) == 4
    assert [error.message for error in absent] == ["cache /nowhere: isn't there yet"]
    assert all(event.object.startswith("from cache  ") for event in events)
    assert base.key not in {event.object for event in events}
    assert bring(prepared, shop, ["/cache"], events.append, absent.append) == 0
