"""(Plan, Engine) → Report: the only loop that acts. A failure becomes a Result, and what follows is skipped."""

from __future__ import annotations

from collections.abc import Callable

from devenv.engine import Engine
from devenv.errors import CommandFailed, DevenvError, EngineError
from devenv.model.container import Process
from devenv.model.events import Event, Sink
from devenv.model.image import Image
from devenv.model.plan import Action, Plan, Report, Result

_GRACE = 0.1
"""Seconds for which a container that was just started is watched."""


def provision(plan: Plan, engine: Engine, build: Callable[[], Image], sink: Sink, clock: Callable[[], float]) -> Report:
    """Do the plan's actions in order. `build` makes the image when the plan asks for it; `clock` gives seconds.

    Anything but a DevenvError is a bug or an interruption and passes through.
    """
    engine.mend()
    worker = _Worker(plan, engine, build, sink)
    results: list[Result] = []
    failed = False
    for number, action in enumerate(plan.actions):
        if failed:
            results.append(Result(action, 0.0, skipped=True))
            continue
        begun = clock()
        error, code = _attempt(worker, number, action)
        seconds = clock() - begun
        failed = bool(error)
        results.append(Result(action, seconds, error, code))
        if action.verb not in ("keep", "build"):  # the builder tells of its own steps
            sink(Event("failed" if failed else "done", title(action), error, seconds))
    return Report(plan.environment, tuple(results))


def title(action: Action) -> str:
    """What an action is called in events: `create dev`, `on_create: python manage.py migrate`."""
    return f"{action.object}: {action.command}" if action.verb == "run-hook" else f"{action.verb} {action.object}"


def _attempt(worker: _Worker, number: int, action: Action) -> tuple[str, int]:
    """The error and its exit code, ("", 0) when the action was done."""
    try:
        worker.act(number, action)
    except CommandFailed as error:
        # A hook's own exit code is no exit code of ours: 2 or 3 would say something else.
        return str(error), 1
    except DevenvError as error:
        return str(error), error.exit_code
    return "", 0


class _Worker:
    """What the actions share: the doors, the image once it is there, and the container they are about."""

    def __init__(self, plan: Plan, engine: Engine, build: Callable[[], Image], sink: Sink) -> None:
        self.plan = plan
        self.engine = engine
        self.build = build
        self.sink = sink
        self.container = ""
        self.image = ""

    def act(self, number: int, action: Action) -> None:
        """Do one action. Raises DevenvError."""
        self.container = action.container or self.container
        if action.verb not in ("keep", "build"):
            self.sink(Event("started", title(action), action.reason))
        match action.verb:
            case "keep":
                if action.object == "image":
                    self._remember(self.plan.image)
            case "build":
                self._remember(self.build().digest)
            case "create":
                self._create(action)
            case "replace":
                assert action.spec is not None
                self.engine.check(action.spec)  # the old one runs on when there can't be a new one
                self.engine.remove(action.container)
                self._create(action)
            case "start":
                self._start(number, action)
            case "run-hook":
                self._hook(number, action)
            case "stop":
                self.engine.stop(action.container)
            case "remove":
                self.engine.remove(action.container)
            case "forget":
                self.engine.forget(self.plan.environment.id, volumes=bool(action.volumes))

    def _remember(self, image: str) -> None:
        self.image = image
        if self.plan.built:
            self.engine.register(self.plan.environment)
            self.engine.remember(self.plan.environment.id, self.plan.built, self.plan.files)

    def _create(self, action: Action) -> None:
        assert action.spec is not None
        self.engine.register(self.plan.environment)
        self.container = self.engine.create(action.spec._replace(image=self.image)).id

    def _start(self, number: int, action: Action) -> None:
        self.engine.start(self.container)
        self._alive(action.object, _GRACE)
        self._after(number, "start")

    def _alive(self, name: str, seconds: float) -> None:
        """A command that is wrong ends within this time; one that serves doesn't."""
        started = self.engine.watch(self.container, seconds)
        if started.status != "running":
            code = "" if started.exit_code is None else f" with exit code {started.exit_code}"
            said = "".join(f"\n  │ {line.text}" for line in self.engine.logs(self.container, tail=5))
            raise EngineError(
                f"start {name}: its command ended at once{code}{said}",
                hint="mend `command:` in devenv.yml; `devenv run -- sh` looks inside",
            )

    def _after(self, number: int, what: str) -> None:
        """Remember which hooks are done when no more of their kind follow."""
        later = {action.object for action in self.plan.actions[number + 1 :] if action.verb == "run-hook"}
        if what == "on_create" and "on_create" not in later:
            self.engine.hooks_done(self.container, "on_create")
        if not later:
            self.engine.hooks_done(self.container, "on_start")

    def _hook(self, number: int, action: Action) -> None:
        process = Process(argv=("/bin/sh", "-c", action.command))
        name = title(action)
        self._alive(self.plan.environment.name, 0)
        code = self.engine.execute(self.container, process, lambda line: self.sink(Event("output", name, line)))
        if code:
            raise CommandFailed(
                f"{name}: exit code {code}",
                code=code,
                hint="mend the command and run `devenv up` again; `devenv shell` gets you inside meanwhile",
            )
        self._after(number, action.object)
