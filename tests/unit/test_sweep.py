"""What killed commands left is found by its lock and its row, at the moment it is taken; what only saves time never fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devenv.engine.native import collect
from devenv.engine.native.building.site import Site
from devenv.engine.native.building.workshop import Shop
from devenv.engine.native.container import owning
from devenv.engine.native.facade import Native
from devenv.engine.native.records import ledger
from devenv.engine.native.records.state import Owner, this_process
from devenv.engine.native.running import sweep
from devenv.lives import boot_id
from devenv.paths import Paths


@pytest.fixture
def native(tmp_path: Path) -> Iterator[Native]:
    made = Native(Paths(f"{tmp_path}/home", f"{tmp_path}/run"), {})
    yield made
    made.close()


def kept(native: Native, identifier: str) -> None:
    """A row, as `run --keep` inserts one before it closes its lock."""
    native.state.db.execute(
        "INSERT INTO container (id, environment, name, image, slot, spec, created) VALUES (?, '', ?, '', 0, '', 0)",
        (identifier, identifier),
    )


def left(native: Native, *identifiers: str) -> None:
    for identifier in identifiers:
        os.makedirs(native.paths.bundle(identifier))
        os.makedirs(native.paths.container(identifier))


def test_sweep_leaves_what_run_keep_kept_while_it_was_busy_with_another(native: Native) -> None:
    left(native, "a-run-1", "b-run-2", "c-run-3")
    seen = []
    for identifier, lock in sweep.containers(native.paths, native.state):
        seen.append(identifier)
        os.close(lock)
        if identifier == "a-run-1":
            kept(native, "b-run-2")

    assert seen == ["a-run-1", "c-run-3"]
    taken = owning.take(native.paths.bundle("b-run-2"))
    assert taken is not None  # nor is its lock held on
    os.close(taken)


def test_gc_has_the_lock_of_what_it_will_remove_until_it_is_removed(native: Native) -> None:
    left(native, "a-run-1")
    with ExitStack() as locks:
        [find] = collect._left(native, locks)
        assert find.garbage.name == "a-run-1"
        assert owning.take(native.paths.bundle("a-run-1")) is None

    lock = owning.take(native.paths.bundle("a-run-1"))
    assert lock is not None
    os.close(lock)


def test_owner_of_a_bundle_that_had_a_longer_one_is_read(tmp_path: Path) -> None:
    folder = f"{tmp_path}/bundle"
    os.close(owning.own(folder, owning.Owner("/usr/bin/crun", tuple(range(100)))))
    os.close(owning.own(folder, owning.Owner("/usr/bin/runc", (7,))))

    assert owning.owner(folder) == owning.Owner("/usr/bin/runc", (7,))


def test_slots_of_living_commands_are_held_and_those_of_dead_ones_are_not(native: Native) -> None:
    native.state.new_slots(1, this_process(), [3])
    native.state.new_slots(1, Owner(2**22 + 1, 1, boot_id()), [4])

    assert native.state.slots_at_work() == {3}


def test_receipt_of_the_longest_name_is_written(native: Native) -> None:
    folder = "/" + "a" * 247
    ledger.keep_receipt(native.paths, folder, "receipt", "door")

    for path, text in ((native.paths.receipt(folder), "receipt"), (native.paths.door(folder), "door")):
        with open(path, encoding="utf-8") as file:
            assert file.read() == text
        assert len(os.listdir(os.path.dirname(path))) == 1


def test_receipt_that_cant_be_written_fails_nothing_and_leaves_nothing(native: Native) -> None:
    os.makedirs(f"{native.paths.receipt('/folder')}/in-its-place")
    with open(os.path.dirname(native.paths.door("/folder")), "w", encoding="utf-8"):
        pass  # no folder for doors

    ledger.keep_receipt(native.paths, "/folder", "receipt", "door")

    assert os.listdir(os.path.dirname(native.paths.receipt("/folder"))) == ["%2Ffolder"]


def test_cancel_goes_on_when_one_step_cant_be_killed(native: Native) -> None:
    site = Site(native.paths, {"PATH": os.environ["PATH"]}, native.stage, native.begin, "amd64")
    for runtime in ("crun", "runc"):
        os.makedirs(f"{native.paths.runtime}/{runtime}/broken")
        for name in ("status", "state.json"):
            with open(f"{native.paths.runtime}/{runtime}/broken/{name}", "w", encoding="ascii") as file:
                file.write("{")
    site.running.add("broken")
    with subprocess.Popen(["sleep", "60"]) as sleeper, site.ending.programs() as started:
        try:
            started(sleeper.pid)
            Shop(site).cancel()
            assert sleeper.wait(timeout=5) == -9
        finally:
            sleeper.kill()
