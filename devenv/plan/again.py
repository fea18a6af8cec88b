"""Containers that are there → a Plan that stops and starts them as they are: no manifest is asked, nothing made anew. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from devenv.model.container import Container, ContainerSpec, State
from devenv.model.manifest import Condition, Hooks
from devenv.model.plan import Action, Plan

from .draft import Draft, needed, numbers
from .fate import Fate
from .hooks import hook_actions
from .services import UNTIL


def restart(state: State, chosen: Collection[str], specs: Mapping[str, ContainerSpec], hooks: Hooks) -> Plan:
    """Stop and start these (ids), each service once those that it depends on are ready, its replicas one after the other.

    `specs` are what they were made from, by id; `hooks` those that run as the workspace starts.
    """
    order = _Order(state, chosen, specs)
    for container in state.containers:
        order.service(container.service if container.index else "", container, ())
    workspace = next((one for one in order.chosen if one.service and not one.index), None)
    if workspace is not None:
        for action in hook_actions(hooks, Fate("start", "asked for", specs[workspace.id], workspace)):
            order.draft.add(action)
    return Plan(state.environment, tuple(order.draft.actions))


class _Order:
    """The plan in the making; what depends on what, and which of it is a one-shot, the containers themselves say."""

    def __init__(self, state: State, chosen: Collection[str], specs: Mapping[str, ContainerSpec]) -> None:
        self.draft = Draft()
        self.containers = state.containers
        self.chosen = [one for one in state.containers if one.id in chosen]
        self.specs = specs
        conditions = [pair for one in state.containers for pair in needed(one).items()]
        self.completed = {service for service, condition in conditions if condition == "completed"}
        self.ready: dict[str, tuple[int, ...]] = {}

    def service(self, name: str, container: Container, above: tuple[str, ...]) -> tuple[int, ...]:
        """The actions of a service (of a container alone, where it has none), after those of what it depends on."""
        key = name or container.name
        if key in self.ready or key in above:
            return self.ready.get(key, ())
        ours = [one for one in self.containers if (one.service if one.index else "") == name] if name else [container]
        there = {one.service: one for one in self.containers if one.index}
        needs = {service for one in ours if name for service in needed(one)}
        before = numbers(*(self.service(one, there[one], (*above, key)) for one in sorted(needs) if one in there))
        due = sorted((one for one in ours if one in self.chosen), key=lambda one: one.index)
        ready = before
        for one in due:
            ready = numbers(before, self._again(one, name, ready, gate=len(due) > 1))
        self.ready[key] = ready
        return ready

    def _again(self, one: Container, service: str, after: tuple[int, ...], *, gate: bool) -> tuple[int, ...]:
        """Stop it, start it, wait for it; the numbers of what its next ones need."""
        spec = self.specs[one.id]
        about = Action("stop", one.name, "asked for", container=one.id, service=service, after=after)
        if one.status in ("running", "restarting"):
            about = about._replace(after=(self.draft.add(about),))
        started = self.draft.add(about._replace(verb="start", spec=spec))
        until: Condition = "healthy" if spec.healthcheck else "started"
        until = "completed" if service in self.completed else until
        if until == "started" and not gate:
            return (started,)
        wait = about._replace(verb="wait", reason=UNTIL[until], spec=spec, until=until, after=(started,))
        return (started, self.draft.add(wait))
