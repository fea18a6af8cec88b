"""What is wanted, what is to be done about it, and what was done."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from .container import ContainerSpec, Environment
from .manifest import Condition, Dependency, Hooks, Pairs

if TYPE_CHECKING:  # a plan can be made without it: the quick door must not wait for it
    from .build import Keyed

Built = Sequence[tuple[str, Pairs]]
"""(position, inputs): what a build is made from, by step."""

HOOKS = "hooks"
"""The position that the manifest's `hooks:` have among them."""

DEPENDS_ON = "depends_on"
"""The input of a container that says which services it starts after, so that it is stopped before them: `db, migrate (completed)`.

It replaces nothing.
"""

UNREAD = "unread"
"""The input that a secret is as long as nobody can read it: what was given another one before keeps that."""

Verb = Literal["build", "keep", "create", "replace", "start", "wait", "stop", "remove", "forget", "run-hook", "lock"]


class WantedImage(NamedTuple):
    """An image to have. `name`: PROJECT, or the service's. `steps` are (position, step), positions unique and stable (`apt:2`)."""

    name: str
    key: str
    steps: "tuple[tuple[str, Keyed], ...]" = ()
    built: tuple[tuple[str, Pairs], ...] = ()
    """(position, inputs) of the steps, to be remembered: what changed is told by them next time.

    `STAGE:0` stands for what a stage starts from, `hooks` (of the project's) for the manifest's.
    """
    files: Mapping[str, Pairs] = MappingProxyType({})
    """Digest of what a step reads of a build context → (path, content) of the files in it."""


class WantedService(NamedTuple):
    """A service to have: its replicas, `image` the name of the WantedImage they run.

    `awaited`: the strongest of what others, or `up` itself, wait for; `healthy` where it has a health check.
    """

    name: str
    image: str
    specs: tuple[ContainerSpec, ...]
    depends_on: tuple[Dependency, ...] = ()
    awaited: Condition = "started"


class Desired(NamedTuple):
    """What the manifest asks for. `images` begin with the project's; `spec` is the workspace, which runs that.

    `spec.image` is "" while the image isn't built, that of services too; `spec.inputs` has its key under `image`.
    """

    environment: Environment
    images: tuple[WantedImage, ...]
    spec: ContainerSpec
    hooks: Hooks = Hooks()
    services: tuple[WantedService, ...] = ()
    idle: tuple[str, ...] = ()
    """Names of the manifest's other services, whose profiles aren't asked for."""


class Change(NamedTuple):
    """One input that differs: its name (`apt`, `env.DEBUG`, `requirements.txt`), before and after ("" for absent).

    `place` is where it is said (`devenv.yml:4:7`), as far as somebody looked.
    """

    name: str
    before: str
    after: str
    place: str = ""


Ending = Literal["", "failed", "stopped", "skipped"]
"""How a step ended: well, by a failure of its own, because of another's or of an interruption; or it was never come to."""


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
    outcome: Ending = ""
    """What became of it in a build that failed."""
    online: bool = False
    """It has network, so nobody can promise the same result twice."""


class Action(NamedTuple):
    """One thing to do to one object, and why. `changes` are the inputs that caused it.

    `container` is the id of the one acted on, "" when the plan makes it: then `object` is its name; `steps` those of a build;
    `volumes` the names of those that go with a `forget`. `image` is the name of the WantedImage that is built or kept, or
    that a new container runs. `service` is the one that the container is a replica of, "" for the workspace.
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
    image: str = ""
    until: Condition = "started"
    """What a `wait` waits for; its `spec` has the health check, that of a `start` the command."""
    after: tuple[int, ...] | None = None
    """Numbers, in the plan, of the actions that must have been done; None: all before it."""
    service: str = ""


class PlannedImage(NamedTuple):
    """An image as a plan finds it: its digest in the store, "" when it must be built.

    `built` are the step inputs to remember once it is there, with `files`; () when they are remembered already.
    """

    digest: str = ""
    built: tuple[tuple[str, Pairs], ...] = ()
    files: Mapping[str, Pairs] = MappingProxyType({})


class Plan(NamedTuple):
    """Actions, each after those it needs: those that don't need each other are done at the same time. `images` by name."""

    environment: Environment
    actions: tuple[Action, ...]
    images: Mapping[str, PlannedImage] = MappingProxyType({})

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
