"""Work asked for by many at once is done once for all who wait; the store's lock is held as long as anybody needs it."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devenv.engine.native.running.together import Together
from devenv.engine.native.store.hold import Hold


def test_together_does_it_once_for_all_who_came_meanwhile() -> None:
    together, begun, go, done = Together(), threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        assert go.wait(10)
        done.append("first")

    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(together.do, first)
        assert begun.wait(10)
        others = [pool.submit(together.do, lambda: done.append("others")) for _ in range(8)]
        while together._asked < 9:
            pass
        go.set()
        for one in (leader, *others):
            one.result(10)
    assert done == ["first", "others"]
    together.do(lambda: done.append("alone"))
    assert done[2:] == ["alone"]


def test_together_what_fails_for_one_is_tried_by_the_next() -> None:
    together = Together()

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        together.do(fail)
    done: list[int] = []
    together.do(lambda: done.append(1))
    assert done == [1]


def free(path: str) -> bool:
    """Whether gc could have the store for itself."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def test_hold_lasts_until_the_last_who_uses_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/store"
    hold = Hold(path)
    hold.share()
    with hold.using():
        hold.release()
        assert not free(path)
        with hold.using():
            pass
        assert not free(path)
    assert free(path)
    hold.share()
    with hold.using():
        pass
    assert not free(path)
    hold.release()
    assert free(path)
    hold.close()
