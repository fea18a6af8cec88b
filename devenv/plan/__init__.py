"""(desired, observed) → a Plan of explicit actions, `keep` among them, each with its reason. Pure: it can't act."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from devenv.model.container import Container, Environment, ObservedImage, State
from devenv.model.image import PROJECT
from devenv.model.plan import Action, Desired, Plan, PlannedImage, WantedImage

from .again import restart as restart
from .draft import Draft, backwards
from .fate import Fate, fate
from .hooks import hook_actions, hooks_changed, later
from .image import image_action
from .services import Services, fated


def plan(
    desired: Desired,
    state: State,
    *,
    rebuild: bool = False,
    recreate: bool = False,
    only: Collection[str] | None = None,
    wait: bool = True,
) -> Plan:
    """What must be done so that what is wanted is what is observed.

    `rebuild` builds and replaces whatever the store holds; `recreate` replaces containers though nothing changed. `only`:
    these services, and nothing else is touched. Without `wait`, services are waited for only where others need it.
    """
    draft = Draft()
    services = [one for one in desired.services if only is None or one.name in only]
    names = {*(() if only is not None else (PROJECT,)), *(one.image for one in services)}
    wanted = [one for one in desired.images if one.name in names]
    images = {
        one.name: draft.add(image_action(one, _found(one, state), state.cached, rebuild=rebuild)) for one in wanted
    }
    removals = _unwanted(draft, desired, state, only)
    known = {container.name: container for container in state.containers}
    digests = {one.name: _found(one, state).digest for one in wanted}
    anew = recreate or rebuild
    workspace = fate(desired.spec, known.get(desired.spec.name), digests.get(PROJECT, ""), anew=anew)
    if only is None:
        _workspace(draft, desired, state, workspace, (images[PROJECT], *removals))
    found = fated(services, known, digests, anew=anew)
    order = Services(draft, found, images, removals, wait=wait)
    for one in found:
        order.add(one)
    for action in hook_actions(desired.hooks, workspace) if only is None else ():
        draft.add(action)
    return Plan(
        desired.environment,
        tuple(draft.actions),
        {one.name: _planned(one, _found(one, state), rebuild=rebuild) for one in wanted},
    )


def halt(state: State) -> Plan:
    """Stop what runs of these containers: first what depends on others' services."""
    draft = Draft()
    actions = {
        known.id: Action("stop", known.name, "asked for", container=known.id, service=_service(known))
        if known.status in ("running", "restarting")
        else Action("keep", known.name, "it isn't running", container=known.id, service=_service(known))
        for known in state.containers
    }
    backwards(draft, actions, state.containers)
    return Plan(state.environment, tuple(draft.actions))


def removal(home: Environment, container: Container) -> Plan:
    """Remove one container; the environment stays."""
    return Plan(home, (Action("remove", container.name, "asked for", container=container.id),))


def takedown(state: State, *, volumes: bool = False) -> Plan:
    """Remove the containers and forget the environment; its images stay in the store."""
    draft = Draft()
    removals = {
        known.id: Action("remove", known.name, "asked for", container=known.id, service=_service(known))
        for known in state.containers
    }
    backwards(draft, removals, state.containers)
    gone = state.volumes if volumes else ()
    named = ", ".join(state.volumes)
    stays = f"its volumes stay, until `down --volumes`: {named}" if named else "nothing of it is left"
    reason = f"with its volumes: {named}" if gone else stays
    draft.add(Action("forget", "environment", reason, volumes=gone))
    return Plan(state.environment, tuple(draft.actions))


def _found(wanted: WantedImage, state: State) -> ObservedImage:
    return state.images.get(wanted.name, ObservedImage())


def _planned(wanted: WantedImage, found: ObservedImage, *, rebuild: bool) -> PlannedImage:
    known = wanted.built == found.built
    return PlannedImage("" if rebuild else found.digest, () if known else wanted.built, {} if known else wanted.files)


def _service(container: Container) -> str:
    """The service it is a replica of, "" for the workspace."""
    return container.service if container.index else ""


def _unwanted(draft: Draft, desired: Desired, state: State, only: Collection[str] | None) -> tuple[int, ...]:
    """Remove the replicas that aren't wanted any more; what `run --keep` left is nobody's."""
    services = {one.name: one for one in desired.services}
    wanted = {desired.spec.name, *(spec.name for one in desired.services for spec in one.specs)}

    def reason(service: str) -> str:
        if service in services:
            return f"replicas: {len(services[service].specs)}"
        return "its profiles aren't asked for" if service in desired.idle else "devenv.yml no longer has it"

    gone = [
        known
        for known in state.containers
        if known.service and known.name not in wanted and (only is None or known.service in only)
    ]
    actions = {
        known.id: Action("remove", known.name, reason(known.service), container=known.id, service=_service(known))
        for known in gone
    }
    before = len(draft.actions)
    backwards(draft, actions, gone)
    return tuple(range(before, len(draft.actions)))


def _workspace(draft: Draft, desired: Desired, state: State, one: Fate, after: Sequence[int]) -> None:
    if one.verb == "keep":
        changes = hooks_changed(desired.images[0], _found(desired.images[0], state))
        reason = f"it runs, and {later(changes) or 'nothing changed'}"
        draft.add(one.action(PROJECT, ())._replace(reason=reason, changes=changes))
        return
    made = draft.add(one.action(PROJECT, tuple(after)))
    if one.made:
        draft.add(Action("start", one.spec.name, "it is new", spec=one.spec, after=(made,)))
