"""What is to be done, and what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .container import ContainerSpec

Verb = Literal["build", "keep", "create", "replace", "start", "stop", "remove", "run-hook"]


@dataclass(frozen=True, slots=True)
class Change:
    """One input that differs: its name (`apt`, `env.DEBUG`, `requirements.txt`), before and after ("" for absent)."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do to one object, and why. `changes` are the inputs that caused it."""

    verb: Verb
    object: str
    reason: str
    changes: tuple[Change, ...] = ()
    command: str = ""
    spec: ContainerSpec | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order they would be done."""

    environment: str
    actions: tuple[Action, ...]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(action.verb == "keep" for action in self.actions)


@dataclass(frozen=True, slots=True)
class Result:
    """An action and how it went: seconds taken; `error` is "" when it worked."""

    action: Action
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All results, in order. `ok` when none failed."""

    environment: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        return not any(result.error for result in self.results)
