"""The state's rows, held against what the kernel says -> Environment, Container, Image. Changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Literal

from devenv.lives import alive, watched
from devenv.model.container import Container, Environment
from devenv.model.container import State as Observed
from devenv.model.image import Image
from devenv.model.manifest import Pairs
from devenv.model.plan import Record
from devenv.paths import Paths

from .container import bundle, monitor
from .record import pairs, spec_value, told_value
from .slot.address import Network
from .state import State
from .store.config import parse_config

HOOKS: dict[Literal["on_create", "on_start"], int] = {"on_create": 1, "on_start": 2}
"""How far a container's hooks have come, as the state counts it."""

FILES = "files "
"""How the names of what is told of an environment begin that are a folder's files; the others are records."""

_CONTAINER = "id, environment, image, slot, spec, created, hooks_done, pid, pid_start, boot, started, exit_code"

_IMAGE = "digest, key, layers, config, size, created"


def environment(state: State, folder: str, variant: str) -> Environment | None:
    row = state.db.execute(
        "SELECT id, name, folder, variant FROM environment WHERE folder = ? AND variant = ?", (folder, variant)
    ).fetchone()
    return None if row is None else Environment(*row)


def environments(state: State) -> tuple[Environment, ...]:
    rows = state.db.execute("SELECT id, name, folder, variant FROM environment ORDER BY name, folder, variant")
    return tuple(Environment(*row) for row in rows)


def containers(state: State, paths: Paths, network: Network | None, environment: str = "") -> tuple[Container, ...]:
    """Of one environment, or of all. A container runs when the very process that was recorded lives in this boot."""
    rows = state.db.execute(
        f"SELECT {_CONTAINER} FROM container WHERE ? IN ('', environment) ORDER BY environment, name", (environment,)
    ).fetchall()
    return tuple(_container(state, paths, network, row) for row in rows)


def container(state: State, paths: Paths, network: Network | None, identifier: str) -> Container | None:
    row = state.db.execute(f"SELECT {_CONTAINER} FROM container WHERE id = ?", (identifier,)).fetchone()
    return None if row is None else _container(state, paths, network, row)


def _container(state: State, paths: Paths, network: Network | None, row: Sequence[object]) -> Container:
    identifier, owner, image, slot, text, created, hooks_done, pid, start, boot, started, exit_code = row
    spec = spec_value(str(text))
    found = Container(
        id=str(identifier),
        environment=str(owner),
        name=spec.name,
        image=str(image),
        status="created",
        created=float(str(created)),
        ports=spec.ports,
        inputs=spec.inputs,
        hooks_done=int(str(hooks_done)) >= HOOKS["on_create"],
        start_hooks_done=int(str(hooks_done)) >= HOOKS["on_start"],
    )
    if started is None:
        return found
    found = found._replace(started=float(str(started)))
    lives = alive(int(str(pid)) if pid is not None else None, int(str(start or 0)), str(boot), state.boot)
    # Without its monitor nobody takes its output any more or learns how it ended: it has to be started anew.
    if lives and watched(paths.bundle(found.id)):
        address = network.address(int(str(slot))) if network and spec.network == "bridge" else ""
        lost = bundle.lost_source(paths.bundle(found.id))
        return found._replace(status="running", pid=int(str(pid)), address=address, lost=lost)
    # Only conmon knows the code of a container that ended by itself; after a power loss nobody does.
    code = exit_code if exit_code is not None else monitor.exit_code(paths.container(found.id), found.id)
    return found._replace(status="stopped", exit_code=None if code is None else int(str(code)))


def images(state: State) -> tuple[Image, ...]:
    names: dict[str, list[str]] = {}
    for name, digest in state.db.execute("SELECT name, digest FROM reference ORDER BY name"):
        names.setdefault(digest, []).append(name)
    rows = state.db.execute(f"SELECT {_IMAGE} FROM image ORDER BY created DESC, digest")
    return tuple(_image(row, names.get(row[0], ())) for row in rows)


def image(state: State, digest: str) -> Image | None:
    row = state.db.execute(f"SELECT {_IMAGE} FROM image WHERE digest = ?", (digest,)).fetchone()
    names = state.db.execute("SELECT name FROM reference WHERE digest = ? ORDER BY name", (digest,))
    return None if row is None else _image(row, [name for (name,) in names])


def _image(row: Sequence[Any], names: Sequence[str]) -> Image:
    digest, key, layers, config, size, created = row
    return Image(digest, tuple(names), parse_config(config.encode()), tuple(json.loads(layers)), created, size, key)


def observed(
    state: State, paths: Paths, network: Network | None, wanted: Environment, image_key: str, keys: Sequence[str]
) -> Observed:
    """All that `plan` wants to know of an environment."""
    row = state.db.execute("SELECT digest FROM image WHERE key = ? ORDER BY created DESC", (image_key,)).fetchone()
    found = {key: state.layer(key) for key in keys}
    return Observed(
        environment=wanted,
        containers=tuple(rooted(state, paths, container) for container in containers(state, paths, network, wanted.id)),
        cached=frozenset(key for key, layer in found.items() if layer is not None and whole(state, paths, layer)),
        image="" if row is None or not _usable(state, paths, row[0]) else row[0],
        built=recall(state, wanted.id),
        volumes=volumes(paths, wanted.id),
        files={} if row is not None else listings(state, wanted.id),  # read only where it is to be told what changed
    )


def whole(state: State, paths: Paths, layer: int) -> bool:
    """Whether the layer counts, and nobody removed or emptied its folder. One without any bytes may be empty by rights."""
    try:
        with os.scandir(paths.layer(layer)) as entries:
            filled = next(entries, None) is not None
    except OSError:
        return False
    size = state.layer_size(layer)
    return size is not None and (filled or size == 0)


def _usable(state: State, paths: Paths, digest: str) -> bool:
    row = state.db.execute("SELECT layers FROM image WHERE digest = ?", (digest,)).fetchone()
    return row is not None and all(whole(state, paths, layer) for layer in json.loads(row[0]))


def rooted(state: State, paths: Paths, container: Container) -> Container:
    """A container whose image was damaged has lost its root: it doesn't count as running, so that `up` starts it anew.

    Nor does one whose image has been mended since: it stands on the layers of before.
    """
    if container.status != "running" or (
        _usable(state, paths, container.image) and not _mended(state, paths, container)
    ):
        return container
    return container._replace(status="stopped", pid=None)


def _mended(state: State, paths: Paths, container: Container) -> bool:
    """Whether the image has other layers by now than those that the container was started on."""
    used, found = bundle.owner(paths.bundle(container.id)).layers, image(state, container.image)
    return bool(used) and found is not None and used != found.layers


def recall(state: State, environment: str) -> tuple[tuple[str, Pairs], ...]:
    # In the order they were written: the order of the build.
    rows = state.db.execute("SELECT position, inputs FROM built WHERE environment = ? ORDER BY rowid", (environment,))
    return tuple((position, pairs(json.loads(inputs))) for position, inputs in rows)


def listings(state: State, environment: str) -> dict[str, Pairs]:
    """Digest of what a step of the last build read of a folder -> the files it read."""
    rows = state.db.execute(
        "SELECT object, text FROM told WHERE environment = ? AND object LIKE ?", (environment, f"{FILES}%")
    )
    return {name.removeprefix(FILES): pairs(json.loads(text)) for name, text in rows}


def records(state: State, environment: str) -> tuple[Record, ...]:
    rows = state.db.execute(
        "SELECT text FROM told WHERE environment = ? AND object NOT LIKE ? ORDER BY object", (environment, f"{FILES}%")
    )
    return tuple(told_value(text) for (text,) in rows)


def stored(state: State, key: str) -> tuple[int, float] | None:
    layer = state.layer(key)
    row = state.db.execute("SELECT size, created FROM layer WHERE id = ?", (layer,)).fetchone()
    return None if row is None else (row[0], row[1])


def volumes(paths: Paths, environment: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(paths.volume(environment, ""))))
    except FileNotFoundError:
        return ()
