"""What an image says about how its containers are run: its volumes, its stop signal."""

from __future__ import annotations

import os
import signal

from devenv.errors import EngineError
from devenv.model.container import ContainerSpec
from devenv.model.image import Image
from devenv.model.manifest import Pairs


def volumes(image: Image, spec: ContainerSpec) -> Pairs:
    """The image's VOLUMEs, named by their path, but for those where something else is mounted. Each replica has its own."""
    named = []
    own = f"{spec.name}." if spec.index else ""
    taken = {source.target for source in spec.sources} | {mount.target for mount in spec.mounts}
    for volume in image.config.volumes:
        path = os.path.normpath(f"/{volume.lstrip('/')}")
        if path == "/" or path.split("/")[1] in ("dev", "etc", "proc", "sys") or path == "/run":
            raise EngineError(
                f"use image: its VOLUME {volume} is a part of the system", hint="take it out of the image"
            )
        if path in taken:
            continue
        named.append((own + path[1:].replace("-", "--").replace("/", "-"), path))
    return tuple(named)


def stop_signal(name: str) -> int:
    """`SIGTERM`, `TERM` or `15` as a number; SIGTERM when nothing is said."""
    if name.isdecimal():
        return int(name)
    try:
        return signal.Signals[f"SIG{name.removeprefix('SIG')}"] if name else signal.SIGTERM
    except KeyError as error:
        raise EngineError(f"stop with {name}: no such signal") from error
