"""(desired, observed) → a Plan of explicit actions, `keep` among them, each with its reason. Pure: it can't act."""

from __future__ import annotations

from collections.abc import Iterable

from devenv.changes import differences, shortened, told
from devenv.model.container import Container, Environment, State
from devenv.model.manifest import FROM_LOCK, Pairs
from devenv.model.plan import HOOKS, Action, Change, Desired, Plan
from devenv.reasons import NEW, compare, others, steps


def plan(desired: Desired, state: State, *, rebuild: bool = False, recreate: bool = False) -> Plan:
    """What must be done so that what is wanted is what is observed.

    `rebuild` builds and replaces whatever the store holds; `recreate` replaces the container though nothing changed.
    """
    container = next((known for known in state.containers if known.name == desired.spec.name), None)
    actions = (_image(desired, state, rebuild), *_container(desired, state, container, recreate, rebuild))
    known = desired.built == state.built
    return Plan(
        environment=desired.environment,
        actions=actions,
        image="" if rebuild else state.image,
        built=() if known else desired.built,
        files={} if known else desired.files,
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
    compared = compare(desired, state)
    found = steps(desired, state, compared)
    if rebuild:
        found = tuple(step._replace(cached=False, reason="asked for", changes=()) for step in found)
        return Action("build", "image", "asked for", steps=found)
    told = [*((step.position, step.changes) for step in found), *others(desired, compared)]
    changes = tuple(dict.fromkeys(change for _, some in told for change in some))
    missing = [step for step in found if not step.cached]
    causes = _causes(told) + [f"{step.position} is new" for step in missing if step.reason == NEW]
    if state.image:
        # Nothing is built, though it may be another image than the last one: it was built before, or elsewhere.
        there = f"it is in the store already: {shortened(causes)}" if changes else "nothing it is made of changed"
        reason = there if state.built or not desired.built else "it is in the store already"
        return Action("keep", "image", reason, changes=changes, steps=found if changes else ())
    if missing:
        why = shortened(causes) or missing[0].reason if state.built else "there is none yet"
        reason = f"{_counted(len(missing), len(found))}: {why}"
    else:
        reason = f"every step is in the store, {shortened(causes) or 'the image itself is not'}"
    return Action("build", "image", reason, changes=changes, steps=found)


def _counted(some: int, all_of_them: int) -> str:
    if some < all_of_them:
        return f"{some} of {all_of_them} steps"
    return f"all {some} steps" if some > 1 else "its one step"


def _causes(found: Iterable[tuple[str, tuple[Change, ...]]]) -> list[str]:
    """What changed, and where, each thing once."""
    known: set[Change] = set()
    causes = []
    for place, changes in found:
        fresh = tuple(change for change in changes if change not in known)
        # The packages that come with a list are told by the list, also where another step told that already.
        if any(change.name != FROM_LOCK for change in fresh) or (fresh and len(fresh) == len(changes)):
            causes.append(_cause(place, fresh))
        known.update(fresh)
    return causes


def _cause(place: str, changes: tuple[Change, ...]) -> str:
    """What changed, and where, unless its name says so: `apt +git`, but `python: requirements.txt edited`."""
    words = told(changes)
    name = changes[0].name
    parts = place.partition(" ")[0].split("-")
    named = not place or name in ("from", place) or name.partition(".")[0] in parts
    return words if (named and name != FROM_LOCK) or not place else f"{place}: {words}"


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
        reason = told(different) if different else lost
        made = Action("replace", spec.name, reason, changes=different, spec=spec, container=container.id)
        return (made, *_fresh(desired))
    return _kept(desired, container, dict(state.built).get(HOOKS))


def _fresh(desired: Desired) -> tuple[Action, ...]:
    """What follows a container that was just made."""
    name = desired.spec.name
    return (
        Action("start", name, "it is new"),
        *(Action("run-hook", "on_create", "the container is new", command=hook) for hook in desired.hooks.on_create),
        *(Action("run-hook", "on_start", "it was started", command=hook) for hook in desired.hooks.on_start),
    )


def _kept(desired: Desired, container: Container, before: Pairs | None) -> tuple[Action, ...]:
    """`before`: the hooks as they were last time, None when nobody wrote them down."""
    hooks = desired.hooks
    changes = () if before is None else differences(before, dict(desired.built).get(HOOKS, ()))
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
        reason = f"it runs, and {_later(changes) or 'nothing changed'}"
        first = Action("keep", container.name, reason, changes=changes, container=container.id)
    else:
        first = Action("start", container.name, _why_stopped(container), container=container.id)
    return (first, *created, *started)


def _later(changes: tuple[Change, ...]) -> str:
    """Changed hooks replace nothing: when they will run."""
    when = {"hooks.on_create": "the next new container (up --recreate)", "hooks.on_start": "the next start"}
    return ", ".join(f"{told([change])}, from {when[change.name]} on" for change in changes)


def _why_stopped(container: Container) -> str:
    if container.status == "created" or container.started is None:
        return "it was never started"
    if container.exit_code is None:
        return "it was cut off: the host restarted, or its monitor was killed"
    if container.exit_code in (0, 130, 137, 143):
        return "it was stopped"
    return f"its command ended with exit code {container.exit_code}"
