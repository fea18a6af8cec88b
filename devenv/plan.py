"""(desired, observed) → a Plan of explicit actions, `keep` among them, each with its reason. Pure: it can't act."""

from __future__ import annotations

from devenv.model.build import Configure, Keyed
from devenv.model.container import Container, State
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


def takedown(state: State, *, volumes: bool = False) -> Plan:
    """Remove the containers and forget the environment; its images stay in the store."""
    removals = tuple(Action("remove", known.name, "asked for", container=known.id) for known in state.containers)
    gone = state.volumes if volumes else ()
    reason = f"with its volumes: {', '.join(gone)}" if gone else "nothing of it is left"
    return Plan(state.environment, (*removals, Action("forget", "environment", reason, volumes=gone)))


def changes(before: Pairs, after: Pairs) -> tuple[Change, ...]:
    """The names whose values differ, in the order they stand in `after`, then those that went."""
    old, new = dict(before), dict(after)
    names = dict.fromkeys((*new, *old))
    return tuple(Change(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name))


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
        reason = f"{len(missing)} of {len(steps)} steps {_because(missing, first=not state.built)}"
    return Action("build", "image", reason, changes=causes, steps=steps)


def _because(missing: list[StepPlan], *, first: bool) -> str:
    if first:
        return "are new"
    causes = [f"{step.position} ({_names([one.name for one in step.changes])})" for step in missing if step.changes]
    return f"must run: {_names(causes, 2)} changed" if causes else f"must run: {missing[0].reason}"


def _configured(desired: Desired, state: State) -> str:
    """What of the image's configuration changed: steps without files."""
    before = dict(state.built)
    settings = [(at, keyed) for at, keyed in desired.steps if isinstance(keyed.step.operation, Configure)]
    found = [(at, _own(before[at], keyed)) for at, keyed in settings if at in before]
    names = [f"{at} ({_names([one.name for one in different])})" for at, different in found if different]
    return f"{_names(names)} changed" if names else "the image itself is not"


def _names(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _steps(desired: Desired, state: State, rebuild: bool) -> tuple[StepPlan, ...]:
    """Every step that leaves files behind, and whether it must run. Settings have no layer, and cost nothing."""
    before = dict(state.built)
    steps: list[StepPlan] = []
    dirty: dict[str | int, str] = {}  # result keys and stages that come out anew, and because of which step
    for position, keyed in desired.steps:
        if isinstance(keyed.step.operation, Configure):
            continue
        reason, own = ("asked for", ()) if rebuild else _reason(keyed, state, before.get(position), dirty)
        steps.append(StepPlan(position, keyed.step.text, not reason, reason or "in the store", own))
        if reason:
            # The first cause is what helps, not the last link of the chain to it.
            dirty[keyed.result] = dirty[keyed.stage] = reason.removeprefix(_FOLLOWS) if _FOLLOWS in reason else position
    return tuple(steps)


def _reason(
    keyed: Keyed, state: State, before: Pairs | None, dirty: dict[str | int, str]
) -> tuple[str, tuple[Change, ...]]:
    """Why a step must run, and its own inputs that changed; "" when the store has its result."""
    if keyed.key in state.cached:
        return "", ()
    own = () if before is None else _own(before, keyed)
    if own:
        return f"{_names([change.name for change in own])} changed", own
    causes = [dirty[above] for above in (keyed.parent, *keyed.needs) if above in dirty]
    if causes:
        return f"{_FOLLOWS}{causes[0]}", ()
    if before is None:
        return "new", ()
    return ("no longer in the store" if before == keyed.inputs else "what it is built on changed"), ()


def _own(before: Pairs, keyed: Keyed) -> tuple[Change, ...]:
    """What changed in the step itself; what came before it, or from another stage, is another step's reason."""
    found = changes(before, keyed.inputs)
    return tuple(change for change in found if change.name != "parent" and not change.name.startswith("stage "))


def _container(
    desired: Desired, state: State, container: Container | None, recreate: bool, rebuild: bool
) -> tuple[Action, ...]:
    spec = desired.spec
    if container is None:
        made = Action("create", spec.name, "there is none yet", spec=spec)
        return (made, *_fresh(desired))
    different = changes(container.inputs, spec.inputs)
    if not different and state.image not in ("", container.image):
        different = (Change("image", container.image, state.image),)
    if different or recreate or rebuild:
        names = _names([change.name for change in different])
        reason = f"{names} changed" if different else "asked for"
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
