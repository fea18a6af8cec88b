"""How long to wait for a container, and when to look again. Pure."""

from __future__ import annotations

from devenv.model.manifest import Healthcheck

_SHORTEST = 0.01
_LONGEST = 0.25
"""Seconds between two looks at a command that is to complete."""


def gap(elapsed: float, longest: float = _LONGEST, *, alone: bool = False) -> float:
    """Seconds until the next look: short at first, so that what is ready soon is seen soon, then ever longer.

    A look costs 10 ms of CPU time. Nobody is kept from starting by one that is looked at `alone`: it is seen twice as soon.
    """
    return min(max(elapsed / (40 if alone else 20), _SHORTEST), longest)


def patience(check: Healthcheck) -> float:
    """Seconds within which a health check must have succeeded once."""
    return check.start_period + check.interval * check.retries
