"""What is wanted, what is to be done about it, and what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from .container import ContainerSpec, Environment
from .manifest import Hooks, Pairs

if TYPE_CHECKING:  # a plan can be made without it: the quick door must not wait for it
    from .build import Keyed

Built = Sequence[tuple[str, Pairs]]
"""(position, inputs): what a build is made from, by step."""

HOOKS = "hooks"
"""The position that the manifest's `hooks:` have among them."""

Verb = Literal["build", "keep", "create", "replace", "start", "stop", "remove", "forget", "run-hook"]


class Desired(NamedTuple):
    """What the manifest asks for. `steps` are (position, step), positions unique and stable (`apt:2`).

    `spec.image` may be "" while the image isn't built; `spec.inputs` has its key under `image`.
    """

    environment: Environment
    image_key: str
    steps: tuple[tuple[str, Keyed], ...]
    spec: ContainerSpec
    hooks: Hooks = Hooks()
    built: tuple[tuple[str, Pairs], ...] = ()
    """(position, inputs) of the steps, to be remembered: what changed is told by them next time.

    `STAGE:0` stands for what a stage starts from, `hooks` for the manifest's.
    """
    files: Mapping[str, Pairs] = MappingProxyType({})
    """Digest of what a step reads of a build context → (path, content) of the files in it."""


class Change(NamedTuple):
    """One input that differs: its name (`apt`, `env.DEBUG`, `requirements.txt`), before and after ("" for absent).

    `place` is where it is said (`devenv.yml:4:7`), as far as somebody looked.
    """

    name: str
    before: str
    after: str
    place: str = ""


class StepPlan(NamedTuple):
    """One build step: whether the store has its result, and if not, why it must run."""

    position: str
    text: str
    cached: bool
    reason: str
    changes: tuple[Change, ...] = ()
    key: str = ""
    seconds: float = 0.0
    """How long it ran, once it did."""
    outcome: Literal["", "failed", "skipped"] = ""
    """What became of it in a build that failed."""
    online: bool = False
    """It has network, so nobody can promise the same result twice."""


class Action(NamedTuple):
    """One thing to do to one object, and why. `changes` are the inputs that caused it.

    `container` is the id of the one acted on, "" when the plan makes it; `steps` those of a build;
    `volumes` the names of those that go with a `forget`.
    """

    verb: Verb
    object: str
    reason: str
    changes: tuple[Change, ...] = ()
    command: str = ""
    spec: ContainerSpec | None = None
    container: str = ""
    steps: tuple[StepPlan, ...] = ()
    volumes: tuple[str, ...] = ()


class Plan(NamedTuple):
    """Actions in the order they would be done. `image` is the digest in the store, "" when it must be built.

    `built` are the step inputs to remember once the image is there, with `files`; () when they are remembered already.
    """

    environment: Environment
    actions: tuple[Action, ...]
    image: str = ""
    built: tuple[tuple[str, Pairs], ...] = ()
    files: Mapping[str, Pairs] = MappingProxyType({})

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(action.verb == "keep" for action in self.actions)


class Result(NamedTuple):
    """An action and how it went: seconds taken; `error` is "" when it worked, `code` the exit code it calls for.

    `skipped` when an earlier one failed, and so this was never tried.
    """

    action: Action
    seconds: float
    error: str = ""
    code: int = 0
    skipped: bool = False


class Report(NamedTuple):
    """All results, in order. `ok` when none failed."""

    environment: Environment
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        return not any(result.error for result in self.results)

    @property
    def code(self) -> int:
        """The exit code: that of the first failure, 0 without one."""
        return next((result.code for result in self.results if result.error), 0)


class Record(NamedTuple):
    """What was last done to one thing of an environment (`image`, `dev`; `start dev`), when (Unix seconds), and why."""

    object: str
    verb: Verb
    reason: str
    when: float
    seconds: float = 0.0
    changes: tuple[Change, ...] = ()
    steps: tuple[StepPlan, ...] = ()
    error: str = ""
