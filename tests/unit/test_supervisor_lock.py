"""What the supervisor's lock promises: one has it, whoever looks doesn't disturb it, and it ends with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devenv.engine.native.supervisor import lock
from devenv.lives import held


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/supervisors/e1"


@pytest.fixture
def mine(path: str) -> Iterator[int]:
    taken = lock.take(path)
    assert taken is not None
    lock.sign(taken, os.getpid())
    yield taken
    os.close(taken)


@pytest.mark.usefixtures("mine")
def test_lock_is_one_s(path: str) -> None:
    assert held(path)
    assert lock.take(path) is None


def test_lock_is_free_for_whoever_comes_while_others_only_look(path: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(lambda: [held(path) for _ in range(2000)]) for _ in range(4)]
        for _ in range(200):
            taken = lock.take(path)
            assert taken is not None
            lock.release(path, taken)
        for look in looks:
            look.result()


def test_lock_of_a_file_that_was_taken_away_is_nobody_s(path: str, mine: int) -> None:
    os.unlink(path)
    assert not lock.still(path, mine)
    other = lock.take(path)
    assert other is not None
    assert lock.still(path, other)
    os.close(other)


def test_lock_leads_to_its_owner_as_long_as_that_lives(path: str, mine: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    lock.sign(mine, child.pid)
    assert lock.tell(path, 0)
    assert lock.tell(path, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    assert not lock.tell(path, 0)


@pytest.mark.usefixtures("mine")
def test_lock_says_nothing_of_a_process_that_has_the_number_by_now(path: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()} 1\n")
    assert lock.owner(path) is None
    assert not lock.tell(path, signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "12", "what\n", "1 2 3\n"])
@pytest.mark.usefixtures("mine")
def test_lock_that_is_unsigned_leads_nowhere(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    assert lock.owner(path) is None
