"""Builds of several images: all at the same time, each with its own end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from devenv.build.execute import Build, Cancelled
from devenv.build.prepare import prepare
from devenv.build.several import Due, Several, alike
from devenv.engine.workshop import Bind
from devenv.errors import StepFailed
from devenv.model.build import Run
from devenv.model.events import Event
from devenv.model.lock import EPOCH
from tests.fake_engine import FakeEngine, FakeWorkshop


class Slow(FakeWorkshop):
    """A workshop whose steps named `wait` go on until they are cancelled; `begun` is set when one is under way."""

    def __init__(self, engine: FakeEngine, place: str) -> None:
        super().__init__(engine, place, {("/bin/sh", "-c", "fail"): 1})
        self.begun = threading.Event()
        self.ended = threading.Event()

    def run(
        self,
        key: str,
        layers: Sequence[int],
        run: Run,
        *,
        env: Mapping[str, str],
        user: str,
        workdir: str,
        binds: Sequence[Bind],
        output: Callable[[str], None],
        keep_failed: str = "",
        parent: str = "",
        clock: int = EPOCH,
    ) -> int:
        if run.argv[-1] == "wait":
            self.begun.set()
            assert self.ended.wait(20)
            raise StepFailed("cancelled", code=137)
        return super().run(
            key,
            layers,
            run,
            env=env,
            user=user,
            workdir=workdir,
            binds=binds,
            output=output,
            keep_failed=keep_failed,
            parent=parent,
            clock=clock,
        )

    def cancel(self) -> None:
        self.ended.set()


class Site:
    """Images to be built, each of one step, in a workshop of its own."""

    def __init__(self, folder: Path, **steps: str) -> None:
        self.engine = FakeEngine()
        self.events: list[Event] = []
        self.workshops = {name: Slow(self.engine, str(folder)) for name in steps}
        places = threading.Semaphore(4)
        due = []
        for name, step in steps.items():
            text = f"FROM bootstrap:bookworm\nRUN {step}\n"
            shop = self.workshops[name]
            prepared = prepare(text, name, contexts={}, folder=str(folder), args={}, target="", workshop=shop)
            build = Build(prepared, shop, self.events.append, places, {}, "", False, image=name)
            due.append(Due(build, (name,), (f"{name}:1",)))
        self.several = Several(due)

    def titles(self, kind: str) -> set[str]:
        return {event.object for event in self.events if event.kind == kind}


def test_each_image_has_its_names_and_its_steps_are_told_apart(tmp_path: Path) -> None:
    site = Site(tmp_path, one="make", two="make more")
    assert [site.several.image(name).references for name in ("one", "two")] == [("one:1",), ("two:1",)]
    assert site.titles("done") == {"one stage-0 RUN make", "two stage-0 RUN make more"}


def test_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    site = Site(tmp_path, one="fail", two="make")
    with pytest.raises(StepFailed):
        site.several.image("one")
    assert site.several.image("two").references == ("two:1",)


def test_all_are_begun_when_the_first_is_asked_for(tmp_path: Path) -> None:
    site = Site(tmp_path, one="make", two="wait")
    site.several.image("one")
    assert site.workshops["two"].begun.wait(20)
    site.several.end()
    with pytest.raises(Cancelled):
        site.several.image("two")
    assert site.titles("stopped") == {"two stage-0 RUN wait"}
    assert site.titles("failed") == set()


def test_what_failed_in_another_build_that_one_needs_is_told_however_late_it_is_heard_of(tmp_path: Path) -> None:
    (tmp_path / "dep").mkdir()
    (tmp_path / "dep/Containerfile").write_text("FROM bootstrap:bookworm\nRUN fail\n")
    base = "FROM bootstrap:bookworm"
    text = f"{base} AS slow\nRUN wait\n{base}\nCOPY --from=slow /a /a\nCOPY --from=dep /b /b\n"
    shop = Slow(FakeEngine(), str(tmp_path))
    contexts = {"dep": "file:dep/Containerfile"}
    prepared = prepare(text, "C", contexts=contexts, folder=str(tmp_path), args={}, target="", workshop=shop)
    build = Build(prepared, shop, lambda _: None, threading.Semaphore(4), {}, "", False)
    with pytest.raises(StepFailed, match="dep/Containerfile:2: RUN fail: "):
        build.everything()


def test_who_is_interrupted_leaves_nothing_under_way(tmp_path: Path) -> None:
    site = Site(tmp_path, one="wait", two="wait")

    class Interrupted(BaseException):
        pass

    class Asked:
        def exception(self) -> None:
            assert site.workshops["two"].begun.wait(20)
            raise Interrupted

    site.several._begin()
    site.several.futures["one"] = Asked()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        site.several.image("one")
    assert not any(thread.is_alive() for thread in site.several.threads)


def test_images_with_the_same_key_are_one() -> None:
    assert alike({"image": "a", "db": "b", "cache": "c", "queue": "c"}) == [["image"], ["db"], ["cache", "queue"]]
