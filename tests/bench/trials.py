"""Versions side by side: builders in; out, a table of what a trial takes until it runs, of a matrix, of disk, of a bisect."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from .builders import Builder, Devenv, du, settle
from .measure import Argv, Failed, Row, say
from .recipes import Content
from .topics import Topic, in_turn, tolerated, twice

_NAME, _PINNED = "rich", "13.7.1"
_EACH = ("13.8.0", "13.8.1", "13.9.0")
"""Tried one by one, each for the first time."""
_MATRIX = ("13.9.1", "13.9.2", "13.9.3", "13.9.4")
_FIRST, _BROKEN = "12.0.0", "12.5.0"
_REST = ("pytest==8.3.5", "requests==2.32.3", "flask==3.0.3", "sqlalchemy==2.0.36", "pandas==2.2.3")
_CHECK = ("python", "-c", "import rich, flask, pandas")
_BREAKS = (
    "python",
    "-c",
    f"import importlib.metadata as m; v = m.version('{_NAME}').split('.'); assert [*map(int, v)] < [12, 5, 0]",
)


def trials(builders: Sequence[Builder], rounds: int) -> Topic:
    """`builders`: devenv, and whoever builds and runs one image after the other."""
    rows = {
        "try": Row("`try` of another version of one package, baseline built: until both commands run", "s"),
        "matrix": Row(f"{len(_MATRIX)} versions of one package: each built, and a command run in it", "s"),
        "variant": Row("what one more variant adds to the store, besides the package itself", "MB"),
        "package": Row("the package itself, as it was fetched and unpacked", "MB"),
        "bisect": Row("versions tried by a bisect", ""),
        "bound": Row("⌈log₂ n⌉ + 2 of the versions there are", ""),
    }
    intro = (
        f"A project of {len(_REST) + 1} Python packages. The peer's four images are built and run one after the other, as scripts do; "
        "downloads are there. devenv's trial also runs the baseline, and runs both again where they differ."
    )
    topic = Topic("New versions side by side", intro, rows, [])
    alive = list(builders)
    for builder in builders:
        with tolerated(builder, topic, alive):
            builder.prepare(_content(_PINNED))
            _whole(builder)  # what it downloads is there from now on
    for number in range(rounds):
        for builder in in_turn(alive, number):
            with tolerated(builder, topic, alive):
                spent = twice(partial(_whole, builder))
                rows["matrix"].add(builder.name, spent)
                say(f"round {number}, {rows['matrix'].title}: {builder.name} {spent:.1f} s")
    for devenv in [one for one in alive if isinstance(one, Devenv)]:
        with tolerated(devenv, topic, alive):
            _ours(devenv, rows)
    return topic


def _content(version: str) -> Content:
    return Content(("python3", "python3-venv"), (*_REST, f"{_NAME}=={version}"))


def _whole(builder: Builder) -> float:
    """Seconds of all versions, the baseline's image being there."""
    builder.forget("full")
    builder.write(_content(_PINNED), "trials")
    settle()
    builder.spent()
    if isinstance(builder, Devenv):
        return builder.spent((builder.program, "matrix", f"{_NAME}={','.join(_MATRIX)}", "--", *_CHECK))
    spent = 0.0
    for version in _MATRIX:
        builder.write(_content(version), "trials")
        spent += builder.spent() + builder.spent((*builder.run, *_CHECK))
    return spent


def _ours(devenv: Devenv, rows: dict[str, Row]) -> None:
    for version in _EACH:
        whole, packages = devenv.disk(), du(f"{devenv.store}/packages")
        began = time.time()
        trial = _said(devenv, (devenv.program, "try", "--json", f"{_NAME}={version}", "--", *_CHECK))
        ran = [side["runs"][0]["started"] for side in (trial["baseline"], *trial["variants"])]
        rows["try"].add(devenv.name, max(ran) - began)
        grown = du(f"{devenv.store}/packages") - packages
        rows["package"].add(devenv.name, grown)
        rows["variant"].add(devenv.name, devenv.disk() - whole - grown)
    trial = _said(devenv, (devenv.program, "bisect", "--json", f"{_NAME}={_FIRST}..{_PINNED}", "--", *_BREAKS))
    if trial["guilty"] != [f"{_NAME}={_BROKEN}"]:
        raise Failed(f"bisect found {trial['guilty']}")
    rows["bisect"].add(devenv.name, len(trial["tried"]))
    rows["bound"].add(devenv.name, math.ceil(math.log2(len(trial["candidates"]) - 1)) + 2)


def _said(devenv: Devenv, argv: Argv) -> Any:
    """What it says as JSON."""
    done = subprocess.run(
        argv, env=devenv.env, cwd=devenv.folder, capture_output=True, text=True, timeout=600, check=False
    )
    if not done.stdout:
        raise Failed(f"{' '.join(argv)}: {done.stderr[-500:]}")
    return json.loads(done.stdout)
