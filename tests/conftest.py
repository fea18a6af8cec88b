"""Which tests run where: spread over workers by file; those marked `engine` need root, those marked `soak` only run when asked for."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from typing import Any

import pytest

SHARED = "DEVENV_TEST_SHARED"
"""The variable that names the folder of a run: its workers share it."""


def pytest_configure(config: pytest.Config) -> None:
    # A script's background has SIGINT ignored, and so would all that we start.
    signal.signal(signal.SIGINT, _interrupted)
    # And timeout(1) ends a run by SIGTERM: as by ^C, fixtures are torn down.
    signal.signal(signal.SIGTERM, _interrupted)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # As nohup(1) has it. A handler that does nothing is as good for us, and isn't inherited by what we start.
        signal.signal(signal.SIGHUP, lambda *_: None)
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        mark = f"{os.environ[SHARED]}/{worker}"
        with open(mark, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        config.add_cleanup(lambda: os.unlink(mark))
    else:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="dvall", dir="/var/tmp")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(SHARED)))


def _interrupted(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not end the tearing down
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def pytest_keyboard_interrupt() -> None:
    """Workers tear down what they have. xdist itself would give them 10 s, and interrupt them a second time."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    marks = [entry.path for entry in os.scandir(os.environ[SHARED]) if entry.name.startswith("gw")]
    for mark in marks:
        with open(mark, encoding="ascii") as file:
            pid = int(file.read())
        try:
            os.kill(pid, signal.SIGINT)
        except ProcessLookupError:  # it crashed before
            os.unlink(mark)
    deadline = time.monotonic() + 120
    while any(map(os.path.exists, marks)) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By file: the tests of one share a store. Those of e2e have one for all of them, with what they fetched."""
    from xdist.scheduler import LoadFileScheduling

    # As collected: e2e and engine take long, the many short ones of unit fill the end.
    config.option.loadscopereorder = False
    scheduler = LoadFileScheduling(config, log)
    file = scheduler._split_scope
    scheduler._split_scope = lambda test: "e2e" if test.startswith("tests/e2e/") else file(test)
    return scheduler


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = os.geteuid() == 0
    soaking = "soak" in (config.getoption("markexpr") or "")
    for item in items:
        if item.get_closest_marker("engine") and not root:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("soak") and not soaking:
            item.add_marker(pytest.mark.skip(reason="only with -m soak"))
