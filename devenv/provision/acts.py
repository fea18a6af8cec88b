"""One action of a plan → what the engine is asked to do. Raises DevenvError."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devenv.engine import Engine, Observer
from devenv.errors import CommandFailed, DevenvError, EngineError
from devenv.model.container import Container, Process
from devenv.model.events import Event, Sink
from devenv.model.image import Image
from devenv.model.plan import Action, Plan, PlannedImage

GRACE = 0.1
"""Seconds for which a container that was just started is watched: a command that is wrong ends within them."""

_KILLED = 128 + 9
"""A shell's exit code of what SIGKILL ended."""

_WORDS = 10
"""Lines that are shown of what a container said last."""


def title(action: Action) -> str:
    """What an action is called in events: `create workspace`, `on_create: python manage.py migrate`."""
    return f"{action.object}: {action.command}" if action.verb == "run-hook" else f"{action.verb} {action.object}"


def failure(work: Callable[..., object], *given: object) -> tuple[str, int]:
    """Do it: the error and its exit code, ("", 0) when it was done."""
    try:
        work(*given)
    except DevenvError as error:
        return told(error)
    return "", 0


def told(error: DevenvError) -> tuple[str, int]:
    """An error as a Result has it."""
    # A hook's own exit code is no exit code of ours: 2 or 3 would say something else.
    return str(error), 1 if isinstance(error, CommandFailed) else error.exit_code


def refused(plan: Plan, engine: Observer) -> dict[int, tuple[str, int]]:
    """What can't be made as things are, by number in the plan: why, and the exit code for that."""
    found = {}
    for number, action in enumerate(plan.actions):
        if action.spec is not None and action.verb in ("create", "replace"):
            error, code = failure(engine.check, action.spec)
            if error:
                found[number] = (error, code)
    return found


class Acts:
    """What the actions share: the doors, the images and the containers that are there by now."""

    def __init__(self, plan: Plan, engine: Engine, build: Callable[[str], Image], sink: Sink) -> None:
        self.plan = plan
        self.engine = engine
        self.build = build
        self.sink = sink
        self.digests: dict[str, str] = {}
        self.made: dict[str, str] = {}
        self.workspace = ""
        self.connected = False

    def act(self, number: int, action: Action) -> None:
        """Do one action to its end."""
        match action.verb:
            case "keep" | "build":
                self.keep_or_build(action)
            case "create":
                self.create([action])
            case "replace":
                self.engine.remove(action.container)
                self.create([action])
            case "start":
                self.connect_first()
                self.engine.start(self.container(action))
                self.engine.connect(self.plan.environment.id)  # its ports lead to it from when it runs
                self.alive(action, GRACE)
                self.after_start(number, action)
            case "run-hook":
                self.hook(number, action)
            case "stop":
                self.engine.stop(action.container)
            case "remove":
                self.engine.remove(action.container)
            case "forget":
                self.engine.forget(self.plan.environment.id, volumes=bool(action.volumes))
            case "wait":
                raise AssertionError("nothing can be waited for where all is done in turn")

    def container(self, action: Action) -> str:
        """The id of the one an action is about."""
        return action.container or self.made[action.object]

    def keep_or_build(self, action: Action) -> None:
        """An image is there, or is made; a container that is kept is known."""
        if not action.image or action.container:
            self.workspace = self.workspace if action.service else action.container
            return
        image = self.plan.images.get(action.image, PlannedImage())
        self.digests[action.image] = image.digest if action.verb == "keep" else self.build(action.image).digest
        if image.built:
            self.engine.register(self.plan.environment)
            self.engine.remember(self.plan.environment.id, image.built, image.files, action.image)

    def create(self, actions: Sequence[Action]) -> None:
        """Make the containers of these, all together."""
        self.engine.register(self.plan.environment)
        specs = [one.spec._replace(image=self.digests[one.image]) for one in actions if one.spec is not None]
        for container in self.engine.create(specs):
            self.made[container.name] = container.id
        self.connected = False

    def connect_first(self) -> None:
        """A container's names are there before its processes are."""
        if not self.connected:
            self.connected = True
            self.engine.connect(self.plan.environment.id)

    def alive(self, action: Action, seconds: float) -> None:
        """A command that is wrong ends within this time; one that serves doesn't."""
        found = self.engine.watch(self.container(action), seconds)
        if found.status != "running":
            raise self.ended(action, found, "ended at once")

    def ended(self, action: Action, found: Container, how: str) -> EngineError:
        """The error that a container's command has ended."""
        code = "" if found.exit_code is None else f" with exit code {found.exit_code}"
        key, look = "command:", "`devenv run -- sh` looks inside"
        if action.service:
            key, look = f"services.{action.service}.command", f"`devenv logs {action.object}` has all it said"
        said = self.last_words(found.id)
        verb = "wait for" if action.verb == "wait" else action.verb
        return EngineError(
            f"{verb} {action.object}: its command {how}{code}{said}", hint=f"mend `{key}` in devenv.yml; {look}"
        )

    def last_words(self, container: str) -> str:
        """The last lines of what it printed, as they stand beneath an error."""
        return "".join(f"\n  │ {line.text}" for line in self.engine.logs(container, tail=_WORDS))

    def after_start(self, number: int, action: Action) -> None:
        """A workspace without hooks is done with them."""
        if not action.service:
            self.workspace = self.container(action)
            self._after(number, "start")

    def hook(self, number: int, action: Action) -> None:
        """Run a hook in the workspace."""
        self.workspace = action.container or self.workspace
        process = Process(argv=("/bin/sh", "-c", action.command))
        name = title(action)
        self._goes_on(action, 0, "ended at once")
        code = self.engine.execute(self.workspace, process, lambda line: self.sink(Event("output", name, line)))
        if code:
            # With a container all that runs in it is killed: then the hook has done nothing wrong.
            self._goes_on(action, GRACE if code == _KILLED else 0, f"ended, while {name} ran,")
            raise CommandFailed(
                f"{name}: exit code {code}",
                code=code,
                hint="mend the command and run `devenv up` again; `devenv shell` gets you inside meanwhile",
            )
        self._after(number, action.object)

    def _goes_on(self, hook: Action, seconds: float, how: str) -> None:
        """The workspace's own command runs still. Raises EngineError."""
        found = self.engine.watch(self.workspace, seconds)
        if found.status != "running":
            raise self.ended(hook._replace(verb="start", object=found.name), found, how)

    def _after(self, number: int, what: str) -> None:
        """Remember which hooks are done when no more of their kind follow."""
        later = {action.object for action in self.plan.actions[number + 1 :] if action.verb == "run-hook"}
        if what == "on_create" and "on_create" not in later:
            self.engine.hooks_done(self.workspace, "on_create")
        if not later:
            self.engine.hooks_done(self.workspace, "on_start")
