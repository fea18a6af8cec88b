"""A process in a throwaway root -> the text it wrote to one file. What locks are resolved with."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence

from devenv.beneath import open_beneath
from devenv.engine.workshop import Bind
from devenv.errors import EngineError, StepFailed
from devenv.model.build import Run

from .site import Site
from .step import Step

_MOST = 64 << 20


def ask(
    site: Site,
    draft: tuple[str, str],
    slot: int,
    layers: Sequence[int],
    run: Run,
    env: Mapping[str, str],
    binds: Sequence[Bind],
    output: Callable[[str], None],
    answer: str,
) -> str:
    """As Workshop.ask. `draft`: a name for the container, and a folder for what it writes."""
    step = Step(site, draft[1], slot, tuple(layers), run, env, "", "/", tuple(binds))
    code = step.execute(draft[0], output)
    if code:
        raise StepFailed(f"exit code {code}", code=code)
    root = os.open(step.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = open_beneath(root, answer.strip("/"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    finally:
        os.close(root)
    with open(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
            raise EngineError(f"read {answer}: it is no plain file, or larger than {_MOST >> 20} MiB")
        return stream.read().decode(errors="replace")
