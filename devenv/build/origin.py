"""A graph and its text → the same graph, each step with its place in its stage and the manifest's keys it comes from.

A rendered Containerfile says them in comments right above an instruction: "# From `apt`: git, jq".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from devenv.model.build import Configure, Graph, Stage, Step
from devenv.model.manifest import Pairs

_ORIGIN = re.compile(r"# From `([a-z_.]+)`: (.+)")


def annotate(graph: Graph, text: str) -> Graph:
    """Steps are counted in one way everywhere: within their stage, and only those that leave files behind."""
    lines = text.split("\n")
    return replace(graph, stages=tuple(_stage(stage, lines) for stage in graph.stages))


def _stage(stage: Stage, lines: Sequence[str]) -> Stage:
    name = f"stage-{stage.name}" if stage.name.isdigit() else stage.name
    total = sum(not isinstance(step.operation, Configure) for step in stage.steps)
    number = 0
    steps: list[Step] = []
    for step in stage.steps:
        counts = not isinstance(step.operation, Configure)
        number += counts
        place = f"{name} {number}/{total}" if counts and total > 1 else name
        steps.append(replace(step, place=place, origins=origins_above(lines, step.line)))
    return replace(stage, steps=tuple(steps))


def origins_above(lines: Sequence[str], line: int) -> Pairs:
    """What the comments right above a line (1-based) say."""
    found: list[tuple[str, str]] = []
    for above in reversed(lines[: line - 1]):
        if not above.startswith("#"):
            break
        if match := _ORIGIN.fullmatch(above):
            found.append((match[1], match[2]))
    return tuple(reversed(found))
