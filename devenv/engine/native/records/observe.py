"""The state's rows, held against what the kernel says -> Environment, Container, Image. Changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from devenv.lives import alive, held, watched
from devenv.model.container import Container, ContainerSpec, Environment, Health, ObservedImage, Supervisor
from devenv.model.container import State as Observed
from devenv.model.manifest import Pairs
from devenv.paths import Paths

from ..container import owning
from ..slot.address import Network
from .record import pairs, spec_value, told_value
from .state import State

if TYPE_CHECKING:  # `ps` shouldn't wait for it
    from devenv.model.image import Image
    from devenv.model.plan import Record

HOOKS: dict[Literal["on_create", "on_start"], int] = {"on_create": 1, "on_start": 2}
"""How far a container's hooks have come, as the state counts it."""

FILES = "files "
"""How the names of what is told of an environment begin that are a folder's files (`files IMAGE/DIGEST`); the others are records."""

_CONTAINER = (
    "id, environment, image, slot, spec, created, hooks_done, pid, pid_start, boot, started, exit_code, health, restarts,"
    " CASE WHEN stopped THEN NULL ELSE again END"
)

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
    identifier, owner, image, slot, text, created, hooks_done, pid, start, boot, started, exit_code, *more = row
    health, restarts, again = more
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
        service=spec.service,
        index=spec.index,
        restarts=int(str(restarts)),
    )
    if started is None:
        return found
    found = found._replace(started=float(str(started)))
    lives = alive(int(str(pid)) if pid is not None else None, int(str(start or 0)), str(boot), state.boot)
    # Without its monitor nobody takes its output any more or learns how it ended: it has to be started anew.
    if lives and watched(paths.bundle(found.id)):
        address = network.address(int(str(slot))) if network and spec.network == "bridge" else ""
        lost = owning.lost_source(paths.bundle(found.id))
        return found._replace(
            status="running", pid=int(str(pid)), address=address, lost=lost, health=_health(spec, str(health))
        )
    from ..container import monitor  # seldom: `ps` shouldn't wait for it

    # Only conmon knows the code of a container that ended by itself; after a power loss nobody does.
    code = exit_code if exit_code is not None else monitor.exit_code(paths.container(found.id), found.id)
    found = found._replace(status="stopped", exit_code=None if code is None else int(str(code)))
    if again is None or boot != state.boot:  # after a reboot nobody starts it but `up`
        return found
    return found._replace(status="restarting", again=float(str(again)))


def _health(spec: ContainerSpec, said: str) -> Health:
    """What was last written down; before the first check of one that has a health check, that it is starting."""
    if spec.healthcheck is None:
        return ""
    return "healthy" if said == "healthy" else "unhealthy" if said == "unhealthy" else "starting"


def supervisor(paths: Paths, environment: str) -> Supervisor | None:
    """What its file says: whoever holds its lock lives, and one that ends takes it away."""
    path = paths.supervisor(environment)
    with suppress(OSError, ValueError, IndexError), open(path, encoding="ascii") as file:
        return Supervisor(int(file.read().split()[0]), held(path), os.fstat(file.fileno()).st_mtime)
    return None


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
    from devenv.model.image import Image

    from ..store.config import parse_config

    digest, key, layers, config, size, created = row
    return Image(digest, tuple(names), parse_config(config.encode()), tuple(json.loads(layers)), created, size, key)


def observed(
    state: State,
    paths: Paths,
    network: Network | None,
    wanted: Environment,
    images: Mapping[str, str],
    keys: Sequence[str],
) -> Observed:
    """All that `plan` wants to know of an environment."""
    found = {key: state.layer(key) for key in keys}
    store = Stored(state, paths)
    return Observed(
        environment=wanted,
        containers=tuple(rooted(store, container) for container in containers(state, paths, network, wanted.id)),
        cached=frozenset(key for key, layer in found.items() if layer is not None and store.whole(layer)),
        images={name: _observed(store, wanted.id, name, key) for name, key in images.items()},
        volumes=volumes(paths, wanted.id),
    )


def _observed(store: Stored, environment: str, name: str, key: str) -> ObservedImage:
    digest = store.state.image_of(key)
    return ObservedImage(
        digest="" if digest is None or store.layers(digest) is None else digest,
        built=recall(store.state, environment, name),
        # Read only where it is to be told what changed.
        files={} if digest is not None else listings(store.state, environment, name),
    )


class Stored:
    """Which images can be used, as they are found at the first look: many containers have the same one."""

    def __init__(self, state: State, paths: Paths) -> None:
        self.state = state
        self.paths = paths
        self._layers: dict[str, tuple[int, ...] | None] = {}

    def layers(self, digest: str) -> tuple[int, ...] | None:
        """The layers of an image; None when it isn't there, or one of them isn't whole."""
        if digest not in self._layers:
            row = self.state.db.execute("SELECT layers FROM image WHERE digest = ?", (digest,)).fetchone()
            layers = None if row is None else tuple(json.loads(row[0]))
            self._layers[digest] = layers if layers is not None and all(map(self.whole, layers)) else None
        return self._layers[digest]

    def whole(self, layer: int) -> bool:
        return whole(self.state, self.paths, layer)


def whole(state: State, paths: Paths, layer: int) -> bool:
    """Whether the layer counts, and nobody removed or emptied its folder. One without any bytes may be empty by rights."""
    try:
        with os.scandir(paths.layer(layer)) as entries:
            filled = next(entries, None) is not None
    except OSError:
        return False
    size = state.layer_size(layer)
    return size is not None and (filled or size == 0)


def rooted(store: Stored, container: Container) -> Container:
    """A container whose image was damaged has lost its root: it doesn't count as running, so that `up` starts it anew.

    Nor does one whose image has been mended since: it stands on the layers of before.
    """
    if container.status != "running":
        return container
    layers, used = store.layers(container.image), owning.owner(store.paths.bundle(container.id)).layers
    if layers is not None and (not used or used == layers):
        return container
    return container._replace(status="stopped", pid=None)


def recall(state: State, environment: str, image: str) -> tuple[tuple[str, Pairs], ...]:
    # In the order they were written: the order of the build.
    rows = state.db.execute(
        "SELECT position, inputs FROM built WHERE environment = ? AND image = ? ORDER BY rowid", (environment, image)
    )
    return tuple((position, pairs(json.loads(inputs))) for position, inputs in rows)


def listings(state: State, environment: str, image: str) -> dict[str, Pairs]:
    """Digest of what a step of an image's last build read of a folder -> the files it read."""
    start = f"{FILES}{image}/"
    rows = state.db.execute(
        "SELECT object, text FROM told WHERE environment = ? AND object LIKE ?", (environment, f"{start}%")
    )
    return {name.removeprefix(start): pairs(json.loads(text)) for name, text in rows}


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
