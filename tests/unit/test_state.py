"""What the store's database promises: slots belong to the living, layers count once they were made, commits are whole."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.engine.native.records import ledger, observe
from devenv.engine.native.records.schema import STEPS
from devenv.engine.native.records.state import Owner, State, this_process
from devenv.errors import StoreError
from devenv.lives import alive, boot_id, process_start
from devenv.model.container import Environment
from devenv.model.image import PROJECT
from devenv.model.plan import Change, Record, StepPlan
from devenv.paths import Paths

DEAD = Owner(2**22 + 1, 1, boot_id())


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(f"{tmp_path}/state.db")
    yield opened
    opened.close()


def wired(state: State, count: int) -> list[int]:
    numbers = state.new_slots(count, this_process(), range(100))
    state.slots_wired(numbers)
    return numbers


def test_state_slot_is_claimed_once(state: State) -> None:
    assert wired(state, 2) == [0, 1]
    assert state.claim_slot(this_process()) == 0
    assert state.claim_slot(this_process()) == 1
    assert state.claim_slot(this_process()) is None
    state.release_slot(0)
    assert state.spare_slots() == [0]


def test_state_slot_of_a_dead_command_is_not_trusted(state: State) -> None:
    wired(state, 1)
    assert state.claim_slot(DEAD) == 0
    state.free_dead_owners()
    assert state.known_slots() == [(0, False, None)]
    assert state.claim_slot(this_process()) is None


def test_state_slot_of_a_container_is_kept_by_no_process(state: State) -> None:
    wired(state, 1)
    state.claim_slot(this_process())
    state.give_slot(0, "c")
    state.free_dead_owners()
    state.drop_slots([0])
    assert state.known_slots() == [(0, False, "c")]
    assert state.new_slots(1, this_process(), range(100)) == [1]


def test_state_slot_of_another_boot_is_not_wired(state: State) -> None:
    wired(state, 1)
    state.boot = "another"
    assert state.spare_slots() == []
    assert not state.slot_wired(0)


def test_state_pid_counts_only_with_its_start_and_boot() -> None:
    pid, start, boot = this_process()
    assert alive(pid, start, boot, boot)
    assert not alive(pid, start + 1, boot, boot)
    assert not alive(pid, start, "another", boot)
    assert not alive(None, start, boot, boot)


def test_state_zombie_is_dead() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None
    child.wait()


def test_state_layer_counts_once_made_and_for_good_once_in_an_image(state: State) -> None:
    number = state.reserve_layer()
    assert state.layer("key") is None
    assert state.layer_made(number, "key", 5) == number
    assert state.layer("key") == number

    state.boot = "another"  # never synced: a power loss may have taken its files
    assert state.layer("key") is None
    state.boot = boot_id()
    state.commit_image("sha256:1", "image key", [number], "{}", 5, ["name"])
    state.boot = "another"
    assert state.layer("key") == number


def test_state_layer_made_by_another_meanwhile_is_theirs(state: State) -> None:
    first, second = state.reserve_layer(), state.reserve_layer()
    assert first != second
    assert state.layer_made(first, "key", 1) == first
    assert state.layer_made(second, "key", 1) == first
    state.drop_reserved(first)
    assert state.layer("key") == first


def test_state_transaction_is_all_or_nothing(state: State) -> None:
    with pytest.raises(ValueError), state.transaction():
        state.set("a", "1")
        raise ValueError
    assert state.setting("a") is None


def test_state_of_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = f"{tmp_path}/state.db"
    State(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="99"):
        State(path)


FIRST = """
CREATE TABLE layer (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, diff_id TEXT, blob_size INTEGER,
    size INTEGER NOT NULL DEFAULT 0, boot TEXT, created REAL NOT NULL, used REAL NOT NULL);
CREATE INDEX layer_diff ON layer (diff_id);
CREATE TABLE environment (id TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL, variant TEXT NOT NULL,
    UNIQUE (folder, variant));
CREATE TABLE built (environment TEXT NOT NULL, position TEXT NOT NULL, inputs TEXT NOT NULL, PRIMARY KEY (environment, position));
CREATE TABLE container (id TEXT PRIMARY KEY, environment TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL,
    slot INTEGER NOT NULL, spec TEXT NOT NULL, created REAL NOT NULL, hooks_done INTEGER NOT NULL DEFAULT 0,
    pid INTEGER, pid_start INTEGER, boot TEXT, started REAL, exit_code INTEGER, UNIQUE (environment, name));
INSERT INTO layer (key, size, created, used) VALUES ('old', 5, 1.0, 1.0);
INSERT INTO environment VALUES ('one', 'shop', '/shop', ''), ('two', 'blog', '/blog', '');
INSERT INTO built VALUES ('one', 'apt:1', '[["apt", "git"]]'), ('one', 'add:1', '[]');
INSERT INTO container VALUES ('one-dev', 'one', 'dev', 'sha256:1', 3, '{spec}', 1.0, 2, NULL, NULL, NULL, 2.0, 4);
PRAGMA user_version = 1;
"""
"""What was different in a store of the first schema."""

TOLD = """
INSERT INTO told VALUES ('one', 'files abc', '[["a", "b"]]'), ('one', 'image', '{}');
"""
"""What came with the third: a folder's files, without the image they were for."""

OLD_SPEC = json.dumps(
    {
        "environment": "one",
        "name": "dev",
        "hostname": "shop",
        "image": "sha256:1",
        "process": {"argv": [], "env": [["A", "b"]], "user": "", "workdir": "", "terminal": False},
        "sources": [{"path": "/shop", "target": "/workspace", "mode": "rw"}],
        "volumes": [],
        "ports": [{"container": 80, "host": 8080, "address": "127.0.0.1", "protocol": "tcp"}],
        "limits": {"memory": None, "cpus": None, "pids": 4096},
        "network": "bridge",
        "certificates": "",
        "runtime": "",
        "stop_signal": "",
        "inputs": [],
        "mirror": "",
    }
)
"""A container's spec as it was written before there were services."""


def older(path: str, version: int = 1) -> State:
    """A store of before, opened."""
    with sqlite3.connect(path) as database:
        database.executescript(FIRST.replace("{spec}", OLD_SPEC))
        for number in range(1, version):
            database.executescript(f"{STEPS[number]};\nPRAGMA user_version = {number + 1};")
        if version >= 3:
            database.executescript(TOLD)
    database.close()
    return State(path)


def test_state_of_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    state = older(f"{tmp_path}/state.db")
    for _ in range(2):
        old = state.layer("old")
        assert old is not None
        assert state.siblings("", 9) == []
        made = state.layer_made(state.reserve_layer(), None, 1, "root")
        assert state.siblings("root", 1) == [made]
        assert state.db.execute("SELECT object FROM told").fetchall() == []
        state.close()
        state = State(f"{tmp_path}/state.db")
    state.close()


def test_state_of_an_older_schema_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    old, new = older(f"{tmp_path}/old.db"), State(f"{tmp_path}/new.db")
    for table in ("container", "environment", "built", "told", "layer", "published"):
        before, after = (sorted(row[1:] for row in one.db.execute(f"PRAGMA table_info({table})")) for one in (old, new))
        assert before == after, table
    old.close()
    new.close()


def test_state_of_before_services_keeps_its_containers_and_what_was_built(tmp_path: Path) -> None:
    state = older(f"{tmp_path}/state.db", 3)
    (found,) = observe.containers(state, Paths(f"{tmp_path}/h", f"{tmp_path}/r"), None)
    assert (found.id, found.status, found.exit_code, found.ports[0].host) == ("one-dev", "stopped", 4, 8080)
    assert (found.service, found.index, found.health, found.restarts) == ("", 0, "", 0)
    assert observe.recall(state, "one", PROJECT) == (("apt:1", (("apt", "git"),)), ("add:1", ()))
    assert observe.listings(state, "one", PROJECT) == {"abc": (("a", "b"),)}
    assert (state.group("one"), state.group("two")) == (1, 2)
    state.close()


def test_state_numbers_environments_stably(state: State) -> None:
    for name in ("one", "two", "three"):
        state.register(name, name, f"/{name}", "")
    assert [state.group(name) for name in ("one", "two", "three", "none")] == [1, 2, 3, 0]
    state.register("other", "renamed", "/two", "")
    assert observe.environment(state, "/two", "") == Environment("two", "renamed", "/two")
    state.db.execute("DELETE FROM environment WHERE id = 'one'")
    state.register("four", "four", "/four", "")
    assert [state.group(name) for name in ("two", "three", "four")] == [2, 3, 1]


def test_state_keeps_what_each_image_was_built_of(state: State) -> None:
    steps, files = (("apt:1", (("apt", "git"),)),), {"d" * 64: (("a", "b"),)}
    ledger.remember(state, "e1", PROJECT, steps, files)
    ledger.remember(state, "e1", "db", (), {})
    ledger.remember(state, "e1", "image-2", (), files)
    assert observe.recall(state, "e1", PROJECT) == steps
    assert (observe.recall(state, "e1", "db"), observe.listings(state, "e1", "db")) == ((), {})
    ledger.remember(state, "e1", "image-2", (), {})
    assert observe.listings(state, "e1", PROJECT) == files


def test_state_keeps_what_is_told_of_an_environment_until_it_is_forgotten(state: State, tmp_path: Path) -> None:
    change = Change("apt", "git", "git, jq", "devenv.yml:3:12")
    step = StepPlan("apt 2/2", "jq", False, "apt +jq", (change,), "k" * 64, 2.5, "failed")
    record = Record("image", "build", "1 of 2 steps", 1.5, 2.5, (change,), (step,), "exit code 3")
    listed = {"d" * 64: (("a b.py", "644 aaaaaaaaaaaa"), ("\udcff", "777 → x"))}
    ledger.record(state, "e1", [record._replace(when=0.5)])
    ledger.record(state, "e1", [record])
    ledger.remember(state, "e1", PROJECT, (), {"c" * 64: ()})
    ledger.remember(state, "e1", PROJECT, (), listed)
    ledger.record(state, "e2", [record])
    assert observe.records(state, "e1") == (record,)
    assert observe.listings(state, "e1", PROJECT) == listed
    ledger.forget(state, Paths(f"{tmp_path}/h", f"{tmp_path}/r"), "e1", volumes=False)
    assert (observe.records(state, "e1"), observe.listings(state, "e1", PROJECT)) == ((), {})
    assert observe.records(state, "e2") == (record,)


def test_state_siblings_are_the_newest_that_count_first(state: State) -> None:
    def made(parent: str) -> int:
        return state.layer_made(state.reserve_layer(), None, 1, parent)

    first, _, third, _ = made("root"), made("other"), made("root"), made("")
    state.reserve_layer()
    assert state.siblings("root", 9) == [third, first]
    assert state.siblings("root", 1) == [third]
    state.boot = "another"  # their files may not be whole
    assert state.siblings("root", 9) == []


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_state_damaged_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.db"):
        State(f"{tmp_path}/state.db")
    assert (tmp_path / "state.db").read_bytes() == content


def test_state_opened_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    """All wait for a byte and then open: without patience of our own, 1 of 50 fails, and some round always does."""
    for number in range(40):
        path = f"{tmp_path}/{number}.db"
        ready, go = os.pipe()
        openers = [_opener(path, ready, go) for _ in range(10)]
        os.close(ready)
        os.close(go)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in openers] == [0] * 10


def _opener(path: str, ready: int, go: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            os.read(ready, 1)  # until the parent has closed its end
            State(path).set("a", "1")
            os._exit(0)
        finally:
            os._exit(1)
    return pid
