"""What the command line says of containers → the services it is about, and the plan of what is to be done for what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from devenv.cli.project import BuildOptions
from devenv.cli.session import Session
from devenv.desired import selected
from devenv.errors import NotFound
from devenv.model.container import State
from devenv.model.manifest import Manifest, Service
from devenv.model.plan import Desired, Plan
from devenv.plan import plan


class Asked(NamedTuple):
    """`names` are the only services to be touched, `scale` their replicas."""

    recreate: bool = False
    wait: bool = True
    profiles: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    scale: Mapping[str, int] = MappingProxyType({})

    @property
    def plain(self) -> bool:
        """Whether it is what the manifest says, so that the next `up` says the same."""
        return not (self.profiles or self.names or self.scale)


def chosen_services(session: Session, manifest: Manifest, asked: Asked) -> tuple[Service, ...]:
    """The services to have, of profiles that the command line names or DEVENV_PROFILES does. Raises NotFound."""
    known = {profile for service in manifest.services for profile in service.profiles}
    for profile in asked.profiles:
        if profile not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise NotFound(f"profile {profile}: no service of devenv.yml has it", hint=f"its profiles: {listed}")
    more = session.env.get("DEVENV_PROFILES", "").replace(",", " ").split()
    return selected(manifest.services, (*asked.profiles, *more), asked.names)


def decide(wanted: Desired, state: State, options: BuildOptions, asked: Asked) -> Plan:
    """What is to be done, as things are."""
    only = {service.name for service in wanted.services} if asked.names else None
    return plan(wanted, state, rebuild=options.no_cache, recreate=asked.recreate, only=only, wait=asked.wait)
