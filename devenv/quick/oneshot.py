"""`run` by the quick door: a known spec and a command -> its exit code. Imports the engine, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from devenv.engine.native.facade import Native
from devenv.engine.native.paths import locate
from devenv.engine.native.record import spec_value


def run(spec_text: str, words: Sequence[str], env: Mapping[str, str]) -> int:
    """One command in a container of its own, made like the project's main one."""
    spec = spec_value(spec_text)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    known = ("TERM", "COLORTERM", "NO_COLOR") if terminal else ()
    lent = tuple((name, env[name]) for name in known if name in env)
    process = replace(spec.process, argv=tuple(words), env=(*spec.process.env, *lent), terminal=terminal)
    name = f"run-{os.urandom(3).hex()}"
    return Native(locate(env, os.geteuid()), env).run(replace(spec, name=name, process=process, ports=()))
