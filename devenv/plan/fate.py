"""A container, wanted and observed → what becomes of it, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

from devenv.changes import differences, told
from devenv.model.container import Container, ContainerSpec
from devenv.model.manifest import Condition, Pairs
from devenv.model.plan import DEPENDS_ON, UNREAD, Action, Change


class Fate(NamedTuple):
    """What becomes of a container. `known` is the one that is there, if any."""

    verb: Literal["keep", "create", "replace", "start"]
    reason: str
    spec: ContainerSpec
    known: Container | None = None
    changes: tuple[Change, ...] = ()

    @property
    def made(self) -> bool:
        """Whether it is made anew."""
        return self.verb in ("create", "replace")

    @property
    def runs(self) -> bool:
        """Whether it runs already, and goes on running."""
        return self.verb == "keep" and self.known is not None and self.known.status == "running"

    def action(self, image: str, after: tuple[int, ...], service: str = "") -> Action:
        """The plan's action for it; `image` is the name of the one it runs."""
        identifier = self.known.id if self.known else ""
        return Action(
            self.verb,
            self.spec.name,
            self.reason,
            self.changes,
            spec=self.spec if self.verb != "keep" else None,
            container=identifier,
            image=image,
            after=after,
            service=service,
        )


def fate(
    spec: ContainerSpec, known: Container | None, image: str, *, awaited: Condition = "started", anew: bool = False
) -> Fate:
    """Decide. `image` is the digest of the image wanted, "" while it isn't built; `anew` replaces it whatever it is."""
    if known is None:
        return Fate("create", "there is none yet", spec)
    different = differences(*_counted(known.inputs, spec.inputs))
    if not different and image not in ("", known.image):
        different = (Change("image", known.image, image),)
    if different or anew or known.lost:
        # A folder made anew is a new project: what on_create did in it is gone, so a restart wouldn't do.
        lost = f"the folder {known.lost} was made anew" if known.lost else "asked for"
        return Fate("replace", told(different) if different else lost, spec, known, different)
    if known.status == "running":
        return Fate("keep", "it runs, and nothing changed", spec, known)
    if awaited == "completed" and known.exit_code == 0:
        return Fate("keep", "it has completed, and nothing changed", spec, known)
    return Fate("start", _why_stopped(known, completes=awaited == "completed"), spec, known)


def _counted(known: Pairs, wanted: Pairs) -> tuple[Pairs, Pairs]:
    """What two containers differ by: not by their place in the order, nor by a secret that nobody can read."""
    given = {name for name, _ in known}
    passed = {DEPENDS_ON, *(name for name, value in wanted if value == UNREAD and name in given)}
    before, after = (tuple(pair for pair in each if pair[0] not in passed) for each in (known, wanted))
    return before, after


def _why_stopped(container: Container, *, completes: bool) -> str:
    if container.status == "created" or container.started is None:
        return "it was never started"
    if container.status == "restarting":
        how = "its monitor was killed" if container.exit_code is None else f"exit code {container.exit_code}"
        return f"it waited to be restarted, after {how}"
    if container.exit_code is None:
        return "it was cut off: the host restarted, or its monitor was killed"
    if container.exit_code in (0, 130, 137, 143) and not completes:
        return "it was stopped"
    return f"its command ended with exit code {container.exit_code}"
