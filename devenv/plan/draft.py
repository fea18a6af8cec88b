"""Actions of a plan in the making: each is given a number, by which others wait for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from devenv.model.container import Container
from devenv.model.plan import DEPENDS_ON, Action


class Draft:
    """The actions so far."""

    def __init__(self) -> None:
        self.actions: list[Action] = []

    def add(self, action: Action) -> int:
        """Its number in the plan."""
        self.actions.append(action)
        return len(self.actions) - 1


def numbers(*found: Iterable[int]) -> tuple[int, ...]:
    """Each once, in order."""
    return tuple(sorted({number for some in found for number in some}))


def needed(container: Container) -> dict[str, str]:
    """The services that it starts after, as it was made; `completed` where it waits for a one-shot."""
    words = (text.split(" ") for text in dict(container.inputs).get(DEPENDS_ON, "").split(", ") if text)
    return {name: "".join(condition).strip("()") for name, *condition in words}


def backwards(draft: Draft, actions: Mapping[str, Action], containers: Collection[Container]) -> None:
    """Add an action (by container id) for each container that ends, those first that depend on others' services.

    What depends on what, the containers themselves say: their manifest may be another one by now, or gone.
    """
    dependents: dict[str, list[Container]] = {}
    for container in containers:
        for service in needed(container):
            dependents.setdefault(service, []).append(container)
    added: dict[str, int] = {}

    def add(container: Container, above: tuple[str, ...]) -> int:
        if container.id not in added:
            # Two manifests, one after the other, may have made a circle of what each had as a line.
            first = [one for one in dependents.get(container.service, ()) if one.service and one.id not in above]
            waited = [add(one, (*above, container.id)) for one in first]
            added[container.id] = draft.add(actions[container.id]._replace(after=numbers(waited)))
        return added[container.id]

    for container in containers:
        add(container, (container.id,))
