"""What becomes of the workspace → which hooks run, and why; and what is told of those that changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from devenv.changes import differences, told
from devenv.model.container import ObservedImage
from devenv.model.manifest import Hooks
from devenv.model.plan import HOOKS, Action, Change, WantedImage

from .fate import Fate


def hook_actions(hooks: Hooks, one: Fate) -> Iterator[Action]:
    """Hooks of the workspace, the last of all that is done."""
    known = None if one.made else one.known
    identifier = known.id if known else ""
    on_create = on_start = ""
    if known is None:
        on_create, on_start = "the container is new", "it was started"
    else:
        if not known.hooks_done:
            on_create = "it hasn't run to its end in this container"
        if not one.runs:
            on_start = "it was started"
        elif not known.start_hooks_done:
            on_start = "it hasn't run to its end since the start"
    for name, reason in (("on_create", on_create), ("on_start", on_start)):
        for hook in getattr(hooks, name) if reason else ():
            yield Action("run-hook", name, reason, command=hook, container=identifier)


def hooks_changed(wanted: WantedImage, found: ObservedImage) -> tuple[Change, ...]:
    """Nothing is told of hooks as long as nobody wrote down what they were last time."""
    before, after = dict(found.built), dict(wanted.built)
    if HOOKS not in before:
        return ()
    changes = differences(before[HOOKS], after.get(HOOKS, ()))
    return tuple(one for one in changes if one.before != one.after)  # an earlier devenv wrote the same otherwise


def later(changes: Sequence[Change]) -> str:
    """Changed hooks replace nothing: when they will run."""
    when = {"hooks.on_create": "the next new container (up --recreate)", "hooks.on_start": "the next start"}
    return ", ".join(f"{told([change])}, from {when[change.name]} on" for change in changes)
