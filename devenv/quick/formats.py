"""What is kept for the quick door, by those who take the long way: how a receipt and a door are written. Imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from devenv.engine import Pulse

VERSION = 8
"""Of the receipt's format: another one is not read."""

DOOR = "door 2"
"""What a door begins with, of this format."""


def relevant(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that what `up` wants depends on."""
    return {name: env[name] for name in ("USER", "HOME", "DEVENV_IDMAP", "DEVENV_PROFILES") if name in env}


def door(pulse: Pulse, services: Iterable[str] = ()) -> str:
    """How to enter a running container, as it is kept at paths.door(folder). `services` are those that have containers."""
    import json

    process = json.loads(pulse.process)
    own = {name: process.pop(name, None) for name in ("args", "cwd", "env", "terminal")}
    words = (pulse.container, pulse.pid, pulse.start, pulse.boot, pulse.runtime, pulse.path, pulse.workdir)
    described = (json.dumps(process), json.dumps(own["env"]))
    seen = {path: f"{device}:{inode}" for path, device, inode in pulse.sources}
    sources = (word for path, target in pulse.targets for word in (path, target, seen.get(path, "")))
    return "\0".join(map(str, (DOOR, " ".join(sorted(services)), *words, *described, *sources)))


def vital(pulse: Pulse) -> dict[str, Any]:
    """What of a pulse says, later, that the container runs as it does now."""
    kept = ("container", "pid", "start", "boot", "sources", "bridge")
    return {name: value for name, value in pulse._asdict().items() if name in kept}
