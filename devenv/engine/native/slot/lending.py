"""What of the host a container is lent, made reachable from inside: services on the host's loopback answer at the gateway."""

from __future__ import annotations

from devenv.model.manifest import Pairs
from devenv.paths import Paths

from ..host import lent
from ..state import State
from . import pool
from .firewall import Lent


def reachable(paths: Paths, state: State, variables: Pairs, *, mount_namespace: int | None = None) -> Pairs:
    """The variables with URLs that work inside. A port is lent once; only the first time costs anything (0.3 s)."""
    found, ports = lent.through(variables, pool.network(paths, state).gateway)
    for port in ports:
        pool.lend(paths, state, Lent("tcp", port, "127.0.0.1"), mount_namespace=mount_namespace)
    return found
