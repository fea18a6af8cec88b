"""An image, wanted and observed → the action that has it there, with what changed of it since it was built last."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from devenv.changes import shortened, told
from devenv.model.container import ObservedImage
from devenv.model.image import PROJECT
from devenv.model.manifest import FROM_LOCK
from devenv.model.plan import Action, Change, WantedImage
from devenv.reasons import NEW, compare, others, steps


def image_action(wanted: WantedImage, found: ObservedImage, cached: Collection[str], *, rebuild: bool) -> Action:
    """Build it or keep it, and why. `cached` are the step keys that the store has; `rebuild` builds whatever it holds."""
    about = Action("build", title(wanted.name), "asked for", image=wanted.name, after=())
    compared = compare(wanted, found)
    planned = steps(wanted, cached, compared)
    if rebuild:
        planned = tuple(step._replace(cached=False, reason="asked for", changes=()) for step in planned)
        return about._replace(steps=planned)
    known = [*((step.position, step.changes) for step in planned), *others(wanted, compared)]
    changes = tuple(dict.fromkeys(change for _, some in known for change in some))
    missing = [step for step in planned if not step.cached]
    causes = _causes(known) + [f"{step.position} is new" for step in missing if step.reason == NEW]
    if found.digest:
        # Nothing is built, though it may be another image than the last one: it was built before, or elsewhere.
        there = f"it is in the store already: {shortened(causes)}" if changes else "nothing it is made of changed"
        reason = there if found.built or not wanted.built else "it is in the store already"
        return about._replace(verb="keep", reason=reason, changes=changes, steps=planned if changes else ())
    if missing:
        why = shortened(causes) or missing[0].reason if found.built else "there is none yet"
        reason = f"{_counted(len(missing), len(planned))}: {why}"
    elif not planned:  # nothing but what it starts from
        reason = (shortened(causes) or "the image itself is not in the store") if found.built else "there is none yet"
    else:
        reason = f"every step is in the store, {shortened(causes) or 'the image itself is not'}"
    return about._replace(reason=reason, changes=changes, steps=planned)


def title(name: str) -> str:
    """What an image is called in plans and events: `image`, a service's `image db`."""
    return name if name == PROJECT else f"{PROJECT} {name}"


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
