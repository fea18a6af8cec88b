"""Which tests run where: those marked `engine` need root, those marked `soak` only run when asked for."""

from __future__ import annotations

import os
import signal

import pytest


def pytest_configure() -> None:
    # A script's background has SIGINT ignored, and so would all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # And timeout(1) ends a run by SIGTERM: as by ^C, fixtures are torn down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = os.geteuid() == 0
    soaking = "soak" in (config.getoption("markexpr") or "")
    for item in items:
        if item.get_closest_marker("engine") and not root:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("soak") and not soaking:
            item.add_marker(pytest.mark.skip(reason="only with -m soak"))
