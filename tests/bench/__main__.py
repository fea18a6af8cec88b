"""`make bench`: measures devenv against its peers, tells how it goes, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from . import builds, contenders, page, sandbox, topics
from .contenders import HOME, Contender
from .measure import say

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KEPT = frozenset({"base.tar", "npm", "lock", "uv"})
"""What `make bench-peers` installed, and what costs a download to make again."""
NOTES = (
    "Everybody runs in one network namespace of the benchmark's own, reaching the outside through a veth pair and NAT, "
    "so that Docker's firewall rules and bridges never touch the host; a PID and a mount namespace go with it.",
    "devenv is measured as users have it: its wheel, compiled, in a virtual environment, with a store of its own. "
    "devenv's containers always have a user namespace of their own; the peers' run with their defaults, without one.",
    "The peers' base image is the same minimal Debian that devenv bootstraps. Docker uses overlay2; Podman runs as "
    "root, with runc and netavark. No systemd is involved.",
    "`down` is `docker rm -f`, `podman rm -f -t 0`, `docker-compose down -t 0`: nobody waits for a grace period.",
    "Builds: “BuildKit” is a plain Dockerfile as people write it, with pip; “cache mounts” keeps apt's and pip's "
    "downloads; “uv” also installs with uv, devenv's own installer, and is the fairest measure of the builder itself. "
    "pip compiles bytecode into the image, uv and devenv leave that to the first import. "
    "Before each first build everybody forgets every layer but the base.",
    "Memory counts processes only, not what the kernel keeps for a container's namespaces, mounts and cgroups.",
)


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    options = _options(argv)
    if os.geteuid():
        print("bench: needs root, for the peers' daemons and a network namespace", file=sys.stderr)
        return 2
    if not options.inside:
        return sandbox.enter(HOME, KEPT, list(argv))
    sandbox.furnish()
    try:
        return _bench(options)
    except KeyboardInterrupt:
        return 130


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; the page goes to stdout")
    parser.add_argument(
        "--only", action="append", choices=("day", "growth", "build"), help="one topic; the page goes to stdout"
    )
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a contender out")
    parser.add_argument("--output", help="where the page goes (default: docs/benchmarks.md, when all is measured)")
    parser.add_argument(sandbox.INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _bench(options: argparse.Namespace) -> int:
    wanted, started = options.only or ["day", "build", "growth"], time.time()
    load = os.getloadavg()[0]
    done: list[topics.Topic] = []
    with ExitStack() as stack:
        present, absent, builders = _gather(stack, options, "build" in wanted)
        say(
            f"measuring {', '.join(f'{each.name} {each.version}' for each in present)}"
            + (f"; absent: {', '.join(absent)}" if absent else "")
        )
        if "day" in wanted:
            done.append(topics.every_day(present, 4 if options.quick else 12))
        if "growth" in wanted:
            some = [each for each in present if each.name in ("devenv", "Docker", "Podman")]
            done.append(topics.growth(some, topics.SIZES[:2] if options.quick else topics.SIZES))
        if "build" in wanted:
            done.append(builds.building(builders))
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))
    versions = [(each.name, each.version) for each in present]
    setting = page.Setting(date, versions, absent, NOTES, (load, os.getloadavg()[0]))
    text = page.page(done, setting)
    say(f"done in {(time.time() - started) / 60:.1f} minutes")
    output = options.output or (
        None if options.quick or options.only or options.without else f"{CHECKOUT}/docs/benchmarks.md"
    )
    if output:
        with open(output, "w") as file:
            file.write(text)
        say(f"written: {os.path.relpath(output)}")
        print(page.headline(done))
    else:
        print(text)
    return 0


def _gather(
    stack: ExitStack, options: argparse.Namespace, build: bool
) -> tuple[list[Contender], list[str], list[builds.Builder]]:
    """Start who is installed: the contenders, the names of those who are absent, and the builders among them."""
    found: dict[str, Contender | None] = {}
    builders: list[builds.Builder] = []
    once, twice = (1, 1) if options.quick else (1, 2)
    if "devenv" not in options.without:
        program = contenders.install_devenv(CHECKOUT)
        found["devenv"] = contenders.devenv(program, f"{HOME}/store")
        builders.append(builds.of_devenv(contenders.devenv(program, f"{HOME}/builder"), program, twice, once))
    if "Docker" not in options.without:
        daemon = stack.enter_context(contenders.dockerd())
        docker = contenders.docker(*daemon) if daemon else None
        found["Docker"] = docker
        found["docker-compose"] = contenders.compose(*daemon) if daemon else None
        found["devcontainers CLI"] = contenders.devcontainer(*daemon) if daemon else None
        if docker and daemon:
            for flavour in builds.FLAVOURS if build else ():
                builders.append(
                    builds.of_docker(docker, daemon[0], flavour, *((twice, 0) if flavour == "plain" else (once, once)))
                )
    if "Podman" not in options.without:
        podman = found["Podman"] = contenders.podman()
        if podman and build and not options.quick:
            builders.append(builds.of_podman(podman, once))
    return [each for each in found.values() if each], [name for name, each in found.items() if not each], builders


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
