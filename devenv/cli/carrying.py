"""A plan → carried out: done, written down for `explain`, and watched from then on. The one way in which commands change containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from devenv.cli import telling
from devenv.engine import Engine
from devenv.errors import DevenvError
from devenv.model.events import Event, Sink
from devenv.model.image import Image
from devenv.model.plan import Ending, Plan, Report
from devenv.provision import provision


def unbuilt(image: str) -> Image:
    """What makes images for a plan that makes none."""
    raise DevenvError(f"build {image}: nothing was to be built")


def carry_out(
    decided: Plan,
    engine: Engine,
    sink: Sink,
    build: Callable[[str], Image] = unbuilt,
    taken: Mapping[str, tuple[Ending, float]] = MappingProxyType({}),
) -> Report:
    """Do it, within the environment's turn. `build` makes images by their names, `taken` is how long their steps took."""
    report = provision(decided, engine, build, sink, time.monotonic)
    telling.keep(engine, report, taken)
    if any(action.service for action in decided.actions):  # now, as receipts name whoever is awake; else its turn does
        try:
            engine.supervise(report.environment.id)
        except DevenvError as error:  # what was done is to be told all the same
            sink(Event("warning", "supervisor", str(error)))
    return report
