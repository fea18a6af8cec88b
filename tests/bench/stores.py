"""What is kept, and handed on: builders in; out, a table of disk space, and of a second store that takes from a cache."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial

from .builders import Builder, Devenv, du, settle
from .builds import MORE_APT, MORE_PIP
from .contenders import HOME
from .measure import Argv, Failed, Row, output, say
from .recipes import APT, PIP, PYTHON
from .topics import Topic, tolerated, twice

_SECOND = PYTHON._replace(apt=(*APT, MORE_APT), pip=(*PIP, MORE_PIP))


def disk(pairs: Sequence[tuple[Builder, Builder]]) -> Topic:
    """Each pair is one builder in two projects' folders, the second's image with one apt and one pip package more."""
    rows = {
        "disk": Row("disk: base, one project's image, its downloads", "MB"),
        "disksecond": Row(f"what a second project adds ({MORE_APT} and {MORE_PIP} more, a lock of its own)", "MB"),
    }
    intro = "The project of the builds above, then another that was never seen before and shares most with it."
    topic = Topic("Two projects on one machine", intro, rows, [])
    alive = [first for first, _ in pairs]
    for first, second in pairs:
        with tolerated(first, topic, alive):
            first.prepare(PYTHON)
            first.lock = ""  # the package lists that resolving needs are the machine's, not the second project's
            before, after = twice(partial(_grown, first, second))
            rows["disk"].add(first.name, before)
            rows["disksecond"].add(first.name, after - before)
            say(f"disk: {first.name} {before:.0f} MB, and {after - before:.0f} MB")
    return topic


def _grown(first: Builder, second: Builder) -> tuple[float, float]:
    """MB of the store before and after the second project's build."""
    first.forget("empty")
    first.write(PYTHON, "disk")
    first.spent()
    before = first.disk()
    second.write(_SECOND, "disk")
    second.spent()
    return before, first.disk()


def handed_on(devenv: Devenv, other: Devenv, rounds: int) -> Topic:
    """`devenv` writes a cache, `other`, whose store is empty, takes from it; beside its builds without."""
    rows = {
        "export": Row("build with everything present, `--cache-to` a new folder", "s"),
        "exported": Row("what that folder takes", "MB"),
        "alone": Row("build in an empty store, from the committed lock: base, downloads, everything", "s"),
        "import": Row("the same with `--cache-from` that folder", "s"),
    }
    intro = "A second store on the same machine, of the project of the builds above."
    topic = Topic("A second store", intro, rows, [])
    cache, alive = f"{HOME}/cache", [devenv]
    with tolerated(devenv, topic, alive):
        devenv.prepare(PYTHON)
        devenv.forget("full")
        devenv.write(PYTHON, "")
        devenv.spent()
        other.lock = devenv.lock
        other.write(PYTHON, "")
        for number in range(rounds):
            shutil.rmtree(cache, ignore_errors=True)
            settle()
            rows["export"].add(devenv.name, devenv.spent((*devenv.build, "--cache-to", cache)))
            for key, option in (("alone", ()), ("import", ("--cache-from", cache))):
                spent = twice(partial(_anew, other, option))
                rows[key].add(devenv.name, spent)
                say(f"second store, {rows[key].title}: {spent:.1f} s")
                if number == 0:
                    _equal(devenv, other)
        rows["exported"].add(devenv.name, du(cache))
    for place in (cache, other.store):
        shutil.rmtree(place, ignore_errors=True)
    return topic


def _anew(devenv: Devenv, options: Argv) -> float:
    """Seconds of a build in an empty store."""
    shutil.rmtree(devenv.store, ignore_errors=True)
    settle()
    return devenv.spent((*devenv.build, *options))


def _equal(one: Devenv, other: Devenv) -> None:
    """Raises Failed unless the two stores' images are the same, bit for bit."""
    said = {output((each.program, "digest"), each.env, each.folder) for each in (one, other)}
    if len(said) != 1 or None in said:
        raise Failed(f"the digests differ: {said}")
    other.prove("python", "-c", "import django")
