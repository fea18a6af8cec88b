"""A stream and the environment variables → whether it is given colours. Imports nothing: the quick door asks, too."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO


def colours(stream: TextIO, env: Mapping[str, str]) -> bool:
    """NO_COLOR says no, FORCE_COLOR yes (but `0`), else a terminal that isn't dumb has them. Empty ones say nothing."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return env["FORCE_COLOR"] != "0"
    return stream.isatty() and env.get("TERM") != "dumb"
