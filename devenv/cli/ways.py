"""Results of a plan → one way for all replicas of a service that went the same, so that each gets one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devenv.changes import shortened
from devenv.model.plan import Action, Result, Verb


class Way(NamedTuple):
    """What one container went through, and the names of all that went the same; or a single action that is no replica's."""

    names: tuple[str, ...]
    results: tuple[Result, ...]
    varied: bool = False
    """Whether not all had the very same values change."""

    @property
    def name(self) -> str:
        """`web-1…3`."""
        return span(self.names)

    @property
    def failed(self) -> Result | None:
        return next((one for one in self.results if one.error), None)

    @property
    def telling(self) -> Result:
        """The result that says most of it: what failed, what wasn't come to, else what was done first."""
        skipped = (one for one in self.results if one.skipped)
        return self.failed or next(skipped, self.results[0])

    def reason(self, of: Action) -> str:
        """The reason of one of its actions, in words that hold for all."""
        if not self.varied or not of.changes:
            return of.reason
        return f"{shortened([change.name for change in of.changes])} changed"

    @property
    def waited(self) -> Result | None:
        return next((one for one in self.results if one.action.verb == "wait"), None)

    @property
    def again(self) -> bool:
        """Whether it was stopped in order to be started."""
        return [one.action.verb for one in self.results[:2]] == ["stop", "start"]

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.results)


def ways(results: Sequence[Result]) -> tuple[Way, ...]:
    """In the plan's order of what each began with."""
    paths: dict[tuple[str, str] | str | int, list[Result]] = {}
    for number, result in enumerate(results):
        action = result.action
        alone = action.container if action.verb in ("stop", "start") else ""  # the workspace, which is restarted
        paths.setdefault((action.service, action.object) if action.service else alone or number, []).append(result)
    alike: dict[object, list[list[Result]]] = {}
    for key, path in paths.items():
        alike.setdefault((path[0].action.service, _kind(path)) if isinstance(key, tuple) else key, []).append(path)
    return tuple(
        Way(
            tuple(path[0].action.object for path in found),
            tuple(max(found, key=_took)),
            len({path[0].action.reason for path in found}) > 1,
        )
        for found in alike.values()
    )


def planned(actions: Iterable[Action]) -> tuple[Way, ...]:
    """The same of what is still to be done."""
    return ways([Result(action, 0.0) for action in actions])


def span(names: Sequence[str]) -> str:
    """`web-1…3` of replicas that follow each other, else `web-1, web-4`."""
    if len(names) < 2:
        return "".join(names)
    numbers = sorted(int(name.rpartition("-")[2]) for name in names)
    service = names[0].rpartition("-")[0]
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{service}-{numbers[0]}…{numbers[-1]}"
    return ", ".join(f"{service}-{number}" for number in numbers)


def verb(way: Way) -> Verb:
    """What is to be done, in a word: what runs already may only be waited for."""
    first, waited = way.results[0].action.verb, way.waited
    return "wait" if first == "keep" and waited else first


def _kind(path: Iterable[Result]) -> object:
    """What is the same of replicas that go one way: of a text with the index in it, that it changed."""
    return tuple(
        (
            one.action.verb,
            tuple(change.name for change in one.action.changes) or one.action.reason,
            bool(one.error),
            one.skipped,
        )
        for one in path
    )


def _took(path: Iterable[Result]) -> float:
    return sum(one.seconds for one in path)
