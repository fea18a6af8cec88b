"""What is done at the same time → events: one thing under way for each service, whatever its containers go through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

from devenv.model.events import Event, Sink
from devenv.model.plan import Action, Plan, Result

from .acts import title

_GOING = {
    "create": "creating",
    "replace": "replacing",
    "start": "starting",
    "stop": "stopping",
    "remove": "removing",
}
_AWAITED = {"started": "starting", "healthy": "waiting until healthy", "completed": "waiting until completed"}
_DONE = {"create": "created", "replace": "created", "start": "running", "stop": "stopped", "remove": "removed"}
_READY = {"started": "running", "healthy": "healthy", "completed": "completed"}


class Progress:
    """Services under way: since when, what they have left to do, and where each container of theirs is."""

    def __init__(self, plan: Plan, sink: Sink, clock: Callable[[], float]) -> None:
        self.sink = sink
        self.clock = clock
        self.left = Counter(one.service for one in plan.actions if one.service and one.verb != "keep")
        self.needs = {one.object: _others(plan, one) for one in plan.actions if one.verb == "start"}
        self.begun: dict[str, float] = {}
        self.phases: dict[str, dict[str, str]] = {}
        self.failed: dict[str, str] = {}
        self.last: dict[str, str] = {}

    def going(self, action: Action) -> None:
        """It is under way."""
        if not action.service:
            self.sink(Event("started", title(action), action.reason))
            return
        if action.service not in self.begun:
            self.begun[action.service] = self.clock()
            self.sink(Event("started", action.service))
        self._phase(action, _AWAITED[action.until] if action.verb == "wait" else _GOING[action.verb])

    def ended(self, result: Result) -> None:
        """It was done, or not."""
        action = result.action
        if action.verb in ("keep", "build"):  # the builder tells of its own steps
            return
        if not action.service:
            if not result.skipped:
                self.sink(Event("failed" if result.error else "done", title(action), result.error, result.seconds))
            return
        if result.error or result.skipped:  # what wasn't reached isn't there either
            self.failed[action.service] = self.failed.get(action.service) or result.error
        self._phase(action, self._after(result))
        self.left[action.service] -= 1
        if not self.left[action.service] and action.service in self.begun:
            took = self.clock() - self.begun[action.service]
            kind: Literal["failed", "done"] = "failed" if action.service in self.failed else "done"
            self.sink(Event(kind, action.service, self.failed.get(action.service, ""), took))

    def _after(self, result: Result) -> str:
        action = result.action
        if result.error or result.skipped:
            return "failed" if result.error else self.phases.get(action.service, {}).get(action.object, "skipped")
        if action.verb in ("create", "replace") and (needs := self.needs.get(action.object)):
            return f"waiting for {needs}"
        return _READY[action.until] if action.verb == "wait" else _DONE[action.verb]

    def _phase(self, action: Action, phase: str) -> None:
        phases = self.phases.setdefault(action.service, {})
        phases[action.object] = phase
        counted = Counter(phases.values())
        text = ", ".join(f"{count} {one}" if len(phases) > 1 else one for one, count in sorted(counted.items()))
        if text != self.last.get(action.service) and action.service in self.begun:
            self.last[action.service] = text
            self.sink(Event("state", action.service, text))


def _others(plan: Plan, action: Action) -> str:
    """The other services that an action needs."""
    needed = (plan.actions[number].service for number in action.after or ())
    return ", ".join(dict.fromkeys(one for one in needed if one not in ("", action.service)))
