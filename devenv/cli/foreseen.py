"""The manifest, and of its lock as much as is known → what `up` would do, and what it would fail with. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from devenv.cli import secrets
from devenv.cli.asked import Asked, chosen_services, decide
from devenv.cli.locking import expected
from devenv.cli.project import BuildOptions, desire, home, observe, prepare_all
from devenv.cli.session import Session, Window
from devenv.cli.telling import placed
from devenv.engine import Observer
from devenv.model.container import State
from devenv.model.manifest import Manifest
from devenv.model.plan import Desired, Plan, Report
from devenv.provision import refusal

if TYPE_CHECKING:
    from devenv.build.prepare import Prepared


class Foreseen(NamedTuple):
    """What would be built, by image; what is wanted and what is there; what would be done; the secrets as they are now."""

    prepared: Mapping[str, Prepared]
    wanted: Desired
    state: State
    decided: Plan
    given: secrets.Read


def foresee(session: Session, manifest: Manifest, machine: Window, options: BuildOptions, asked: Asked) -> Foreseen:
    """Look ahead. Raises InputError, NotFound."""
    section = expected(manifest, machine, options)
    services = chosen_services(session, manifest, asked)
    prepared = prepare_all(manifest._replace(services=services), section, machine, options)
    given = secrets.read(manifest, session.env)
    prints = given.fingerprints(machine.engine)
    wanted = desire(manifest, prepared, section, home(machine, manifest), machine, services, prints)
    state = observe(machine, wanted)
    return Foreseen(prepared, wanted, state, placed(decide(wanted, state, options, asked), manifest, wanted), given)


def certain(decided: Plan, state: State) -> Plan:
    """The same but for what runs: as long as the lock isn't as the manifest asks for, that may turn out to be kept."""
    running = {one.id for one in state.containers if one.status == "running"}
    return decided._replace(actions=tuple(one for one in decided.actions if one.container not in running))


def failures(decided: Plan, wanted: Desired, given: secrets.Read, engine: Observer) -> tuple[str, ...]:
    """What it would fail with as things are: a secret that can't be read, a port that somebody has, a folder that isn't there."""
    told = [fault.message for fault in given.missing(secrets.asked(wanted, decided))]
    refused = refusal(decided, engine) or Report(decided.environment, ())
    told += [result.error for result in refused.results if result.error]
    return tuple(dict.fromkeys(f"`up` would fail: {one}" for one in told))
