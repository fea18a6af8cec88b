"""Image builds of the same content: builders in, tables out, with download caches empty and full."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import NamedTuple

from . import npm
from .builders import Builder, Caches, settle
from .contenders import HOME, SUITE
from .measure import Argv, Row, say
from .recipes import APT, NODE, PIP, PYTHON, Content
from .topics import Topic, in_turn, tolerated, twice

MORE_APT, MORE_PIP, MORE_NPM, MORE_TOOL = "jq", "rich", "zod", "prettier"
TOOL = "typescript@5"


class Step(NamedTuple):
    """A build that is measured: the end of its row's key, what is in the image, a command that shows it."""

    suffix: str
    content: Content
    proof: Argv


_PROOF = ("python", "-c", "import django, requests, numpy, pandas, sqlalchemy, pytest, flask")
_PYTHON = (
    Step("", PYTHON, _PROOF),
    Step("pip", PYTHON._replace(pip=(*PIP, MORE_PIP)), ("python", "-c", f"{_PROOF[2]}, {MORE_PIP}")),
    Step("apt", PYTHON._replace(apt=(*APT, MORE_APT)), (MORE_APT, "--version")),
)


class Plan(NamedTuple):
    """How often each builder takes part, by the name of the round's kind: `cold`, `packed`, `warm`."""

    builder: Builder
    cold: int = 0
    packed: int = 0
    warm: int = 0


def python(plans: Sequence[Plan]) -> Topic:
    """Cold, one more pip package, one more apt package; with download caches empty, then full."""
    rows: dict[str, Row] = {}
    for key, caches in (("cold", "download caches empty"), ("warm", "download caches full")):
        rows |= {
            key: Row(f"build with the base present, {caches}", "s"),
            f"{key}pip": Row(f"then one more pip package ({MORE_PIP})", "s"),
            f"{key}apt": Row(f"then one more apt package ({MORE_APT})", "s"),
        }
    rows |= {
        "packed": Row("build with the base present, downloads there but nothing unpacked of them", "s"),
        "warmsame": Row("build again, nothing changed", "ms"),
        "warmup": Row("`devenv up` again, nothing changed", "ms"),
    }
    intro = (
        f"{len(APT)} apt packages ({' '.join(APT)}) and {len(PIP)} pip packages ({' '.join(PIP)}) on a minimal {SUITE}."
    )
    topic = Topic("Image builds", intro, rows, [])
    alive = [plan.builder for plan in plans]
    for builder in list(alive):
        with tolerated(builder, topic, alive):
            builder.prepare(PYTHON)
    for key, caches in _KINDS.items():
        steps = _PYTHON[:1] if key == "packed" else _PYTHON
        for number in range(max((getattr(plan, key) for plan in plans), default=0)):
            taking = {plan.builder.name for plan in plans if number < getattr(plan, key)}
            for builder in in_turn([each for each in alive if each.name in taking], number):
                with tolerated(builder, topic, alive):
                    _round(builder, topic, (key, caches, number), steps)
                    if key == "warm":
                        _same(builder, topic)
    return topic


_KINDS: dict[str, Caches] = {"cold": "empty", "packed": "packed", "warm": "full"}


def node(builders: Sequence[Builder], example: str, rounds: int) -> Topic:
    """A project with a package-lock.json, one more dependency of it; a global tool, one more."""
    rows = {
        "node": Row("npm project: build with the base present, download caches full", "s"),
        "nodenpm": Row(f"then one more npm package ({MORE_NPM})", "s"),
        "tool": Row(f"global tool ({TOOL}): build with the base present, download caches full", "s"),
        "toolmore": Row(f"then one more global tool ({MORE_TOOL})", "s"),
    }
    intro = f"The package.json and package-lock.json of examples/node-api, on a minimal {SUITE} with Node.js {NODE}."
    topic = Topic("Builds with npm packages", intro, rows, [])
    if not shutil.which("npm"):
        topic.failures.append("npm is not installed here")
        return topic
    more = npm.one_more(example, f"{HOME}/builds/npm-more", MORE_NPM)
    project = (
        Step("", Content(npm=example), ("tsc", "--version")),
        Step("npm", Content(npm=more), ("test", "-e", f"/node_modules/{MORE_NPM}")),
    )
    tools = (
        Step("", Content(tools=(TOOL,)), ("tsc", "--version")),
        Step("more", Content(tools=(TOOL, MORE_TOOL)), (MORE_TOOL, "--version")),
    )
    alive = list(builders)
    for key, steps, times in (("node", project, rounds), ("tool", tools, min(rounds, 3))):
        for builder in list(alive):
            with tolerated(builder, topic, alive):
                builder.prepare(steps[0].content)
        for number in range(times + 1):
            for builder in in_turn(alive, number):
                with tolerated(builder, topic, alive):
                    _round(builder, topic, (key, "full", number), steps, counted=number > 0)
    return topic


def _round(
    builder: Builder, topic: Topic, kind: tuple[str, Caches, int], steps: Sequence[Step], counted: bool = True
) -> None:
    """One builder's builds in a row. The first round of a kind proves that what was built works."""
    key, caches, number = kind

    def once() -> list[float]:
        taken = []
        builder.forget(caches)
        settle()
        for step in steps:
            builder.write(step.content, f"{key}{number}")
            taken.append(builder.spent())
            say(f"round {number}, {topic.rows[key + step.suffix].title}: {builder.name} {taken[-1]:.2f} s")
            if number == 0:
                builder.prove(*step.proof)
        return taken

    taken = twice(once)
    for step, spent in zip(steps, taken, strict=True) if counted else ():
        topic.rows[key + step.suffix].add(builder.name, spent)


def _same(builder: Builder, topic: Topic) -> None:
    """Nothing changed: the build, and the whole `up` where there is one."""
    topic.rows["warmsame"].add(builder.name, 1e3 * builder.spent())
    if builder.up:
        builder.spent(builder.up)
        topic.rows["warmup"].add(builder.name, 1e3 * builder.spent(builder.up))
        builder.spent(builder.down)
