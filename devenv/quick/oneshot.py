"""`run` from a receipt: like the project's main container, without a look at the manifest or a plan.

None where the store no longer has the image that the receipt speaks of: the long way builds it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from devenv import command, signals
from devenv.engine.native.facade import Native
from devenv.engine.native.records.record import spec_value
from devenv.model.container import Environment, Process
from devenv.paths import locate

Receipt = dict[str, Any]


def run(receipt: Receipt, words: Sequence[str], env: Mapping[str, str]) -> int | None:
    """One command in a container of its own, made like the project's main one."""
    signals.catch()
    with closing(Native(locate(env, os.geteuid()), env)) as engine:
        return _run(engine, receipt, words, env)


def _run(engine: Native, receipt: Receipt, words: Sequence[str], env: Mapping[str, str]) -> int | None:
    spec = spec_value(receipt["spec"])
    sources = [(source.path, source.target) for source in spec.sources]
    within = command.matching(os.path.realpath(os.getcwd()), receipt["environment"]["folder"], sources)
    engine.begin()  # from here on no gc takes the image away
    if not engine.has_image(spec.image):
        return None
    engine.register(Environment(**receipt["environment"]))  # so that `down --volumes` finds what it may make
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    known = ("TERM", "COLORTERM", "NO_COLOR") if terminal else ()
    lent = tuple((name, env[name]) for name in known if name in env)
    own = spec.process
    process = Process(tuple(words), (*own.env, *lent), own.user, within or own.workdir, terminal)
    name = f"run-{os.urandom(3).hex()}"
    return engine.run(spec._replace(name=name, process=process, ports=(), service=""))
