"""(desired, observed) → a Plan of explicit actions, `keep` among them, each with its reason. Pure: it can't act."""

from __future__ import annotations

from collections.abc import Sequence

from devenv.changes import alike, brief, differences, own
from devenv.model.build import Configure, Keyed
from devenv.model.container import Container, Environment, State
from devenv.model.manifest import Pairs
from devenv.model.plan import Action, Change, Desired, Plan, StepPlan

_FOLLOWS = "follows "


def plan(desired: Desired, state: State, *, rebuild: bool = False, recreate: bool = False) -> Plan:
    """What must be done so that what is wanted is what is observed.

    `rebuild` builds and replaces whatever the store holds; `recreate` replaces the container though nothing changed.
    """
    container = next((known for known in state.containers if known.name == desired.spec.name), None)
    actions = (_image(desired, state, rebuild), *_container(desired, state, container, recreate, rebuild))
    return Plan(
        environment=desired.environment,
        actions=actions,
        image="" if rebuild else state.image,
        built=() if desired.built == state.built else desired.built,
    )


def halt(state: State) -> Plan:
    """Stop what runs."""
    actions = tuple(
        Action("stop", known.name, "asked for", container=known.id)
        if known.status == "running"
        else Action("keep", known.name, "it isn't running", container=known.id)
        for known in state.containers
    )
    return Plan(state.environment, actions)


def removal(home: Environment, container: Container) -> Plan:
    """Remove one container; the environment stays."""
    return Plan(home, (Action("remove", container.name, "asked for", container=container.id),))


def takedown(state: State, *, volumes: bool = False) -> Plan:
    """Remove the containers and forget the environment; its images stay in the store."""
    removals = tuple(Action("remove", known.name, "asked for", container=known.id) for known in state.containers)
    gone = state.volumes if volumes else ()
    named = ", ".join(state.volumes)
    stays = f"its volumes stay, until `down --volumes`: {named}" if named else "nothing of it is left"
    reason = f"with its volumes: {named}" if gone else stays
    return Plan(state.environment, (*removals, Action("forget", "environment", reason, volumes=gone)))


def _image(desired: Desired, state: State, rebuild: bool) -> Action:
    if state.image and not rebuild:
        return Action("keep", "image", "nothing it is made of changed")
    steps = _steps(desired, state, rebuild)
    missing = [step for step in steps if not step.cached]
    causes = tuple(change for step in missing for change in step.changes)
    if rebuild:
        reason = "asked for"
    elif not missing:
        reason = f"every step is in the store, {_configured(desired, state)}"
    else:
        reason = f"{_counted(len(missing), len(steps))}: {_because(missing, first=not state.built)}"
    return Action("build", "image", reason, changes=causes, steps=steps)


def _because(missing: list[StepPlan], *, first: bool) -> str:
    if first:
        return "there is none yet"
    causes = [_cause(step.position, step.changes) for step in missing if step.changes]
    return _names(causes, 3) or missing[0].reason


def _counted(some: int, all_of_them: int) -> str:
    if some < all_of_them:
        return f"{some} of {all_of_them} steps"
    return f"all {some} steps" if some > 1 else "its one step"


def _cause(place: str, changes: tuple[Change, ...]) -> str:
    """What changed, and where, unless its name says so: `apt +git`, but `python: requirements.txt edited`."""
    words = _names([brief(change) for change in changes])
    named = changes[0].name.partition(".")[0] in place.partition(" ")[0].split("-")
    return words if named else f"{place}: {words}"


def _configured(desired: Desired, state: State) -> str:
    """What of the image's configuration changed: steps without files."""
    before = dict(state.built)
    settings = [(at, keyed) for at, keyed in desired.steps if isinstance(keyed.step.operation, Configure)]
    found = [(_place(at, keyed), own(before[at], keyed.inputs)) for at, keyed in settings if at in before]
    names = [_cause(place, different) for place, different in found if different]
    return _names(names) or "the image itself is not"


def _place(position: str, keyed: Keyed) -> str:
    return keyed.step.place or position


def _names(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _steps(desired: Desired, state: State, rebuild: bool) -> tuple[StepPlan, ...]:
    """Every step that leaves files behind, and whether it must run. Settings have no layer, and cost nothing."""
    before = dict(state.built)
    steps: list[StepPlan] = []
    dirty: dict[str | tuple[str, int], str] = {}  # result keys and stages that come out anew, and because of which step
    for position, keyed in desired.steps:
        if isinstance(keyed.step.operation, Configure):
            continue
        graph = position.rpartition("/")[0]  # of a base that is itself built: its stages are counted apart
        above = (keyed.parent, *((graph, stage) for stage in keyed.needs))
        reason, changes = _reason(keyed, state, before.get(position), [dirty[one] for one in above if one in dirty])
        if rebuild:
            reason, changes = "asked for", ()
        place = _place(position, keyed)
        steps.append(StepPlan(place, keyed.step.words, not reason, reason or "in the store", changes))
        if reason:
            # The first cause is what helps, not the last link of the chain to it.
            cause = reason.removeprefix(_FOLLOWS) if _FOLLOWS in reason else place
            dirty[keyed.result] = dirty[graph, keyed.stage] = cause
    return tuple(steps)


def _reason(keyed: Keyed, state: State, before: Pairs | None, causes: Sequence[str]) -> tuple[str, tuple[Change, ...]]:
    """Why a step must run, and its own inputs that changed; "" when the store has its result."""
    if keyed.key in state.cached:
        return "", ()
    if before is not None and not alike(before, keyed.inputs):
        before = None  # one was put in between: what stood at this place is another step
    changes = () if before is None else own(before, keyed.inputs)
    if changes:
        return _names([brief(change) for change in changes]), changes
    if causes:
        return f"{_FOLLOWS}{causes[0]}", ()
    if before is None:
        return "new", ()
    return ("no longer in the store" if not differences(before, keyed.inputs) else "what it is built on changed"), ()


def _container(
    desired: Desired, state: State, container: Container | None, recreate: bool, rebuild: bool
) -> tuple[Action, ...]:
    spec = desired.spec
    if container is None:
        made = Action("create", spec.name, "there is none yet", spec=spec)
        return (made, *_fresh(desired))
    different = differences(container.inputs, spec.inputs)
    if not different and state.image not in ("", container.image):
        different = (Change("image", container.image, state.image),)
    if different or recreate or rebuild or container.lost:
        # A folder made anew is a new project: what on_create did in it is gone, so a restart wouldn't do.
        lost = f"the folder {container.lost} was made anew" if container.lost else "asked for"
        reason = _names([brief(change) for change in different]) if different else lost
        made = Action("replace", spec.name, reason, changes=different, spec=spec, container=container.id)
        return (made, *_fresh(desired))
    return _kept(desired, container)


def _fresh(desired: Desired) -> tuple[Action, ...]:
    """What follows a container that was just made."""
    name = desired.spec.name
    return (
        Action("start", name, "it is new"),
        *(Action("run-hook", "on_create", "the container is new", command=hook) for hook in desired.hooks.on_create),
        *(Action("run-hook", "on_start", "it was started", command=hook) for hook in desired.hooks.on_start),
    )


def _kept(desired: Desired, container: Container) -> tuple[Action, ...]:
    hooks = desired.hooks
    created: tuple[Action, ...] = ()
    if not container.hooks_done:
        why = "it hasn't run to its end in this container"
        created = tuple(
            Action("run-hook", "on_create", why, command=hook, container=container.id) for hook in hooks.on_create
        )
    running = container.status == "running"
    started: tuple[Action, ...] = ()
    if not running or not container.start_hooks_done:
        why = "it hasn't run to its end since the start" if running else "it was started"
        started = tuple(
            Action("run-hook", "on_start", why, command=hook, container=container.id) for hook in hooks.on_start
        )
    if running:
        first = Action("keep", container.name, "it runs, and nothing changed", container=container.id)
    else:
        first = Action("start", container.name, _why_stopped(container), container=container.id)
    return (first, *created, *started)


def _why_stopped(container: Container) -> str:
    if container.status == "created" or container.started is None:
        return "it was never started"
    if container.exit_code is None:
        return "it was cut off: the host restarted, or its monitor was killed"
    if container.exit_code in (0, 130, 137, 143):
        return "it was stopped"
    return f"its command ended with exit code {container.exit_code}"
