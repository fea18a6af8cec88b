"""Topics in, docs/benchmarks.md out: machine, versions, targets beside what was reached, one table per topic."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import NamedTuple

from .measure import Row
from .topics import Topic

US = "devenv"


class Target(NamedTuple):
    """From the project's plan. `factor` times the median of the peer, or of another row of ours (`over`), or `limit` in
    the row's unit, or both.
    """

    what: str
    row: str
    peer: str | None = None
    factor: float | None = None
    limit: float | None = None
    over: str = ""
    least: bool = False
    """It is `factor` times at least, not at most."""


CACHED = "BuildKit, cache mounts"
TARGETS = (
    Target("`devenv run -- true` on the bridge, against `docker run --rm`", "run", "Docker", 0.30),
    Target("`devenv exec -- true`, against `docker exec`", "exec", "Docker", 0.75),
    Target("`devenv up`, image cached, against `devcontainer up`", "up", "devcontainers CLI", 0.25),
    Target("second `devenv up`, against docker-compose's", "again", "docker-compose", 0.25, 80),
    Target("build with base present, download caches empty, against BuildKit", "cold", "BuildKit", 0.6),
    Target("build with base and downloads present, against BuildKit with its caches as warm", "warm", CACHED, 0.35),
    Target("+ one pip package, against BuildKit likewise", "warmpip", CACHED, 0.1, 1.5),
    Target("+ one apt package, against BuildKit likewise", "warmapt", CACHED, 0.25),
    Target("+ one npm package, against BuildKit likewise", "nodenpm", CACHED, 0.25),
    Target("nothing changed, `devenv up` of that manifest", "warmup", limit=100),
    Target("second environment sharing most: disk, against the first's", "disksecond", factor=0.1, over="disk"),
    Target("second store, from an exported cache, against building there", "import", factor=0.3, over="alone"),
    Target("host memory per running container", "memory20", limit=3),
    Target("5 replicas up, image cached, against docker-compose", "five", "docker-compose", 0.3),
    Target("12 services up, against docker-compose", "twelve", "docker-compose", 0.3),
    Target("20 replicas up, against 20 × `docker run -d`", "twenty", "Docker", 0.25, 1200),
    Target("time per replica at 200, against that at 20", "each", factor=1.3, over="each20"),
    Target("host memory per replica, 200 running", "memory", limit=3),
    Target("from a service's readiness to the start of what waits for it", "pair", limit=100),
    Target("`ps` with 20 containers", "ps", limit=60),
    Target("`try` of one other pip package: until both commands run", "try", limit=3),
    Target("4 variants of a pip package, against 4 images built and run with BuildKit", "matrix", CACHED, 0.2),
    Target("disk for one more variant, besides the package", "variant", limit=1),
    Target("versions tried by a bisect, against ⌈log₂ n⌉ + 2", "bisect", factor=1.0, over="bound"),
    Target("requests through a published port, against straight", "port", factor=0.9, over="direct", least=True),
)


class Setting(NamedTuple):
    """What the reader must know: `versions` by contender, `absent` peers, `notes` as sentences."""

    date: str
    versions: Sequence[tuple[str, str]]
    absent: Sequence[str]
    notes: Sequence[str]
    load: tuple[float, float]
    """The load average at the start and at the end."""


def page(topics: Sequence[Topic], setting: Setting) -> str:
    """The whole page as Markdown."""
    rows = {key: row for topic in topics for key, row in topic.rows.items()}
    parts = [_head(setting), _targets(rows), *map(_table, topics), _foot(setting)]
    return "\n".join(part for part in parts if part)


def _head(setting: Setting) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`make bench-peers` first, to install the peers). All figures come from one run on",
        "one machine; compare the ratios, not the times, with another machine's.",
        "",
        f"- **When**: {setting.date}; load average {setting.load[0]:.2f} before, {setting.load[1]:.2f} after.",
        f"- **Machine**: {_machine()}.",
        f"- **Versions**: {versions}.",
    ]
    if setting.absent:
        lines.append(f"- **Not installed here, so left out**: {', '.join(setting.absent)}.")
    return "\n".join([*lines, ""])


def _machine() -> str:
    with open("/proc/cpuinfo") as file:
        model = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine()
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    groups = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1 or hybrid"
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GB, {system}, kernel {platform.release()}, cgroups {groups}"


def _targets(rows: dict[str, Row]) -> str:
    lines = [line for target in TARGETS if (line := _target(target, rows))]
    if not lines:
        return ""
    return "\n".join(["## Targets", "", "| what | target | reached | |", "|---|---|---|---|", *lines, ""])


def _target(target: Target, rows: dict[str, Row]) -> str:
    """One line, or nothing when devenv or the peer wasn't measured."""
    row = rows.get(target.row)
    mine = row and row.summary(US)
    if not row or not mine:
        return ""
    wanted, reached, met = [], [], True
    if target.limit is not None:
        wanted.append(f"≤ {target.limit:g} {row.unit}")
        reached.append(f"{_number(mine.median)} {row.unit}")
        met &= mine.median <= target.limit
    if target.factor is not None:
        ratio = row.ratio(US, target.peer) if target.peer else _over(mine.median, rows.get(target.over))
        if ratio is None:
            return ""
        wanted.append(f"{'≥' if target.least else '≤'} {target.factor:.2f} ×")
        reached.append(f"{ratio:.2f} ×")
        met &= ratio >= target.factor if target.least else ratio <= target.factor
    return f"| {target.what} | {' and '.join(wanted)} | {', '.join(reached)} | {'met' if met else '**missed**'} |"


def _over(median: float, other: Row | None) -> float | None:
    theirs = other and other.summary(US)
    return median / theirs.median if theirs else None


def _table(topic: Topic) -> str:
    names = list(dict.fromkeys(name for row in topic.rows.values() for name in row.samples))
    names.sort(key=lambda name: name != US)
    lines = [f"## {topic.title}", "", topic.intro, ""]
    lines += ["Median (least–most of how many runs); in brackets, devenv's median over this one's.", ""]
    lines += ["| |" + "".join(f" {name} |" for name in names), "|---|" + "---|" * len(names)]
    for row in topic.rows.values():
        if row.samples:
            lines.append(f"| {row.title} |" + "".join(f" {_cell(row, name)} |" for name in names))
    lines += ["", *(f"- Failed here, so left out: {failure}" for failure in topic.failures)]
    return "\n".join(lines + [""] * bool(topic.failures))


def _cell(row: Row, name: str) -> str:
    summary = row.summary(name)
    if not summary:
        return "–"
    ratio = row.ratio(US, name) if name != US else None
    spread = f" ({_number(summary.least)}–{_number(summary.most)} of {summary.runs})" if summary.runs > 1 else ""
    return f"**{_number(summary.median)} {row.unit}**{spread}" + (f" [{ratio:.2f} ×]" if ratio is not None else "")


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _foot(setting: Setting) -> str:
    return "\n".join(["## Notes", "", *(f"- {note}" for note in setting.notes), ""])


def headline(topics: Sequence[Topic]) -> str:
    """For the terminal: the targets, one a line."""
    rows = {key: row for topic in topics for key, row in topic.rows.items()}
    return "\n".join(line.strip("| ").replace(" | ", "   ") for target in TARGETS if (line := _target(target, rows)))
