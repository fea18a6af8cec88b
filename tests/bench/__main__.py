"""`make bench`: measures devenv against its peers, tells how it goes, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from . import builds, contenders, page, sandbox, services, stores, topics, trials
from .builders import Builder, Devenv, Docker
from .contenders import HOME, Contender
from .measure import say

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOPICS = ("day", "services", "build", "node", "store", "trials", "growth")
KEPT = frozenset({"base.tar", "npm", "node", "lock", "uv"})
"""What `make bench-peers` installed, and what costs a download to make again."""
NOTES = (
    "Everybody runs in one network namespace of the benchmark's own, reaching the outside through a veth pair and NAT, "
    "so that Docker's firewall rules and bridges never touch the host; a PID and a mount namespace go with it.",
    "devenv is measured as users have it: its wheel, compiled, in a virtual environment, with a store of its own. "
    "devenv's containers always have a user namespace of their own; the peers' run with their defaults, without one.",
    "The peers' base image is the same minimal Debian that devenv bootstraps. Docker uses overlay2; Podman runs as "
    "root, with runc and netavark. No systemd is involved.",
    "`down` is `docker rm -f`, `podman rm -f -t 0`, `docker-compose down -t 0`: nobody waits for a grace period.",
    "Builds: “BuildKit” is a plain Dockerfile as people write it, with pip; “cache mounts” keeps apt's, pip's and npm's "
    "downloads; “uv” also installs with uv, devenv's own installer, and is the fairest measure of the builder itself. "
    "pip compiles bytecode into the image, uv and devenv leave that to the first import.",
    "Before each first build everybody forgets every layer but the base. “Empty” means that downloads are forgotten as "
    "well. “Full” keeps them: cache mounts for the peers (pip's have what it downloaded, uv's also what it unpacked); for "
    "devenv $DEVENV_HOME/packages (the packages of the lock, and what they were unpacked to), caches (uv's index, apt's "
    "lists) and tools (uv itself). What devenv takes when only the unpacked packages are missing is a row of its own.",
    "devenv's first builds start from a committed lock, as a teammate's would; those with one more package have the "
    "changed manifest and that very lock, and so resolve what is new, online. The peers resolve in every build.",
    "npm: the peers' base image has Node.js and npm in it, as `node:20` has for others, of the same npm packages that "
    "devenv takes; devenv's first build puts them there, and that is counted. The project's package-lock.json, with one "
    "more dependency too, is made beforehand by npm and not measured.",
    "Disk is what `du` says of the whole store with hard links once and containers left out: devenv's $DEVENV_HOME, "
    "Docker's data root, both with download caches. Each of devenv's two projects is resolved and gets a lock of its own.",
    "Second store: both of devenv's builds start with a store that isn't there, base included. BuildKit's `--cache-to` "
    "needs docker buildx, and is left out.",
    "After what was removed, everybody waits for 6 s and a sync before the clock starts (ext4 passes over inodes that "
    "were deleted in the last 5 s, so that creating files is slower), and for a sync before each build. A round that "
    "fails, as mirrors do at times, is done once more.",
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
    parser.add_argument("--only", action="append", choices=TOPICS, help="one topic; the page goes to stdout")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a contender out")
    parser.add_argument("--output", help="where the page goes (default: docs/benchmarks.md, when all is measured)")
    parser.add_argument(sandbox.INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _bench(options: argparse.Namespace) -> int:
    wanted, started = options.only or list(TOPICS), time.time()
    load = os.getloadavg()[0]
    done: list[topics.Topic] = []
    with ExitStack() as stack:
        present, absent = _gather(stack, options)
        say(
            f"measuring {', '.join(f'{each.name} {each.version}' for each in present.values())}"
            + (f"; absent: {', '.join(absent)}" if absent else "")
        )
        if "day" in wanted:
            done.append(topics.every_day(list(present.values()), 4 if options.quick else 12))
        if "growth" in wanted:
            some = [each for name, each in present.items() if name in ("devenv", "Docker", "Podman")]
            done.append(topics.growth(some, topics.SIZES[:2] if options.quick else topics.SIZES))
        if "services" in wanted:
            some = [each for name, each in present.items() if name in ("devenv", "Docker", "docker-compose")]
            done.append(services.services(some, 1 if options.quick else 5, 20 if options.quick else 200))
        makers = _Makers(present)
        if "build" in wanted:
            done.append(builds.python(_plans(makers, options.quick)))
        if "node" in wanted:
            some_makers = [each for each in (makers.devenv(), makers.docker("cached")) if each]
            done.append(builds.node(some_makers, f"{CHECKOUT}/examples/node-api", 1 if options.quick else 5))
        if "store" in wanted:
            done += _stores(makers, options.quick)
        if "trials" in wanted:
            trying = [
                each for each in (makers.devenv(folder="devenv-trials"), makers.docker("cached", "trials")) if each
            ]
            done.append(trials.trials(trying, 1 if options.quick else 3))
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))
    versions = [(each.name, each.version) for each in present.values()]
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


def _gather(stack: ExitStack, options: argparse.Namespace) -> tuple[dict[str, Contender], list[str]]:
    """Start who is installed: the contenders, and the names of those who are absent."""
    found: dict[str, Contender | None] = {}
    if "devenv" not in options.without:
        found["devenv"] = contenders.devenv(contenders.install_devenv(CHECKOUT), f"{HOME}/store")
    if "Docker" not in options.without:
        daemon = stack.enter_context(contenders.dockerd())
        found["Docker"] = contenders.docker(*daemon) if daemon else None
        found["docker-compose"] = contenders.compose(*daemon) if daemon else None
        found["devcontainers CLI"] = contenders.devcontainer(*daemon) if daemon else None
    if "Podman" not in options.without:
        found["Podman"] = contenders.podman()
    return {name: each for name, each in found.items() if each}, [name for name, each in found.items() if not each]


class _Makers:
    """Builders of whoever is present."""

    def __init__(self, present: Mapping[str, Contender]) -> None:
        self.present = present

    def devenv(self, store: str = "builder", folder: str = "devenv") -> Devenv | None:
        if "devenv" not in self.present:
            return None
        program = self.present["devenv"].up("")[0]
        return Devenv(contenders.devenv(program, f"{HOME}/{store}"), program, folder)

    def docker(self, flavour: str, folder: str = "docker") -> Docker | None:
        if "Docker" not in self.present:
            return None
        return Docker(self.present["Docker"], self.present["Docker"].up("")[0], flavour, folder)


def _plans(makers: _Makers, quick: bool) -> list[builds.Plan]:
    """Each takes part as often as its figures need: the ones that targets are about most."""
    taking: list[tuple[Builder | None, int, int, int]] = [
        (makers.devenv(), 2, 2, 5),
        (makers.docker("plain"), 2, 0, 0),
        (makers.docker("cached"), 1, 0, 5),
        (makers.docker("uv"), 1, 0, 1),
    ]
    return [
        builds.Plan(each, *(min(1, times) if quick else times for times in rounds)) for each, *rounds in taking if each
    ]


def _stores(makers: _Makers, quick: bool) -> list[topics.Topic]:
    pairs: list[tuple[Builder, Builder]] = []
    one, same, other = makers.devenv(), makers.devenv(folder="devenv-second"), makers.devenv("second", "devenv-other")
    if one and same:
        pairs.append((one, same))
    first, second = makers.docker("cached"), makers.docker("cached", "docker-second")
    if first and second:
        pairs.append((first, second))
    done = [stores.disk(pairs)]
    return [*done, stores.handed_on(one, other, 1 if quick else 3)] if one and other else done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
