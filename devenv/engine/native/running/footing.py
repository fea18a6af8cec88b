"""What a container stands on while it runs, besides its root: its place in the network, what it is lent, its doors; and the end of it all."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from devenv.beneath import remove_tree
from devenv.errors import EngineError
from devenv.model.container import ContainerSpec

from ..container.given import Place
from ..host import lent
from ..records import vault
from ..slot import doors, names, namespace, pool
from . import sweep
from .ground import Ground


def place(ground: Ground, identifier: str, spec: ContainerSpec, slot: int) -> tuple[Place, lent.Services]:
    """Where it is made, and what of the host's loopback it is lent while it runs: no more than it will be told of."""
    secrets = vault.given(ground.paths, spec.environment, spec.secrets, spec.name)
    network = ground.network()
    if network is None or spec.network == "none":
        return Place(identifier, slot, "", secrets=secrets), ()
    own = dict(spec.process.env)  # also the empty ones of `proxy: none`
    found = tuple(pair for pair in lent.proxy_variables(ground.env) if pair[0] not in own)
    proxies, loans = lent.through(found, network.gateway)
    hosts = names.ensure(ground.paths, spec.environment) if spec.service else ""
    return Place(identifier, slot, network.address(slot), proxies, network.gateway, hosts, secrets), loans


def open_doors(ground: Ground, spec: ContainerSpec, slot: int, loans: lent.Services) -> None:
    """What it is lent; its ports too, unless it shares them with others of its environment (joining.py)."""
    ports = () if spec.service else spec.ports
    doors.open_doors(ground.paths, ground.state, slot, ports, loans, mount_namespace=ground.host_namespace)


def clear(ground: Ground, identifier: str, slot: int, spec: ContainerSpec) -> None:
    """What a run of the container leaves in runtime and firewall is gone. One that has others stays among them (joining.py)."""
    ground.runtime(identifier, spec).delete(identifier)
    sweep.remove_cgroups(identifier)  # with what lives of a container that the runtime was made to forget
    if not spec.service:
        close_doors(ground, slot)


def close_doors(ground: Ground, slot: int) -> None:
    """Nothing leads to the slot any more: somebody else may get it. Many threads at once have it done together."""
    ground.leaving.add(slot)
    ground.together("doors").do(partial(_close_doors, ground))


def _close_doors(ground: Ground) -> None:
    gone = ground.leaving.copy()
    doors.close(ground.paths, ground.state, *gone, mount_namespace=ground.host_namespace)
    ground.leaving -= gone


def give_back(ground: Ground, identifier: str, slot: int, pid: int, start: int) -> None:
    """Nothing is lent any more to a container whose init has ended, unless somebody has started it anew meanwhile."""

    def ended() -> bool:
        query = "SELECT 1 FROM container WHERE id = ? AND pid = ? AND pid_start = ?"
        return ground.state.db.execute(query, (identifier, pid, start)).fetchone() is not None

    with suppress(EngineError):  # a firewall in trouble must not keep anybody from telling of a death
        doors.give_back(ground.paths, ground.state, slot, ended, mount_namespace=ground.host_namespace)


def wire(ground: Ground, identifier: str, slot: int) -> None:
    """Its slot is ready. After a reboot those of all of its environment become so by one process, whoever is first."""
    if not _wired(ground, slot):
        ground.together("wire").do(partial(_wire, ground, identifier))


def _wire(ground: Ground, identifier: str) -> None:
    rows = ground.state.db.execute(
        "SELECT slot FROM container WHERE environment = (SELECT environment FROM container WHERE id = ?)", (identifier,)
    ).fetchall()
    if bare := sorted(slot for (slot,) in rows if not _wired(ground, slot)):
        pool.rewire(ground.paths, bare, mount_namespace=ground.host_namespace)


def _wired(ground: Ground, slot: int) -> bool:
    return ground.state.slot_wired(slot) and namespace.is_pinned(ground.paths.slot(slot))


def leave(ground: Ground, identifier: str) -> None:
    """Nothing of it is on disk any more."""
    remove_tree(ground.paths.container(identifier))
    remove_tree(ground.paths.bundle(identifier))


def tend(ground: Ground) -> None:
    """As many slots as there should be are ready for others: the last thing a command does."""
    pool.tend(ground.paths, ground.state, mount_namespace=ground.host_namespace)
