"""How a container ended, or what its health check said -> what is done about it, and when. Pure: seconds come in as arguments."""

from __future__ import annotations

from typing import NamedTuple

from devenv.model.container import Health
from devenv.model.manifest import Healthcheck, Restart
from devenv.readiness import gap, patience

_FIRST, _LONGEST = 0.1, 60.0
"""Seconds before a first start again, and before any."""

LASTING = 10.0
"""Seconds after which a container that was started again counts as one that lives (as Docker has it)."""


class Seen(NamedTuple):
    """A container that was started in this boot and that nobody wants stopped, as its row says.

    `pid` and `start` are those of its init, `started` is Unix seconds; of one that ended, `pid` is None and `code` its exit code
    (None: nobody knows). `tries`: how often in a row it was started again; `again`: when it is to be, Unix seconds. `shared`: a
    port of the host leads to others, too.
    """

    id: str
    name: str
    pid: int | None = None
    start: int = 0
    started: float = 0.0
    code: int | None = None
    health: Health = ""
    tries: int = 0
    again: float | None = None
    check: Healthcheck | None = None
    restart: Restart = Restart()
    shared: bool = False

    @property
    def life(self) -> tuple[object, ...]:
        """Another one for each of its starts and ends."""
        return self.pid, self.start, self.code, self.tries


class Checked(NamedTuple):
    """What is known of a container's health: `failures` are those of its checks in a row."""

    health: Health = "starting"
    failures: int = 0


# When it ended -----------------------------------------------------------------------------------------------------------


def delay(restart: Restart, code: int | None, tries: int) -> float | None:
    """Seconds until it is started again, ever more of them; None for never. What nobody knows the exit code of has failed."""
    if restart.policy == "no" or (restart.policy == "on-failure" and code == 0) or given_up(restart, code, tries):
        return None
    return min(_FIRST * 2.0 ** min(tries, 32), _LONGEST)


def wait(seen: Seen, now: float) -> float | None:
    """Seconds until one that ended is started again, None for never. Should somebody have put the clock back, no more than `delay`."""
    longest = delay(seen.restart, seen.code, seen.tries)
    return longest if longest is None or seen.again is None else min(max(0.0, seen.again - now), longest)


def given_up(restart: Restart, code: int | None, tries: int) -> bool:
    """Whether it failed, and was started again as often as its policy allows."""
    return restart.policy == "on-failure" and code != 0 and restart.most is not None and tries >= restart.most


def asks(seen: Seen) -> bool:
    """Whether somebody has to be awake for it."""
    if seen.pid is None:
        return delay(seen.restart, seen.code, seen.tries) is not None
    return seen.check is not None or seen.restart.policy != "no" or seen.shared


# While it runs -----------------------------------------------------------------------------------------------------------


def judged(before: Checked, passed: bool, check: Healthcheck, elapsed: float) -> Checked:
    """Its health after one more check, `elapsed` seconds after its start.

    As long as it is starting it has time; then so many checks in a row have to fail as `retries` says.
    """
    if passed:
        return Checked("healthy")
    failures = before.failures + 1
    if before.health == "starting":
        return Checked("unhealthy" if elapsed >= patience(check) else "starting", failures)
    return Checked("unhealthy" if failures >= check.retries else before.health, failures)


def pause(now: Checked, check: Healthcheck, elapsed: float) -> float:
    """Seconds until the next check: what is starting is looked at often."""
    return gap(elapsed, check.interval) if now.health == "starting" else check.interval
