"""What is told while long work goes on. The engine and executor emit, `console` shows."""

from collections.abc import Callable
from typing import Literal, NamedTuple


class Event(NamedTuple):
    """One happening. `object` is the step, image or container; `text` a line of output or a detail.

    kinds: started, cached, output (a line a command printed), state (how far it is), done (seconds set; text: what one would not
    have wished), failed, stopped (for no fault of its own), note, warning.
    """

    kind: Literal["started", "cached", "output", "state", "done", "failed", "stopped", "note", "warning"]
    object: str
    text: str = ""
    seconds: float = 0.0


Sink = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A sink that drops everything."""
